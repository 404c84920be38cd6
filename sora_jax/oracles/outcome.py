"""What is tried in a clip of family `court`, and what comes of it, from pixels alone: does the ball
go in, and what has it touched before?

1. The furniture is read from the still picture (`court_furniture.py`).
2. The ball is followed as a disc (`disc.py`), so that behind a net or a rim it is where it is.
3. Its course: free flight, x and y + g t^2 / 2 linear in time, fitted to the first frames, one more
   after the other, until the flight itself says that it reaches something solid: a rim, the board,
   bar, keeper, net, floor or wall. A ball that leaves the flight earlier than that was pushed by
   nothing, and one that goes on through what it reaches was not stopped: neither has a lawful
   outcome.
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

import numpy as np

from sora_jax.oracles.court_furniture import Furniture, missing, read_furniture, read_keeper
from sora_jax.oracles.disc import Disc, follow, still_picture
from sora_jax.worlds.playhouse.families.furniture import BOARD, EXTENT, GOAL, HOOP_BACK, HOOP_FRONT
from sora_jax.worlds.playhouse.spec import GRAVITIES, Shape

LAWS = (GRAVITIES["earth"], GRAVITIES["mars"])  # m/s^2: those that the family has
OFF = 0.08  # metres off a flight: more is another course
# metres off a flight in one of the TURNS frames after a contact: less, and it was none
TURNED = 0.12
TURNS = 3
SLACK = 0.08  # metres: error of a place at the end of a clip or on a platform
FASTER = 1.15  # of the speed that a ball's first energy allows
TOWARDS = 0.5  # m/s sideways at least
# seconds in which a ball that has touched the floor is about where this restitution has it
SKIP, REBOUND = 0.1, 0.7
LAG, LEVEL, HOVER, CARRIED = 0.125, 0.35, 0.375, 0.1  # s; share of g T^2; s; m (`_hovers`)
FEWEST, GONE = 5, 3  # frames that it takes; frames in which a ball may hide the keeper
REACH = 1.0 / 400.0  # seconds between two places of a flight that are looked at


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
    flights = [_flight(t, x, ball.radius, g, solids, keeper) for g in LAWS]
    flight = max(flights, key=lambda f: f.frames)
    if flight.why:
        return None, flight.why
    if flight.velocity(t[0])[0] < TOWARDS:
        return None, "it does not go towards the target"
    if _too_fast(t, x, flight.velocity(t[0]), flight.gravity):
        return None, "it is somewhere faster than its energy allows"
    if _hovers(x, fps, flight.gravity, x[:, 1] - ball.radius):
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


# The course.


@dataclasses.dataclass(frozen=True)
class _Flight:
    """x0, y0, u, v at t = 0 and g; frames that it was fitted to; what it reaches first, and when
    (s); why it is none.
    """

    start: np.ndarray
    speed: np.ndarray
    gravity: float
    frames: int
    reaches: str
    time: float
    why: str = ""

    def at(self, t) -> np.ndarray:
        t = np.asarray(t)[..., None]
        return self.start + self.speed * t - np.array([0.0, 0.5 * self.gravity]) * t**2

    def velocity(self, t: float) -> np.ndarray:
        return self.speed - np.array([0.0, self.gravity * t])


def _flight(t, x, radius, gravity, solids, keeper) -> _Flight:
    """Step 3: the flight that the first frames show."""
    z = x + np.array([0.0, 0.5 * gravity]) * t[:, None] ** 2
    for n in range(2, len(t) + 1):
        speed, start = np.polyfit(t[:n], z[:n], 1)
        flight = _Flight(start, speed, gravity, n, "", np.inf)
        if np.linalg.norm(flight.at(t[:n]) - x[:n], axis=-1).max() > OFF:
            return dataclasses.replace(
                flight, frames=n - 1, why="it leaves its course where nothing is"
            )
        times = np.arange(t[0], t[-1], REACH)
        reaches = _reached(flight.at(times), times, radius, solids, keeper)
        if reaches:
            flight = dataclasses.replace(flight, reaches=reaches[0], time=reaches[1])
            if n == len(t) or reaches[1] < t[n]:
                break
    return flight


def _reached(path, times, radius, solids, keeper) -> tuple[str, float] | None:
    """The first solid thing that a ball on a path [N, 2] comes upon, not the floor if another
    follows within SKIP, and when it is pushed first.
    """
    gaps = {"floor": path[:, 1] - radius}
    up = radius + REBOUND * (radius - path[:, 1])
    path = np.stack([path[:, 0], np.where(path[:, 1] < radius, up, path[:, 1])], axis=-1)
    gaps |= {"wall": np.minimum(path[:, 0], EXTENT - path[:, 0]) - radius}
    for shape, name in solids:
        (x0, y0), (x1, y1) = shape.points[0], shape.points[-1]
        a, b = np.array([x0, y0]), np.array([x1 - x0, y1 - y0])
        p = (
            path - np.stack([np.zeros(len(times)), keeper(times)], axis=-1)
            if name == "keeper"
            else path
        )
        along = np.clip((p - a) @ b / max(b @ b, 1e-9), 0.0, 1.0)
        gap = np.linalg.norm(p - a - along[:, None] * b, axis=-1) - shape.radius - radius
        gaps[name] = np.minimum(gaps.get(name, np.inf), gap)
    first = {name: times[np.argmax(gap < 0.0)] for name, gap in gaps.items() if (gap < 0.0).any()}
    return (
        (min(first, key=lambda name: first[name] + SKIP * (name == "floor")), min(first.values()))
        if first
        else None
    )


def _too_fast(t, x, velocity, gravity: float) -> bool:
    """Is a step between frames longer than the energy of the first one allows?"""
    energy = 0.5 * np.sum(np.square(velocity)) + gravity * x[0, 1]
    most = np.sqrt(
        np.maximum(2.0 * (energy - gravity * np.minimum(x[1:, 1], x[:-1, 1])), 0.0)
    ) * np.diff(t)
    return bool((np.linalg.norm(np.diff(x, axis=0), axis=-1) > FASTER * most + SLACK).any())


def _hovers(x, fps: float, gravity: float, height) -> bool:
    """Does a ball at places x [N, 2], `height` [N] metres over what could carry it, go on level, or
    stand, for HOVER seconds?

    Over a lag T the second difference of a free ball's y is -g T^2; that of one that is struck is
    greater, or that of its x is not 0.
    """
    lag = max(1, round(LAG * fps))
    bend = x[2 * lag :] - 2.0 * x[lag:-lag] + x[: -2 * lag]
    level = (
        (np.abs(bend[:, 0]) < OFF)
        & (np.abs(bend[:, 1]) < LEVEL * gravity * (lag / fps) ** 2)
        & (np.minimum(height[lag:-lag], height[2 * lag :]) > CARRIED)
    )
    need, run = max(2, round(HOVER * fps)), 0
    for one in level:
        run = run + 1 if one else 0
        if run >= need:
            return True
    return False


# The names.


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


def _throw(t, x, radius, there: Furniture, flight: _Flight) -> tuple[str | None, str]:
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


def _when(flight: _Flight, x: float) -> float:
    """When a flight towards the target is at x."""
    return (x - flight.start[0]) / flight.speed[0]


def _shot(t, x, radius, there: Furniture, flight: _Flight) -> tuple[str | None, str]:
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
        if not _hovers(
            x, fps, g, x[:, 1] - radius - np.select([on, x[:, 0] > far - radius], [top, low], 0.0)
        )
    ]
    if not laws:
        return None, "it hovers"
    if all(_too_fast(t, x, speed, g) for g in laws):
        return None, "it is somewhere faster than its energy allows"
    end = x[-1]
    if end[0] > far - SLACK and end[1] > low + radius - SLACK:
        below = (x[:, 0] > far - radius) & (x[:, 1] < low + radius - SLACK)
        return ("lands", "") if not below.any() else (None, "it goes through the second platform")
    if edge - SLACK < end[0] < far + SLACK and end[1] < low:
        return "falls", ""
    return None, "it is not over"
