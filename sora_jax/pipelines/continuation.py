"""Opens a file from which a request starts (to be continued, remixed ...): from the latents stored
beside it (`sidecar`), or by encoding it.
"""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import media, mp4
from sora_jax.errors import UserError
from sora_jax.media.video import read_window
from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.pipelines import record, sidecar
from sora_jax.pipelines.codec import decode_chunk
from sora_jax.pipelines.formats import same_rate
from sora_jax.pipelines.generated import Generated

if TYPE_CHECKING:
    from sora_jax.pipelines.generate import Pipeline

TOKENIZERS = ("video_tokenizer", "audio_tokenizer")


def sides_and_rate(clip: str | os.PathLike | Generated) -> tuple[tuple[int, int], float]:
    """Returns (height, width) and frames per second of a clip, as a player shows it.

    They are zeros for a file that cannot be decoded, because `open_clip` raises the error.
    """
    if isinstance(clip, Generated):
        return (clip.format.height, clip.format.width), float(clip.format.fps)
    try:
        first = read_window(clip, 0.0, 1.0, None, np.zeros(1))
    except UserError:
        return (0, 0), 0.0
    return first.frames.shape[1:3], first.frame_rate or 0.0


def format_of(clip: str | os.PathLike | Generated) -> ClipFormat | None:
    """Returns the format of a clip; None for a file without a usable sidecar."""
    if isinstance(clip, Generated):
        return clip.format
    try:
        expected = mp4.read_metadata(clip).get("latents")
        return sidecar.read(sidecar.sidecar_path(clip), expected)[1]
    except (UserError, sidecar.Unusable):
        return None


def open_clip(path: str | os.PathLike, pipeline: "Pipeline", whole: bool = False) -> Generated:
    """Opens a clip from a file: from its sidecar if that matches, else by encoding the file. The
    clip's notes say which.

    Args:
        path: the file.
        pipeline: gives the tokenizers, and with its format the size and rate of the clip.
        whole: True fits the clip to the length and shots of the format too. Default False: it keeps
            its length, except first frames that fill no whole latent.

    Raises:
        UserError: the file cannot be read.
    """
    metadata = mp4.read_metadata(path)
    try:
        return _from_sidecar(path, pipeline, metadata.get("latents"), whole)
    except sidecar.Unusable as reason:
        return _encoded(path, pipeline, metadata, str(reason), whole)


def _encoded(
    path: str | os.PathLike,
    pipeline: "Pipeline",
    metadata: dict[str, Any],
    reason: str,
    whole: bool,
) -> Generated:
    fps = pipeline.format.fps
    short_side = 2 * max(pipeline.format.height, pipeline.format.width)
    video = media.read_video(path, short_side=short_side)
    frames = max(1, round(video.seconds * fps))
    group = pipeline.format.frames_per_latent
    extra = 0 if whole else (frames - 1) % group
    notes = [f"{Path(path).name} was encoded: {reason}"]
    if extra:
        notes.append(f"its first {extra} frames are left out: a clip has 1 + {group}k")
        video = media.read_video(path, start=float(extra / fps), short_side=short_side)
    format = pipeline.format
    if not whole:
        format = dataclasses.replace(format, frames=frames - extra, shots=())
    fitted = media.fit_clip(video, format)
    samples = np.zeros(format.samples, np.float32) if fitted.samples is None else fitted.samples
    latents = pipeline.encode(dataclasses.replace(fitted, samples=samples))
    notes += _lost(path, video, format)
    provenance = {
        "file": Path(path).name,
        **{k: metadata[k] for k in ("prompt", "seed", "model") if k in metadata},
    }
    return Generated(
        fitted.frames,
        samples,
        format.fps,
        notes=(*notes, *fitted.notes),
        format=format,
        latents=latents,
        provenance=provenance,
    )


def _lost(path: str | os.PathLike, video: media.Media, format: ClipFormat) -> list[str]:
    """Returns a note, if the continued clip will not have the size, rate or channels of a file."""
    (height, width), rate = sides_and_rate(path)
    has, gets = [], []
    if (height, width) != (format.height, format.width) or not same_rate(rate, format.fps):
        has.append(f"{width} x {height} at {rate:.4g}/s")
        gets.append(f"{format.width} x {format.height} at {float(format.fps):.4g}/s")
    if video.samples is not None:
        channels = video.samples.shape[1]
        if (channels, video.sample_rate) != (1, SAMPLE_RATE):
            plural = "s" * (channels != 1)
            has.append(f"{channels} audio channel{plural} of {video.sample_rate} Hz")
            gets.append(f"1 of {SAMPLE_RATE} Hz")
    if not has:
        return []
    return [
        f"{Path(path).name} has {' and '.join(has)}; the continued clip has {' and '.join(gets)}, "
        "which the model makes; the file itself is unchanged"
    ]


def _from_sidecar(
    path: str | os.PathLike, pipeline: "Pipeline", expected: str | None, whole: bool
) -> Generated:
    """Loads a clip from its sidecar, with `expected`, the digest of the latents in the mp4.

    Raises:
        sidecar.Unusable: the sidecar does not match the mp4 or the pipeline, or the clip is a loop.
    """
    arrays, format, provenance = sidecar.read(sidecar.sidecar_path(path), expected)
    for name in TOKENIZERS:
        if provenance.get(name) != pipeline.fingerprints.get(name):
            raise sidecar.Unusable(
                f"the latents beside it were made with another {name.replace('_', ' ')}"
            )
    own = {} if whole else {"frames": format.frames, "shots": format.shots}
    if format != dataclasses.replace(pipeline.format, **own):
        raise sidecar.Unusable("the latents beside it have another format")
    if len(arrays["frames"]) != format.frames:
        raise sidecar.Unusable("the clip is a loop, which has no end")
    latents = {name: arrays[f"latents_{name}"] for name in ("video", "audio")}
    return Generated(
        arrays["frames"].astype(np.float32) / 255,
        arrays["samples"],
        format.fps,
        notes=(f"opened from the latents beside {Path(path).name}",),
        format=format,
        latents=latents,
        cache=_cache(arrays, pipeline, latents["video"]),
        provenance=provenance,
        family=record.family_of(provenance),
    )


def _cache(arrays: dict[str, np.ndarray], pipeline: "Pipeline", latents: np.ndarray) -> Any:
    """Returns the decoder's cache from the arrays of a sidecar; None if the cache of this decoder
    has other shapes or dtypes, so that it must be computed from the latents.
    """
    like = jax.eval_shape(
        decode_chunk, pipeline.video_tokenizer, jnp.zeros((1, *latents.shape)), None
    )[1]
    leaves, structure = jax.tree.flatten(like)
    stored = [arrays.get(f"cache_{i}") for i in range(len(leaves))]
    if any(
        leaf is None or leaf.shape != expected.shape or leaf.dtype != expected.dtype
        for leaf, expected in zip(stored, leaves, strict=True)
    ):
        return None
    return jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in stored])
