"""Table cells of scores: the mean of a metric over the clips of a row (of a model or a baseline),
with its 95 % interval, its floor (the score by chance), and the reasons why clips have no value.
"""

import collections
import itertools
from collections.abc import Sequence

import numpy as np

from sora_jax.evaluation import statistics
from sora_jax.evaluation.metrics import Metric

NO_PARTNER = "no other clip gives a floor"


def _numbers(values: Sequence) -> list[float]:
    """Returns the numbers among values, also those in lists; None and reasons are left out."""
    flat = (x for value in values for x in (value if isinstance(value, list) else [value]))
    return [x for x in flat if isinstance(x, int | float)]


def cell(metric: Metric, name: str, clips: Sequence[dict]) -> dict:
    """Returns the table cell of a metric: its mean over clips, with interval and floor.

    Args:
        metric: the metric.
        name: its name in each clip's "values" and "floors".
        clips: a dictionary for each clip, as `measuring.measure` returns them. A value of None
            means that the scene does not test the metric; it is skipped.

    Returns:
        {"value": the mean, corrected for the floor if `metric.corrected`; "low", "high": its 95 %
        interval; "floor": the mean over the floors; "n": number of measurements; "unscored":
        {reason: number of clips that have no value}}. A corrected metric also has its plain mean as
        "raw".
    """
    values = [clip["values"][name] for clip in clips]
    numbers = _numbers(values)
    reasons = collections.Counter(v["unscored"] for v in values if isinstance(v, dict))
    floors = [_numbers(clip["floors"][name]) for clip in clips]
    floor = float(np.mean(list(itertools.chain.from_iterable(floors)))) if any(floors) else None
    entry = {"value": None, "low": None, "high": None, "floor": floor}
    if metric.corrected:
        raw = float(np.mean(numbers)) if numbers else None
        pairs = [
            (value, float(np.mean(floor_values)))
            for value, floor_values in zip(values, floors, strict=True)
            if floor_values and isinstance(value, int | float)
        ]
        reasons[NO_PARTNER] += len(numbers) - len(pairs)
        numbers = [value for value, _ in pairs]
        if pairs:
            entry |= dict(
                zip(
                    ("value", "low", "high"),
                    statistics.corrected(*zip(*pairs, strict=True)),
                    strict=True,
                )
            )
        entry["raw"] = raw
    elif numbers:
        low, high = statistics.interval(numbers)
        entry |= {"value": float(np.mean(numbers)), "low": low, "high": high}
    rounded = {k: None if x is None else round(x, 4) for k, x in entry.items()}
    return {**rounded, "n": len(numbers), "unscored": dict(+reasons)}


def groups(metric: Metric, name: str, clips: Sequence[dict]) -> dict[str, dict[str, dict]]:
    """Returns the table cells of a metric by group of clips, {grouping: {group: cell}}, such as
    {"balls": {"1": cell, "2": cell}}.

    Args:
        metric: the metric.
        name: its name in each clip's "values" and "floors".
        clips: a dictionary for each clip, as `measuring.measure` returns them.
    """
    tables: dict[str, dict[str, dict]] = {}
    for grouping in clips[0]["groups"] if clips else ():
        kinds = sorted({clip["groups"][grouping] for clip in clips} - {None})
        tables[grouping] = {
            kind: cell(metric, name, [c for c in clips if c["groups"][grouping] == kind])
            for kind in kinds
        }
    return tables
