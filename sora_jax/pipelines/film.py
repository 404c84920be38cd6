"""Films: given videos of any length, and the windows in which their audio is generated.

A film has F frames at the rate and in the size of the pipeline's format, whose clips have n frames.
Window i holds the n frames from o_i on, with o_i = i * `hop`; the last window ends with the film.
The video of a window is given in full, encoded as a clip of its own. The audio latents that it
shares with the window before are given too, and the others are generated. The last audio latent of
a window is dropped if the window's end cuts it, because the next window makes it whole. So every
audio latent of the film is kept from one window. Decision 0029 (`docs/decisions`) compares this
with windows that do not overlap.

The clock of window i starts at o_i / fps seconds. `hop` is chosen so that this is a whole number of
audio latents where possible. Otherwise the audio latents lie a fraction of a latent early or late
on the window's clock, and their times (`FilmWindow.times`) include that shift.
"""

import dataclasses
import math
from fractions import Fraction
from pathlib import Path

import numpy as np

from sora_jax.errors import UserError
from sora_jax.modality import AUDIO_LATENT_RATE, SAMPLE_RATE, SAMPLES_PER_LATENT, ClipFormat

HOPS = (0.45, 0.67)  # range of the hop, as fractions of a clip's frames


@dataclasses.dataclass(frozen=True)
class Film:
    """A given video of any length.

    Attributes:
        frames: [F, H, W, 3], uint8 or floats in [0, 1], at the rate and in the size of the
            pipeline's format.
        seconds: duration. The last frame is on screen for at most 1 / fps.
        path: the file from which the film was read. The clip is then written as a copy of its
            picture with the new audio. Default None: the clip is written with `frames`.
        suffix: suffix of the file that is written. Default ".mp4".
    """

    frames: np.ndarray
    seconds: float
    path: Path | None = None
    suffix: str = ".mp4"

    @property
    def samples(self) -> int:
        """The number of audio samples at 16 kHz."""
        return round(self.seconds * SAMPLE_RATE)


@dataclasses.dataclass(frozen=True)
class FilmWindow:
    """A window of a film. All indices count from the start of the film.

    Attributes:
        start: index of the window's first frame.
        audio_start: index of the window's first audio latent.
        known: number of the film's audio latents that earlier windows have made.
        end: number of the film's audio latents that are made once this window is done.
        times: midpoints of the latents in seconds on the window's clock, float64 {"video": [T],
            "audio": [N]}.
    """

    start: int
    audio_start: int
    known: int
    end: int
    times: dict[str, np.ndarray]


def hop(format: ClipFormat) -> int:
    """Returns the number of frames from one window of a film to the next.

    Raises:
        UserError: clips of the format have several shots, or are too short to overlap by an audio
            latent.
    """
    if format.shots:
        raise UserError(
            f"this model makes {len(format.shots)} shots, so a video has no windows; "
            f"give a video of {format.frames} frames, or a pipeline of one shot (in_format)",
            field="given_video",
        )
    rate = Fraction(AUDIO_LATENT_RATE) / format.fps  # audio latents per frame
    longest = format.frames - math.ceil(1 / rate)
    if longest < 1:
        raise UserError(
            f"this model's clips of {format.seconds:.3g} s are too short for windows that overlap; "
            f"give a video of {format.frames} frames",
            field="given_video",
        )
    low, high = (math.ceil(part * format.frames) for part in HOPS)
    hops = range(min(low, longest), min(high, longest + 1)) or [longest]
    whole = [n for n in hops if (n * rate).denominator == 1]
    return whole[-1] if whole else hops[len(hops) // 2]


def film_windows(film: Film, format: ClipFormat) -> list[FilmWindow]:
    """Returns the windows of a film, in order; one for a film that is no longer than a clip.

    Raises:
        UserError: the film needs several windows, and clips of the format have several shots, or
            are too short to overlap by an audio latent.
    """
    rate = Fraction(AUDIO_LATENT_RATE) / format.fps
    total = -(-film.samples // SAMPLES_PER_LATENT)
    last = max(0, len(film.frames) - format.frames)
    starts = [*range(0, last, hop(format)), last] if last else [0]
    found, known = [], 0
    for start in starts:
        first = math.floor(start * rate)
        end = min(total, math.floor((start + format.frames) * rate))
        if start == last:
            first, end = max(first, total - format.audio_latents), total
        times = format.latent_times()
        shift = float(first / Fraction(AUDIO_LATENT_RATE) - start / Fraction(format.fps))
        times["audio"] = times["audio"] + shift
        found.append(FilmWindow(start, first, known, end, times))
        known = end
    return found
