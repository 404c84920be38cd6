"""Do picture and sound strike together: one-to-one matching of the impacts seen and heard.

With M pairs of impacts matched within w (`onsets.match`), P heard and Q seen,

    F1@w = 2 M / (P + Q),      offset = median over pairs of (heard - seen)                      (1)

A clip where nothing strikes and nothing is heard agrees: F1 = 1 (P + Q = 0).
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import backwards, late, reverse, slow
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, exchanged_sounds
from sora_jax.oracles.onsets import match, true_impacts

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

OFFSET_WINDOW = 0.12  # seconds within which pairs enter the offset
LEAST_F1, MOST_OFFSET = 0.9, 0.010  # of a scene's own picture and sound: at 50 ms; seconds


@dataclasses.dataclass(frozen=True)
class Sync:
    """Agreement of one clip: F1 at 50 and 100 ms in [0, 1]; signed median offset in s (sound late:
    positive), NaN without pairs.
    """

    f1_50ms: float
    f1_100ms: float
    offset: float
    seen: int
    heard: int


def lag(heard: list[float], seen: list[float], furthest: float = 0.25) -> float:
    """By how many s a whole sound is late, up to `furthest` either way; NaN without impacts on both
    sides.

    The shift under which most impacts match within 20 ms, and among those the smallest; refined by
    the median of what is then left.
    """
    shifts = [h - s for h in heard for s in seen if abs(h - s) <= furthest]
    if not shifts:
        return float("nan")

    def matched_then_small(shift: float) -> tuple[int, float]:
        return len(match([h - shift for h in heard], seen, 0.02)), -abs(shift)

    best = max(shifts, key=matched_then_small)
    pairs = match([h - best for h in heard], seen, 0.02)
    return float(np.median([heard[i] - seen[j] for i, j in pairs]))


def f1(heard: list[float], seen: list[float], window: float) -> float:
    """Equation (1), left."""
    if not heard and not seen:
        return 1.0
    return 2.0 * len(match(heard, seen, window)) / (len(heard) + len(seen))


def agreement(heard: list[float], seen: list[float]) -> Sync:
    """Both numbers of (1) for one clip; times in seconds."""
    pairs = match(heard, seen, OFFSET_WINDOW)
    offset = float(np.median([heard[i] - seen[j] for i, j in pairs])) if pairs else float("nan")
    return Sync(f1(heard, seen, 0.05), f1(heard, seen, 0.10), offset, len(seen), len(heard))


class SyncOracle(Oracle):
    """Whether picture and sound strike together."""

    name = "sync"
    media = (VIDEO, AUDIO)
    tolerance = f"F1@50 ms >= {LEAST_F1}, |offset| <= {1e3 * MOST_OFFSET:.0f} ms"
    corruptions = (reverse, slow, late, backwards)

    def read(self, reading: "Reading") -> Sync:
        """The agreement of impacts seen and heard."""
        return reading.sync

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """None where nothing strikes. An offset of NaN, without a pair, is not correct."""
        if not true_impacts(example.take):
            return None
        sync = reading.sync
        return sync.f1_50ms >= LEAST_F1 and abs(sync.offset) <= MOST_OFFSET

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Pictures with the sounds of others: the oracle does not look at the take's impacts."""
        return exchanged_sounds(clips)
