"""Reads video, audio and still images from files: video and audio through PyAV, stills through
Pillow.

`read_video` decodes a file. `fit_clip` converts a file of any size, rate and length to a clip of a
given format. `mp4.py` writes clips.

Time 0 of a file is the moment its first frame appears. Audio is placed on that clock by its own
timestamps, so an audio track that starts late also starts late here. Codec padding is removed: the
priming samples before the audio (1,024 for aac) and the fill of its last block (aac has blocks of
1,024, so up to 64 ms at 16 kHz). Frame i is on screen during [times[i], times[i+1]). A clip in
format f samples the world at its frames' midpoints t_j = (j + 1/2) / f (modality.py, eq. 1), so

    frame j of the clip = the frame on screen at t_j                                             (1)

Frames are not blended, because a blend of two would show one ball twice. Audio is resampled by a
zero-phase polyphase filter (scipy.signal.resample_poly), which does not move onsets.
"""

import dataclasses
import math
import os
from numbers import Real
from types import NoneType
from typing import Any

import av
import numpy as np
import scipy.signal
from av.container import InputContainer
from av.error import FFmpegError
from PIL import Image

from sora_jax.clip import Clip
from sora_jax.errors import UserError, expect
from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.mp4 import AAC_BLOCK, unreadable
from sora_jax.stills import fit_square
from sora_jax.stills import read_image as read_image

# Timestamps in webm are whole milliseconds, so only a larger step is a gap in the audio.
GAP_SECONDS = 0.02
SILENCE = 10 ** (-80 / 20)  # an audio track that never rises above -80 dBFS is silent


class EndOfFile(UserError):
    """The requested window lies past the end of the file."""


@dataclasses.dataclass(frozen=True)
class Media:
    """A decoded file, or a window of one.

    Attributes:
        frames: uint8 [F, H, W, 3] RGB, upright and with square pixels.
        times: float64 [F], the time at which each frame appears, in seconds from the window's
            start.
        samples: float32 [S, channels] in [-1, 1] from the same start; None without an audio track.
        sample_rate: samples per second.
        seconds: duration of the window.
        notes: irregularities of the file.
    """

    frames: np.ndarray
    times: np.ndarray
    samples: np.ndarray | None
    sample_rate: int
    seconds: float
    notes: tuple[str, ...] = ()
    # (width, height) in the file; `frames` may be smaller
    file_size: tuple[int, int] | None = None


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
            decoding, so that a long or large file fits in memory. Default None: no limit.
    Returns:
        The decoded `Media`.
    Raises:
        UserError: the file is missing, damaged, cut short, or has no video.
        EndOfFile: `start` is past the end of the file. A subclass of UserError.
    """
    expect(path, (str, os.PathLike), "path", "give the path of a video file")
    for name, value in (("start", start), ("seconds", seconds)):
        expect(value, (Real, NoneType), name, "give a number of seconds")
        if value is not None and (value < 0 or (name == "seconds" and value == 0)):
            raise UserError(f"{name}={value:g}; give a positive time in seconds", field=name)
    notes = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"cannot read {path}: it has no video stream; give a video file")
            size = container.streams.video[0].width, container.streams.video[0].height
            frames, times, zero, end = _decode_frames(container, start, seconds, short_side, path)
        with av.open(str(path)) as container:
            samples, rate = None, SAMPLE_RATE
            if container.streams.audio:
                try:
                    samples, rate = _decode_samples(container, zero + start, end - start)
                except FFmpegError as error:
                    notes.append(
                        f"its audio cannot be decoded ({error.strerror or error}); "
                        "it counts as silent"
                    )
    except (OSError, FFmpegError, ValueError) as error:
        raise unreadable(path, error) from None
    return Media(frames, times, samples, rate, end - start, tuple(notes), size)


def _square_pixel_size(frame: av.VideoFrame, short_side: int | None) -> tuple[int, int]:
    """Returns the (width, height) to decode a frame to, with square pixels and the shorter side at
    most `short_side`.
    """
    aspect = getattr(frame, "sample_aspect_ratio", None)
    width, height = frame.width * float(aspect or 1), float(frame.height)
    scale = min(1.0, short_side / min(width, height)) if short_side else 1.0
    return max(1, round(width * scale)), max(1, round(height * scale))


def _decode_frames(
    container: InputContainer,
    start: float,
    seconds: float | None,
    short_side: int | None,
    path: str | os.PathLike,
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Decodes the frames of a window.

    Returns:
        The frames, their times from `start`, the file's time 0 on its own clock, and the end of the
        window in seconds from time 0.
    """
    stream: Any = container.streams.video[0]
    stream.thread_type = "AUTO"
    # Not `stream.start_time`: it can be wrong where frames are decoded out of order. Decoding the
    # first frame is cheap.
    first: Any = next(container.decode(stream), None)
    if first is None:
        raise UserError(f"cannot read {path}: no frame can be decoded; give a playable video file")
    origin = float(first.pts * first.time_base) if first.pts is not None else 0.0
    container.seek(
        round((origin + max(0.0, start - 1.0)) / stream.time_base),
        stream=stream,
        backward=True,
        any_frame=False,
    )
    step = 1.0 / float(stream.average_rate or 25)
    current = None  # the frame on screen when the window begins
    frames, times = [], []
    end = start
    complete = False
    for frame in container.decode(stream):
        time = float(frame.pts * frame.time_base) - origin if frame.pts is not None else end
        end = max(end, time + (float(frame.duration * frame.time_base) if frame.duration else step))
        if seconds is not None and time >= start + seconds:
            complete = True
            break
        if time <= start + 1e-6:
            current = (frame, time)
            continue
        if current is not None:
            frames.append(_to_array(current[0], short_side))
            times.append(current[1])
            current = None
        frames.append(_to_array(frame, short_side))
        times.append(time)
    if current is not None and (end > start + 1e-6):
        frames.append(_to_array(current[0], short_side))
        times.append(current[1])
    if not frames:
        raise EndOfFile(
            f"cannot read {path}: it has no frame from second {start:g} on; ask for an earlier one"
        )
    if seconds is not None:
        end = min(end, start + seconds)
        complete = complete or end >= start + seconds - step
    duration = float(stream.duration * stream.time_base) if stream.duration else None
    if not complete and duration and duration - end > max(0.25, 2 * step):
        raise UserError(
            f"cannot read {path}: it ends after {end:.2f} of its stated {duration:.2f} seconds; "
            "copy the file again"
        )
    shape = frames[0].shape
    frames = [
        p
        if p.shape == shape
        else np.asarray(Image.fromarray(p).resize(shape[1::-1], Image.Resampling.BICUBIC))
        for p in frames
    ]
    return np.stack(frames), np.asarray(times) - start, origin, end


def _to_array(frame: av.VideoFrame, short_side: int | None) -> np.ndarray:
    width, height = _square_pixel_size(frame, short_side)
    reduced = (width, height) != (frame.width, frame.height)
    frame_rgb = frame.reformat(
        width=width, height=height, format="rgb24", interpolation="AREA" if reduced else "BICUBIC"
    )
    image = frame_rgb.to_ndarray()
    # Phones store portrait video as landscape frames with a rotation flag.
    turns = round(getattr(frame, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _decode_samples(
    container: InputContainer, zero: float, seconds: float
) -> tuple[np.ndarray, int]:
    """Decodes the samples of the window [zero, zero + seconds) on the file's clock.

    Returns:
        Float32 [S, channels], and the sample rate.
    """
    stream: Any = container.streams.audio[0]
    rate = stream.codec_context.sample_rate
    # Decode from 0.5 s before: aac's first block after a seek is wrong. Never seek to the
    # beginning: it would skip the priming packet, whose time is negative, and the first block of
    # audio would decode as silence.
    if zero > 1.0:
        container.seek(
            round((zero - 0.5) / stream.time_base), stream=stream, backward=True, any_frame=False
        )
    convert = av.AudioResampler(format="fltp", layout=stream.codec_context.layout, rate=rate)
    total = round(seconds * rate)
    out, where = None, None
    for frame in container.decode(stream):
        stamp = frame.pts * frame.time_base if frame.pts is not None else None
        for piece in convert.resample(frame):
            block = piece.to_ndarray().T  # [n, channels]
            if out is None:
                out = np.zeros((total, block.shape[1]), np.float32)
            at = round((float(stamp) - zero) * rate) if stamp is not None else (where or 0)
            if where is None or abs(at - where) > GAP_SECONDS * rate:
                where = at
            low, high = max(0, -where), min(len(block), total - where)
            if high > low:
                out[where + low : where + high] = block[low:high]
            where += len(block)
        if where is not None and where >= total:
            break
    return (np.zeros((total, 1), np.float32) if out is None else out), rate


def read_audio(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Reads the audio of a file (wav, mp3, m4a, mp4 ...) from its beginning.

    A codec works in blocks and pads its last one. The file states the true duration, and the
    padding is cut.

    Returns:
        Samples float32 [S, channels], and the sample rate.
    Raises:
        UserError: the file is missing, damaged or has no audio.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise UserError(
                    f"cannot read {path}: it has no audio; give a file with an audio track"
                )
            stream: Any = container.streams.audio[0]
            convert = av.AudioResampler(
                format="fltp",
                layout=stream.codec_context.layout,
                rate=stream.codec_context.sample_rate,
            )
            blocks = [
                piece.to_ndarray().T
                for frame in container.decode(stream)
                for piece in convert.resample(frame)
            ]
            rate, duration = stream.codec_context.sample_rate, stream.duration
            num_samples = None
            if duration and stream.time_base:
                num_samples = round(float(duration * stream.time_base) * rate)
    except (OSError, FFmpegError, ValueError) as error:
        raise unreadable(path, error) from None
    if not blocks:
        raise UserError(f"cannot read {path}: no audio can be decoded; give a playable file")
    samples = np.concatenate(blocks)
    padded = num_samples is not None and 0 < len(samples) - num_samples < AAC_BLOCK
    return (samples[:num_samples] if padded else samples), rate


def fit_sound(samples: np.ndarray, rate: int, num_samples: int) -> tuple[np.ndarray, list[str]]:
    """Converts audio to mono at 16 kHz with a given number of samples.

    Args:
        samples: [S, channels] or [S].
        rate: samples per second of `samples`.
        num_samples: length of the result, reached by cutting or by padding with silence.
    Returns:
        Float32 [num_samples] in [-1, 1], and notes on the changes.
    """
    notes = []
    samples = np.asarray(samples, np.float32)
    if samples.ndim == 2:
        if samples.shape[1] > 1:
            notes.append(f"audio mixed from {samples.shape[1]} channels to one")
        samples = samples.mean(axis=1)
    if rate != SAMPLE_RATE:
        notes.append(f"audio resampled from {rate} to {SAMPLE_RATE} Hz")
        common = math.gcd(rate, SAMPLE_RATE)
        samples = scipy.signal.resample_poly(samples, SAMPLE_RATE // common, rate // common).astype(
            np.float32
        )
    # Differences of up to 10 ms get no note.
    if len(samples) < num_samples - SAMPLE_RATE // 100:
        notes.append(
            f"audio padded from {len(samples) / SAMPLE_RATE:.2f} to "
            f"{num_samples / SAMPLE_RATE:.2f} s with silence"
        )
    elif len(samples) > num_samples + SAMPLE_RATE // 100:
        notes.append(
            f"audio cut from {len(samples) / SAMPLE_RATE:.2f} to {num_samples / SAMPLE_RATE:.2f} s"
        )
    samples = np.pad(samples[:num_samples], (0, max(0, num_samples - len(samples))))
    return np.clip(samples, -1.0, 1.0), notes


def fit_clip(media: Media, format: ClipFormat) -> Clip:
    """Converts a file of any size, frame rate, length and channel count to a clip of `format`.

    Frames are chosen by equation (1), cropped to the central square and resized with an
    antialiasing filter. If the file is too short, its last frame is held and its audio is padded
    with silence. The clip has no samples if the file has no audio track, or one that never rises
    above -80 dBFS. The clip's notes list the changes.
    """
    expect(media, Media, "media", "give what read_video returns")
    expect(format, ClipFormat, "format", 'give a ClipFormat, such as FORMATS["nano"]')
    notes = list(media.notes)
    times = format.frame_times()
    picked = np.clip(
        np.searchsorted(media.times, times + 1e-6, side="right") - 1, 0, len(media.times) - 1
    )
    slack = 0.5 / format.fps
    if media.seconds < format.seconds - slack:
        notes.append(f"last frame held from {media.seconds:.2f} to {format.seconds:.2f} s")
    elif media.seconds > format.seconds + slack:
        notes.append(f"video cut from {media.seconds:.2f} to {format.seconds:.2f} s")
    rate = len(media.times) / media.seconds if media.seconds else 0.0
    if abs(rate - format.fps) > 0.02 * format.fps:
        notes.append(f"frame rate changed from {rate:.4g} to {format.fps}")
    height, width = media.frames.shape[1:3]
    if (height, width) != (format.size, format.size):
        size = " x ".join(map(str, media.file_size or (width, height)))
        notes.append(
            f"frames of {size} cropped to their central square and resized to {format.size} x "
            f"{format.size}"
        )
    unique, back = np.unique(picked, return_inverse=True)
    frames = (
        np.stack([fit_square(media.frames[i], format.size) for i in unique])[back].astype(
            np.float32
        )
        / 255.0
    )

    if media.samples is None:
        return Clip(frames, None, format.fps, notes=(*notes, "no audio track"))
    samples, changed = fit_sound(media.samples, media.sample_rate, format.samples)
    if np.abs(samples).max(initial=0.0) < SILENCE:
        return Clip(frames, None, format.fps, notes=(*notes, "its audio track is silent"))
    return Clip(frames, samples, format.fps, notes=(*notes, *changed))
