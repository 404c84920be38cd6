"""The facts that a storyboard (a story in shots, as values) states about each of its shots and that
pixels show, and their comparison with what is read of a clip.

The facts of a shot are a dictionary. A key is missing if the storyboard does not state the fact.

place, frame    name of the place; frame size: wide, two-shot or close-up
people          (number of characters at the start of the shot, at its end)
lamp, door      (state at the start, at the end), if an act changes it: 1 is on, or open
hat             number of hats that are put on, in a shot that nobody leaves
throw           "caught" or "missed"
score           number of lamps of the score board that go on, in a wide shot with a throw
walk            steps to the right less those to the left, in a wide shot that nobody leaves
ball            its colour
"""

from collections.abc import Iterable
from typing import Any

from sora_jax.oracles.story_shots import Shot
from sora_jax.worlds.playhouse.continuity import beginning
from sora_jax.worlds.playhouse.places import SCORE
from sora_jax.worlds.playhouse.playing import STEP
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    GO,
    HAT,
    LAMP,
    OUTCOMES,
    PLACES,
    THROW,
    WALK,
    Act,
    Storyboard,
)
from sora_jax.worlds.playhouse.storyboard import Shot as BoardShot

Facts = dict[str, Any]
NAMES = ("place", "frame", "people", LAMP, DOOR, HAT, THROW, "score", WALK, "ball")


def stated(board: Storyboard) -> list[Facts]:
    """Returns the facts that a storyboard states of each of its shots, by name (the keys of the
    module docstring).
    """
    rooms = beginning(board).rooms
    return [_of_shot(board, *pair) for pair in zip(board.shots, rooms, strict=True)]


def _of_shot(board: Storyboard, shot: BoardShot, rooms: tuple[int, ...]) -> Facts:
    """Returns the facts of one shot of a storyboard. `rooms` holds the index of the place in which
    each actor is at its start, -1 where the storyboard does not say.
    """
    facts: Facts = {"place": shot.place, "frame": shot.frame}
    kinds = [act.kind for act in shot.acts]
    if shot.frame == "close-up":
        facts["people"] = (1, 1)
    elif -1 not in rooms:
        present = rooms.count(PLACES.index(shot.place))
        facts["people"] = (present, present - kinds.count(GO))
    for kind in (LAMP, DOOR):
        values = [int(act.to in ("on", "open")) for act in shot.acts if act.kind == kind]
        if values and (kind == LAMP or shot.frame == "wide"):
            facts[kind] = (1 - values[0], values[-1])
    if GO not in kinds:
        facts[HAT] = kinds.count(HAT)
    outcomes = [act.outcome for act in shot.acts if act.kind == THROW]
    if len(outcomes) == 1 and outcomes[0]:
        facts[THROW] = outcomes[0]
        if shot.frame == "wide":
            facts["score"] = outcomes.count(OUTCOMES[0])
    if shot.frame == "wide" and GO not in kinds:
        facts[WALK] = sum(_step(act) for act in shot.acts if act.kind == WALK)
    if board.ball:
        facts["ball"] = board.ball
    return facts


def _step(act: Act) -> int:
    return 1 if act.to == "right" else -1


def shown(shot: Shot, asked: Iterable[str]) -> Facts:
    """Returns {name: what a shot shows} for the facts of these names; None for what is not seen.

    Args:
        shot: the shot as read from a clip.
        asked: names of facts.
    """
    start, end = shot.start, shot.end
    facts: Facts = {
        "place": shot.place,
        "frame": shot.frame,
        "people": (len(start.people), len(end.people)),
        LAMP: (start.lamp, end.lamp),
        DOOR: (start.door, end.door),
        HAT: shot.hats,
        THROW: shot.throw,
        "score": None if start.score is None or end.score is None else end.score - start.score,
        WALK: _walked(shot),
        "ball": shot.colour,
    }
    return {name: facts[name] for name in asked}


def _walked(shot: Shot) -> int | None:
    """Returns how many steps the characters went to the right, less those to the left; None if
    their number changed.
    """
    start, end = ([person.x for person in moment.people] for moment in (shot.start, shot.end))
    return round((sum(end) - sum(start)) / STEP) if len(start) == len(end) else None


def wrong(shot: Shot, facts: Facts) -> list[str]:
    """Returns the names of the stated facts that a shot contradicts.

    A fact that cannot be seen is not among them: the ball may be out of sight, a hat may look like
    hair, a character may hide the door, and the score may be full already.

    Args:
        shot: the shot as read from a clip.
        facts: the facts that the storyboard states of it.
    """
    seen = shown(shot, facts)
    unseen = {name for name in ("ball", HAT) if seen.get(name) is None}
    if None in (shot.start.door, shot.end.door):
        unseen.add(DOOR)
    if shot.start.score == SCORE:
        unseen.add("score")
    return [name for name, value in facts.items() if seen[name] != value and name not in unseen]


def differs(asked: Facts, other: Facts) -> bool:
    """Returns whether a shot with the facts `other` lacks one of the facts `asked`, other than the
    ball's colour. A fact that `other` does not state counts as the same, except for a change of
    lamp or door and a throw, which need an act.
    """
    return any(
        other[name] != value if name in other else name in (LAMP, DOOR, THROW)
        for name, value in asked.items()
        if name != "ball"
    )
