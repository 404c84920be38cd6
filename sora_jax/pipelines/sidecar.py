"""The sidecar file of a clip, from which the clip can be continued without leaving latent space.

`clip.mp4` is for viewing. `clip.latents.npz` holds its latents, the video decoder's cache
after the last latent, its frames before h264 and its samples before aac. The sidecar is used
if it belongs to the mp4 (the digest of its latents is stored in the mp4 too) and was made by
tokenizers with the fingerprints of the loaded ones. Otherwise the mp4 is encoded, and the clip's
notes say why.
"""

import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from sora_jax import mp4
from sora_jax.files import replacing
from sora_jax.modality import ClipFormat

if TYPE_CHECKING:
    from sora_jax.pipelines.generated import Generated

VERSION = 1


class Unusable(Exception):
    """Raised if a sidecar cannot be used. Its text is the reason, for a note."""


def sidecar_path(clip_path: str | os.PathLike) -> Path:
    """Returns the path of the sidecar beside a clip: clip.mp4 -> clip.latents.npz."""
    return Path(clip_path).with_suffix(".latents.npz")


def digest(latents: dict[str, np.ndarray]) -> str:
    """Returns 12 hex digits of the sha256 of a clip's latents, which tie a sidecar to its mp4."""
    sha = hashlib.sha256()
    for name in sorted(latents):
        sha.update(np.ascontiguousarray(latents[name], np.float32).tobytes())
    return sha.hexdigest()[:12]


def save(path: str | os.PathLike, clip: "Generated") -> None:
    """Writes the sidecar of a `generated.Generated`, atomically.

    Raises:
        UserError: the file cannot be written.
    """
    head = {"version": VERSION, "format": clip.format.to_dict(), "provenance": clip.provenance}
    leaves = [] if clip.cache is None else jax.tree.leaves(clip.cache)
    arrays: dict[str, Any] = {
        f"latents_{name}": np.asarray(x, np.float32) for name, x in clip.latents.items()
    }
    arrays |= {f"cache_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays |= {
        "frames": mp4.to_uint8(clip.frames),
        "samples": np.asarray(clip.samples, np.float32),
    }
    # Opened here, because NumPy would append .npz to a path.
    with replacing(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, head=np.array(json.dumps(head)), **arrays)


def read(
    path: str | os.PathLike, expected: str | None
) -> tuple[dict[str, np.ndarray], ClipFormat, dict[str, Any]]:
    """Reads a sidecar.

    Args:
        path: the .latents.npz file.
        expected: the digest of the latents that its mp4 stores; None if it stores none.

    Returns:
        The arrays ("latents_video" [T, h, w, C], "latents_audio" [N, C], "frames" uint8
        [F, H, W, 3], "samples" float32 [S], and the leaves "cache_0", ... of the decoder's cache),
        the format of the clip, and its provenance.

    Raises:
        Unusable: the sidecar is missing, damaged, of another version or of another clip.
    """
    path = Path(path)
    if not path.is_file():
        raise Unusable("there are no latents beside it")
    try:
        # numpy leaves a file that it opened itself open if it is damaged
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        head = json.loads(str(arrays["head"]))
        latents = {name: arrays[f"latents_{name}"] for name in ("video", "audio")}
        format, provenance = ClipFormat.from_dict(head["format"]), dict(head["provenance"])
        version, _ = head["version"], (arrays["frames"], arrays["samples"])
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise Unusable(f"the latents beside it cannot be read ({type(error).__name__})") from error
    if version != VERSION:
        raise Unusable("the latents beside it have another version")
    if digest(latents) != expected:
        raise Unusable("the latents beside it belong to another clip")
    if not all(np.isfinite(x).all() for x in latents.values()):
        raise Unusable("the latents beside it are not finite numbers")
    return arrays, format, provenance
