"""Extends a stream of latents by windows of the training length that overlap the existing latents.

A stream is the latents of a clip that grows: J video latents, and the audio latents of the same
duration. With 4 frames per latent, latent j > 0 spans frames 4j-3 .. 4j, and only latent 0 spans a
single frame. The model was trained on clips of T latents that begin with such a latent, so a window
has the shape of a training clip. Slot i of a window is latent o + i of the stream, with
o = J - 1 - k. The last k latents of the stream are given in slots 1 .. k, and slots k+1 .. T-1 are
generated. Slot 0 spans a single frame: if o = 0 it is the stream's own latent 0, otherwise it is
generated and discarded (the training task `continuation` of `flow.conditioning`).

The window's clock starts at frame 4 o, at 4 o / fps seconds. k is chosen so that this is a
whole number of audio latents where possible. Otherwise the audio latents lie a fraction of a
latent early on the window's clock, and their times (`Window.times`) include that shift.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from sora_jax.errors import UserError
from sora_jax.modality import AUDIO_LATENT_RATE, SAMPLES_PER_LATENT, ClipFormat

SEAM = 320  # samples of the cross-fade from one soundtrack to another (20 ms)


@dataclasses.dataclass(frozen=True)
class Window:
    """A window of a stream: where it starts, which latents are given, and its clock."""

    video_start: int  # o: index in the stream of the video latent at slot 0
    audio_start: int  # index in the stream of the window's first audio latent
    video_given: np.ndarray  # bool [T], True where the latent is given
    audio_given: np.ndarray  # bool [N], the same
    times: dict[str, np.ndarray]  # midpoints in seconds on the window's clock, as `latent_times`


def stream_frames(latents: int, format: ClipFormat) -> int:
    """Returns the number of frames that `latents` video latents span."""
    return 1 + format.frames_per_latent * (latents - 1)


def stream_samples(latents: int, format: ClipFormat) -> int:
    """Returns the number of audio samples that `latents` video latents span."""
    return dataclasses.replace(format, frames=stream_frames(latents, format)).samples


def next_window(latents: int, format: ClipFormat) -> Window:
    """Returns the window that extends a stream of `latents` >= 1 video latents, and of the audio
    latents that lie wholly within their duration.

    Raises:
        UserError: the model's clips have fewer than 3 latents and cannot overlap.
    """
    if format.video_latents < 3:
        raise UserError(
            f"this model's clips of {format.video_latents} latents are too short to overlap, so "
            "none can be continued; use a model of clips with at least 3",
            field="continued",
        )
    # audio latents per video latent, possibly fractional
    per_latent = Fraction(format.frames_per_latent * AUDIO_LATENT_RATE) / format.fps
    longest = format.video_latents - 2  # at least one latent is made
    # Try histories from half a window, which is enough to carry motion, to all slots but the last.
    lengths = [
        k for k in range(min(format.video_latents // 2, longest), longest + 1) if k < latents
    ] or [min(longest, latents - 1)]
    k = next((k for k in lengths if (per_latent * (latents - 1 - k)).denominator == 1), lengths[0])
    start = latents - 1 - k
    early = float(per_latent * start - int(per_latent * start))
    slots = np.arange(format.video_latents)
    audio = int(per_latent * start) + np.arange(format.audio_latents)
    times = format.latent_times()
    return Window(
        video_start=start,
        audio_start=int(audio[0]),
        video_given=(slots <= k) & ((slots > 0) | (start == 0)),
        audio_given=audio < stream_samples(latents, format) // SAMPLES_PER_LATENT,
        times={"video": times["video"], "audio": times["audio"] - early / AUDIO_LATENT_RATE},
    )


def count(latents: int, target: int, format: ClipFormat) -> int:
    """Returns the number of windows that extend `latents` video latents to `target`."""
    number = 0
    while latents < target:
        latents = next_window(latents, format).video_start + format.video_latents
        number += 1
    return number


def extend(
    latents: dict[str, np.ndarray],
    format: ClipFormat,
    target: int,
    make: Callable[[Window, dict[str, np.ndarray]], dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Extends a stream to `target` video latents and the audio latents of the same duration.

    Args:
        latents: the stream, {"video": [J, h, w, C], "audio": [M, C]}.
        format: format of the training clips.
        target: number of video latents of the result.
        make: function of (window, given) that returns the latents of one window, {"video":
            [T, h, w, C], "audio": [N, C]}. `given` has the same form, with zeros where nothing is
            given.

    Returns:
        The longer stream. Existing latents are returned bit for bit, except a last audio latent
        that the old end had cut.
    """
    video, audio = np.asarray(latents["video"]), np.asarray(latents["audio"])
    while len(video) < target:
        window = next_window(len(video), format)
        audio = audio[: stream_samples(len(video), format) // SAMPLES_PER_LATENT]
        given = {
            "video": np.zeros((format.video_latents, *video.shape[1:]), np.float32),
            "audio": np.zeros((format.audio_latents, *audio.shape[1:]), np.float32),
        }
        history = video[window.video_start : window.video_start + format.video_latents]
        given["video"][: len(history)] = history
        given["video"][~window.video_given] = 0
        history = audio[window.audio_start : window.audio_start + format.audio_latents]
        given["audio"][: len(history)] = history
        generated = make(window, given)
        video = np.concatenate([video, generated["video"][len(video) - window.video_start :]])[
            :target
        ]
        audio = np.concatenate([audio, generated["audio"][len(audio) - window.audio_start :]])
    return {
        "video": video,
        "audio": audio[: -(-stream_samples(len(video), format) // SAMPLES_PER_LATENT)],
    }


def lay(samples: np.ndarray, own: np.ndarray, at: int) -> None:
    """Writes samples `own` into `samples` from index `at` on, in place.

    An end of `own` that lies inside `samples` is cross-faded over `SEAM` samples.
    """
    weight, seam = np.ones(len(own), np.float32), min(SEAM, len(own))
    if at > 0:
        weight[:seam] = np.linspace(0, 1, seam)
    if at + len(own) < len(samples):
        weight[len(own) - seam :] *= np.linspace(1, 0, seam, dtype=np.float32)
    part = slice(at, at + len(own))
    samples[part] = own * weight + samples[part] * (1 - weight)
