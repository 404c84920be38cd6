r"""Verify a file: who signed it, is it whole, which marks does it carry, what was it made from?

    python -m experiments.verify outputs/clip.mp4
    python -m experiments.verify --authority=AUTHORITY outputs/clip.mp4

A signed file contains a manifest (C2PA), which states its origin, and marks: payloads hidden in
its frames and audio. Reads mp4, m4a, wav, png, webp and jpg. The exit status is 0 if the manifest
is intact, its signer is trusted and the marks agree with it; 1 if the file was changed after it was
signed, was signed by somebody else, has contradictory marks, or has a mark but no manifest; 2 if it
has neither or cannot be read.
"""

import sys
from collections.abc import Sequence

from absl import flags

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.provenance.authority import open_authority
from sora_jax.provenance.check import check

_FILE = flags.DEFINE_string("file", None, "The file to verify; --file= may be left out. Required.")
_AUTHORITY = flags.DEFINE_string(
    "authority",
    "~/.sora_jax/authority",
    "Folder of the authority whose signers are trusted and whose marks are searched. If there is "
    "none, no signer is trusted and no mark is searched.",
)


def main(_: Sequence[str]) -> None:
    if not _FILE.value:
        raise UserError("no file; give one, such as outputs/clip.mp4")
    if not files.user_path(_FILE.value).exists():
        raise UserError(f"no such file: {_FILE.value}; give one, such as outputs/clip.mp4")
    files.check_input("file", _FILE.value, "a file to verify")
    folder = files.user_path(_AUTHORITY.value)
    authority = open_authority(folder) if folder.exists() else None
    report = check(files.user_path(_FILE.value), authority)
    print("\n".join([str(_FILE.value), *(f"  {line}" for line in report.lines())]))
    if authority is None:
        print(f"  note: no authority in {folder}: no signer is trusted, and no mark was searched")
    elif authority.development:
        print(f"  note: the trusted signer is the development authority in {folder}")
    sys.exit(report.status)


if __name__ == "__main__":
    run_main(main)
