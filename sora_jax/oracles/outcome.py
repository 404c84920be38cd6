"""Outcome of an action in a clip of family `court`, from pixels alone: whether the ball goes in,
and what it touches before.

1. The furniture is read from the still picture (`court_furniture.py`).
2. The ball is followed as a disc (`disc.py`), so a net or rim in front of it does not bias its
   position.
3. The ball's course is the free flight of the first frames, up to the first solid object on its
   path (`court_flight.py`). A ball that leaves the flight earlier changed course without a contact.
   A ball that continues the flight through the object was not stopped. Neither has a lawful
   outcome.
4. The outcome is named by the first object that the ball reaches, and by whether it then goes down
   through the hoop, or crosses the goal line and stays. `families/court.py` names the outcomes of
   the exact trajectories in the same way. A jump is named by the ball's final position.

An outcome is read only if all of these hold:

- In all frames but one, the ball is found exactly once, there is no other ball, and the solid
  furniture is where it is in most frames (`missing`).
- The ball turns at the object that it reaches.
- The ball never exceeds the speed that its initial energy allows.
- The ball does not hover.

Units: metres, seconds. Limits: one ball, a static camera, furniture of this family, 64 pixels or
more. After the first contact only energy and hovering are checked, not every arc. A net or the near
half of a rim may be absent. Clips whose outcome hangs on less than 1.5 pixels (`Take.margin`) are
not judged, because the difference is invisible.
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
    swap,
    teleport,
    then,
    vanish,
)
from sora_jax.oracles.court_flight import SLACK, Flight, fit_flight, hovers, too_fast
from sora_jax.oracles.court_furniture import Furniture, missing, read_furniture, read_keeper
from sora_jax.oracles.disc import Disc, follow, still_picture
from sora_jax.oracles.examples import VIDEO, Example, shuffled
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.court import MARGIN_PX
from sora_jax.worlds.playhouse.families.furniture import BOARD, EXTENT, GOAL, HOOP_BACK, HOOP_FRONT
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import GRAVITIES, Shape
from sora_jax.worlds.playhouse.trajectory import Trajectory

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

LAWS = (GRAVITIES["earth"], GRAVITIES["mars"])  # m/s^2: the family's values of gravity
# metres: a contact deflects the ball from its flight by at least this in one of the TURNS frames
# after it
TURNED = 0.12
TURNS = 3
TOWARDS = 0.5  # m/s: least horizontal speed towards the target
FEWEST, GONE = 5, 3  # least frames of a clip; most frames in which the ball may hide the keeper
# outcomes of a throw or shot in which the ball hits something
STOPPED = {"rim-in", "bank-in", "rim-out", "board-out", "saved", "post"}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Action and outcome in a clip.

    Attributes:
        action: throw, shot or jump.
        direction: side of the target, "left" or "right".
        outcome: name of the outcome; None if there is no lawful one.
        why: reason why `outcome` is None.
    """

    action: str
    direction: str
    outcome: str | None
    why: str = ""


def read_outcome(frames: np.ndarray, fps: float) -> Outcome | None:
    """Reads action and outcome of a clip; None if no furniture of the family is visible.

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
    why = _wrong(frames, furniture, ball)
    name, why = (None, why) if why else _named(frames, fps, furniture, ball)
    return Outcome(furniture.action, "left" if furniture.mirrored else "right", name, why)


def _wrong(frames: np.ndarray, furniture: Furniture, ball: Disc | None) -> str:
    """Returns the reason why ball or furniture cannot be read; "" if they can. The ball must be
    present once and alone, and the furniture unchanged, in all frames but one.
    """
    if len(frames) < FEWEST:
        return "too few frames"
    if ball is None:
        return "no ball is found"
    if np.sum(~ball.found) > 1:
        return "the ball is not there in all frames"
    if np.sum(ball.twice) > 1:
        return "the ball is there twice"
    if np.sum(ball.others) > 1:
        return "there is another ball"
    return "what stands there changes" if np.sum(missing(frames, furniture, ball.area)) > 1 else ""


def _named(frames, fps, furniture: Furniture, ball: Disc) -> tuple[str | None, str]:
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
    kept = np.isfinite(heights)
    if np.sum(~kept) > GONE:
        return None, "there is no keeper"
    keeper = functools.partial(
        np.interp, xp=((np.arange(len(frames)) + 0.5) / fps)[kept], fp=heights[kept]
    )
    flights = [fit_flight(t, x, ball.radius, g, solids, keeper) for g in LAWS]
    flight = max(flights, key=attrgetter("frames"))
    if flight.why:
        return None, flight.why
    if flight.velocity(t[0])[0] < TOWARDS:
        return None, "it does not go towards the target"
    if too_fast(t, x, flight.velocity(t[0]), flight.gravity):
        return None, "it is somewhere faster than its energy allows"
    if hovers(x, fps, flight.gravity, x[:, 1] - ball.radius):
        return None, "it hovers"
    after = (t > flight.time) & (t < flight.time + TURNS / fps)
    if (
        flight.reaches
        and after.any()
        and np.linalg.norm(flight.at(t[after]) - x[after], axis=-1).max() < TURNED
    ):
        return None, f"it goes through the {flight.reaches}"
    return {"throw": _throw, "shot": _shot}[furniture.action](t, x, ball.radius, furniture, flight)


def _name(shape: Shape, action: str) -> str:
    if action == "throw":
        return "rim" if len(shape.points) == 1 else "board"
    return {"iron": "bar", "pad": "keeper", "net": "net"}[shape.material]


def _crossings(t, x, axis: int, where: float) -> list[tuple[float, float, float]]:
    """Returns the crossings of the line x = where (axis 0) or y = where (axis 1), as (time,
    other coordinate, sign of the direction). The positions [N, 2] are joined by straight lines.
    """
    p, q, found = x[:, axis], x[:, 1 - axis], []
    for i in np.flatnonzero((p[:-1] - where) * (p[1:] - where) < 0.0):
        share = (where - p[i]) / (p[i + 1] - p[i])
        found.append(
            (
                t[i] + share * (t[i + 1] - t[i]),
                q[i] + share * (q[i + 1] - q[i]),
                np.sign(p[i + 1] - p[i]),
            )
        )
    return found


def _throw(t, x, radius, furniture: Furniture, flight: Flight) -> tuple[str | None, str]:
    h, top = furniture.shapes[0].points[0][1], furniture.shapes[2].points[1][1]
    through = [
        (when, way) for when, at, way in _crossings(t, x, 1, h) if HOOP_FRONT < at < HOOP_BACK
    ]
    down = [when for when, way in through if way < 0]
    what = flight.reaches if flight.reaches in ("rim", "board") else ""
    if len(down) > 1 or (not down and through):
        return None, "it goes up through the hoop"
    if down:
        if what and flight.time < down[0] + 0.5 * (t[1] - t[0]):
            return ("bank-in" if what == "board" else "rim-in"), ""
        return "swish", ""
    if flight.time > t[-1]:
        return None, "it is not over"
    if what:
        return ("board-out" if what == "board" else "rim-out"), ""
    over = _when(flight, BOARD)
    if flight.at(over)[1] > top and over < min(flight.time, t[-1]):
        return "airball", ""
    ends = flight.at(flight.time)[0]
    return (
        ("short", "")
        if flight.reaches == "floor" and ends - radius < HOOP_BACK
        else (None, "it passes the hoop below")
    )


def _when(flight: Flight, x: float) -> float:
    """Returns the time at which a flight towards the target reaches x."""
    return (x - flight.start[0]) / flight.speed[0]


def _shot(t, x, radius, furniture: Furniture, flight: Flight) -> tuple[str | None, str]:
    h, line = furniture.shapes[0].points[0][1], _when(flight, GOAL)
    if line < flight.time and flight.at(line)[1] < h:
        if line > t[-1]:
            return None, "it is not over"
        return ("in", "") if x[-1, 0] > GOAL - SLACK else (None, "it comes out again")
    if flight.time > t[-1]:
        return None, "it is not over"
    if flight.reaches not in ("keeper", "bar"):
        return None, "it misses the goal"
    if _crossings(t, x, 0, GOAL):
        return None, f"it goes in off the {flight.reaches}"
    return ("saved" if flight.reaches == "keeper" else "post"), ""


def _jump(t, x, fps: float, radius, furniture: Furniture) -> tuple[str | None, str]:
    (edge, top), (far, low) = furniture.shapes[0].points[2], furniture.shapes[1].points[3]
    on = x[:, 0] < edge
    if (
        not on[0]
        or np.abs(x[on, 1] - top - radius)[: np.argmin(np.append(on, False))].max() > SLACK
    ):
        return None, "it does not roll on the first platform"
    speed = (x[1] - x[0]) / (t[1] - t[0])
    laws = [
        g
        for g in LAWS
        if not hovers(
            x, fps, g, x[:, 1] - radius - np.select([on, x[:, 0] > far - radius], [top, low], 0.0)
        )
    ]
    if not laws:
        return None, "it hovers"
    if all(too_fast(t, x, speed, g) for g in laws):
        return None, "it is somewhere faster than its energy allows"
    end = x[-1]
    if end[0] > far - SLACK and end[1] > low + radius - SLACK:
        below = (x[:, 0] > far - radius) & (x[:, 1] < low + radius - SLACK)
        return ("lands", "") if not below.any() else (None, "it goes through the second platform")
    if edge - SLACK < end[0] < far + SLACK and end[1] < low:
        return "falls", ""
    return None, "it is not over"


@corrupt_motion
def unstopped(c: Example) -> Trajectory:
    """Lets a ball pass through everything but floor and walls. Jumps are unchanged: without
    platforms the ball would lie on nothing.
    """
    if c.take.facts.action == "jump":
        return c.take.trajectory
    shapes = tuple(dataclasses.replace(s, material=None) for s in c.take.scene.shapes)
    return simulate(dataclasses.replace(c.take.scene, shapes=shapes), c.format.seconds)


def _stopped(since: float, times: np.ndarray) -> np.ndarray:
    return np.minimum(times, since)


@corrupt_motion
def hovering(c: Example) -> Trajectory:
    """Stops the ball in the air: 0.1 s after its first contact, or, in a jump, 0.1 s before."""
    met = min((x.time for x in c.take.trajectory.contacts), default=c.format.seconds)
    since = met - 0.1 if c.take.facts.action == "jump" else met + 0.1
    return retimed(c.take.trajectory, functools.partial(_stopped, since))


def _far_away(shape: Shape) -> Shape:
    return dataclasses.replace(shape, points=tuple((x + 100.0, y) for x, y in shape.points))


@corrupt(VIDEO)
def unfurnished(clips: list[Example]) -> list[Example]:
    """Removes the furniture from the second half of the clip."""
    takes = []
    for c in clips:
        # Moved away, not removed: contacts refer to shapes by their index.
        shapes = tuple(map(_far_away, c.take.scene.shapes))
        takes.append(
            dataclasses.replace(c.take, scene=dataclasses.replace(c.take.scene, shapes=shapes))
        )
    return then(clips, redrawn(clips, takes))


def _asked_for(take: Take) -> tuple[str, str, str]:
    return take.facts.action, take.facts.direction, take.facts.outcome


class OutcomeOracle(Oracle):
    """Outcome of a throw, a shot or a jump."""

    name = "outcome"
    media = (VIDEO,)
    tolerance = "what is tried, on which side, and what comes of it"
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
        """Returns the action and its outcome; None without furniture."""
        return read_outcome(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether action, direction and outcome are the take's; None if the outcome
        hangs on less than can be seen (`Take.margin_px`).
        """
        if example.take.margin_px(example.format.size) < MARGIN_PX:
            return None
        found = reading.of(self.name)
        return found is not None and _asked_for(example.take) == (
            found.action,
            found.direction,
            found.outcome,
        )

    def asked(self, condition: Condition, example: Example) -> bool:
        """Returns whether the corruption changes the outcome: `unstopped` needs a contact,
        `hovering` a contact or a jump.
        """
        facts = example.take.facts
        if condition is unstopped:
            return facts.outcome in STOPPED
        if condition is hovering:
            return facts.outcome in STOPPED or facts.action == "jump"
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Pairs every clip with the take of another clip with another action, direction or
        outcome.
        """
        return shuffled(clips, _asked_for)
