"""Audio-video synchronization: one-to-one matching of the impacts in the video and in the audio.

With P audible and Q visible impacts, of which M pairs match within w seconds (`onsets.match`),

    F1@w = 2 M / (P + Q),      offset = median over pairs of (audible - visible time)            (1)

A clip without any impact agrees: F1 = 1 for P + Q = 0.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import backwards, late, reverse, slow
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, exchanged_audio
from sora_jax.oracles.onsets import match, true_impacts

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

OFFSET_WINDOW = 0.12  # seconds: largest distance in time of the pairs that the offset is read from
MIN_F1, MAX_OFFSET = 0.9, 0.010  # tolerance of the oracle: F1@50 ms; seconds


@dataclasses.dataclass(frozen=True)
class Sync:
    """How well the visible and the audible impacts of one clip agree in time.

    Attributes:
        f1_50ms, f1_100ms: F1 of the impacts matched within 50 and 100 ms, in [0, 1].
        offset: median of audible minus visible time of the impacts that match within OFFSET_WINDOW,
            in s, positive if the audio is late; NaN without a match.
        visible, audible: numbers of impacts.
    """

    f1_50ms: float
    f1_100ms: float
    offset: float
    visible: int
    audible: int


def lag(audible: list[float], visible: list[float], max_shift: float = 0.25) -> float:
    """Returns the estimated delay of the whole audio track in s, positive if it is late.

    The estimate is the shift of the audio that matches the most impacts within 20 ms; among equals,
    the smallest. It is refined to the median distance of the matched pairs. NaN if no two impacts
    are within `max_shift`.

    Args:
        audible, visible: times of audible and visible impacts, s.
        max_shift: largest shift in either direction, s. Default: 0.25.
    """
    shifts = [h - s for h in audible for s in visible if abs(h - s) <= max_shift]
    if not shifts:
        return float("nan")

    def matched_then_small(shift: float) -> tuple[int, float]:
        return len(match([h - shift for h in audible], visible, 0.02)), -abs(shift)

    best = max(shifts, key=matched_then_small)
    pairs = match([h - best for h in audible], visible, 0.02)
    return float(np.median([audible[i] - visible[j] for i, j in pairs]))


def f1(audible: list[float], visible: list[float], window: float) -> float:
    """Returns F1 of the matched impacts, 2 M / (P + Q) for M matched pairs, in [0, 1]; 1 without
    any impact.

    Args:
        audible: times of the P audible impacts, s.
        visible: times of the Q visible impacts, s.
        window: largest distance in time of a matched pair, s.
    """
    if not audible and not visible:
        return 1.0
    return 2.0 * len(match(audible, visible, window)) / (len(audible) + len(visible))


def agreement(audible: list[float], visible: list[float]) -> Sync:
    """Returns how well the impacts of one clip agree; audible and visible are their times in s."""
    pairs = match(audible, visible, OFFSET_WINDOW)
    offset = (
        float(np.median([audible[i] - visible[j] for i, j in pairs])) if pairs else float("nan")
    )
    return Sync(
        f1(audible, visible, 0.05), f1(audible, visible, 0.10), offset, len(visible), len(audible)
    )


class SyncOracle(Oracle):
    """Oracle `sync`: whether the visible and the audible impacts of a clip coincide."""

    name = "sync"
    media = (VIDEO, AUDIO)
    tolerance = f"F1@50 ms >= {MIN_F1}, |offset| <= {1e3 * MAX_OFFSET:.0f} ms"
    corruptions = (reverse, slow, late, backwards)

    def read(self, reading: "Reading") -> Sync:
        """Returns how well the visible and the audible impacts of a clip agree in time."""
        return reading.sync

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether F1 at 50 ms is at least MIN_F1 and the offset at most MAX_OFFSET; None
        for a take without an impact. An offset of NaN (no pair) is incorrect.
        """
        if not true_impacts(example.take):
            return None
        sync = reading.sync
        return sync.f1_50ms >= MIN_F1 and abs(sync.offset) <= MAX_OFFSET

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every video with the audio of another clip.

        Exchanging takes would change no reading, because the oracle compares video and audio with
        each other and not with the take.
        """
        return exchanged_audio(clips)
