"""Loudness of impacts: whether faster impacts in the video are louder in the audio.

In this world the gain of an impact grows with its approach speed u (`worlds/playhouse/sound.py`).
u is read from the video, at contacts with floor and walls (`arcs.py`). The level d in dB is read
from the audio samples s at the matching onset, corrected for the ringing of earlier impacts:

    d = 10 log10 (max s^2 over AFTER the onset - max s^2 over BEFORE it)                         (1)

Over the pairs (u, d) of one clip or of many clips,

    rho = Spearman's rank correlation of u and d                                                 (2)

Limits: the material changes the level of equal impacts by a few dB, so two impacts are
compared only if one is MIN_RATIO times as fast as the other. Impacts between balls mix two
sounds and are left out.
"""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from sora_jax.oracles import arcs
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, exchanged_audio
from sora_jax.oracles.onsets import match
from sora_jax.oracles.tracker import lasting
from sora_jax.tables import number
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.draw import Take

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

WINDOW = 0.05  # seconds: largest distance of a visible impact and its audio onset
MIN_RATIO = 1.6  # ratio of speeds from which the faster impact must be louder
SILENCE = 1e-10  # least difference in (1), that of silence
BEFORE, AFTER = (-0.012, -0.002), (0.0, 0.03)  # seconds relative to an onset


def impacts(reading: "Reading") -> list[tuple[float, float]]:
    """Returns (approach speed in m/s, level in dB) of every impact on floor or wall that is both
    visible and audible in the clip of `reading`.
    """
    kinks = [
        k
        for t in lasting(reading.tracks)
        for k in arcs.kinks(arcs.fit(t, reading.fps), t, reading.fps)
        if k.kind != "ball"
    ]
    pairs = match(reading.heard_impacts, [k.time for k in kinks], WINDOW)
    speeds = {j: abs(kinks[j].before[1 if kinks[j].kind == "floor" else 0]) for _, j in pairs}
    return [(float(speeds[j]), _level(reading, reading.heard_impacts[i])) for i, j in pairs]


def _level(reading: "Reading", time: float) -> float:
    """Returns the level in dB, equation (1), of the onset at `time` (s)."""
    samples = reading.samples
    assert samples is not None
    before, after = (
        samples[max(0, int((time + a) * reading.rate)) : int((time + b) * reading.rate)]
        for a, b in (BEFORE, AFTER)
    )
    return float(
        10
        * np.log10(
            max(
                np.max(np.square(after), initial=0.0) - np.max(np.square(before), initial=0.0),
                SILENCE,
            )
        )
    )


def correlation(pairs: list[tuple[float, float]]) -> float | None:
    """Returns Spearman's rank correlation of speed and level; None for fewer than three impacts.

    pairs holds (approach speed in m/s, level in dB) of each impact.
    """
    if len(pairs) < 3:
        return None
    result: Any = stats.spearmanr(*np.array(pairs).T)  # scipy does not annotate it
    return float(result.statistic)


def in_order(pairs: list[tuple[float, float]]) -> bool | None:
    """Returns whether, of any two impacts of which one is more than MIN_RATIO times as fast, the
    faster is louder; None without two such impacts.

    pairs holds (approach speed in m/s, level in dB) of each impact.
    """
    ordered = [
        (a, b) if a[0] > b[0] else (b, a)
        for a, b in itertools.combinations(pairs, 2)
        if max(a[0], b[0]) > MIN_RATIO * min(a[0], b[0])
    ]
    return all(fast[1] > slow[1] for fast, slow in ordered) if ordered else None


def speeds(take: Take) -> list[float]:
    """Returns the approach speeds in m/s of a take's audible contacts with floor and walls; [] if
    no speed is more than MIN_RATIO times another, so the take tests nothing.
    """
    contacts = take.trajectory.contacts
    audible = [c.speed for c in contacts if c.b < 0 and c.speed >= sound.FAINTEST]
    return audible if in_order([(speed, 0.0) for speed in audible]) is not None else []


@corrupt_samples
def loudness(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` with the loudness of its impacts inverted.

    Every gain g becomes (largest gain) (smallest gain) / g, so the loudest becomes the quietest.
    """
    inputs = sound.sound_inputs([c.take], c.format)
    gains = inputs["click"]
    audible = gains > 0
    if audible.any():
        product = gains[audible].max() * gains[audible].min()
        factor = np.where(audible, product / np.where(audible, gains, 1.0) ** 2, 0.0)
        inputs["click"] = gains * factor
        inputs["coarse"] = inputs["coarse"] * factor[..., None, None].astype(np.float32)
    return np.asarray(sound.synthesise(inputs, c.format))[0]


class LoudnessOracle(Oracle):
    """Oracle `loudness`: whether faster impacts of a clip are louder."""

    name = "loudness"
    media = (VIDEO, AUDIO)
    tolerance = f"of two impacts, one {MIN_RATIO} times as fast is louder"
    corruptions = (loudness,)

    def read(self, reading: "Reading") -> list[tuple[float, float]]:
        """Returns (approach speed in m/s, level in dB) of the impacts of a clip that are visible
        and audible.
        """
        return impacts(reading)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether all impacts of the take on floor and walls are both seen and heard, and
        those that are MIN_RATIO times as fast as another are louder. None for a take without two
        such speeds.
        """
        if not (expected := speeds(example.take)):
            return None
        pairs = reading.of(self.name)
        return len(pairs) == len(expected) and in_order(pairs) is True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every video with the audio of another clip."""
        return exchanged_audio(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns one row: Spearman's rank correlation of speed and level over the impacts of all
        clips.
        """
        pairs = [pair for read in readings for pair in read.of(self.name)]
        name = "loudness against speed of floor and wall impacts, Spearman"
        return [(name, number(correlation(pairs)), len(pairs))]
