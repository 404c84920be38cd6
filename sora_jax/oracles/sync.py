"""Do picture and sound strike together: one-to-one matching of the impacts seen and heard.

Two lists of times are matched by the assignment that pairs as many as possible within a window and,
among those, with the least total distance. With M pairs within w, P heard and Q seen,

    F1@w = 2 M / (P + Q),      offset = median over pairs of (heard - seen)                      (1)

A clip where nothing strikes and nothing is heard agrees: F1 = 1 (P + Q = 0).
"""

import dataclasses

import numpy as np
from scipy.optimize import linear_sum_assignment

OFFSET_WINDOW = 0.12  # seconds within which pairs enter the offset


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


def match(heard: list[float], seen: list[float], window: float) -> list[tuple[int, int]]:
    """Pairs (index heard, index seen) no further apart than `window` seconds: as many as possible,
    then as close as possible.
    """
    if not heard or not seen:
        return []
    distance = np.abs(np.subtract.outer(np.asarray(heard), np.asarray(seen)))
    # A pair outside the window must cost more than any set of pairs inside it saves.
    cost = np.where(distance <= window, distance, 1e3)
    rows, columns = linear_sum_assignment(cost)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if distance[i, j] <= window]


def lag(heard: list[float], seen: list[float], furthest: float = 0.25) -> float:
    """By how many s a whole sound is late, up to `furthest` either way; NaN without impacts on both
    sides.

    The shift under which most impacts match within 20 ms, and among those the smallest; refined by
    the median of what is then left.
    """
    shifts = [h - s for h in heard for s in seen if abs(h - s) <= furthest]
    if not shifts:
        return float("nan")
    count = lambda shift: len(match([h - shift for h in heard], seen, 0.02))
    best = max(shifts, key=lambda shift: (count(shift), -abs(shift)))
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
