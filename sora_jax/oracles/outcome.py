"""Outcome of an action in a clip of family `court`, from pixels alone. The action is a throw at a
hoop, a shot at a goal or a jump over a gap. The outcome says whether the ball goes in (or lands on
the second platform), and what it touches before.

1. The furniture is read from the clip's background without balls (`court_furniture.py`).
2. The ball is followed as a disc (`disc.py`), so a net or rim in front of it does not bias its
   position.
3. The ball's course is the free flight of the first frames, up to the first solid object on its
   path (`court_flight.py`). A ball that leaves the flight earlier changed course without a contact,
   and one that continues it through the object was not stopped: neither has an outcome.
4. The outcome is named by the first object that the ball reaches, and by whether it then goes down
   through the hoop, or crosses the goal line and stays. `families/court_outcome.py` names outcomes
   of the exact trajectories in the same way. A jump is named by the ball's final position.

An outcome is read only if all of these hold:

- In all frames except one, the ball is found exactly once, there is no other ball, and the solid
  furniture is in its place (`missing`).
- The ball leaves its flight at the object that it reaches.
- The ball never exceeds the speed that its initial energy allows.
- The ball does not hover.

Units: metres, seconds. Limits: one ball, a static camera, furniture of this family, 64 pixels
or more. After the first contact only energy and hovering are checked, not every arc. A net or
the near half of a rim may be absent. Clips in which a path with another outcome is less than
MARGIN_PX pixels away (`Take.margin`) are not judged, because the difference is invisible.
"""

import dataclasses
import functools
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import Condition, corrupt, corrupt_motion, redrawn
from sora_jax.oracles.corruptions import (
    double,
    freeze,
    mirror,
    retimed,
    reverse,
    splice,
    swap,
    teleport,
    vanish,
)
from sora_jax.oracles.court_flight import SLACK, Flight, fit_flight, hovers, too_fast
from sora_jax.oracles.court_furniture import Furniture, missing, read_furniture, read_keeper
from sora_jax.oracles.disc import Disc, follow, still_picture
from sora_jax.oracles.examples import VIDEO, Example, shuffled
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.court import MARGIN_PX
from sora_jax.worlds.playhouse.families.court_captions import CourtFacts
from sora_jax.worlds.playhouse.families.furniture import BOARD, EXTENT, GOAL, HOOP_BACK, HOOP_FRONT
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import GRAVITIES, Shape
from sora_jax.worlds.playhouse.trajectory import Trajectory

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

LAWS = (GRAVITIES["earth"], GRAVITIES["mars"])  # m/s^2: the family's values of gravity
# metres: a contact deflects the ball from its flight by at least this in one of the
# TURN_FRAMES frames after it
MIN_TURN = 0.12
TURN_FRAMES = 3
MIN_APPROACH = 0.5  # m/s: minimum horizontal speed towards the target
# minimum frames of a clip; maximum frames in which the ball may hide the keeper
MIN_FRAMES, MAX_LOST = 5, 3
# outcomes of a throw or shot in which the ball hits something
STOPPED = {"rim-in", "bank-in", "rim-out", "board-out", "saved", "post"}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """An action in a clip of family `court` and its outcome.

    Attributes:
        action: "throw", "shot" or "jump".
        direction: side of the target, "left" or "right".
        outcome: name of the outcome, such as "swish" or "saved"; None if none can be read.
        why: reason why `outcome` is None. Default "".
    """

    action: str
    direction: str
    outcome: str | None
    why: str = ""


def read_outcome(frames: np.ndarray, fps: float) -> Outcome | None:
    """Returns action and outcome of a clip of family `court`; None if no hoop, goal or platforms
    are visible.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.
    """
    frames = np.asarray(frames, np.float32)
    still = still_picture(frames)
    furniture = read_furniture(still)
    if furniture is None:
        return None
    if furniture.mirrored:
        frames, still = frames[:, :, ::-1], still[:, ::-1]
    ball = follow(frames, still, furniture.front, EXTENT)
    name, reason = None, _fault(frames, furniture, ball)
    if ball is not None and not reason:
        name, reason = _named(frames, fps, furniture, ball)
    return Outcome(furniture.action, "left" if furniture.mirrored else "right", name, reason)


def _fault(frames: np.ndarray, furniture: Furniture, ball: Disc | None) -> str:
    """Returns the reason why ball or furniture cannot be read; "" if they can. In all frames except
    one, there must be exactly one ball, and the furniture must be in its place.
    """
    if len(frames) < MIN_FRAMES:
        return f"the clip has {len(frames)} frames, too few: {MIN_FRAMES} are needed"
    if ball is None:
        return "no ball is found"
    if np.sum(~ball.found) > 1:
        return "the ball is missing in some frames"
    if np.sum(ball.twice) > 1:
        return "the ball appears twice"
    if np.sum(ball.others) > 1:
        return "another ball appears"
    return "the furniture changes" if np.sum(missing(frames, furniture, ball.area)) > 1 else ""


def _named(
    frames: np.ndarray, fps: float, furniture: Furniture, ball: Disc
) -> tuple[str | None, str]:
    """Returns (outcome, ""), or (None, reason why there is none that obeys the laws of motion)."""
    t, x = (np.arange(len(frames)) + 0.5) / fps, ball.position
    t, x = t[ball.found], x[ball.found]
    if furniture.action == "jump":
        return _jump(t, x, fps, ball.radius, furniture)
    solids = [(s, _name(s, furniture.action)) for s in furniture.shapes if s.material]
    heights = (
        read_keeper(frames, furniture, ball.area)
        if furniture.action == "shot"
        else np.zeros(len(frames))
    )
    visible = np.isfinite(heights)
    if np.sum(~visible) > MAX_LOST:
        return None, "no keeper is found"
    keeper = functools.partial(
        np.interp, xp=((np.arange(len(frames)) + 0.5) / fps)[visible], fp=heights[visible]
    )
    flights = [fit_flight(t, x, ball.radius, g, solids, keeper) for g in LAWS]
    flight = max(flights, key=attrgetter("frames"))
    if flight.reason:
        return None, flight.reason
    if flight.velocity(t[0])[0] < MIN_APPROACH:
        return None, "the ball does not move towards the target"
    if too_fast(t, x, flight.velocity(t[0]), flight.gravity):
        return None, "the ball exceeds the speed that its energy allows"
    if hovers(x, fps, flight.gravity, x[:, 1] - ball.radius):
        return None, "the ball hovers"
    after = (t > flight.time) & (t < flight.time + TURN_FRAMES / fps)
    if (
        flight.reaches
        and after.any()
        and np.linalg.norm(flight.at(t[after]) - x[after], axis=-1).max() < MIN_TURN
    ):
        return None, f"the ball goes through the {flight.reaches}"
    return {"throw": _throw, "shot": _shot}[furniture.action](t, x, ball.radius, furniture, flight)


def _name(shape: Shape, action: str) -> str:
    """Returns the name of a solid shape in an action: rim, board, bar, keeper or net."""
    if action == "throw":
        return "rim" if len(shape.points) == 1 else "board"
    return {"iron": "bar", "pad": "keeper", "net": "net"}[str(shape.material)]


def _crossings(
    t: np.ndarray, x: np.ndarray, axis: int, level: float
) -> list[tuple[float, float, float]]:
    """Returns (time, other coordinate, sign of the direction) of each crossing of the line x =
    level (axis 0) or y = level (axis 1) by a path of straight lines through positions x [N, 2].
    """
    p, q, crossings = x[:, axis], x[:, 1 - axis], []
    for i in np.flatnonzero((p[:-1] - level) * (p[1:] - level) < 0.0):
        share = (level - p[i]) / (p[i + 1] - p[i])
        crossings.append(
            (
                t[i] + share * (t[i + 1] - t[i]),
                q[i] + share * (q[i + 1] - q[i]),
                np.sign(p[i + 1] - p[i]),
            )
        )
    return crossings


def _throw(
    t: np.ndarray, x: np.ndarray, radius: float, furniture: Furniture, flight: Flight
) -> tuple[str | None, str]:
    h, top = furniture.shapes[0].points[0][1], furniture.shapes[2].points[1][1]
    through = [
        (time, sign) for time, x_at, sign in _crossings(t, x, 1, h) if HOOP_FRONT < x_at < HOOP_BACK
    ]
    down = [time for time, sign in through if sign < 0]
    hit = flight.reaches if flight.reaches in ("rim", "board") else ""
    if len(down) > 1 or (not down and through):
        return None, "the ball goes up through the hoop"
    if down:
        if hit and flight.time < down[0] + 0.5 * (t[1] - t[0]):
            return ("bank-in" if hit == "board" else "rim-in"), ""
        return "swish", ""
    if flight.time > t[-1]:
        return None, "the clip ends before the outcome"
    if hit:
        return ("board-out" if hit == "board" else "rim-out"), ""
    board_time = _when(flight, BOARD)
    if flight.at(board_time)[1] > top and board_time < min(flight.time, t[-1]):
        return "airball", ""
    end = flight.at(flight.time)[0]
    return (
        ("short", "")
        if flight.reaches == "floor" and end - radius < HOOP_BACK
        else (None, "the ball passes below the hoop")
    )


def _when(flight: Flight, x: float) -> float:
    """Returns the time at which a flight towards the target reaches x."""
    return (x - flight.start[0]) / flight.speed[0]


def _shot(
    t: np.ndarray, x: np.ndarray, radius: float, furniture: Furniture, flight: Flight
) -> tuple[str | None, str]:
    h, line = furniture.shapes[0].points[0][1], _when(flight, GOAL)
    if line < flight.time and flight.at(line)[1] < h:
        if line > t[-1]:
            return None, "the clip ends before the outcome"
        return ("in", "") if x[-1, 0] > GOAL - SLACK else (None, "the ball leaves the goal again")
    if flight.time > t[-1]:
        return None, "the clip ends before the outcome"
    if flight.reaches not in ("keeper", "bar"):
        return None, "the ball misses the goal"
    if _crossings(t, x, 0, GOAL):
        return None, f"the ball goes in off the {flight.reaches}"
    return ("saved" if flight.reaches == "keeper" else "post"), ""


def _jump(
    t: np.ndarray, x: np.ndarray, fps: float, radius: float, furniture: Furniture
) -> tuple[str | None, str]:
    (edge, top), (far, low) = furniture.shapes[0].points[2], furniture.shapes[1].points[3]
    on = x[:, 0] < edge
    if (
        not on[0]
        or np.abs(x[on, 1] - top - radius)[: np.argmin(np.append(on, False))].max() > SLACK
    ):
        return None, "the ball does not roll on the first platform"
    speed = (x[1] - x[0]) / (t[1] - t[0])
    laws = [
        g
        for g in LAWS
        if not hovers(
            x, fps, g, x[:, 1] - radius - np.select([on, x[:, 0] > far - radius], [top, low], 0.0)
        )
    ]
    if not laws:
        return None, "the ball hovers"
    if all(too_fast(t, x, speed, g) for g in laws):
        return None, "the ball exceeds the speed that its energy allows"
    end = x[-1]
    if end[0] > far - SLACK and end[1] > low + radius - SLACK:
        below = (x[:, 0] > far - radius) & (x[:, 1] < low + radius - SLACK)
        return (
            ("lands", "")
            if not below.any()
            else (None, "the ball goes through the second platform")
        )
    if edge - SLACK < end[0] < far + SLACK and end[1] < low:
        return "falls", ""
    return None, "the clip ends before the outcome"


def _facts_of(take: Take) -> CourtFacts:
    assert isinstance(take.facts, CourtFacts)
    return take.facts


@corrupt_motion
def unstopped(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with a ball that passes through everything except floor
    and walls.

    Jumps are unchanged: without platforms the ball would lie on nothing.
    """
    if _facts_of(c.take).action == "jump":
        return c.take.trajectory
    shapes = tuple(dataclasses.replace(s, material=None) for s in c.take.scene.shapes)
    motion = simulate(dataclasses.replace(c.take.scene, shapes=shapes), c.format.seconds)
    assert motion is not None  # every contact is accepted
    return motion


def _stopped(since: float, times: np.ndarray) -> np.ndarray:
    return np.minimum(times, since)


@corrupt_motion
def hovering(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with a ball that stops in the air for the rest of the
    clip: 0.1 s after its first contact or, in a jump, 0.1 s before it.
    """
    met = min((x.time for x in c.take.trajectory.contacts), default=c.format.seconds)
    since = met - 0.1 if _facts_of(c.take).action == "jump" else met + 0.1
    return retimed(c.take.trajectory, functools.partial(_stopped, since))


def _far_away(shape: Shape) -> Shape:
    return dataclasses.replace(shape, points=tuple((x + 100.0, y) for x, y in shape.points))


@corrupt(VIDEO)
def unfurnished(clips: list[Example]) -> list[Example]:
    """Corruption: the clips without the hoop, goal or platforms in the second half."""
    takes = []
    for c in clips:
        # Moved away, not removed: contacts refer to shapes by their index.
        shapes = tuple(map(_far_away, c.take.scene.shapes))
        takes.append(
            dataclasses.replace(c.take, scene=dataclasses.replace(c.take.scene, shapes=shapes))
        )
    return splice(clips, redrawn(clips, takes))


def _target(take: Take) -> tuple[str, str, str]:
    facts = _facts_of(take)
    return facts.action, facts.direction, facts.outcome


class OutcomeOracle(Oracle):
    """Oracle `outcome`: whether a throw, a shot or a jump of a court succeeds, and how it fails."""

    name = "outcome"
    media = (VIDEO,)
    tolerance = "the action, its side and its outcome"
    corruptions = (
        vanish,
        teleport,
        double,
        mirror,
        reverse,
        freeze,
        swap,
        unstopped,
        hovering,
        unfurnished,
    )
    stage = "court"

    def read(self, reading: "Reading") -> Outcome | None:
        """Returns the action of a clip and its outcome; None without a hoop, goal or platforms."""
        return read_outcome(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether action, direction and outcome are the take's; None if a path with another
        outcome is less than MARGIN_PX pixels away (`Take.margin_px`).
        """
        if example.take.margin_px(example.format.size) < MARGIN_PX:
            return None
        outcome = reading.of(self.name)
        return outcome is not None and _target(example.take) == (
            outcome.action,
            outcome.direction,
            outcome.outcome,
        )

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition can change the outcome of the example: False for `unstopped`
        and `hovering` if the ball hits nothing (jumps count for `hovering`), else True.
        """
        facts = _facts_of(example.take)
        if condition is unstopped:
            return facts.outcome in STOPPED
        if condition is hovering:
            return facts.outcome in STOPPED or facts.action == "jump"
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of another clip with another action, direction or
        outcome.
        """
        return shuffled(clips, _target)
