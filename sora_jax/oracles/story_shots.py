"""Reads what each shot of a story shows. A story is a clip with cuts, a shot the part between two.

Place and frame size are read once for a shot; characters, ball, lamp, door and score at its start
and at its end. A value that a view does not show, or that a character hides, is None.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sora_jax.oracles.people import Person, find_people
from sora_jax.oracles.place_states import UNSEEN, read_states
from sora_jax.oracles.shot_views import Sight, find_sight, soft
from sora_jax.oracles.story_ball import StoryBall, find_ball
from sora_jax.oracles.style import resampled
from sora_jax.worlds.playhouse.storyboard import PLACES

KNOWN = 0.25  # least agreement with a painted place (`shot_views.py`) of one that counts as known
MIN_FRAMES = 3  # a shorter shot is not read
ENDS = 2  # frames at each end of a shot, in one of which a value must be seen
BODY = 0.5  # metres from a character within which it may hide the place
PLAIN = 0.2  # metres: if the view may be farther off, it does not fix where a character stands
# ranges of a ball in a hand, in metres: distance from the middle of the character, and height
ASIDE, HELD = (0.22, 0.72), (0.40, 0.95)
FLOOR = 0.36  # metres: a lower ball has touched the floor, and is not caught any more
KEPT = (0.48, 0.74)  # metres: range of heights of a ball in a hand that hangs
# metres: usual distance of a held ball from its character; its largest height in a catch, and after
HAND, CAUGHT, LOWERED = 0.46, 1.1, 0.8
STEADY = (0.1, 0.2)  # metres across and up that a held ball moves between two frames, at most
GONE = 0.75  # metres: a ball farther than this from its thrower has been thrown


@dataclasses.dataclass(frozen=True)
class Moment:
    """The state that the first or the last frames of a shot show.

    Attributes:
        lamp: 1 is on, 0 off.
        door: 1 is open, 0 closed; None if it is not seen.
        score: number of lit lamps on the score board; None if it is not seen.
        people: the characters, from left to right.
        ball: (x, y) of the ball in metres from the left wall and the floor, where it is seen
            nearest to this end of the shot; None if the shot shows none.
    """

    lamp: int
    door: int | None
    score: int | None
    people: tuple[Person, ...]
    ball: tuple[float, float] | None

    @property
    def holder(self) -> int | None:
        """The index in `people` of the character that has the ball in a hand; None if none has."""
        if self.ball is None:
            return None
        x, y = self.ball
        far = [abs(x - person.x) for person in self.people]
        near = [i for i, part in enumerate(far) if ASIDE[0] < part < ASIDE[1]]
        if not near or not HELD[0] < y < HELD[1]:
            return None
        return min(near, key=far.__getitem__)


@dataclasses.dataclass(frozen=True)
class Shot:
    """What one shot shows.

    Attributes:
        place: a name in storyboard.PLACES; None if it is none of them.
        frame: frame size, a name in storyboard.FRAMES.
        move: move of the camera, a name in storyboard.MOVES.
        placed: True if the view fixes where characters stand; False for a close-up before a plain
            wall, and if the place is unknown.
        start, end: the state at the start and at the end of the shot.
        colour: of the ball, a name in COLOURS; None if no ball is seen.
        throw: outcome of a throw, "caught" or "missed"; None if no throw is seen.
        hats: number of hats at the end less that at the start; None if that cannot be told.
    """

    place: str | None
    frame: str
    move: str
    placed: bool
    start: Moment
    end: Moment
    colour: str | None
    throw: str | None
    hats: int | None

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON values, with positions rounded to 1 cm."""
        fields = dataclasses.asdict(self)
        for name in ("start", "end"):
            moment = fields[name]
            moment["people"] = [
                person | {"x": round(person["x"], 2)} for person in moment["people"]
            ]
            if moment["ball"]:
                moment["ball"] = [round(part, 2) for part in moment["ball"]]
        return fields


def read_shots(frames: np.ndarray, starts: Sequence[int]) -> list[Shot]:
    """Returns what each shot of a clip shows, except those of less than MIN_FRAMES frames.

    Args:
        frames: square, [F, H, H, 3] in [0, 1].
        starts: index of the first frame of each shot except the first.
    """
    frames = resampled(frames)
    bounds = [0, *starts, len(frames)]
    return [_read_shot(frames[a:b]) for a, b in itertools.pairwise(bounds) if b - a >= MIN_FRAMES]


def _read_shot(frames: np.ndarray) -> Shot:
    sight = find_sight(frames)
    frames = soft(frames)
    states = read_states(frames, sight)
    people = find_people(frames, states.pictures, sight)
    states = read_states(frames, sight, _hidden(people, sight, frames.shape[1]))
    ball = find_ball(frames, sight, people)
    known = sight.agreement >= KNOWN
    placed = known and (sight.base.frame != "close-up" or sight.spread <= PLAIN)
    moments = [_moment(sight, states.door, states.score, people, ball, end) for end in (0, -1)]
    hats = [[person.hat for person in moment.people] for moment in moments]
    told = None not in hats[0] + hats[1]
    return Shot(
        PLACES[sight.place] if known else None,
        sight.base.frame,
        sight.move,
        placed,
        moments[0],
        moments[1],
        ball.colour,
        _throw(people, ball),
        sum(map(bool, hats[1])) - sum(map(bool, hats[0])) if told else None,
    )


def _hidden(people: list[list[Person]], sight: Sight, size: int) -> np.ndarray:
    """Returns a mask of the columns of each frame in which a character may hide the place, bool
    [F, size].
    """
    left, width = sight.views[:, :1], sight.views[:, 2:]
    x = left + (np.arange(size) + 0.5) / size * width
    hidden = np.zeros(x.shape, bool)
    for number, present in enumerate(people):
        for person in present:
            hidden[number] |= np.abs(x[number] - person.x) < BODY
    return hidden


def _moment(
    sight: Sight,
    door: np.ndarray,
    score: np.ndarray,
    people: list[list[Person]],
    ball: StoryBall,
    end: int,
) -> Moment:
    """Returns the state at one end of a shot: the values that are seen nearest to it.

    Args:
        sight: place, style and view of the shot.
        door, score: the values read in each frame, [F], or UNSEEN.
        people: the characters in each frame.
        ball: the ball.
        end: 0 for the start of the shot, -1 for its end.
    """
    seen = ball.position[np.isfinite(ball.position[:, 0])]
    x, y = map(float, seen[end]) if len(seen) else (0.0, 0.0)
    return Moment(
        int(sight.lamp[end]),
        _nearest(door, end),
        _nearest(score, end),
        tuple(people[end]),
        (x, y) if len(seen) else None,
    )


def _nearest(values: np.ndarray, end: int) -> int | None:
    """Returns the value of `values` [F] that is seen nearest to one end of a shot (0: its start,
    -1: its end); None if none of the ENDS frames there shows one.
    """
    near = values[:ENDS] if end == 0 else values[-ENDS:]
    seen = near[near != UNSEEN]
    return int(seen[end]) if len(seen) else None


def _throw(people: list[list[Person]], ball: StoryBall) -> str | None:
    """Returns the outcome of a throw between two characters, "caught" or "missed"; None if no throw
    is seen.
    """
    both = [
        number
        for number, present in enumerate(people)
        if len(present) == 2 and np.isfinite(ball.position[number, 0])
    ]
    if not both:
        return None
    # of the ball from each character, [frames, 2, 2]
    away = np.array([[ball.position[i] - (one.x, 0.0) for one in people[i]] for i in both])
    thrower = int(np.abs(np.abs(away[0, :, 0]) - HAND).argmin())
    if np.abs(away[:, thrower, 0]).max() < GONE:
        return None
    x, y = away[:, 1 - thrower].T
    near = (np.abs(x) > ASIDE[0]) & (np.abs(x) < ASIDE[1]) & (y > HELD[0]) & (y < CAUGHT)
    steady = (np.abs(np.diff(x)) < STEADY[0]) & (np.abs(np.diff(y)) < STEADY[1])
    steady &= y[1:] < LOWERED
    in_hand = np.abs(np.abs(x) - HAND) < 0.09
    steady[-1:] |= (in_hand[:-1] & in_hand[1:])[-1:]  # the hand may still go down
    gone = np.abs(away[1:, thrower, 0]) > ASIDE[1]
    gone = np.logical_or.accumulate(gone)
    held = bool(np.abs(x[-1]) < ASIDE[1] and KEPT[0] < y[-1] < KEPT[1])
    bounced = np.logical_or.accumulate(gone & (y[1:] < FLOOR))
    lands = near[:-1] & near[1:] & steady & gone & ~bounced
    return "caught" if (lands[:-1].any() and held) or lands[-1:].any() else "missed"
