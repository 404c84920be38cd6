"""Pairs of shots between which a fact of a story persists, and whether a clip keeps it.

A storyboard says which shots show a fact (`continuity.shown`). Two shots that show it, with none
between them that does, are a pair, and its gap is the number of shots between. The value at the
end of the first must be that at the start of the second, but for acts between. The kinds are

    lamp, door   of a place
    score        lamps of the score board; catches between add to it
    hat          of a character that stays in its place
    position     of such a character, within NEAR
    ball         its colour, in shots that show it

Characters are told apart by where they stand. A value is unseen if a close-up fixes no position.
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
        kind: one of KINDS.
        number: of the place or of the actor; 0 for the world.
        first, second: numbers of the shots.
    """

    kind: str
    number: int
    first: int
    second: int

    @property
    def gap(self) -> int:
        """The number of shots between."""
        return self.second - self.first - 1


def pairs_of(board: Storyboard) -> list[Pair]:
    """Returns the pairs of a storyboard, except those of the ball, whose view it does not state."""
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
    """Returns the pairs of shots that show the ball, by what was read."""
    seen = [number for number, shot in enumerate(shots) if shot.colour is not None]
    return [Pair(BALL, 0, a, b) for a, b in itertools.pairwise(seen)]


def keeps(board: Storyboard, shots: Sequence[Shot], pair: Pair) -> bool | None:
    """Returns whether a clip keeps the fact of a pair; None if its value is unseen.

    Args:
        board: the storyboard that the clip should show.
        shots: what its shots show.
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
    """Returns the value of a lamp, a door or the score after the acts in the shots between."""
    for number in range(pair.first + 1, pair.second):
        for act in board.shots[number].acts:
            here = PLACES.index(board.shots[number].place) == pair.number
            if act.kind == pair.kind and here:
                value = int(act.to in ("on", "open"))
            if pair.kind == LIT and act.kind == THROW and act.outcome == OUTCOMES[0]:
                value = min(value + 1, SCORE)
    return value


def _character(first: Shot, second: Shot, kind: str, put_on: int) -> bool | None:
    """Returns whether the characters that both shots show have kept their hats, or positions; None
    if that cannot be told.

    put_on: hats that are put on between the shots, by a character that those shots show.
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
    """Returns pairs of the same character in two moments; None if it is unknown who is who."""
    if len(before) == len(after):
        return list(zip(before, after, strict=True))  # both from left to right
    few, many = sorted((before, after), key=len)
    if not placed:  # a close-up shows one of them
        alike = len({person.hat for person in many}) == 1
        return [(one, many[0]) for one in few] if alike else None
    return [(one, min(many, key=lambda other: abs(other.x - one.x))) for one in few]
