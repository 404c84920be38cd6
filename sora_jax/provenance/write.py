"""Publishes clips and stills: marks them invisibly, encodes and signs them. All files that the
studio gives away are written here; files of experiments are neither marked nor signed.

The picture's mark is fitted to survive h264 at crf 30, or at crf 23 if the shorter side is below
128 pixels (LARGE), because there a mark at a PSNR of 45 dB does not survive crf 30.
"""

import dataclasses
import functools
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.files import user_path
from sora_jax.media import read_video
from sora_jax.mp4 import add_stream, to_uint8, write_mp4
from sora_jax.provenance import manifest, picture_mark, sound_mark
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.manifest import Statement

LARGE = 128  # pixels of the shorter side, from which crf 30 is rehearsed
AAC_BITS_PER_SECOND = 96_000
QUALITY = 90  # quality of jpeg and webp, of 100


@dataclasses.dataclass(frozen=True)
class Published:
    """A file that was published.

    Attributes:
        path: the file.
        payload: 32-bit number in its marks and its manifest's soft binding; None if it has neither.
        marks: the marks that it carries: "picture", "sound".
    """

    path: Path
    payload: int | None
    marks: tuple[str, ...]


def publish(
    clip: Clip,
    path: str | os.PathLike,
    authority: Authority,
    statement: Statement = Statement(),  # noqa: B008, as it is frozen
    metadata: Mapping[str, Any] | None = None,
) -> Published:
    """Marks a clip, writes it and signs it. The file appears whole or not at all.

    Args:
        clip: the clip.
        path: the file: .mp4 of picture and sound, .m4a or .wav of the sound alone.
        authority: the authority whose keys sign and mark.
        statement: what the manifest says. Default: nothing of a job. A payload of None is drawn at
            random.
        metadata: JSON values saved in the comment of an .mp4, as by `mp4.write_mp4`. Default None.

    Raises:
        UserError: another suffix, a clip that cannot be written, or a statement that cannot be
            signed.
    """
    path = user_path(path)
    suffix = path.suffix.lower()
    if suffix not in (".mp4", ".m4a", ".wav"):
        raise UserError(
            f"{path}: clips are published as .mp4, .m4a or .wav; `publish_image` for stills"
        )
    if suffix != ".mp4" and clip.samples is None:
        raise UserError(f"{path}: the clip has no sound; give a path that ends in .mp4")
    payload = secrets.randbits(32) if statement.payload is None else statement.payload
    marked, marks = mark(clip, payload, authority.mark_key, suffix == ".mp4")
    statement = dataclasses.replace(statement, payload=payload if marks else None)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"plain{suffix}"
        if suffix == ".mp4":
            write_mp4(plain, marked, metadata)
        else:
            write_sound(plain, marked)
        manifest.sign(plain, path, statement, authority)
    return Published(path, statement.payload, marks)


def publish_image(
    image: np.ndarray,
    path: str | os.PathLike,
    authority: Authority,
    statement: Statement = Statement(),  # noqa: B008, as it is frozen
) -> Published:
    """Writes a still, such as a thumbnail or a sprite sheet, and signs it. Stills carry no mark.

    Args:
        image: [H, W, 3], uint8 or float in [0, 1].
        path: the file: .png, .webp or .jpg.
        authority: the authority whose key signs.
        statement: what the manifest says. Its payload, if any, binds the still to a marked clip.
            Default: nothing of a job.

    Raises:
        UserError: another suffix, or a statement that cannot be signed.
    """
    path = user_path(path)
    if not manifest.media_type(path).startswith("image/"):
        raise UserError(f"{path}: stills are published as .png, .webp or .jpg")
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"plain{path.suffix.lower()}"
        Image.fromarray(to_uint8(image)).save(plain, quality=QUALITY)
        manifest.sign(plain, path, statement, authority)
    return Published(path, statement.payload, ())


def mark(
    clip: Clip, payload: int, key: bytes, picture: bool = True
) -> tuple[Clip, tuple[str, ...]]:
    """Returns a clip with invisible marks, and their names ("picture", "sound"). A picture below
    `picture_mark.SMALLEST` pixels, or a sound below `sound_mark.SHORTEST` seconds, gets none.

    Args:
        clip: the clip.
        payload: 0 to 2^32 - 1.
        key: the secret of the marks.
        picture: False marks the sound alone. Default True.
    """
    marks, frames, samples = [], clip.frames, clip.samples
    side = min(frames.shape[1:3])
    if picture and side >= picture_mark.SMALLEST:
        crf = 30 if side >= LARGE else 23
        again = functools.partial(_recoded, fps=clip.fps, crf=crf)
        frames = picture_mark.embed(frames, payload, key, again)
        marks.append("picture")
    if samples is not None and len(samples) >= sound_mark.SHORTEST * clip.rate:
        samples = sound_mark.embed(samples, payload, key, clip.rate)
        marks.append("sound")
    return Clip(frames, samples, clip.fps, clip.rate, clip.notes), tuple(marks)


def _recoded(frames: np.ndarray, fps: Any, crf: int) -> np.ndarray:
    """Returns frames [F, H, W, 3] after two encodings as h264: as published, and again with `crf`.
    The padding of odd sides is cut off.
    """
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_mp4(path, Clip(frames, None, fps))
        write_mp4(path, Clip(read_video(path).frames, None, fps), crf=crf)
        return read_video(path).frames[:, :height, :width]


def write_sound(path: Path, clip: Clip, bits_per_second: int = AAC_BITS_PER_SECOND) -> None:
    """Writes the samples of a clip as .wav (16 bits), or as .m4a (aac, 96 kbit/s by default)."""
    samples = np.clip(np.nan_to_num(np.asarray(clip.samples, np.float32)), -1.0, 1.0)
    wav = path.suffix == ".wav"
    with av.open(str(path), "w", format="wav" if wav else "ipod") as container:
        codec, options = "pcm_s16le", {}
        if not wav:
            codec, options = "aac", {"bit_rate": bits_per_second}
        stream = add_stream(container, codec, rate=clip.rate, layout="mono", **options)
        values = np.round(samples * 32767).astype(np.int16)[None] if wav else samples[None]
        frame = av.AudioFrame.from_ndarray(values, "s16" if wav else "fltp", "mono")
        frame.sample_rate, frame.pts = clip.rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
