"""Uploaded pictures and videos: checked before they are stored.

The sides of a picture are read from its header before a pixel is decoded. A video is opened in a
child process, because a decoder may crash or hang on a damaged file.
"""

import dataclasses
import io
import os
import threading
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from sora_jax.errors import UserError
from sora_jax.media.video import read_window, stated_length
from sora_jax.media.worker import Worker
from sora_jax.studio.problems import Problem, invalid

PICTURES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
PROBE_SECONDS = 20  # time limit for opening a video
MOST_SIDE = 4096  # pixels, the largest width or height of an uploaded video
MOST_RATE = 240  # frames per second, the largest rate of an uploaded video


@dataclasses.dataclass(frozen=True)
class Probe:
    """The properties of a video file: (height, width) in pixels, frames per second, duration."""

    sides: tuple[int, int]
    rate: float
    seconds: float


def check_picture(data: bytes, size: str) -> str:
    """Checks a reference picture and returns the suffix of its file.

    Args:
        data: the file.
        size: width x height that it must have.

    Raises:
        Problem: status 400 if it is no PNG, JPEG or WebP or has other sides, 422 if it is damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=tuple(PICTURES)) as image:
            width, height = image.size
            if f"{width}x{height}" != size:
                raise invalid(
                    f"Inpaint image must match the requested width and height: it has "
                    f"{width}x{height}, and the video {size}.",
                    "input_reference",
                )
            image.load()
            return PICTURES[image.format or "PNG"]
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise invalid(
            "The file is no picture; give a PNG, JPEG or WebP file.", "input_reference"
        ) from None
    except (OSError, ValueError, SyntaxError, EOFError):
        raise Problem(
            422, "The picture is damaged; give another file.", "unreadable", "input_reference"
        ) from None


class VideoChecker:
    """Opens uploaded videos, one at a time, in a child process."""

    def __init__(self, most_seconds: float):
        """Makes a checker that refuses videos longer than `most_seconds`."""
        self.most_seconds = most_seconds
        self._worker, self._lock = Worker(PROBE_SECONDS), threading.Lock()

    def close(self) -> None:
        """Ends the child process."""
        self._worker.close()

    def check(self, path: Path) -> Probe:
        """Opens a video and returns its properties.

        Raises:
            Problem: status 400 if it is no mp4 file, too long, or beyond MOST_SIDE or MOST_RATE;
                422 if it cannot be decoded.
        """
        with path.open("rb") as file:
            if file.read(12)[4:8] != b"ftyp":
                raise invalid("The file is no mp4 video; give an mp4 file.", "video")
        try:
            with self._lock:
                probe = self._worker.call(probe_video, os.fspath(path), self.most_seconds)
        except (UserError, RuntimeError):
            raise Problem(
                422, "The video cannot be decoded; give another file.", "unreadable", "video"
            ) from None
        if probe.seconds > self.most_seconds:
            raise invalid(
                f"The video lasts {probe.seconds:.4g} s; give at most {self.most_seconds:g} s.",
                "video",
            )
        if max(probe.sides) > MOST_SIDE:
            raise invalid(
                f"The video has {probe.sides[1]}x{probe.sides[0]} pixels; give at most "
                f"{MOST_SIDE} a side.",
                "video",
            )
        if probe.rate > MOST_RATE:
            raise invalid(
                f"The video has {probe.rate:.4g} frames/s; give at most {MOST_RATE}.", "video"
            )
        return probe


def probe_video(path: str, most_seconds: float) -> Probe:
    """Returns the properties of a video file. Of a longer video than `most_seconds`, only the
    beginning is decoded.

    Raises:
        UserError: it cannot be decoded.
    """
    first = np.zeros(1)  # moments of the frames to keep
    stated = stated_length(path) or 0.0
    window = 1.0 if stated > most_seconds else most_seconds + 1.0
    media = read_window(path, 0.0, window, None, first, with_audio=False)
    sides = (media.frames.shape[1], media.frames.shape[2])
    return Probe(sides, media.frame_rate or 0.0, max(stated, media.seconds))
