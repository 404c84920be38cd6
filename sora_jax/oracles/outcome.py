"""What is tried in a clip of family `court`, and what comes of it, from pixels alone: does the ball
go in, and what has it touched before?

1. The furniture is read from the still picture (`court_furniture.py`).
2. The ball is followed as a disc (`disc.py`), so that behind a net or a rim it is where it is.
3. Its course: the free flight that the first frames show, until it reaches something solid
   (`court_flight.py`). A ball that leaves the flight earlier than that was pushed by nothing, and
   one that goes on through what it reaches was not stopped: neither has a lawful outcome.
4. What it reaches first, and whether it then goes down through the hoop, or over the line of the
   goal and stays, names the outcome, as `families/court.py` does from the exact motion. A jump is
   named by where the ball ends.

An outcome is read only if, in all frames but one, the ball is there once, no other ball is, and
what is solid of the furniture is where it is in most (`missing`); if the ball turns where it
reaches something; if it is nowhere faster than its first energy allows; if it does not hover.

Units: metres, seconds. Limits: one ball, a still camera, furniture of this family, 64 pixels or
more. After the first contact only energy and hovering are looked at, not every arc; a net or the
near half of a rim may be absent. Clips whose outcome hangs on less than 1.5 pixels (`Take.margin`)
are not asked for, for nobody could see it.
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

LAWS = (GRAVITIES["earth"], GRAVITIES["mars"])  # m/s^2: those that the family has
# metres off a flight in one of the TURNS frames after a contact: less, and it was none
TURNED = 0.12
TURNS = 3
TOWARDS = 0.5  # m/s sideways at least
FEWEST, GONE = 5, 3  # frames that it takes; frames in which a ball may hide the keeper
# outcomes in which a thrown ball meets something
STOPPED = {"rim-in", "bank-in", "rim-out", "board-out", "saved", "post"}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """action: throw, shot or jump, at what stands on that side ("left" or "right"); outcome: its
    name, or None, and then `why` there is none.
    """

    action: str
    direction: str
    outcome: str | None
    why: str = ""


def read_outcome(frames: np.ndarray, fps: float) -> Outcome | None:
    """The outcome in a clip; None where nothing of the family's furniture is to be seen. frames:
    [F, H, W, 3] in [0, 1]; fps: frames/s.
    """
    frames = np.asarray(frames, np.float32)
    still = still_picture(frames)
    there = read_furniture(still)
    if there is None:
        return None
    if there.mirrored:
        frames, still = frames[:, :, ::-1], still[:, ::-1]
    ball = follow(frames, still, there.front, EXTENT)
    why = _wrong(frames, there, ball)
    name, why = (None, why) if why else _named(frames, fps, there, ball)
    return Outcome(there.action, "left" if there.mirrored else "right", name, why)


def _wrong(frames: np.ndarray, there: Furniture, ball: Disc | None) -> str:
    """What is wrong with a ball that is to be there once, in all frames but one, and alone, or with
    what stands there.
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
    return "what stands there changes" if np.sum(missing(frames, there, ball.area)) > 1 else ""


def _named(frames, fps, there: Furniture, ball: Disc) -> tuple[str | None, str]:
    t, x = (np.arange(len(frames)) + 0.5) / fps, ball.position
    t, x = t[ball.found], x[ball.found]
    if there.action == "jump":
        return _jump(t, x, fps, ball.radius, there)
    solids = [(s, _name(s, there.action)) for s in there.shapes if s.material]
    heights = (
        read_keeper(frames, there, ball.area) if there.action == "shot" else np.zeros(len(frames))
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
    return {"throw": _throw, "shot": _shot}[there.action](t, x, ball.radius, there, flight)


def _name(shape: Shape, action: str) -> str:
    if action == "throw":
        return "rim" if len(shape.points) == 1 else "board"
    return {"iron": "bar", "pad": "keeper", "net": "net"}[shape.material]


def _crossings(t, x, axis: int, where: float) -> list[tuple[float, float, float]]:
    """(time, the other coordinate, direction) of where the places [N, 2], joined by straight lines,
    pass x = where (axis 0) or y = where (1).
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


def _throw(t, x, radius, there: Furniture, flight: Flight) -> tuple[str | None, str]:
    h, top = there.shapes[0].points[0][1], there.shapes[2].points[1][1]
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
    """When a flight towards the target is at x."""
    return (x - flight.start[0]) / flight.speed[0]


def _shot(t, x, radius, there: Furniture, flight: Flight) -> tuple[str | None, str]:
    h, line = there.shapes[0].points[0][1], _when(flight, GOAL)
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


def _jump(t, x, fps: float, radius, there: Furniture) -> tuple[str | None, str]:
    (edge, top), (far, low) = there.shapes[0].points[2], there.shapes[1].points[3]
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
    """A thrown ball goes on through everything but floor and walls; a jump, which would lie on
    nothing, is as it was.
    """
    if c.take.facts.action == "jump":
        return c.take.trajectory
    shapes = tuple(dataclasses.replace(s, material=None) for s in c.take.scene.shapes)
    return simulate(dataclasses.replace(c.take.scene, shapes=shapes), c.format.seconds)


def _stopped(since: float, times: np.ndarray) -> np.ndarray:
    return np.minimum(times, since)


@corrupt_motion
def hovering(c: Example) -> Trajectory:
    """The ball stays in the air: after what it met first, or, in a jump, before."""
    met = min((x.time for x in c.take.trajectory.contacts), default=c.format.seconds)
    since = met - 0.1 if c.take.facts.action == "jump" else met + 0.1
    return retimed(c.take.trajectory, functools.partial(_stopped, since))


def _far_away(shape: Shape) -> Shape:
    return dataclasses.replace(shape, points=tuple((x + 100.0, y) for x, y in shape.points))


@corrupt(VIDEO)
def unfurnished(clips: list[Example]) -> list[Example]:
    """The second half shows no furniture."""
    takes = []
    for c in clips:
        # not removed: contacts name shapes by their place in the list
        shapes = tuple(map(_far_away, c.take.scene.shapes))
        takes.append(
            dataclasses.replace(c.take, scene=dataclasses.replace(c.take.scene, shapes=shapes))
        )
    return then(clips, redrawn(clips, takes))


def _asked_for(take: Take) -> tuple[str, str, str]:
    return take.facts.action, take.facts.direction, take.facts.outcome


class OutcomeOracle(Oracle):
    """What comes of a throw, a shot or a jump."""

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
        """The action and its outcome; None without furniture."""
        return read_outcome(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """None where the outcome hangs on less than can be seen (`Take.margin_px`)."""
        if example.take.margin_px(example.format.size) < MARGIN_PX:
            return None
        found = reading.of(self.name)
        return found is not None and _asked_for(example.take) == (
            found.action,
            found.direction,
            found.outcome,
        )

    def asked(self, condition: Condition, example: Example) -> bool:
        """A ball is stopped, and hovers, only where it meets something or jumps."""
        facts = example.take.facts
        if condition is unstopped:
            return facts.outcome in STOPPED
        if condition is hovering:
            return facts.outcome in STOPPED or facts.action == "jump"
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Clips with the take of another one of which something else is asked."""
        return shuffled(clips, _asked_for)
