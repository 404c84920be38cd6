"""Fits decoded video and audio to a clip of a format."""

import math
import os
from collections.abc import Sequence

import numpy as np
import scipy.signal

from sora_jax.clip import Clip
from sora_jax.config import known_keywords
from sora_jax.errors import expect
from sora_jax.media import mixing
from sora_jax.media.decoded import EndOfFile, Media
from sora_jax.media.stills import fit_frame, resizing
from sora_jax.media.video import read_window
from sora_jax.modality import RATE_SLACK, SAMPLE_RATE, ClipFormat

SILENCE = 10 ** (-80 / 20)  # an audio track that never rises above -80 dBFS is silent


def fit_sound(
    samples: np.ndarray, rate: int, num_samples: int, channels: Sequence[str] = ()
) -> tuple[np.ndarray, list[str]]:
    """Converts audio to mono at 16 kHz with a given number of samples.

    Several channels are mixed by the weights of ITU-R BS.775 (`mixing.py`). Samples that are not
    finite become silence. Audio that would clip is lowered.

    Args:
        samples: [S, channels] or [S].
        rate: samples per second of `samples`.
        num_samples: number of samples of the result, reached by cutting or padding with silence.
        channels: names of the channels, such as "FL" and "LFE". Default (): those that a file with
            their number usually has.

    Returns:
        Float32 [num_samples] in [-1, 1], and notes on the changes.
    """
    samples = np.asarray(samples, np.float32)
    seconds, wanted = len(samples) / rate, num_samples / SAMPLE_RATE
    # Only what is kept is resampled, and 0.1 s more for the tail of the filter.
    samples = samples[: math.ceil((wanted + 0.1) * rate)]
    samples, notes = mixing.finite(samples)
    if samples.ndim == 2:
        samples, mixed = mixing.mix(samples, channels)
        notes += mixed
    if rate != SAMPLE_RATE:
        notes.append(f"audio resampled from {rate} to {SAMPLE_RATE} Hz")
        common = math.gcd(rate, SAMPLE_RATE)
        samples = scipy.signal.resample_poly(samples, SAMPLE_RATE // common, rate // common).astype(
            np.float32
        )
    # Differences of up to 10 ms get no note.
    if seconds < wanted - 0.01:
        notes.append(f"audio padded from {seconds:.2f} to {wanted:.2f} s with silence")
    elif seconds > wanted + 0.01:
        notes.append(f"audio cut from {seconds:.2f} to {wanted:.2f} s")
    samples = np.pad(samples[:num_samples], (0, max(0, num_samples - len(samples))))
    samples, lowered = mixing.within_range(samples)
    return samples, notes + lowered


def fit_frames(
    media: Media, format: ClipFormat, count: int, letterbox: bool = False
) -> tuple[np.ndarray, list[str]]:
    """Returns the first `count` frames of a file at the rate and in the size of a format.

    Frame j is the frame of the file that is on screen at its midpoint (j + 1/2) / fps, cropped
    around its centre to the format's proportions, or letterboxed, and resized with an antialiasing
    filter. The last frame of the file stays on screen after its end.

    Args:
        media: the decoded file.
        format: the format whose rate and sides are used.
        count: number of frames.
        letterbox: whether frames are kept whole, centred between black bars. Default False: they
            are cropped.

    Returns:
        Frames uint8 [count, H, W, 3], and notes on the changes.
    """
    times = (np.arange(count) + 0.5) / float(format.fps)
    picked = np.searchsorted(media.times, times + 1e-6, side="right") - 1
    picked = np.clip(picked, 0, len(media.times) - 1)
    notes = []
    rate = media.frame_rate
    if rate is None:
        rate = len(media.times) / media.seconds if media.seconds else 0.0
    if abs(rate - format.fps) > RATE_SLACK * format.fps:
        notes.append(f"frame rate changed from {rate:.4g} to {float(format.fps):.4g}")
    sides = format.height, format.width
    if media.frames.shape[1:3] != sides:
        width, height = media.file_size or media.frames.shape[2:0:-1]
        # Decoded pixels are square. The note on a crop states the file's own width and height.
        shape = media.frames.shape[1:3] if letterbox else (height, width)
        notes.append(f"frames of {width} x {height} {resizing(shape, sides, letterbox)}")
    unique, back = np.unique(picked, return_inverse=True)
    fitted = np.stack([fit_frame(media.frames[i], *sides, letterbox) for i in unique])
    return fitted[back], notes


@known_keywords
def fit_clip(media: Media, format: ClipFormat, letterbox: bool = False) -> Clip:
    """Converts a file of any size, frame rate, length and channel count to a clip of `format`.

    The frames are those of `fit_frames`. If the file is too short, its last frame stays on screen
    and its audio is padded with silence. The clip has no samples if the file has no audio track, or
    one that never rises above -80 dBFS. The clip's notes list the changes.

    Args:
        media: the decoded file, from `read_video`.
        format: the format of the clip.
        letterbox: whether frames are kept whole, centred between black bars. Default False: they
            are cropped.

    Raises:
        UserError: an argument has another type.
    """
    expect(media, Media, "media", "give what read_video returns")
    expect(format, ClipFormat, "format", 'give a ClipFormat, such as FORMATS["nano"]')
    notes = list(media.notes)
    slack = 0.5 / float(format.fps)
    if media.seconds < format.seconds - slack:
        notes.append(f"last frame held from {media.seconds:.2f} to {format.seconds:.2f} s")
    elif media.seconds > format.seconds + slack:
        notes.append(f"video cut from {media.seconds:.2f} to {format.seconds:.2f} s")
    fitted, changes = fit_frames(media, format, format.frames, letterbox)
    frames, notes = fitted.astype(np.float32) / 255.0, notes + changes

    if media.samples is None:
        return Clip(frames, None, format.fps, notes=(*notes, "no audio track"))
    samples, changed = fit_sound(media.samples, media.sample_rate, format.samples, media.channels)
    if np.abs(samples).max(initial=0.0) < SILENCE:
        return Clip(frames, None, format.fps, notes=(*notes, "its audio track is silent"))
    return Clip(frames, samples, format.fps, notes=(*notes, *changed))


def read_fitted(
    path: str | os.PathLike,
    format: ClipFormat,
    start: float = 0.0,
    whole: bool = False,
    letterbox: bool = False,
) -> Clip:
    """Reads a clip of `format` from second `start` of a file on.

    The result is that of `fit_clip` on a window of `read_video`, but only the frames of the clip
    are converted and kept, so a large file needs little memory.

    Args:
        path: the file.
        format: the format of the clip.
        start: where the clip begins in seconds. Default 0.
        whole: whether the file must last as long as the clip. Default False: its last frame fills
            the rest.
        letterbox: whether frames are kept whole, between black bars. Default False: cropped.

    Raises:
        UserError: the file is missing, damaged, cut short, or has no video.
        EndOfFile: `start` is past the end of the file, or with `whole` the end of the clip is. A
            subclass of UserError.
    """
    short_side = 2 * max(format.height, format.width)
    media = read_window(path, start, format.seconds, short_side, format.frame_times())
    if whole and media.seconds < format.seconds - 0.5 / float(format.fps):
        raise EndOfFile(f"cannot read {path}: it ends after {start + media.seconds:.2f} s")
    return fit_clip(media, format, letterbox)
