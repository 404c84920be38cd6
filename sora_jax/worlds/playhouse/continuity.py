"""Continuity of storyboards (stories written shot by shot): the state that their acts imply.

An act (such as to open a door) needs a state and changes it: the door must be closed before. A
storyboard without a contradiction therefore fixes a part of the state at its start (`beginning`).
It also decides in which shots each fact is visible (`shown`). The gap of a storyboard is the
largest number of shots for which a fact is out of sight, before a later shot shows it again
(`gap`).

Places and actors have indices: of a place in `storyboard.PLACES`, of an actor in the cast.
"""

import dataclasses

from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    GO,
    HAT,
    LAMP,
    PLACES,
    THROW,
    Act,
    Shot,
    Storyboard,
)

NOBODY = -1


@dataclasses.dataclass
class Beginning:
    """The state at the start of a storyboard, as far as its acts fix it.

    Attributes:
        room: {actor: the place in which it is}.
        lamp: {place: 1 if its lamp is on, else 0}.
        door: {place: 1 if its door is open, else 0}.
        holder: the actor that holds the ball; None if the storyboard does not say.
        rooms: for each shot, the place of each actor at its start; -1 where the storyboard does not
            say.
    """

    room: dict[int, int]
    lamp: dict[int, int]
    door: dict[int, int]
    holder: int | None
    rooms: list[tuple[int, ...]]


def beginning(board: Storyboard) -> Beginning:
    """Returns the state of the world at the start of a storyboard, as far as its acts fix it.

    Raises:
        UserError: two acts contradict each other. The message names the shot and the contradiction.
    """
    return _Checker(board).run()


class _Checker:
    """Goes through the acts of a storyboard and keeps the state that they imply.

    `start` holds the known part of the state at the start of the storyboard, `now` that of the
    current state. Both are {kind: {index of the place or actor: value}}.
    """

    def __init__(self, board: Storyboard) -> None:
        self.board, self.number = board, 0
        self.start: dict[str, dict[int, int]] = {
            kind: {} for kind in ("room", "lamp", "door", "hat", "holder")
        }
        self.now = {kind: {} for kind in self.start}

    def run(self) -> Beginning:
        rooms = []
        for number, shot in enumerate(self.board.shots, 1):
            self.number = number
            place = PLACES.index(shot.place)
            for name in self._named(shot):
                actor = self.board.cast.index(name)
                self._need("room", actor, place, f"{name} is not in {shot.place}")
            rooms.append(tuple(self.now["room"].get(i, -1) for i in range(len(self.board.cast))))
            for act in shot.acts:
                self._act(act, place, shot.place)
        # An actor stays in its place until it goes, so a place that is known in a later shot is
        # that of the earlier shots too.
        for i in range(len(self.board.cast)):
            for s, known in enumerate(rooms):
                if known[i] < 0 and i in self.start["room"]:
                    rooms[s] = (*known[:i], self.start["room"][i], *known[i + 1 :])
        holder = self.start["holder"].get(0)
        return Beginning(self.start["room"], self.start["lamp"], self.start["door"], holder, rooms)

    def _named(self, shot: Shot) -> tuple[str, ...]:
        named = self.board.cast if shot.frame == "two-shot" else ()
        return (*named, *((shot.subject,) if shot.subject else ()))

    def _need(self, kind: str, index: int, value: int, message: str) -> None:
        """Requires a value of the current state. A value that is not known yet is fixed from the
        start on.

        Raises:
            UserError: another value is known.
        """
        if index not in self.now[kind]:
            self.start[kind][index] = self.now[kind][index] = value
        elif self.now[kind][index] != value:
            raise UserError(f"shot {self.number}: {message}; change the storyboard")

    def _act(self, act: Act, place: int, place_name: str) -> None:
        cast, now = self.board.cast, self.now
        actor = cast.index(act.who)
        self._need("room", actor, place, f"{act.who} is not in {place_name}")
        if act.kind in (LAMP, DOOR):
            value = int(act.to in ("on", "open"))
            self._need(act.kind, place, 1 - value, f"the {act.kind} is already {act.to}")
            now[act.kind][place] = value
        elif act.kind == HAT:
            self._need("hat", actor, 0, f"{act.who} wears a hat already")
            now["hat"][actor] = 1
        elif act.kind == GO:
            if act.to == place_name:
                raise UserError(f"shot {self.number}: {act.who} is in {act.to} already")
            self._need("door", place, 1, "the door is closed")
            now["room"][actor] = PLACES.index(act.to)
        elif act.kind == THROW:
            catcher = cast.index(act.to)
            self._need("room", catcher, place, f"{act.to} is not in {place_name}")
            self._need("holder", 0, actor, f"{act.who} does not have the ball")
            now["holder"][0] = catcher if act.outcome == "caught" else NOBODY


def shown(board: Storyboard) -> list[set[tuple[str, int]]]:
    """Returns for each shot of a storyboard the facts that it shows, a set of (kind, index).

    The kinds are "lamp" and "door" with the index of a place, "actor" with that of an actor, and
    ("score", 0). The hat and the position of an actor are one fact here. Every shot shows the lamp
    of its place, by its light. A close-up also shows its subject. A wide shot and a two-shot show
    all actors in the place; a wide shot also shows the door and the score.

    Raises:
        UserError: two acts contradict each other.
    """
    rooms = beginning(board).rooms
    facts = []
    for shot, room_of in zip(board.shots, rooms, strict=True):
        place = PLACES.index(shot.place)
        visible = {("lamp", place)}
        if shot.frame == "close-up":
            visible.add(("actor", board.cast.index(shot.subject)))
        else:
            visible |= {("actor", i) for i, room in enumerate(room_of) if room == place}
        if shot.frame == "wide":
            visible |= {("door", place), ("score", 0)}
        facts.append(visible)
    return facts


def gap(board: Storyboard) -> int:
    """Returns the largest number of shots in a row in which a fact is out of sight, before a later
    shot shows it again.
    """
    last: dict[tuple[str, int], int] = {}
    largest = 0
    for number, facts in enumerate(shown(board)):
        for fact in facts:
            largest = max(largest, number - last.get(fact, number - 1) - 1)
            last[fact] = number
    return largest
