"""Calibration: the score of each oracle under every condition, and the limits for these scores.

An oracle is a measurement of a clip, a condition a change of clips, such as blur. A score is the
share of clips whose reading is correct (`Oracle.judge`), among the clips that the condition applies
to (`Oracle.applies`). An oracle is calibrated on renders of the kind of scenes that it reads (its
stage): unchanged ("ground truth"), under the degradations of the modalities that it reads, under
its corruptions, and on empty and shuffled clips.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.oracles import conditions
from sora_jax.oracles.base import CEILING, DEGRADED, GROUND_TRUTH, Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import DEGRADATIONS, Condition
from sora_jax.oracles.examples import STAGES, Example
from sora_jax.oracles.reading import Reading

# Index of the first scene that `experiments.calibrate` reads. The oracles' constants were chosen on
# other scenes.
FIRST = 10_000
MIN_CLIPS = 2  # number of clips: a shuffled clip needs the take of another one
ENOUGH = 8  # number of clips that test an oracle, below which its scores say little
# names of the conditions under which readings must stay correct
STABLE = {condition.name for condition in (conditions.GROUND_TRUTH, *DEGRADATIONS)}
Scores = dict[str, dict[str, dict[str, Any]]]  # {oracle: {condition: {"score", "n"}}}
# Called with an oracle, a condition, a clip under it whose reading is wrong, and that reading.
OnMiss = Callable[[Oracle, Condition, Example, Reading], object]


def conditions_of(oracle: Oracle) -> tuple[Condition, ...]:
    """Returns all conditions under which an oracle is calibrated: ground truth, degradations, its
    corruptions, empty and shuffled.
    """
    degraded = (c for c in DEGRADATIONS if c.modality in oracle.media)
    shuffled = Condition("shuffled", None, oracle.shuffle)
    return (conditions.GROUND_TRUTH, *degraded, *oracle.corruptions, oracle.empty, shuffled)


def chosen(oracles: Sequence[str] | None) -> list[str]:
    """Returns the names of oracles in the order of ORACLES.

    Args:
        oracles: a list or tuple of names; None chooses all.

    Raises:
        UserError: a name is not registered, or the list is empty.
    """
    if oracles is None:
        return list(ORACLES)
    expect(oracles, (list, tuple), "oracles", 'give a list of names, as ["tracker"]')
    names = {ORACLES[name].name for name in oracles}
    if not names:
        raise UserError("no oracle is named; give names, or None for all", field="oracles")
    return [name for name in ORACLES if name in names]


def plan(names: Sequence[str]) -> dict[str, dict[Condition, list[Oracle]]]:
    """Returns {stage: {condition: oracles judged under it}} for the oracles of these names, so that
    each condition is made once per stage.
    """
    stages: dict[str, dict[Condition, list[Oracle]]] = {}
    for oracle in (ORACLES[name] for name in names):
        stage = stages.setdefault(oracle.stage, {})
        for condition in conditions_of(oracle):
            stage.setdefault(condition, []).append(oracle)
    return stages


@known_keywords
def calibrate(
    clips: list[Example],
    report: Callable[[str], object] | None = None,
    oracles: Sequence[str] | None = None,
    missed: OnMiss | None = None,
) -> Scores:
    """Scores oracles under all their conditions.

    Args:
        clips: renders of family `room`. As many clips of the other stages, with the same indices,
            are rendered here.
        report: function that is called with the name of each condition before it is made. Default:
            None.
        oracles: names of the oracles to calibrate. Default: None, all registered ones.
        missed: function that is called for each clip whose reading is wrong on ground truth or
            under a degradation (`OnMiss`). Default: None.

    Returns:
        {oracle: {condition: {"score": share of correct readings or None, "n": number of clips}}}.

    Raises:
        UserError: an oracle is unknown, or there are too few clips.
    """
    names = chosen(oracles)
    if len(clips) < MIN_CLIPS:
        raise UserError(f"{len(clips)} clips are too few; give at least {MIN_CLIPS}", field="clips")
    # keys in the order of each oracle's own conditions, which the loop below does not follow
    scores: Scores = {name: {c.name: {} for c in conditions_of(ORACLES[name])} for name in names}
    for stage, planned in plan(names).items():
        staged = STAGES[stage](clips)
        cache = {_media_of(clip): Reading(clip) for clip in staged}
        for condition, judged in planned.items():
            if report:
                report(condition.name)
            changed = condition(staged)
            readings = _readings(changed, cache)
            for oracle in judged:
                verdicts = _verdicts(oracle, condition, changed, readings)
                scores[oracle.name][condition.name] = _score(verdicts)
                if missed and condition.name in STABLE:
                    for clip, reading, correct in zip(changed, readings, verdicts, strict=True):
                        if correct is False:
                            missed(oracle, condition, clip, reading)
    return scores


def _media_of(clip: Example) -> tuple[int, int]:
    """Returns a key for the arrays of a clip. Clips that share their arrays, such as shuffled ones,
    which differ in their takes only, are read once.
    """
    return id(clip.frames), id(clip.samples)


def _readings(clips: list[Example], cache: dict[tuple[int, int], Reading]) -> list[Reading]:
    readings = dict(cache)
    for clip in clips:
        if _media_of(clip) not in readings:
            readings[_media_of(clip)] = Reading(clip)
    return [readings[_media_of(clip)] for clip in clips]


def _verdicts(
    oracle: Oracle, condition: Condition, clips: list[Example], readings: list[Reading]
) -> list[bool | None]:
    """Returns for each clip whether its reading is correct; None if the take does not test the
    oracle, or the condition does not apply to the clip.
    """
    return [
        oracle.judge(clip, reading) if oracle.applies(condition, clip) else None
        for clip, reading in zip(clips, readings, strict=True)
    ]


def _score(verdicts: list[bool | None]) -> dict[str, Any]:
    """Returns {score, n}: the share of correct readings, None for n = 0."""
    correct = [verdict for verdict in verdicts if verdict is not None]
    score = round(float(np.mean(correct)), 4) if correct else None
    return {"score": score, "n": len(correct)}


def violations(
    scores: Scores,
    floors: tuple[float, float] = (GROUND_TRUTH, DEGRADED),
    ceiling: float | None = None,
) -> list[str]:
    """Returns a line of text for each score outside its limits.

    Args:
        scores: {oracle: {condition: {"score", "n"}}}.
        floors: least scores on ground truth and on degraded clips. Default: GROUND_TRUTH, DEGRADED.
        ceiling: largest score under all other conditions, for oracles whose own ceiling is not
            stricter than CEILING. Default: None, each oracle's own.
    """
    lines = []
    for name, rows in scores.items():
        limit = ORACLES[name].ceiling
        limit = limit if limit < CEILING or ceiling is None else ceiling
        for condition, row in rows.items():
            score, n = row["score"], row["n"]
            minimum = floors[0] if condition == conditions.GROUND_TRUTH.name else floors[1]
            if not n:
                lines.append(f"{name}, {condition}: no clip to judge")
            elif condition in STABLE and score < minimum:
                lines.append(
                    f"{name}, {condition}: {score:.3f} of {n} clips, the minimum is {minimum:.2f}"
                )
            elif condition not in STABLE and score > limit:
                lines.append(
                    f"{name}, {condition}: {score:.3f} of {n} clips, the maximum is {limit:.2f}"
                )
    return lines


def caution(scores: Scores) -> str | None:
    """Returns a sentence on oracles that fewer than ENOUGH clips test; None without such oracles.

    scores is as `calibrate` returns it.
    """
    tested = {
        name: rows[conditions.GROUND_TRUTH.name]["n"]
        for name, rows in scores.items()
        if conditions.GROUND_TRUTH.name in rows
    }
    few = [f"{name} {n}" for name, n in tested.items() if n < ENOUGH]
    if not few:
        return None
    return (
        f"Caution: fewer than {ENOUGH} clips test an oracle ({', '.join(few)}), and so few say "
        "little of its scores; give more clips (num_clips)."
    )
