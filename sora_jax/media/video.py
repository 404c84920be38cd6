"""`read_video`: decodes a file, or a window of it."""

import math
import os
from numbers import Real
from types import NoneType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image

from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.media import audio, colour, streams
from sora_jax.media.decoded import EndOfFile, Media
from sora_jax.media.decoding import Geometry, frame_step, frames_from
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import unreadable

# Frames are held at their full size up to this many bytes: 24 seconds of 640 x 360 at 24/s.
MOST_BYTES = 3 << 27


@known_keywords
def read_video(
    path: str | os.PathLike,
    start: float = 0.0,
    seconds: float | None = None,
    short_side: int | None = None,
) -> Media:
    """Decodes a file, or a window of it.

    Args:
        path: the file.
        start: start of the window in seconds. Default 0.
        seconds: duration of the window. Default None: to the end of the file.
        short_side: maximum length in pixels of the shorter side. Larger frames are downscaled while
            decoding, so that a long or large file fits in memory. Default None: the frames keep
            their size, unless they would need more than MOST_BYTES, 384 MiB; then they are reduced
            to fit, and a note says so.

    Returns:
        The decoded `Media`.

    Raises:
        UserError: the file is missing, damaged, cut short, or has no video.
        EndOfFile: `start` is past the end of the file. A subclass of UserError.
    """
    expect(path, (str, os.PathLike), "path", "give the path of a video file")
    for name, value in (("start", start), ("seconds", seconds)):
        expect(value, (Real, NoneType), name, "give a number of seconds")
        if value is not None and (not value >= 0 or (name == "seconds" and value == 0)):
            raise UserError(f"{name}={value:g}; give a positive time in seconds", field=name)
    return read_window(path, start, seconds, short_side)


def read_window(
    path: str | os.PathLike,
    start: float,
    seconds: float | None,
    short_side: int | None,
    moments: np.ndarray | None = None,
    with_audio: bool = True,
) -> Media:
    """Decodes a window of a file, as `read_video` does, and can keep only the frames on screen at
    some moments.

    Args:
        path: the file.
        start: start of the window in seconds.
        seconds: duration of the window. None: to the end of the file.
        short_side: maximum length in pixels of the shorter side; None: the size of the file, or
            what fits in MOST_BYTES.
        moments: times in seconds from `start`, ascending, [n]. Default None: all frames.
        with_audio: False leaves the audio out. Default True.

    Raises:
        UserError, EndOfFile: as in `read_video`.
    """
    try:
        with av.open(str(path)) as container:
            stream, notes = streams.choose_video(container)
            _check_stream(stream, container, path)
            streams.set_threads(stream)
            window = _Window(stream, start, seconds, short_side, moments)
            window.decode(container, path)
        sound = audio.Sound(None, SAMPLE_RATE)
        with av.open(str(path)) as container:
            track, choice = streams.choose_audio(container)
            if track is not None and with_audio:
                sound = audio.decode_window(container, track, window.origin, start, window.end)
                notes += choice
    except (OSError, FFmpegError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from None
    frames = window.stacked()
    return Media(
        frames,
        np.asarray(window.times) - start,
        sound.samples,
        sound.rate,
        window.end - start,
        (*notes, *window.notes, *window.geometry.notes, *sound.notes),
        (stream.codec_context.width, stream.codec_context.height),
        sound.channels,
        window.frame_rate(),
    )


def stated_length(path: str | os.PathLike) -> float | None:
    """Returns the length in seconds that the header of a video file states, None if it states none.

    Raises:
        UserError: the file cannot be read, or has no video.
    """
    try:
        with av.open(str(path)) as container:
            stream, _ = streams.choose_video(container)
            _check_stream(stream, container, path)
            return streams.stated_seconds(container, stream)[0]
    except (OSError, FFmpegError, ValueError) as error:
        raise unreadable(path, error) from None


def _check_stream(stream: Any, container: Any, path: str | os.PathLike) -> None:
    """Raises UserError unless there is a stream that can be decoded."""
    reason = None
    if stream is None:
        cover = ", only a cover picture" if container.streams.video else ""
        reason = f"it has no video stream{cover}; give a video file"
    elif container.format.name.endswith("_pipe"):  # png_pipe and its like
        reason = "it is a picture; give a video file"
    elif stream.codec_context is None:
        reason = "its video is of an unknown codec; convert it to h264"
    elif stream.codec_context.width * stream.codec_context.height > streams.MOST_PIXELS:
        size = f"{stream.codec_context.width} x {stream.codec_context.height}"
        reason = f"its frames of {size} are too large; give a video of 8K or less"
    if reason:
        raise UserError(f"cannot read {path}: {reason}")


class _Window:
    """The frames of a window while they are decoded. Time 0 is when the file's first frame appears.

    Attributes:
        frames: the frames that are kept, a `_Stack`.
        times: the time at which each of them appears, in seconds from time 0.
        notes: lines of text on irregularities of the file.
        geometry: how the frames are turned and scaled.
        origin: time 0 on the file's own clock, in seconds.
        first, last: when the first and the last frame of the window appear, in seconds from time 0.
        end: where the window ends, or the file if that is earlier, in seconds from time 0.
        num_frames: the number of frames of the window, kept or not.
    """

    def __init__(
        self,
        stream: Any,
        start: float,
        seconds: float | None,
        short_side: int | None,
        moments: np.ndarray | None,
    ):
        self.stream, self.start, self.seconds = stream, start, seconds
        self.short_side, self.moments = short_side, moments
        self.geometry = Geometry(stream)
        self.frames = _Stack()
        self.times: list[float] = []
        self.notes: list[str] = []
        self.origin = self.first = self.last = 0.0
        self.end, self.num_frames = start, 0
        self._scale, self._sizes = 1.0, set()

    def decode(self, container: Any, path: str | os.PathLike) -> None:
        """Decodes the window.

        Raises:
            UserError: no frame can be decoded, or the file was cut.
            EndOfFile: the window begins after the last frame.
        """
        try:
            self.origin, frames = frames_from(container, self.stream, self.start, self.notes)
        except StopIteration:
            raise UserError(
                f"cannot read {path}: no frame can be decoded; give a playable video file"
            ) from None
        step = frame_step(self.stream)
        self._limit(container, step)
        stop = None if self.seconds is None else self.start + self.seconds
        current, complete = None, False  # `current` is the frame on screen
        damage = None
        try:
            for time, frame in frames:
                if stop is not None and time >= stop:
                    complete = True
                    self.end = max(self.end, stop)
                    break
                if current is not None:
                    self._keep(*current, time)
                length = float(frame.duration * frame.time_base) if frame.duration else step
                self.end = max(self.end, time + length)
                current = time, frame
        except FFmpegError as error:
            damage = error
        if current is not None:
            last = self.moments is not None and not complete
            self._keep(*current, math.inf if last and self.end > self.start + 1e-6 else self.end)
        if not self.times and damage is not None:
            raise damage
        if not self.times:
            raise EndOfFile(
                f"cannot read {path}: it has no frame from second {self.start:g} on; ask "
                "for an earlier one"
            )
        if stop is not None:
            self.end = min(self.end, stop)
            complete = complete or self.end >= stop - step
        if not complete:
            self._check_end(container, path, step)
        if damage is not None:
            self.notes.append(f"damaged after {self.end:.2f} s, and read up to there")
        if len(self._sizes) > 1:
            self.notes.append("its frames change in size and are shown in that of the first")

    def _keep(self, time: float, frame: Any, until: float) -> None:
        """Keeps a frame that is on screen from `time` to `until`, if the window needs it."""
        if until <= self.start + 1e-6:
            return
        self.num_frames += 1
        if self.num_frames == 1:
            self.first = time
        self.last = time
        if not self._needed(time, until):
            return
        said = colour.colour_of(frame, self.stream.codec_context)
        self._note(said.notes(frame.format.is_rgb))
        if frame.is_corrupt:
            self._note(["some frames are damaged and shown as the decoder mends them"])
        if colour.has_alpha(frame.format):
            self._note(["transparent parts composited on white"])
        width, height = self.geometry.shown(frame, self.short_side)
        width, height = (max(1, round(n * self._scale)) for n in (width, height))
        self._sizes.add((frame.width, frame.height))
        image = self.geometry.upright(colour.to_rgb(frame, width, height, said), frame)
        self.frames.append(image)
        self.times.append(time)
        too_large = self.frames.array.nbytes > MOST_BYTES and min(image.shape[:2]) > 1
        if self.short_side is None and too_large:
            # There are more frames than the header stated.
            self._scale /= 2
            self.frames.halve()

    def _needed(self, time: float, until: float) -> bool:
        """True if a frame from `time` to `until` is on screen at one of the moments: equation (1)
        of `sora_jax.media`.
        """
        if self.moments is None:
            return True
        # The first frame is also used for moments before it. `_keep` is given an infinite `until`
        # for the last frame of the file, which is used for moments after it.
        low = 0
        if self.num_frames > 1:
            low = np.searchsorted(self.moments, time - self.start - 1e-6)
        return bool(np.searchsorted(self.moments, until - self.start - 1e-6) > low)

    def _limit(self, container: Any, step: float) -> None:
        """Chooses a scale at which the frames of the window fit in MOST_BYTES."""
        stated = streams.stated_seconds(container, self.stream)[0]
        ends = [n for n in (self.seconds, stated and stated - self.start) if n is not None]
        expected = max(0.0, min(ends, default=0.0)) / step + 2
        if self.moments is not None:
            expected = len(self.moments) + 2
        self.frames.expected = round(min(expected, 1e6))
        context = self.stream.codec_context
        if self.short_side is None:
            needed = self.frames.expected * context.width * context.height * 3
            self._scale = min(1.0, math.sqrt(MOST_BYTES / needed))

    def _note(self, notes: list[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def _check_end(self, container: Any, path: str | os.PathLike, step: float) -> None:
        """Raises UserError if the header states a later end than the decoded one."""
        stated, own = streams.stated_seconds(container, self.stream)
        if stated is None:
            self.notes.append("its header states no length, so a missing end would not show")
            return
        slack, end = max(0.25, 2 * step), self.end
        if not own:
            # The length of the file counts from 0 on its own clock, and another stream may be
            # longer than the video.
            end += self.origin
            if stated - end > slack:
                end = max(end, streams.last_second(path))
        missing = streams.missing_bytes(path) if container.format.name == "avi" else 0
        if missing > 1:  # some writers do not count the last byte of padding
            raise UserError(
                f"cannot read {path}: it ends after {end:.2f} seconds, {missing} bytes before its "
                "stated end; copy the file again"
            )
        if stated - end > slack:
            raise UserError(
                f"cannot read {path}: it ends after {end:.2f} of its stated {stated:.2f} seconds; "
                "copy the file again"
            )

    def frame_rate(self) -> float | None:
        """Returns the frames per second of the decoded part, None for a single frame."""
        span = self.last - self.first
        return (self.num_frames - 1) / span if span > 0 else None

    def stacked(self) -> np.ndarray:
        """Returns the frames as uint8 [F, H, W, 3] in the size of the first."""
        array = self.frames.array
        if self._scale < 1:
            width, height = self.stream.codec_context.width, self.stream.codec_context.height
            self.notes.append(
                f"frames of {width} x {height} reduced to {array.shape[2]} x {array.shape[1]} to "
                "fit in memory; short_side asks for another size"
            )
        return array


class _Stack:
    """A growing array of frames in the size of the first.

    It is used because stacking a list at the end would hold every frame twice.

    Attributes:
        expected: the likely number of frames, for which address space is reserved. Default 1.
    """

    def __init__(self) -> None:
        self.expected, self._length = 1, 0
        self._space: np.ndarray = np.empty((0, 0, 0, 3), np.uint8)

    @property
    def array(self) -> np.ndarray:
        """The frames, uint8 [F, H, W, 3]."""
        return self._space[: self._length]

    def append(self, image: np.ndarray) -> None:
        if not self._length:
            most = max(1, (1 << 32) // image.nbytes)
            self._space = np.empty((min(self.expected, most), *image.shape), np.uint8)
        count, height, width, _ = self._space.shape
        if image.shape[:2] != (height, width):
            resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            image = np.asarray(resized)
        if self._length == count:
            longer = np.empty((2 * count, height, width, 3), np.uint8)
            longer[: self._length] = self._space
            self._space = longer
        self._space[self._length] = image
        self._length += 1

    def halve(self) -> None:
        """Halves the sides of all frames."""
        images, count = self._space, self._length
        height, width = (max(1, n >> 1) for n in images.shape[1:3])
        self.expected, self._length = len(images), 0
        for i in range(count):
            small = Image.fromarray(images[i]).resize((width, height), Image.Resampling.BOX)
            self.append(np.asarray(small))
