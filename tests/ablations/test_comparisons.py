"""Paired differences, their intervals, and Holm's adjustment."""

import math

import numpy as np
import pytest
from scipy import stats

from sora_jax.ablations.compare import comparisons, estimate, holm


def record(arm, seed, score, within=None):
    return {"arm": arm, "seed": seed, "score": score, "within": within or {}}


def test_the_interval_is_that_of_a_paired_t_test():
    x, y = [1.0, 1.4, 1.1, 1.3], [0.7, 1.3, 0.9, 0.8]
    records = [record("a", s, v) for s, v in enumerate(x)]
    records += [record("b", s, v) for s, v in enumerate(y)] + [record("b", 9, 100.0)]
    (found,) = comparisons(records)
    test = stats.ttest_rel(x, y)
    assert (found.first, found.second, found.difference.seeds) == ("a", "b", 4)
    assert found.difference.mean == pytest.approx(0.275)
    assert found.p == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert (found.difference.low, found.difference.high) == pytest.approx(interval)


def test_the_detectable_difference_is_found_in_four_of_five_studies():
    rng, found = np.random.default_rng(0), 0
    noise = rng.normal(0, 1, (4000, 6))
    (one,) = comparisons(
        [record("a", s, x) for s, x in enumerate(noise[0])]
        + [record("b", s, 0.0) for s in range(6)]
    )
    error = noise[0].std(ddof=1) / math.sqrt(6)
    assert one.detectable == pytest.approx((stats.t.ppf(0.975, 5) + stats.t.ppf(0.8, 5)) * error)
    # with the true standard deviation of 1, over many studies
    true = one.detectable / noise[0].std(ddof=1)
    for row in noise + true:
        found += stats.ttest_1samp(row, 0).pvalue < 0.05
    assert found / 4000 == pytest.approx(0.8, abs=0.04)


def test_arms_are_compared_within_their_group_only():
    records = [
        record(f"{arm} {sound}", seed, seed + len(arm), {"sound": sound})
        for arm in ("x", "yy")
        for sound in (True, False)
        for seed in range(3)
    ]
    pairs = {(one.first, one.second) for one in comparisons(records)}
    assert pairs == {("x True", "yy True"), ("x False", "yy False")}


def test_holm_adjusts_as_published():
    # the example of Holm's step-down: p (m - rank), never falling, at most 1
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    adjusted = holm([0.9, math.nan, 0.6])
    assert adjusted[0] == 1.0 and math.isnan(adjusted[1]) and adjusted[2] == 1.0


def test_one_seed_has_no_interval():
    found = estimate([2.0])
    assert found.mean == 2.0 and math.isnan(found.low) and found.seeds == 1
    (one,) = comparisons([record("a", 0, 1.0), record("b", 0, 2.0)])
    assert math.isnan(one.p) and not one.significant
    assert comparisons([record("a", 0, 1.0), record("b", 1, 2.0)]) == []
