"""From readings to scores: suites of metrics over prompts, each between its floor and its ceiling,
with its interval.

A suite judges one clip against the take whose caption was its prompt: score(take, reading) ->
{metric: number, or None where the prompt asks nothing}. Its floor pairs every take with what was
read in other clips. New suites go into SUITES.

    facts     share of prompts whose facts of a kind all hold; all_one_ball: prompts of one ball
              only
    tracker   share of frames in which every captioned ball is there exactly once (and moves:
              `facts.tracked`)
    sync      F1 of impacts seen and heard, over prompts whose scene has an impact; a clip where
              nothing strikes and nothing is heard scores 0 here, for an impact was asked for.
              Floor: the sound of another clip.

Intervals are 95 %: Wilson's for shares of yes and no,

    (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n),   z = 1.96                     (1)

and the bootstrap over prompts for means of anything else.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.evaluation.calibrate import true_impacts
from sora_jax.oracles.facts import KINDS, compare, tracked
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import agreement
from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.phyworld import PhyWorldFacts

Values = dict[str, float | None]
SHIFTS = 4  # other clips that each take is paired with for the floor


def _facts(take: Take, read: Reading) -> Values:
    held = compare(read.facts, take.facts, read.coherent)
    values = {kind: None if held[kind] is None else float(held[kind]) for kind in (*KINDS, "all")}
    return values | {"all_one_ball": values["all"] if len(take.facts.balls) == 1 else None}


def _tracker(take: Take, read: Reading) -> Values:
    found = float(np.mean(tracked(read.tracks, take.facts)))
    return {"tracked_frames": found, "tracked_clips": float(found >= 0.9)}


def _sync_of(take: Take, seen: list[float], heard: list[float]) -> Values:
    if not true_impacts(take):
        return {"f1_100ms": None, "f1_50ms": None, "offset": None}
    if not seen and not heard:
        return {"f1_100ms": 0.0, "f1_50ms": 0.0, "offset": None}
    sync = agreement(heard, seen)
    return {
        "f1_100ms": sync.f1_100ms,
        "f1_50ms": sync.f1_50ms,
        "offset": None if math.isnan(sync.offset) else 1e3 * sync.offset,
    }


def _sync(take: Take, read: Reading) -> Values:
    if read.unheard or read.unseen:  # no zero for what cannot be read; `suites.values` says why
        return {"f1_100ms": None, "f1_50ms": None, "offset": None}
    return _sync_of(take, read.seen, read.heard)


def _other_clip(score):
    """Floor of a suite that compares clip and caption: the clip of another prompt with as many
    balls.
    """
    return lambda take, own, other: score(take, other)


@dataclasses.dataclass(frozen=True)
class Suite:
    """score(take, reading) and floor(take, own reading, another clip's reading) -> values; units of
    the metrics that are not shares.
    """

    score: Callable[[Take, Reading], Values]
    floor: Callable[[Take, Reading, Reading], Values]
    units: dict[str, str] = dataclasses.field(default_factory=dict)


SUITES = {
    "facts": Suite(_facts, _other_clip(_facts)),
    "tracker": Suite(_tracker, _other_clip(_tracker)),
    "sync": Suite(
        _sync,
        lambda take, own, other: _sync_of(take, own.seen, other.heard),
        {"f1_100ms": "F1", "f1_50ms": "F1", "offset": "ms"},
    ),
}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean: equation (1) for zeros and ones, else 2,000 bootstrap resamples
    (seeded).
    """
    x = np.asarray(values, float)
    n, p = len(x), float(np.mean(x))
    if np.all((x == 0) | (x == 1)):
        z2 = 1.96**2
        half = 1.96 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, (p + z2 / (2 * n) - half) / (1 + z2 / n)), min(
            1.0, (p + z2 / (2 * n) + half) / (1 + z2 / n)
        )
    means = x[np.random.default_rng(0).integers(0, n, (2000, n))].mean(-1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def partners(takes: Sequence[Take]) -> list[list[int]]:
    """For each take up to SHIFTS other clips whose caption says something else, of as many balls
    where there are such.
    """
    chosen = []
    for i, take in enumerate(takes):
        ring = [(i + k) % len(takes) for k in range(1, len(takes))]
        other = [j for j in ring if takes[j].facts.key() != take.facts.key()]
        alike = [j for j in other if len(takes[j].scene.balls) == len(take.scene.balls)]
        chosen.append((alike or other)[:SHIFTS])
    return chosen


def _column(rows: list[Values], metric: str) -> list[float]:
    return [row[metric] for row in rows if row[metric] is not None]


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None


def means(takes: Sequence[Take], readings: Sequence[Reading]) -> dict[str, dict[str, float | None]]:
    """{suite: {metric: mean over the clips that are asked}}: a row beside the model, such as the
    ceiling.
    """
    table = {}
    for name, suite in SUITES.items():
        rows = [suite.score(t, r) for t, r in zip(takes, readings)]
        table[name] = {m: _mean(_column(rows, m)) for m in rows[0]}
    return table


def score(
    takes: Sequence[Take], readings: Sequence[Reading], ceiling: Sequence[Reading]
) -> dict[str, dict[str, dict]]:
    """{suite: {metric: {value, low, high, floor, ceiling, n, unit}}} for readings of the clips made
    from the takes' captions.

    ceiling: readings of the best that can be asked for, such as the renders of the takes
    themselves.
    """
    pairs, best, table = partners(takes), means(takes, ceiling), {}
    for name, suite in SUITES.items():
        rows = [suite.score(t, r) for t, r in zip(takes, readings)]
        floor = [
            suite.floor(takes[i], readings[i], readings[j])
            for i, js in enumerate(pairs)
            for j in js
        ]
        table[name] = {}
        for metric in rows[0]:
            values = _column(rows, metric)
            low, high = interval(values) if values else (None, None)
            table[name][metric] = {
                "value": _mean(values),
                "low": None if low is None else round(low, 4),
                "high": None if high is None else round(high, 4),
                "floor": _mean(_column(floor, metric)),
                "ceiling": best[name][metric],
                "n": len(values),
                "unit": suite.units.get(metric, "share"),
            }
    return table


def likeness(a, b) -> float:
    """How many facts of a caption b shares, and of PhyWorld's, how near they are: what "nearest
    training scene" means.
    """
    if isinstance(a, PhyWorldFacts):
        return -sum(abs(x - y) for x, y in zip((*a.speeds, *a.radii), (*b.speeds, *b.radii)))
    if not isinstance(a, Facts):
        pairs = (
            (getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
        return sum(
            likeness(x, y) if dataclasses.is_dataclass(x) else float(x == y) for x, y in pairs
        )
    others = {ball.colour: ball for ball in b.balls}
    score = 4 * (len(a.balls) == len(b.balls))
    for ball in a.balls:
        other = others.get(ball.colour)
        if other:
            score += 4 + sum(
                getattr(ball, k) == getattr(other, k)
                for k in ("size", "launch", "direction", "bounces")
            )
    return score
