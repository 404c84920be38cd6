"""Compares the arms of a study: paired differences over seeds, with intervals.

For arms a and b with n common seeds and scores x (less is better),

    d_s = x_as - x_bs,    d = mean d_s,    e = s / sqrt(n)      s: standard deviation of d_s     (1)
    d +- t(.975, n - 1) e                                       95 % interval                    (2)
    (t(.975, n - 1) + t(.8, n - 1)) e                           detectable difference            (3)

x_as is the score of arm a with seed s, and t(q, f) the quantile q of Student's distribution with f
degrees of freedom. Trials of one seed share initial weights where their shapes agree, the order of
the data, and the noise, levels and clips of the validation, so that d_s has little noise. The
detectable difference, (3), is the smallest true difference that such a study finds significant in
80 % of its repetitions. The p values of all comparisons of a study are adjusted after Holm (1979),
which keeps the chance of any false difference below 5 %.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its 95 % interval.

    Attributes:
        mean: the mean.
        low, high: ends of the interval; nan for one seed.
        seeds: number of seeds.
    """

    mean: float
    low: float
    high: float
    seeds: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The difference between two arms, equations (1) to (3).

    Attributes:
        first, second: names of the arms.
        difference: mean of the first's score minus the second's, over their common seeds.
        detectable: the detectable difference, equation (3); nan for one seed.
        p: p value of a paired t test, adjusted after Holm; nan for one seed.
    """

    first: str
    second: str
    difference: Estimate
    detectable: float
    p: float

    @property
    def significant(self) -> bool:
        """True if the adjusted p value is below 5 %."""
        return bool(self.p < 1 - LEVEL)


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean of values, one for each seed, with its interval, equation (2)."""
    x = np.asarray(values, float)
    mean, error = float(x.mean()), _error(x)
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, max(1, len(x) - 1))) * error
    return Estimate(mean, mean - reach, mean + reach, len(x))


def comparisons(records: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Returns the comparison of every two arms that agree in their values `within` (`Sweep`).

    Pairs of arms without a common seed are left out.

    Args:
        records: records of trials (`trial.run_trial`).
    """
    groups: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        arms = groups.setdefault(str(record["within"]), {})
        arms.setdefault(record["arm"], {})[record["seed"]] = record["score"]
    found = []
    for arms in groups.values():
        for (first, x), (second, y) in itertools.combinations(arms.items(), 2):
            seeds = sorted(x.keys() & y.keys())
            if seeds:
                found.append((first, second, np.array([x[s] - y[s] for s in seeds])))
    adjusted = holm([_p(d) for _, _, d in found])
    return [
        Comparison(first, second, estimate(d), _detectable(d), p)
        for (first, second, d), p in zip(found, adjusted, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values adjusted after Holm (1979), in the given order. nan stays nan and does not
    count as a test.
    """
    values, adjusted = np.asarray(p, float), np.full(len(p), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    largest = 0.0
    for rank, i in enumerate(tested[np.argsort(values[tested], kind="stable")]):
        largest = max(largest, min(1.0, float((len(tested) - rank) * values[i])))
        adjusted[i] = largest
    return adjusted.tolist()


def _error(x: np.ndarray) -> float:
    """Returns the standard error of the mean, e of equation (1); nan for one value."""
    return float(x.std(ddof=1) / np.sqrt(len(x))) if len(x) > 1 else float("nan")


def _p(d: np.ndarray) -> float:
    error = _error(d)
    if not error:  # all differences are equal
        return 0.0 if d.any() else 1.0
    return float(2 * stats.t.sf(abs(d.mean()) / error, len(d) - 1)) if len(d) > 1 else float("nan")


def _detectable(d: np.ndarray) -> float:
    freedom = max(1, len(d) - 1)
    t = stats.t.ppf(0.5 + LEVEL / 2, freedom) + stats.t.ppf(POWER, freedom)
    return float(t * _error(d))
