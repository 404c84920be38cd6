"""Is what strikes harder also louder: the speed of impacts seen against the level at which they are
heard.

A world's impacts have a gain that grows with the approach speed u (`worlds/playhouse/sound.py`,
equation (2)). From floor and wall kinks (`arcs.py`) comes u, from the matching onset in the sound
its level in dB, without what an earlier blow's ring adds to it: of samples s,

    d = 10 log10 (max s^2 over AFTER the onset - max s^2 over BEFORE it)                         (1)

Over pairs (u, d) of a clip, or of many,

    rho = Spearman's rank correlation of u and d                                                 (2)

Limits: the material changes the level of the same blow by a few dB, so two impacts are only asked
to be in order when one is CLEARLY times as fast as the other; impacts between balls, whose two
sounds mix, are left out.
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

WINDOW = 0.05  # seconds between an impact seen and the same one heard
CLEARLY = 1.6
FAINTEST = 1e-10  # of s^2: less is no sound
BEFORE, AFTER = (-0.012, -0.002), (0.0, 0.03)  # seconds from an onset


def impacts(read: "Reading") -> list[tuple[float, float]]:
    """(approach speed in m/s, level in dB) of every floor or wall impact that is both seen and
    heard.
    """
    kinks = [
        k
        for t in lasting(read.tracks)
        for k in arcs.kinks(arcs.fit(t, read.fps), t, read.fps)
        if k.kind != "ball"
    ]
    pairs = match(read.heard, [k.time for k in kinks], WINDOW)
    speeds = {j: abs(kinks[j].before[1 if kinks[j].kind == "floor" else 0]) for _, j in pairs}
    return [(float(speeds[j]), _level(read, read.heard[i])) for i, j in pairs]


def _level(read: "Reading", time: float) -> float:
    """Equation (1) of the onset at `time` (s)."""
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
    """Equation (2); None for fewer than three pairs."""
    return float(stats.spearmanr(*np.array(pairs).T).statistic) if len(pairs) > 2 else None


def in_order(pairs: list[tuple[float, float]]) -> bool | None:
    """Is the clearly faster of any two impacts the louder? None where no two differ clearly."""
    asked = [
        (a, b) if a[0] > b[0] else (b, a)
        for a, b in itertools.combinations(pairs, 2)
        if max(a[0], b[0]) > CLEARLY * min(a[0], b[0])
    ]
    return all(fast[1] > slow[1] for fast, slow in asked) if asked else None


def speeds(take: Take) -> list[float]:
    """Approach speeds in m/s of a take's audible contacts with floor and walls, if one is clearly
    faster than another; else none.
    """
    contacts = take.trajectory.contacts
    found = [c.speed for c in contacts if c.b < 0 and c.speed >= sound.FAINTEST]
    return found if in_order([(speed, 0.0) for speed in found]) is not None else []


@corrupt_samples
def loudness(c: Example) -> np.ndarray:
    """What struck loudest sounds faintest: every gain g becomes max min / g."""
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
    """Whether what strikes faster is louder."""

    name = "loudness"
    media = (VIDEO, AUDIO)
    tolerance = f"faster is louder, where {CLEARLY} times as fast"
    corruptions = (loudness,)

    def read(self, reading: "Reading") -> list[tuple[float, float]]:
        """(approach speed in m/s, level in dB) of the impacts that are seen and heard."""
        return impacts(reading)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Is every such impact seen and heard, and the clearly faster louder? None without two."""
        if not (true := speeds(example.take)):
            return None
        pairs = reading.of(self.name)
        return len(pairs) == len(true) and in_order(pairs) is True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Pictures with the sounds of others."""
        return exchanged_sounds(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Equation (2)."""
        pairs = sum((read.of(self.name) for read in readings), [])
        what = "loudness against speed of floor and wall impacts, Spearman"
        return [(what, number(correlation(pairs)), len(pairs))]
