"""Files that appear whole or not at all, and paths that are checked before long work begins.

`replacing` is the one way to write, `write` its short form; `check_input` and `check_output` are
for the flags of a command: what they refuse would otherwise be found out after minutes of loading
and compiling.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sora_jax.errors import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A name to write to, beside `path`; it takes the place of `path` when all went well, and
    nothing is left when not.

    The bytes are on the disk before the name is theirs, so that a power cut too leaves the old file
    or the new one. Missing folders are made. Raises UserError where the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another folder or free "
            "some space"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file whole or not at all, text as UTF-8; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def read_lines(path: str | os.PathLike, what: str) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte-order mark; empty ones are skipped.

    what: what stands on a line, in one noun. Raises UserError for a file that is no text, or empty.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text; give a text file with one {what} to a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no {what}; write one to a line")
    return lines


def check_input(flag: str, path: str | None, wanted: str) -> None:
    """Raises UserError unless `path`, the value of --flag, is None or a file that can be read;
    wanted: what to give instead.
    """
    if path is None:
        return
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise UserError(f"cannot read --{flag}={path}: {reason}; give {wanted}") from None


def check_output(flag: str, path: str) -> Path:
    """The folder `path`, the value of --flag: made if need be, and proven by a trial file.

    Raises UserError.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"trial")
    except OSError as error:
        raise UserError(
            f"cannot write into --{flag}={path}: {error.strerror}; choose another folder"
        ) from None
    return folder
