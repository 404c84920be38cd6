"""How far each oracle can be trusted: its score under every condition, and the limits that the
scores must keep.

A score is the share of clips whose reading is correct (`Oracle.judge`), of those that are asked
(`Oracle.asked`). An oracle is judged on the clips of its stage, under ground truth, the
degradations of its media, its corruptions, on empty clips and on shuffled ones.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.errors import UserError, expect
from sora_jax.oracles import conditions
from sora_jax.oracles.base import CEILING, DEGRADED, GROUND_TRUTH, Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import DEGRADATIONS, Condition
from sora_jax.oracles.examples import STAGES, Example
from sora_jax.oracles.reading import Reading

# number of the first scene that `experiments.calibrate` reads: the oracles' constants
# were chosen on others
FIRST = 10_000
FEWEST = 2  # clips: a shuffled one has the take of another
KEPT = {condition.name for condition in (conditions.GROUND_TRUTH, *DEGRADATIONS)}
Scores = dict[str, dict[str, dict[str, float]]]


def conditions_of(oracle: Oracle) -> tuple[Condition, ...]:
    """All conditions under which an oracle is judged."""
    degraded = (c for c in DEGRADATIONS if c.medium in oracle.media)
    shuffled = Condition("shuffled", None, oracle.shuffle)
    return (conditions.GROUND_TRUTH, *degraded, *oracle.corruptions, oracle.empty, shuffled)


def chosen(oracles: Sequence[str] | None) -> list[str]:
    """The names of oracles, in the order of ORACLES; None is all.

    Raises UserError for one that is not registered, and for none.
    """
    if oracles is None:
        return list(ORACLES)
    expect(oracles, (list, tuple), "oracles", 'give a list of names, as ["tracker"]')
    names = {ORACLES[name].name for name in oracles}
    if not names:
        raise UserError("no oracle is named; give names, or None for all", field="oracles")
    return [name for name in ORACLES if name in names]


def plan(names: Sequence[str]) -> dict[str, dict[Condition, list[Oracle]]]:
    """{stage: {condition: the oracles that it is made for}} of the oracles of these names."""
    stages: dict[str, dict[Condition, list[Oracle]]] = {}
    for oracle in (ORACLES[name] for name in names):
        stage = stages.setdefault(oracle.stage, {})
        for condition in conditions_of(oracle):
            stage.setdefault(condition, []).append(oracle)
    return stages


def calibrate(
    clips: list[Example],
    report: Callable[[str], object] | None = None,
    oracles: Sequence[str] | None = None,
) -> Scores:
    """{oracle: {condition: {score, n}}}. report(name) before each condition is made.

    clips: rooms; the other stages' clips, as many and of the same split and format, are made here.
    oracles: the names of those to judge; None for all that are registered.

    Raises: UserError for an unknown oracle, and for too few clips.
    """
    names = chosen(oracles)
    if len(clips) < FEWEST:
        raise UserError(f"clips are {len(clips)}; give at least {FEWEST}", field="clips")
    # rows in the order of each oracle's own conditions
    scores: Scores = {name: {c.name: {} for c in conditions_of(ORACLES[name])} for name in names}
    for stage, planned in plan(names).items():
        staged = STAGES[stage](clips)
        known = {_media_of(clip): Reading(clip) for clip in staged}
        for condition, judged in planned.items():
            if report:
                report(condition.name)
            made = condition(staged)
            readings = _readings(made, known)
            for oracle in judged:
                scores[oracle.name][condition.name] = _score(oracle, condition, made, readings)
    return scores


def _media_of(clip: Example) -> tuple[int, int]:
    """Clips of the same arrays are read once: shuffled ones often differ in their takes alone."""
    return id(clip.frames), id(clip.samples)


def _readings(clips: list[Example], known: dict[tuple[int, int], Reading]) -> list[Reading]:
    found = dict(known)
    for clip in clips:
        if _media_of(clip) not in found:
            found[_media_of(clip)] = Reading(clip)
    return [found[_media_of(clip)] for clip in clips]


def _score(
    oracle: Oracle, condition: Condition, clips: list[Example], readings: list[Reading]
) -> dict[str, float]:
    judged = [
        oracle.judge(clip, reading)
        for clip, reading in zip(clips, readings)
        if oracle.asked(condition, clip)
    ]
    correct = [verdict for verdict in judged if verdict is not None]
    score = round(float(np.mean(correct)), 4) if correct else None
    return {"score": score, "n": len(correct)}


def violations(
    scores: Scores,
    floors: tuple[float, float] = (GROUND_TRUTH, DEGRADED),
    ceiling: float | None = None,
) -> list[str]:
    """The scores outside their limits, one line each.

    floors: the least of ground truth, and of degraded clips. ceiling: replaces the oracles' own
    where those are not stricter than CEILING.
    """
    lines = []
    for name, rows in scores.items():
        most = ORACLES[name].ceiling
        most = most if most < CEILING or ceiling is None else ceiling
        for condition, row in rows.items():
            score, n = row["score"], row["n"]
            least = floors[0] if condition == conditions.GROUND_TRUTH.name else floors[1]
            if not n:
                lines.append(f"{name}, {condition}: no clip to judge")
            elif condition in KEPT and score < least:
                lines.append(
                    f"{name}, {condition}: {score:.3f} of {n} clips, at least {least:.2f} wanted"
                )
            elif condition not in KEPT and score > most:
                lines.append(
                    f"{name}, {condition}: {score:.3f} of {n} clips, at most {most:.2f} wanted"
                )
    return lines
