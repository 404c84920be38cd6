"""Plots: the shots of a story (a clip with cuts) and the state of its world, at any time.

The state is a set of integers that change only at events. Each kind of state (`KINDS`) has one
integer per place, one per actor, or one for the world. Places and actors have indices: of a place
in `storyboard.PLACES`, of an actor in the cast.

    lamp, door    of each place: 1 is on, or open
    hat           of each actor: 1 is on its head
    room          of each actor: the place in which it is
    score         lamps that are lit on every score board, up to places.SCORE
    ball          the place in which the ball is
    holder        the actor that holds the ball; -1 is none

All times are seconds of the clip, in which a time jump is a cut like any other. Positions are not
part of the state: the actors have paths (`cast.Actor`), the ball a trajectory.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sora_jax.worlds.playhouse.storyboard import PLACES

KINDS = ("lamp", "door", "hat", "room", "score", "ball", "holder")
OPENING, SWITCHING = 0.25, 0.06  # seconds in which a door opens, and a lamp goes on


@dataclasses.dataclass(frozen=True)
class View:
    """What one shot of a story shows.

    Attributes:
        start: start of the shot, seconds of the clip.
        place: index of the place.
        frame: the framing, a name in storyboard.FRAMES.
        subject: index of the actor in a close-up. Default: -1, another framing.
    """

    start: float
    place: int
    frame: str
    subject: int = -1


@dataclasses.dataclass(frozen=True)
class Event:
    """A change of the state of a story, such as a lamp that goes on.

    Attributes:
        time: seconds of the clip.
        kind: one of KINDS.
        index: index of the place or actor; 0 for the world.
        value: the new value.
        actor: index of the actor that caused the change. Default: 0.
    """

    time: float
    kind: str
    index: int
    value: int
    actor: int = 0


@dataclasses.dataclass(frozen=True)
class Plot:
    """The shots of a story and the state of its world over time.

    Attributes:
        views: one for each shot, in order.
        initial: the state at time 0, (kind, values) for each of KINDS.
        events: changes of the state, in order of time. Default: ().
    """

    views: tuple[View, ...]
    initial: tuple[tuple[str, tuple[int, ...]], ...]
    events: tuple[Event, ...] = ()

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Plot":
        """Returns the plot of `fields`, the result of `to_dict`."""
        return cls(
            tuple(View(**view) for view in fields["views"]),
            tuple((kind, tuple(values)) for kind, values in fields["initial"]),
            tuple(Event(**event) for event in fields["events"]),
        )

    def shot(self, times: np.ndarray) -> np.ndarray:
        """Returns the index of the shot that is shown at times [T] in seconds, int64 [T]."""
        starts = [view.start for view in self.views]
        return np.maximum(np.searchsorted(starts, times + 1e-9, side="right") - 1, 0)

    def state(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the state at times [T] in seconds: {kind: int64 [T, n]}, with n the number of
        places or actors, or 1.
        """
        state = {
            kind: np.repeat(np.array(values, np.int64)[None], len(times), axis=0)
            for kind, values in self.initial
        }
        for event in self.events:
            state[event.kind][times >= event.time, event.index] = event.value
        return state

    def gradual(self, kind: str, times: np.ndarray, seconds: float) -> np.ndarray:
        """Returns one kind of state with gradual changes, float64 [T, n] for n places or actors.

        A value changes linearly within `seconds` after its event, such as a door that opens.

        Args:
            kind: one of KINDS.
            times: in seconds of the clip, [T].
            seconds: duration of each change.
        """
        value = np.repeat(np.array(dict(self.initial)[kind], float)[None], len(times), axis=0)
        for event in self.events:
            if event.kind == kind:
                part = np.clip((times - event.time) / seconds, 0.0, 1.0)
                value[:, event.index] += part * (event.value - value[:, event.index])
        return value

    def truth(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the state at times [T] in seconds, {kind: int64 [T, n]}, with two more entries:
        the index of the shot, "shot", and that of its place, "place", each int64 [T].
        """
        shot = self.shot(times)
        place = np.array([view.place for view in self.views])[shot]
        return {"shot": shot, "place": place, **self.state(times)}


def initial(actors: int, **known: Sequence[int]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Returns a state at the start of a story, (kind, values) for each of KINDS (`Plot.initial`).

    Args:
        actors: number of actors.
        known: values by kind, one for each place or actor. Kinds that are left out are all 0.
    """
    counts = {"lamp": len(PLACES), "door": len(PLACES), "hat": actors, "room": actors}
    return tuple((kind, tuple(known.get(kind, (0,) * counts.get(kind, 1)))) for kind in KINDS)
