"""Free flight of the ball in a clip of family `court` (throws at a hoop, shots at a goal, jumps
over a gap): fitted to the first frames, up to the first solid object on its path.

Lines in time t are fitted to x and to y + g t^2 / 2 over the first frames, with gravity g. Frames
are added one at a time until the fitted flight itself reaches something solid: a rim, the board,
bar, keeper, net, floor or wall. A ball that leaves the flight earlier changed course without a
contact.

Units: metres, seconds.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from sora_jax.worlds.playhouse.families.furniture import EXTENT
from sora_jax.worlds.playhouse.spec import Shape

MAX_DEVIATION = 0.08  # metres: largest deviation of a position from the fitted flight
SLACK = 0.08  # metres: error of a position at the end of a clip or on a platform
SPEED_TOLERANCE = 1.15  # factor on the largest speed that the ball's initial energy allows
# After it touches the floor, a ball is assumed to rebound with restitution REBOUND (speed after
# over speed before). This is close enough for SKIP seconds, in which the next object counts as
# reached instead of the floor.
SKIP, REBOUND = 0.1, 0.7
# of `hovers`: lag T in s; share of g T^2; duration in s; height in metres
LAG, LEVEL, HOVER, CARRIED = 0.125, 0.35, 0.375, 0.1
REACH = 1.0 / 400.0  # seconds between two positions of a flight tested for contact


@dataclasses.dataclass(frozen=True)
class Flight:
    """A fitted free flight and its end.

    Attributes:
        start: position (x, y) in metres at t = 0.
        speed: velocity (u, v) in m/s at t = 0.
        gravity: m/s^2.
        frames: number of frames that the fit covers.
        reaches: name of the first solid object on the path; "" if none.
        time: time of the first contact in s; infinite if none.
        reason: why the positions are no free flight. Default: "", they are.
    """

    start: np.ndarray
    speed: np.ndarray
    gravity: float
    frames: int
    reaches: str
    time: float
    reason: str = ""

    def at(self, t: np.ndarray | float) -> np.ndarray:
        """Returns positions [..., 2] in metres at times t [...] in s."""
        t = np.asarray(t)[..., None]
        return self.start + self.speed * t - np.array([0.0, 0.5 * self.gravity]) * t**2

    def velocity(self, t: float) -> np.ndarray:
        """Returns (u, v) in m/s at time t in s."""
        return self.speed - np.array([0.0, self.gravity * t])


def fit_flight(
    t: np.ndarray,
    x: np.ndarray,
    radius: float,
    gravity: float,
    solids: Sequence[tuple[Shape, str]],
    keeper: Callable[[np.ndarray], np.ndarray],
) -> Flight:
    """Fits the free flight of a ball to its first frames, up to the first solid object on its path.

    Args:
        t, x: times [N] in s and positions [N, 2] in metres of the ball.
        radius: of the ball, metres.
        gravity: m/s^2.
        solids: (shape, name) of each solid object; several shapes may share a name.
        keeper: function of times [N] in s that returns how far above its shape's place the object
            named "keeper" is, [N] in metres.
    """
    z = x + np.array([0.0, 0.5 * gravity]) * t[:, None] ** 2
    for n in range(2, len(t) + 1):
        speed, start = np.polyfit(t[:n], z[:n], 1)
        flight = Flight(start, speed, gravity, n, "", np.inf)
        if np.linalg.norm(flight.at(t[:n]) - x[:n], axis=-1).max() > MAX_DEVIATION:
            return dataclasses.replace(
                flight, frames=n - 1, reason="the ball leaves its course without a contact"
            )
        times = np.arange(t[0], t[-1], REACH)
        reaches = _reached(flight.at(times), times, radius, solids, keeper)
        if reaches:
            flight = dataclasses.replace(flight, reaches=reaches[0], time=reaches[1])
            if n == len(t) or reaches[1] < t[n]:
                break
    return flight


def _reached(
    path: np.ndarray,
    times: np.ndarray,
    radius: float,
    solids: Sequence[tuple[Shape, str]],
    keeper: Callable[[np.ndarray], np.ndarray],
) -> tuple[str, float] | None:
    """Finds the first solid object on a path [N, 2] in metres at times [N] in s.

    Returns:
        (name, time of the first contact in s); None if the path reaches nothing. If another object
        follows the floor within SKIP seconds, its name is returned instead.
    """
    gaps = {"floor": path[:, 1] - radius}
    rebound = radius + REBOUND * (radius - path[:, 1])
    path = np.stack([path[:, 0], np.where(path[:, 1] < radius, rebound, path[:, 1])], axis=-1)
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
    return (min(last_floor, key=last_floor.__getitem__), min(first.values())) if first else None


def too_fast(t: np.ndarray, x: np.ndarray, velocity: np.ndarray, gravity: float) -> bool:
    """Returns whether the ball moves further between two frames than its initial energy allows.

    Args:
        t: times of the frames in s, [N].
        x: positions (x, y) in metres, [N, 2].
        velocity: velocity in m/s at the first frame, [2].
        gravity: m/s^2.
    """
    energy = 0.5 * np.sum(np.square(velocity)) + gravity * x[0, 1]
    limit = np.sqrt(
        np.maximum(2.0 * (energy - gravity * np.minimum(x[1:, 1], x[:-1, 1])), 0.0)
    ) * np.diff(t)
    return bool(
        (np.linalg.norm(np.diff(x, axis=0), axis=-1) > SPEED_TOLERANCE * limit + SLACK).any()
    )


def hovers(x: np.ndarray, fps: float, gravity: float, height: np.ndarray) -> bool:
    """Returns whether the ball moves without falling, or stands still, in the air for HOVER
    seconds.

    Over the lag T = LAG, the second difference of y of a free ball is -g T^2; that of a ball which
    hovers is near 0. A ball that strikes something is told apart by a large second difference.

    Args:
        x: positions [N, 2] in metres.
        fps: frames/s.
        gravity: m/s^2.
        height: [N], metres of the ball above the floor or the furniture below it.
    """
    lag = max(1, round(LAG * fps))
    curvature = x[2 * lag :] - 2.0 * x[lag:-lag] + x[: -2 * lag]
    level = (
        (np.abs(curvature[:, 0]) < MAX_DEVIATION)
        & (np.abs(curvature[:, 1]) < LEVEL * gravity * (lag / fps) ** 2)
        & (np.minimum(height[lag:-lag], height[2 * lag :]) > CARRIED)
    )
    min_run, run = max(2, round(HOVER * fps)), 0
    for is_level in level:
        run = run + 1 if is_level else 0
        if run >= min_run:
            return True
    return False
