"""Lips: whether the mouths that are seen follow the speech that is heard.

Let o(t_f) be the sum of the openings of all mouths (`faces.openings`) in frame f, whose midpoint is
at time t_f. Let e be the envelope of the speech, from the power P in mel bands b and the level m of
the ambient noise (`word_bands.Bands`),

    e(t) = sum over b of max(P(t, b) - m(b), 0)^(1/3).                                           (1)

The correlation at a lag d, and the delay of the sound, are

    r(d) = corr over f of o(t_f) and e(t_f + d),      |d| <= REACH                               (2)
    offset = the d of the highest r, refined by a parabola through it and its neighbours         (3)

The lags are STEP apart. Beyond its ends, a clip counts as silent.

Limits: at least MIN_FPS frames/s, because at 8 frames/s a frame is as long as a phoneme. The words
are not compared, so a mouth that opens once and any sound of one syllable correlate.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import backwards, freeze, late, reverse, shifted
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, exchanged_audio
from sora_jax.oracles.word_bands import HOP, Bands

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

MIN_FPS = 12.0  # frames/s
REACH, STEP = 0.30, 0.01  # seconds: largest lag, distance of two lags
MAX_OFFSET, MIN_CORRELATION = 0.040, 0.7  # tolerance of the oracle: seconds; correlation
LEAST_MOVED = 2e-3  # square metres: if the openings vary by less, no mouth moves
SHIFTS = (-0.16, -0.08, -0.04, 0.0, 0.04, 0.08, 0.16)  # seconds: delays of the report


@dataclasses.dataclass(frozen=True)
class Lips:
    """How well the mouths and the speech of one clip agree in time.

    Attributes:
        offset: delay of the sound in s, positive if it is late.
        correlation: the correlation at this delay, in [-1, 1].
        together: the correlation without a delay, in [-1, 1].
    """

    offset: float
    correlation: float
    together: float

    @property
    def follow(self) -> bool:
        """Whether the mouths follow the speech: the correlation is at least MIN_CORRELATION, and
        the offset at most MAX_OFFSET in either direction.
        """
        return self.correlation >= MIN_CORRELATION and abs(self.offset) <= MAX_OFFSET


def envelope(samples: np.ndarray) -> np.ndarray:
    """Returns the loudness of the speech in mono samples [S] at 16 kHz over time: its envelope,
    equation (1), [N]. Element n is centred on sample n * HOP.
    """
    bands = Bands.of(samples)
    return np.cbrt(np.maximum(bands.power - bands.bed, 0.0)).sum(-1)


def agreement(opening: np.ndarray, fps: float, speech: np.ndarray) -> Lips | None:
    """Returns how well mouths and speech agree; None if no mouth moves or nothing is heard.

    Args:
        opening: sum of the openings of all mouths in each frame, [F] in square metres.
        fps: frames/s.
        speech: envelope of the speech, [N] (`envelope`).
    """
    if np.ptp(opening) < LEAST_MOVED or not np.ptp(speech) > 0.0:
        return None
    times = (np.arange(len(opening)) + 0.5) / fps
    heard = np.arange(len(speech)) * HOP / SAMPLE_RATE
    steps = round(REACH / STEP)
    lags = STEP * np.arange(-steps, steps + 1)
    delayed = np.interp(times + lags[:, None], heard, speech, left=0.0, right=0.0)
    delayed = delayed - delayed.mean(1, keepdims=True)
    opening = opening - opening.mean()
    scale = np.linalg.norm(delayed, axis=1) * np.linalg.norm(opening)
    correlations = delayed @ opening / np.maximum(scale, 1e-12)
    k = int(np.argmax(correlations))
    offset = lags[k]
    if 0 < k < len(lags) - 1:
        before, peak, after = correlations[k - 1 : k + 2]
        offset += STEP * 0.5 * (before - after) / min(before - 2.0 * peak + after, -1e-12)
    return Lips(float(offset), float(correlations[k]), float(correlations[steps]))


class LipsOracle(Oracle):
    """Oracle `lips`: whether the mouths of the speakers follow the speech."""

    name = "lips"
    media = (VIDEO, AUDIO)
    tolerance = f"|offset| <= {1e3 * MAX_OFFSET:.0f} ms, correlation >= {MIN_CORRELATION}"
    corruptions = (reverse, freeze, late, backwards)
    stage = "talk"
    min_fps = MIN_FPS

    def read(self, reading: "Reading") -> Lips | None:
        """Returns how well mouths and speech agree in time; None if no mouth moves or nothing is
        heard.
        """
        if reading.samples is None or reading.audio_fault or not reading.faces:
            return None
        return agreement(reading.mouths.sum(0), reading.fps, envelope(reading.samples))

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether the mouths follow the speech (`Lips.follow`); None if nobody speaks in
        the take, or below MIN_FPS frames/s.
        """
        if not any(actor.speech for actor in example.take.scene.cast) or reading.fps < MIN_FPS:
            return None
        lips = reading.of(self.name)
        return lips is not None and lips.follow

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every video with the audio of another clip.

        Exchanging takes would change no reading, because the oracle compares video and audio with
        each other and not with the take.
        """
        return exchanged_audio(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns rows of the offset that is read of audio with a known delay (SHIFTS), and a row
        of the correlation with the audio of another clip.
        """
        moving = [
            (clip, reading)
            for clip, reading in zip(examples, readings, strict=True)
            if clip.samples is not None and reading.of(self.name) is not None
        ]
        rows = []
        for shift in SHIFTS:
            read = [_delayed(clip.samples, shift, reading) for clip, reading in moving]
            offsets = [1e3 * lips.offset for lips in read if lips]
            low, middle, high = np.quantile(offsets, (0.1, 0.5, 0.9)) if offsets else 3 * [np.nan]
            rows.append(
                (
                    f"lips: offset read of audio shifted by {1e3 * shift:+.0f} ms, median (10 to "
                    "90 %)",
                    f"{middle:+.1f} ({low:+.1f} to {high:+.1f}) ms",
                    len(offsets),
                )
            )
        following = moving[1:] + moving[:1]
        wrong = [
            _delayed(other.samples, 0.0, reading)
            for (_, reading), (other, _) in zip(moving, following, strict=True)
        ]
        together = np.array([abs(lips.together) for lips in wrong if lips])
        rows.append(
            (
                "lips: |correlation| with the audio of another clip, no delay: median; share "
                "below 0.3",
                f"{np.median(together):.2f}; {np.mean(together < 0.3):.2f}",
                len(together),
            )
        )
        return rows


def _delayed(samples: np.ndarray | None, shift: float, reading: "Reading") -> Lips | None:
    """Returns the agreement of the mouths of `reading` with samples [S] delayed by `shift` s."""
    assert samples is not None
    return agreement(reading.mouths.sum(0), reading.fps, envelope(shifted(samples, shift)))
