"""Plots: the shots of a story and the state of its world, as values at any time of the clip.

The state is a set of numbers that change only at events. Each kind of state has one number per
place, per actor, or one for the world (`KINDS`):

    lamp, door    of each place: 1 is on, or open
    hat           of each actor: 1 is on its head
    room          of each actor: number of the place in which it is
    score         lamps lit on all score boards, up to places.SCORE
    ball          number of the place in which the ball is
    holder        number of the actor that holds the ball; -1 is none

All times are seconds of the clip, in which a time jump is a cut like any other. Positions are
in the paths of the actors and in the motion of the ball.
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
        start: seconds of the clip.
        place: number of the place.
        frame: a name in storyboard.FRAMES.
        subject: number of the actor in a close-up, else -1.
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
        index: number of the place or actor; 0 for the world.
        value: the new value.
        actor: number of the actor that caused it. Default: 0.
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
        events: changes of the state, in order of time.
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
        """Returns which shot is shown at times [T] in seconds: numbers from 0, int64 [T]."""
        starts = [view.start for view in self.views]
        return np.maximum(np.searchsorted(starts, times + 1e-9, side="right") - 1, 0)

    def state(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the state at times [T] in seconds, by kind: int64 [T, n] of n places or
        actors.
        """
        state = {
            kind: np.repeat(np.array(values, np.int64)[None], len(times), axis=0)
            for kind, values in self.initial
        }
        for event in self.events:
            state[event.kind][times >= event.time, event.index] = event.value
        return state

    def gradual(self, kind: str, times: np.ndarray, seconds: float) -> np.ndarray:
        """Returns one kind of state with changes that take `seconds` after each event, float64
        [T, n].

        It is linear in between, for n places or actors. times are [T] in seconds.
        """
        value = np.repeat(np.array(dict(self.initial)[kind], float)[None], len(times), axis=0)
        for event in self.events:
            if event.kind == kind:
                part = np.clip((times - event.time) / seconds, 0.0, 1.0)
                value[:, event.index] += part * (event.value - value[:, event.index])
        return value

    def truth(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the state at times [T] in seconds, with the number of the shot (`shot`) and of
        its place (`place`): int64 [T, n] or [T].
        """
        shot = self.shot(times)
        place = np.array([view.place for view in self.views])[shot]
        return {"shot": shot, "place": place, **self.state(times)}


def initial(actors: int, **known: Sequence[int]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Returns the state at the start of a story, (kind, values) for each kind, as `Plot.initial`
    has it.

    Args:
        actors: number of actors.
        known: values by kind; the others are 0.
    """
    counts = {"lamp": len(PLACES), "door": len(PLACES), "hat": actors, "room": actors}
    return tuple((kind, tuple(known.get(kind, (0,) * counts.get(kind, 1)))) for kind in KINDS)
