"""Means with 95 % confidence intervals.

Means of values that are all 0 or 1 get Wilson's interval; other means the percentile bootstrap over
clips (RESAMPLES, seeded). For values f in [0, 1], each with a known floor g (the score by chance),
the corrected score

    corrected = (mean f - mean g) / (1 - mean g)                                                 (1)

is 1 for a perfect score and 0 for the score by chance. Its bootstrap resamples pairs (f, g).
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 2000


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Returns the 95 % confidence interval (low, high) of the mean of values.

    Values that are all 0 or 1 get Wilson's interval, others the bootstrap.
    """
    x = np.asarray(values, float)
    if np.all((x == 0) | (x == 1)):
        found = stats.binomtest(int(x.sum()), len(x)).proportion_ci(method="wilson")
        return float(found.low), float(found.high)
    return _bootstrap((x,), lambda x, axis: np.mean(x, axis=axis))


def corrected(values: Sequence[float], floors: Sequence[float]) -> tuple[float, float, float]:
    """Returns the mean score corrected for chance, with its 95 % interval: (value, low, high).

    It is (mean of values - mean of floors) / (1 - mean of floors): 1 for a perfect score, 0 for
    chance.

    Args:
        values: score of each clip, in [0, 1].
        floors: score of each clip by chance, in [0, 1].
    """

    def figure(f: np.ndarray, g: np.ndarray, axis: int) -> np.ndarray:
        f, g = np.mean(f, axis=axis), np.mean(g, axis=axis)
        return (f - g) / np.maximum(1 - g, 1e-9)

    pair = (np.asarray(values, float), np.asarray(floors, float))
    return float(figure(*pair, axis=-1)), *_bootstrap(pair, figure)


def _bootstrap(samples: tuple[np.ndarray, ...], figure: Callable) -> tuple[float, float]:
    if len(samples[0]) < 2:
        value = float(figure(*samples, axis=-1))
        return value, value
    found = stats.bootstrap(
        samples,
        figure,
        n_resamples=RESAMPLES,
        paired=len(samples) > 1,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)
