"""Continuity of storyboards: what their acts say about the state of the world.

An act needs a state and changes it: an actor who opens a door finds it closed. A storyboard
without a contradiction therefore fixes a part of the state at its start (`beginning`), and the
shots in which a fact is visible. The gap of a storyboard is the largest number of shots
between one that shows a fact and the next that shows it (`gap`).
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
        room: number of the place by number of the actor.
        lamp, door: 1 is on, or open, by number of the place.
        holder: number of the actor that holds the ball; None if any may.
        rooms: for each shot, the number of the place of each actor at its start, -1 where the
            storyboard does not say.
    """

    room: dict[int, int]
    lamp: dict[int, int]
    door: dict[int, int]
    holder: int | None
    rooms: list[tuple[int, ...]]


def beginning(board: Storyboard) -> Beginning:
    """Returns the state of the world at the start of a storyboard, as far as its acts fix it.

    Raises:
        UserError: two acts contradict each other; with the shot and the act.
    """
    return _Checker(board).run()


class _Checker:
    """Goes through the acts of a storyboard.

    `start` holds what is known of the state at the start and `now` the current state, both {kind:
    {number: value}}.
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
        # an actor is where it was until it goes, so what is known later holds earlier
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
        """Requires a value of the state; fixes that at the start if it is not known yet."""
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
    """Returns the facts that each shot of a storyboard shows, as (kind, number).

    Every shot shows the lamp of its place, by its light. A wide shot also shows the door, the score
    and the actors in its place, and other shots the actors of their frame. The hat and the position
    of an actor are one fact here.
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
    """Returns the longest time, in shots, that a fact of a storyboard is out of sight before it is
    shown again.
    """
    last: dict[tuple[str, int], int] = {}
    largest = 0
    for number, facts in enumerate(shown(board)):
        for fact in facts:
            largest = max(largest, number - last.get(fact, number - 1) - 1)
            last[fact] = number
    return largest
