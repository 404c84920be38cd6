"""Loudness of impacts: whether faster impacts in the video are louder in the audio.

The gain of an impact grows with its approach speed u (`worlds/playhouse/sound.py`, equation (2)). u
comes from kinks at the floor and walls (`arcs.py`). The level in dB comes from the matching audio
onset, corrected for the ringing of earlier impacts: of samples s,

    d = 10 log10 (max s^2 over AFTER the onset - max s^2 over BEFORE it)                         (1)

Over pairs (u, d) of one clip or of many clips,

    rho = Spearman's rank correlation of u and d                                                 (2)

Limits: the material changes the level of equal impacts by a few dB, so two impacts are compared
only if one is CLEARLY times as fast as the other. Impacts between balls mix two sounds and are left
out.
"""

import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from sora_jax.oracles import arcs
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, exchanged_sounds
from sora_jax.oracles.onsets import match
from sora_jax.oracles.tracker import lasting
from sora_jax.tables import number
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.draw import Take

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

WINDOW = 0.05  # seconds: largest distance of a visible impact and its audio onset
CLEARLY = 1.6  # ratio of speeds from which the faster impact must be louder
FAINTEST = 1e-10  # of s^2: silence
BEFORE, AFTER = (-0.012, -0.002), (0.0, 0.03)  # seconds relative to an onset


def impacts(read: "Reading") -> list[tuple[float, float]]:
    """Returns (approach speed in m/s, level in dB) of every floor or wall impact that is both
    visible and audible.
    """
    kinks = [
        k
        for t in lasting(read.tracks)
        for k in arcs.kinks(arcs.fit(t, read.fps), t, read.fps)
        if k.kind != "ball"
    ]
    pairs = match(read.heard_impacts, [k.time for k in kinks], WINDOW)
    speeds = {j: abs(kinks[j].before[1 if kinks[j].kind == "floor" else 0]) for _, j in pairs}
    return [(float(speeds[j]), _level(read, read.heard_impacts[i])) for i, j in pairs]


def _level(read: "Reading", time: float) -> float:
    """Returns equation (1) for the onset at `time` (s)."""
    before, after = (
        read.samples[max(0, int((time + a) * read.rate)) : int((time + b) * read.rate)]
        for a, b in (BEFORE, AFTER)
    )
    return float(
        10
        * np.log10(
            max(
                np.max(np.square(after), initial=0.0) - np.max(np.square(before), initial=0.0),
                FAINTEST,
            )
        )
    )


def correlation(pairs: list[tuple[float, float]]) -> float | None:
    """Returns equation (2); None for fewer than three pairs."""
    return float(stats.spearmanr(*np.array(pairs).T).statistic) if len(pairs) > 2 else None


def in_order(pairs: list[tuple[float, float]]) -> bool | None:
    """Returns whether, of any two impacts with clearly different speeds, the faster is louder.
    None if no two speeds differ clearly.
    """
    asked = [
        (a, b) if a[0] > b[0] else (b, a)
        for a, b in itertools.combinations(pairs, 2)
        if max(a[0], b[0]) > CLEARLY * min(a[0], b[0])
    ]
    return all(fast[1] > slow[1] for fast, slow in asked) if asked else None


def speeds(take: Take) -> list[float]:
    """Returns the approach speeds in m/s of a take's audible contacts with floor and walls.
    Empty if no speed is clearly higher than another.
    """
    contacts = take.trajectory.contacts
    found = [c.speed for c in contacts if c.b < 0 and c.speed >= sound.FAINTEST]
    return found if in_order([(speed, 0.0) for speed in found]) is not None else []


@corrupt_samples
def loudness(c: Example) -> np.ndarray:
    """Inverts the loudness of the impacts: every gain g becomes max min / g, so the loudest
    becomes the quietest.
    """
    inputs = sound.sound_inputs([c.take], c.format)
    gains = inputs["click"]
    struck = gains > 0
    if struck.any():
        ends = gains[struck].max() * gains[struck].min()
        factor = np.where(struck, ends / np.where(struck, gains, 1.0) ** 2, 0.0)
        inputs["click"] = gains * factor
        inputs["coarse"] = inputs["coarse"] * factor[..., None, None].astype(np.float32)
    return np.asarray(sound.synthesise(inputs, c.format))[0]


class LoudnessOracle(Oracle):
    """Whether faster impacts are louder."""

    name = "loudness"
    media = (VIDEO, AUDIO)
    tolerance = f"faster is louder, where {CLEARLY} times as fast"
    corruptions = (loudness,)

    def read(self, reading: "Reading") -> list[tuple[float, float]]:
        """Returns (approach speed in m/s, level in dB) of the impacts that are visible and
        audible.
        """
        return impacts(reading)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether every floor and wall impact is both visible and audible, and clearly
        faster ones are louder. None without two clearly different speeds.
        """
        if not (true := speeds(example.take)):
            return None
        pairs = reading.of(self.name)
        return len(pairs) == len(true) and in_order(pairs) is True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Pairs every video with the audio of another clip."""
        return exchanged_sounds(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns Spearman's correlation (2) over all clips."""
        pairs = [pair for read in readings for pair in read.of(self.name)]
        what = "loudness against speed of floor and wall impacts, Spearman"
        return [(what, number(correlation(pairs)), len(pairs))]
