"""Pairs of shots between which a fact of a story must persist, and whether a clip keeps it.

A storyboard states a story shot by shot: places, characters and acts. It says which shots show a
fact (`continuity.shown`). Two shots that show it, with none between them that does, are a pair, and
its gap is the number of shots between. The value at the end of the first must be that at the start
of the second, except for changes by acts in the shots between. The kinds of facts are

    lamp, door   of a place: on or off, open or closed
    score        number of lit lamps on the score board; a caught ball between adds one
    hat          of a character that both shots show in one place
    position     of such a character, within NEAR metres
    ball         its colour, in the shots in which a ball is read

Characters are told apart by where they stand. Some values cannot be seen, such as a position in a
close-up before a plain wall.
"""

import dataclasses
import itertools
from collections.abc import Sequence

from sora_jax.oracles.people import Person
from sora_jax.oracles.story_shots import Shot
from sora_jax.worlds.playhouse.continuity import shown
from sora_jax.worlds.playhouse.places import SCORE
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    HAT,
    LAMP,
    OUTCOMES,
    PLACES,
    THROW,
    Storyboard,
)

LIT, POSITION, BALL = "score", "position", "ball"
KINDS = (LAMP, DOOR, LIT, HAT, POSITION, BALL)
NEAR = 0.3  # metres


@dataclasses.dataclass(frozen=True)
class Pair:
    """A fact that two shots show, and none between them.

    Attributes:
        kind: kind of the fact, one of KINDS.
        number: index of the place or of the actor; 0 for the score and the ball.
        first, second: indices of the two shots.
    """

    kind: str
    number: int
    first: int
    second: int

    @property
    def gap(self) -> int:
        """The number of shots between the two."""
        return self.second - self.first - 1


def pairs_of(board: Storyboard) -> list[Pair]:
    """Returns the pairs of a storyboard, except those of the ball: a storyboard does not state in
    which shots the ball is in view.
    """
    last: dict[tuple[str, int], int] = {}
    pairs = []
    for number, facts in enumerate(shown(board)):
        for kind, index in sorted(facts):
            before = last.get((kind, index))
            last[kind, index] = number
            if before is None:
                continue
            if kind != "actor":
                pairs.append(Pair(kind, index, before, number))
                continue
            if board.shots[before].place == board.shots[number].place:
                pairs += [Pair(kind, index, before, number) for kind in (HAT, POSITION)]
    return pairs


def ball_pairs(shots: Sequence[Shot]) -> list[Pair]:
    """Returns the pairs of kind `ball`: successive shots in which the colour of a ball is read."""
    seen = [number for number, shot in enumerate(shots) if shot.colour is not None]
    return [Pair(BALL, 0, a, b) for a, b in itertools.pairwise(seen)]


def keeps(board: Storyboard, shots: Sequence[Shot], pair: Pair) -> bool | None:
    """Returns whether a clip keeps the fact of a pair; None if its value is not seen. False if one
    of the two shots shows another place or frame size than the storyboard states.

    Args:
        board: the storyboard that the clip should show.
        shots: what the shots of the clip show, as read.
        pair: the pair.
    """
    first, second = shots[pair.first], shots[pair.second]
    for number in (pair.first, pair.second):
        asked = board.shots[number]
        if (shots[number].place, shots[number].frame) != (asked.place, asked.frame):
            return False
    if pair.kind == BALL:
        return first.colour == second.colour
    if pair.kind in (HAT, POSITION):
        between = board.shots[pair.first + 1 : pair.second]
        put_on = sum(act.kind == HAT for shot in between for act in shot.acts)
        return _character(first, second, pair.kind, put_on)
    before, after = (getattr(moment, pair.kind) for moment in (first.end, second.start))
    if before is None or after is None:
        return None if pair.kind == DOOR else False  # a character may hide a door
    return after == _acted(board, pair, before)


def _acted(board: Storyboard, pair: Pair, value: int) -> int:
    """Returns the value that a lamp, a door or the score should have at the second shot of a pair,
    from its value at the end of the first and the acts of the shots between.
    """
    for number in range(pair.first + 1, pair.second):
        for act in board.shots[number].acts:
            here = PLACES.index(board.shots[number].place) == pair.number
            if act.kind == pair.kind and here:
                value = int(act.to in ("on", "open"))
            if pair.kind == LIT and act.kind == THROW and act.outcome == OUTCOMES[0]:
                value = min(value + 1, SCORE)
    return value


def _character(first: Shot, second: Shot, kind: str, put_on: int) -> bool | None:
    """Returns whether the characters that both shots show have kept their hats, or their positions;
    None if that cannot be told.

    Args:
        first, second: the two shots, as read.
        kind: HAT or POSITION.
        put_on: number of hats that are put on in the shots between.
    """
    before, after = first.end.people, second.start.people
    if not before or not after:
        return False
    placed = first.placed and second.placed
    if kind == POSITION and not placed:
        return None
    matched = _matched(before, after, placed)
    if matched is None:
        return None
    if kind == POSITION:
        return all(abs(a.x - b.x) < NEAR for a, b in matched)
    told = [(a, b) for a, b in matched if a.hat is not None and b.hat is not None]
    changes = [int(bool(b.hat)) - int(bool(a.hat)) for a, b in told]
    if not changes:
        return None
    most = put_on if len(before) == len(after) > 1 else 0
    least = most if len(told) == len(matched) else 0
    return min(changes) >= 0 and least <= sum(changes) <= most


def _matched(
    before: tuple[Person, ...], after: tuple[Person, ...], placed: bool
) -> list[tuple[Person, Person]] | None:
    """Returns pairs (character before, same character after) of two moments; None if it is unknown
    who is who. placed: whether both shots fix where characters stand.
    """
    if len(before) == len(after):
        return list(zip(before, after, strict=True))  # both from left to right
    few, many = sorted((before, after), key=len)
    if not placed:  # a close-up shows one of them
        alike = len({person.hat for person in many}) == 1
        return [(one, many[0]) for one in few] if alike else None
    return [(one, min(many, key=lambda other: abs(other.x - one.x))) for one in few]
