"""The free flight of a ball in a clip of family `court`: what the first frames show, and what it
reaches.

x and y + g t^2 / 2, linear in time, are fitted to the first frames, one more after the other, until
the flight itself says that it reaches something solid: a rim, the board, bar, keeper, net, floor or
wall. A ball that leaves the flight earlier than that was pushed by nothing.

Units: metres, seconds.
"""

import dataclasses

import numpy as np

from sora_jax.worlds.playhouse.families.furniture import EXTENT

OFF = 0.08  # metres off a flight: more is another course
SLACK = 0.08  # metres: error of a place at the end of a clip or on a platform
FASTER = 1.15  # of the speed that a ball's first energy allows
# seconds in which a ball that has touched the floor is about where this restitution has it
SKIP, REBOUND = 0.1, 0.7
LAG, LEVEL, HOVER, CARRIED = 0.125, 0.35, 0.375, 0.1  # s; share of g T^2; s; m (`hovers`)
REACH = 1.0 / 400.0  # seconds between two places of a flight that are looked at


@dataclasses.dataclass(frozen=True)
class Flight:
    """A free flight, and how it ends.

    Attributes:
        start: (x, y) in metres at t = 0.
        speed: (u, v) in m/s at t = 0.
        gravity: m/s^2.
        frames: how many it was fitted to.
        reaches: the name of the first solid thing on its way, "" for none.
        time: when it is pushed first, s.
        why: the ball is on no flight, for this reason; "" if it is.
    """

    start: np.ndarray
    speed: np.ndarray
    gravity: float
    frames: int
    reaches: str
    time: float
    why: str = ""

    def at(self, t) -> np.ndarray:
        """Places [..., 2] in metres at times t [...] in s."""
        t = np.asarray(t)[..., None]
        return self.start + self.speed * t - np.array([0.0, 0.5 * self.gravity]) * t**2

    def velocity(self, t: float) -> np.ndarray:
        """(u, v) in m/s at t."""
        return self.speed - np.array([0.0, self.gravity * t])


def fit_flight(t, x, radius, gravity, solids, keeper) -> Flight:
    """The flight that the first frames show: places x [N, 2] at times t [N] of a ball of `radius`,
    with solids [(shape, name)] in its way, of which the keeper is raised by keeper(times) metres.
    """
    z = x + np.array([0.0, 0.5 * gravity]) * t[:, None] ** 2
    for n in range(2, len(t) + 1):
        speed, start = np.polyfit(t[:n], z[:n], 1)
        flight = Flight(start, speed, gravity, n, "", np.inf)
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
    last_floor = {name: time + SKIP * (name == "floor") for name, time in first.items()}
    return (min(last_floor, key=last_floor.get), min(first.values())) if first else None


def too_fast(t, x, velocity, gravity: float) -> bool:
    """Is a step between frames longer than the energy of the first one allows?"""
    energy = 0.5 * np.sum(np.square(velocity)) + gravity * x[0, 1]
    most = np.sqrt(
        np.maximum(2.0 * (energy - gravity * np.minimum(x[1:, 1], x[:-1, 1])), 0.0)
    ) * np.diff(t)
    return bool((np.linalg.norm(np.diff(x, axis=0), axis=-1) > FASTER * most + SLACK).any())


def hovers(x, fps: float, gravity: float, height) -> bool:
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
