"""Reads facts of one video file: duration, sizes, rates, loudness, cuts.

A worker process imports this module, so it imports neither JAX nor TensorFlow Datasets.
"""

import dataclasses
import math
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from sora_jax import media
from sora_jax.data import scene_cuts
from sora_jax.media import streams
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import unreadable

QUIET = -120.0  # dBFS of silence


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """Facts of a video file.

    Attributes:
        seconds: duration of the file.
        width, height: size of its frames in pixels, as players show them.
        fps: frames per second; 0 if unknown.
        audio_rate: samples per second of the audio; 0 without audio.
        channels: channels of the audio; 0 without audio.
        loudness: RMS in dBFS of the mono mix; QUIET for silence, None without audio.
        cuts: times in seconds at which another scene begins; () if cuts were not looked for.
        notes: irregularities of the file, in words.
        still: a small frame from its middle, uint8 [h, w, 3].
    """

    seconds: float
    width: int
    height: int
    fps: float
    audio_rate: int
    channels: int
    loudness: float | None
    cuts: tuple[float, ...]
    notes: tuple[str, ...]
    still: np.ndarray


def read_facts(path: str, detect: bool, side: int = 96) -> FileFacts:
    """Reads the facts of a file, decoding all of it.

    Args:
        path: the file.
        detect: True to look for cuts, which needs PySceneDetect.
        side: shorter side of the still in pixels. Default 96.

    Raises:
        UserError: the file cannot be read, or its cuts cannot be found.
    """
    try:
        with av.open(path) as container:
            video, _ = streams.choose_video(container)
            track, _ = streams.choose_audio(container)
            seconds = fps = None
            if video is not None and video.codec_context is not None:
                fps = float(video.average_rate or 0)
                seconds = streams.stated_seconds(container, video)[0]
            rate = track.codec_context.sample_rate if track is not None else 0
            channels = track.codec_context.layout.nb_channels if track is not None else 0
        # Refuses what cannot be decoded, and states the length where no header does.
        whole = media.read_video(path, short_side=side) if seconds is None else None
        seconds = whole.seconds if whole else float(seconds or 0.0)
        middle = media.read_video(path, max(0.0, seconds / 2 - 0.2), 0.5, short_side=side)
        loudness = _loudness(path) if rate else None
    except (OSError, FFmpegError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from None
    still = middle.frames[len(middle.frames) // 2]
    width, height = middle.file_size or (still.shape[1], still.shape[0])
    if (width > height) != (still.shape[1] > still.shape[0]):  # turned by its display matrix
        width, height = height, width
    cuts = tuple(scene_cuts.find_cuts(path)) if detect else ()
    return FileFacts(
        seconds,
        width,
        height,
        fps or (middle.frame_rate or 0.0),
        rate,
        channels,
        loudness,
        cuts,
        middle.notes,
        np.asarray(Image.fromarray(still).convert("RGB")),
    )


def _loudness(path: str) -> float:
    """Returns the RMS of a file's audio in dBFS, as a mono mix. It is decoded block by block."""
    total, count = 0.0, 0
    with av.open(path) as container:
        track, _ = streams.choose_audio(container)
        mono = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        blocks: Any = container.decode(track)
        for frame in blocks:
            for piece in mono.resample(frame):
                samples = piece.to_ndarray().astype(np.float64)
                total, count = total + float(np.square(samples).sum()), count + samples.size
    return 10 * math.log10(max(total / max(count, 1), 1e-12)) if count else QUIET
