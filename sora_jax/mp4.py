"""Clips as mp4 files: h264 and aac through PyAV, with the clip's provenance in the comment."""

import json
import os
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import OutputContainer
from av.error import FFmpegError

from sora_jax.config import known_keywords
from sora_jax.errors import UserError
from sora_jax.files import replacing

if TYPE_CHECKING:
    from sora_jax.clip import Clip

# maximum of aac for mono at 16 kHz: 6,144 bits per block of 1,024 samples
AAC_BITS_PER_SECOND = 96_000
AAC_BLOCK = 1024  # samples per aac block


def check_arrays(clip: "Clip") -> None:
    """Raises UserError unless the frames of a clip are [F, H, W, 3], uint8 or float, and its
    samples None or float [S].
    """
    shape, dtype = np.shape(clip.frames), np.asarray(clip.frames).dtype
    if len(shape) != 4 or shape[-1] != 3 or not all(shape):
        raise UserError(
            f"frames have the shape {shape}; give [frames, height, width, 3]", field="frames"
        )
    if dtype != np.uint8 and not _is_float(dtype):
        raise UserError(
            f"frames are {dtype}; give uint8 or floats [frames, height, width, 3]", field="frames"
        )
    if clip.samples is None:
        return
    shape, dtype = np.shape(clip.samples), np.asarray(clip.samples).dtype
    if len(shape) != 1 or not _is_float(dtype):
        raise UserError(
            f"samples are {dtype} {shape}; give floats [samples], or None for no audio",
            field="samples",
        )


def _is_float(dtype: np.dtype) -> bool:
    # bfloat16 is not a NumPy float
    return np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"


def to_uint8(frames: np.ndarray) -> np.ndarray:
    """Returns frames of any shape, float in [0, 1] or uint8, as uint8. Values outside [0, 1] are
    clipped, and NaN becomes 0.
    """
    frames = np.asarray(frames)
    if frames.dtype == np.uint8:
        return frames
    return np.round(np.clip(np.nan_to_num(frames.astype(np.float32)), 0.0, 1.0) * 255.0).astype(
        np.uint8
    )


@known_keywords
def write_mp4(
    path: str | os.PathLike,
    clip: "Clip",
    metadata: Mapping[str, Any] | None = None,
    crf: int = 12,
) -> None:
    """Writes a clip as an mp4 file (h264 and aac), atomically.

    Args:
        path: the file; missing folders are created.
        clip: the clip. Odd sides are padded to even ones by repeating the last row or column,
            because yuv420p needs even sides. Without samples the file has no audio track.
        metadata: a mapping with JSON values, saved as one JSON object in the file's comment;
            `read_metadata` reads it. Default None: {}.
        crf: h264 quality, 0 (lossless) to 51. Small frames need a low value: at 12 (default) the
            halved colour resolution of yuv420p, not h264, limits a 64-pixel clip (33 dB).

    Raises:
        UserError: `clip` is not a clip, or the file cannot be written.
    """
    if not hasattr(clip, "fps"):
        raise UserError(f"clip is a {type(clip).__name__}; give a Clip(frames, samples, fps)")
    check_arrays(clip)
    frames = to_uint8(clip.frames)
    frames = np.pad(
        frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge"
    )
    comment = json.dumps(metadata or {}, ensure_ascii=False)
    with replacing(path) as temporary:
        _encode(temporary, frames, clip.samples, Fraction(clip.fps), comment, crf, clip.rate)


def _encode(
    path: str | os.PathLike,
    frames: np.ndarray,
    samples: np.ndarray | None,
    fps: Fraction,
    comment: str,
    crf: int,
    sample_rate: int,
) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = comment
        video = add_stream(
            container, "libx264", rate=fps, options={"crf": str(crf), "preset": "medium"}
        )
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        # Declare the YUV matrix: players that guess assume another one for large frames.
        # SMPTE 170M (BT.601), range 16..235
        video.codec_context.colorspace, video.codec_context.color_range = 6, 1
        audio = None
        if samples is not None:
            samples = np.clip(np.nan_to_num(np.asarray(samples, np.float32)), -1.0, 1.0).reshape(
                1, -1
            )
            audio = add_stream(
                container, "aac", rate=sample_rate, layout="mono", bit_rate=AAC_BITS_PER_SECOND
            )
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU601", interpolation="AREA")
            frame.pts, frame.time_base = i, 1 / fps
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and samples is not None:
            for start in range(0, samples.shape[1], AAC_BLOCK):
                block = np.ascontiguousarray(samples[:, start : start + AAC_BLOCK])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = (
                    sample_rate,
                    start,
                    Fraction(1, sample_rate),
                )
                container.mux(audio.encode(frame))
            container.mux(audio.encode())


def add_stream(container: OutputContainer, codec: str, **options: Any) -> Any:
    """Adds a stream to an open file and returns it. Raises UserError if this PyAV lacks the
    encoder.

    Args:
        container: the file.
        codec: name of the encoder, such as "libx264".
        options: further arguments of `container.add_stream`, such as `rate`.
    """
    try:
        return container.add_stream(codec, **options)
    except UnknownCodecError:
        raise UserError(
            f"this PyAV {av.__version__} has no encoder {codec}; pip install --force-reinstall "
            "--only-binary=:all: av, whose wheels have it"
        ) from None


def read_metadata(path: str | os.PathLike) -> dict:
    """Returns the metadata that `write_mp4` or `media.remux` saved in a video file, as a dict; {}
    for a file of another program.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with av.open(str(path)) as container:
            # Matroska writes its keys in capitals
            texts = {key.lower(): text for key, text in container.metadata.items()}
            value = json.loads(texts.get("comment", "{}"))
    except json.JSONDecodeError:
        return {}
    except (OSError, FFmpegError) as error:
        raise unreadable(path, error) from None
    return value if isinstance(value, dict) else {}


def unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    """Returns the UserError for a video file that cannot be read, with the decoder's reason."""
    reason = (
        "no such file"
        if isinstance(error, FileNotFoundError)
        else getattr(error, "strerror", None) or str(error)
    )
    return UserError(f"cannot read {path}: {reason}; give a playable video, audio or image file")
