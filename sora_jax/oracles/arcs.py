"""Splits a track (the positions of a ball in every frame) into pieces of free flight and of
rolling, and finds the contacts between them.

Between contacts a ball of this world obeys, with the known gravity g,

    x(t) = x0 + u t,                                                                             (1)
    y(t) = y0 + v t - g t^2 / 2 (flight)   or   y(t) = y0 close to its radius (floor)

so z = y + g t^2 / 2 is linear in flight, and every piece is a fit of straight lines to x and z (or
y), whose sum of squared errors SSE over frames i..j comes from cumulative sums. The pieces are
found exactly, by dynamic programming over the frames at which they change, minimizing

    sum over pieces of  SSE / sigma^2 + penalty                                                  (2)

with sigma the noise of a tracked position. The time of a contact is where the two fitted pieces
meet. Between two flights their difference is linear, d(t) = d0 + w t, and smallest at

    t = - d0 . w / w . w                                                                         (3)

so the time is known far more exactly than the time between two frames. From a flight to the floor
it is the root of y(t) = radius.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from sora_jax.oracles.tracker import EXTENT, Track

GRAVITY = 9.8  # m/s^2: a public constant of the world
# metres: bounds of sigma, the noise of a tracked position; 0.4 and 0.8 pixels at 64 pixels
SIGMA = (0.025, 0.05)
NOISE_FACTOR = 1.2  # sigma relative to the measured noise
PENALTY = 10.0  # penalty of a piece in (2)
SINGLE_PENALTY = 60.0  # penalty of a piece with a single frame, which determines no motion
FLOOR_SLACK = 0.04  # metres: largest distance of a resting ball's height from its radius
# largest restitution of a bounce: 1, plus 0.1 for the noise of the velocities
MAX_RESTITUTION = 1.1
KINK = 0.45  # m/s: a smaller change of velocity is not a contact
# m/s: total of smaller changes, without a contact, that counts as a gradual change of velocity. It
# was reached in none of 281 tracks of simulated clips, blurred or compressed ones included.
DRIFT = 0.15


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a ball's track without contacts: free flight, or rolling on the floor.

    Attributes:
        first, last: indices of its first and last frame.
        x0, u, y0, v: position x, velocity along x, position y and velocity along y, extrapolated
            to t = 0 s, in metres and m/s.
        a: vertical acceleration in m/s^2, -g in flight and 0 on the floor.
    """

    first: int
    last: int
    x0: float
    u: float
    y0: float
    v: float
    a: float

    def at(self, t: float) -> np.ndarray:
        """Returns the position (x, y) in metres at time t in s."""
        return np.array([self.x0 + self.u * t, self.y0 + self.v * t + 0.5 * self.a * t * t])

    def velocity(self, t: float) -> np.ndarray:
        """Returns the velocity (u, v) in m/s at time t in s."""
        return np.array([self.u, self.v + self.a * t])


@dataclasses.dataclass(frozen=True)
class Kink:
    """A contact read from a track: a change of velocity where two of its pieces meet.

    Attributes:
        time: in s.
        kind: what the ball touches: "floor", "wall", or "ball" for all changes elsewhere.
        before, after: velocities (u, v) just before and after, in m/s.
    """

    time: float
    kind: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def speed(self) -> float:
        """The magnitude of the change of velocity, m/s."""
        return float(np.hypot(self.after[0] - self.before[0], self.after[1] - self.before[1]))

    @property
    def rebounds(self) -> bool:
        """True for a bounce: the ball leaves the floor upwards, at most MAX_RESTITUTION times as
        fast as it came, because a floor returns at most the energy that it receives.
        """
        return self.kind == "floor" and KINK < self.after[1] <= MAX_RESTITUTION * -self.before[1]


def _line_fits(
    t: np.ndarray, y: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fits a straight line to the values of every run of frames i..j.

    Args:
        t: times [F] in s.
        y: values [F].
        w: weights [F], 0 for a frame without a position, else 1.

    Returns:
        (sum of squared errors, value at t = 0, slope, number of frames with a position), each
        [F, F]: element [i, j] is that of frames i..j.
    """
    # Cumulative sums: the sum over frames i..j is a difference of two, so all F^2 runs cost O(F^2).
    n, st, sy, stt, sty, syy = (
        np.concatenate([[0.0], np.cumsum(w * q)])
        for q in (np.ones_like(t), t, y, t * t, t * y, y * y)
    )
    n, st, sy, stt, sty, syy = (c[None, 1:] - c[:-1, None] for c in (n, st, sy, stt, sty, syy))
    m = np.maximum(n, 1.0)
    # m times the variance of t, the covariance of t and y, and the variance of y
    vt, cty, vy = stt - st * st / m, sty - st * sy / m, syy - sy * sy / m
    slope = np.where(vt > 1e-9, cty / np.maximum(vt, 1e-9), 0.0)
    return np.maximum(vy - slope * cty, 0.0), (sy - slope * st) / m, slope, n


def fit(track: Track, fps: float) -> list[Piece]:
    """Returns the pieces of a track between contacts, in order, covering all frames.

    They minimize the squared error plus a penalty for each piece (2). Frames without a position
    have weight 0. The noise sigma adapts to the track: a coarse fit uses SIGMA[1], and its median
    residual gives the final sigma, within SIGMA. So a precise track keeps its smallest hop, and a
    noisy track is not split into spurious pieces.

    Args:
        track: the positions of a ball.
        fps: frames/s.
    """
    runs = _Runs(track, fps)
    coarse = runs.pieces(SIGMA[1])
    sigma = NOISE_FACTOR * runs.noise(coarse)
    return runs.pieces(float(np.clip(sigma, *SIGMA)))


def cost(track: Track, fps: float, gravity: float) -> float:
    """Returns how badly a track fits flights under a gravity: the minimum of the cost (2), squared
    error plus penalties, with the smallest sigma.

    Args:
        track: the positions of a ball.
        fps: frames/s.
        gravity: assumed gravity of the flights, m/s^2.
    """
    return _Runs(track, fps, gravity).division(SIGMA[0])[0]


class _Runs:
    """The two fits of (1), flight and floor, to every run of frames i..j of a track. gravity is in
    m/s^2 (default None: GRAVITY).
    """

    def __init__(self, track: Track, fps: float, gravity: float | None = None) -> None:
        self.gravity = GRAVITY if gravity is None else gravity
        frames = len(track.position)
        self.t = t = (np.arange(frames) + 0.5) / fps
        self.w = w = (np.isfinite(track.position[:, 0]) & (track.copies > 0)).astype(float)
        self.x, self.y = x, y = np.nan_to_num(track.position).T
        radius = np.nanmedian(track.radius)
        self.shift = t.mean()  # centred times keep the cumulative sums accurate
        centred = t - self.shift
        self.x_sse, self.x0, self.u, self.n = _line_fits(centred, x, w)
        self.z_sse, self.z0, self.v, _ = _line_fits(centred, y + 0.5 * self.gravity * centred**2, w)
        level_sse, mean, _, _ = _line_fits(np.zeros_like(t), y, w)
        self.level = np.clip(mean, radius - FLOOR_SLACK, radius + FLOOR_SLACK)
        self.y_sse = level_sse + self.n * (mean - self.level) ** 2

    def division(self, sigma: float) -> tuple[float, list[tuple[int, int, bool]]]:
        """Returns (minimum of the cost (2) for a noise of sigma metres, its pieces as (first frame,
        last frame, True if on the floor)).
        """
        frames = len(self.t)
        penalty = np.where(self.n >= 2, PENALTY, SINGLE_PENALTY)
        flight = (self.x_sse + self.z_sse) / sigma**2 + penalty
        floor = (self.x_sse + self.y_sse) / sigma**2 + penalty - 1.0  # one parameter fewer
        cost = np.minimum(flight, floor)
        # best[j]: minimum of (2) over frames 0..j-1; back[j]: first frame of its last piece.
        best, back = np.zeros(frames + 1), np.zeros(frames + 1, int)
        for j in range(frames):
            options = best[: j + 1] + cost[: j + 1, j]
            back[j + 1] = np.argmin(options)
            best[j + 1] = options[back[j + 1]]
        pieces, j = [], frames
        while j > 0:
            i, k = back[j], j - 1
            pieces.append((i, k, bool(floor[i, k] < flight[i, k])))
            j = i
        return float(best[frames]), pieces[::-1]

    def pieces(self, sigma: float) -> list[Piece]:
        """Returns the pieces that minimize the cost (2) for a noise of sigma metres."""
        return [self._piece(*run) for run in self.division(sigma)[1]]

    def _piece(self, i: int, k: int, on_floor: bool) -> Piece:
        u, shift = self.u[i, k], self.shift
        x0 = self.x0[i, k] - u * shift
        if on_floor:
            return Piece(i, k, x0, u, self.level[i, k], 0.0, 0.0)
        v = self.v[i, k]
        g = self.gravity
        return Piece(i, k, x0, u, self.z0[i, k] - v * shift - 0.5 * g * shift**2, v + g * shift, -g)

    def noise(self, pieces: list[Piece]) -> float:
        """Returns a robust standard deviation of the positions around the pieces in metres,
        corrected for the number of fitted parameters.
        """
        residuals = []
        for piece in pieces:
            for f in range(piece.first, piece.last + 1):
                if self.w[f]:
                    residuals.extend(np.abs(piece.at(self.t[f]) - (self.x[f], self.y[f])))
        # 4 parameters per piece; 1.4826 times the median deviation estimates the standard deviation
        degrees = max(len(residuals) - 4 * len(pieces), 1)
        return 1.4826 * float(np.median(residuals)) * np.sqrt(len(residuals) / degrees)


def _meeting(a: Piece, b: Piece, low: float, high: float) -> float:
    """Returns the time in s at which piece a ends and piece b begins: equation (3), or the root of
    y(t) = radius. It lies between `low` and `high`, or slightly outside.
    """
    if a.a == b.a:  # gravity cancels in the difference of two flights, so (3) holds
        d, w = a.at(0.0) - b.at(0.0), a.velocity(0.0) - b.velocity(0.0)
        time = -(d @ w) / max(w @ w, 1e-9)
    else:
        flying, resting, sign = (a, b, -1.0) if b.a == 0.0 else (b, a, 1.0)
        g = -flying.a
        discriminant = flying.v**2 + 2.0 * g * (flying.y0 - resting.y0)
        time = (flying.v - sign * np.sqrt(max(discriminant, 0.0))) / g
        kink = a.u - b.u
        if abs(kink) > 2.0:  # m/s: after a strong sideways push, x gives the time more precisely
            time = (b.x0 - a.x0) / kink
    slack = 0.3 * (high - low)  # noise may place the contact slightly outside the interval
    return float(np.clip(time, low - slack, high + slack))


def tears(pieces: list[Piece], track: Track, fps: float) -> int:
    """Returns the number of gaps in a path, which no contact explains: two neighbouring pieces are
    nowhere within a radius of each other between the last frame of one and the first of the next.

    Args:
        pieces: of the track (`fit`).
        track: the positions of a ball.
        fps: frames/s.
    """
    radius, count = float(np.nanmedian(track.radius)), 0
    for a, b in itertools.pairwise(pieces):
        times = np.linspace((a.last + 0.5) / fps, (b.first + 0.5) / fps, 9)
        count += bool(min(np.linalg.norm(a.at(t) - b.at(t)) for t in times) > radius)
    return count


def _joints(pieces: list[Piece], fps: float) -> Iterator[tuple[Piece, Piece, float, np.ndarray]]:
    """Yields (piece, next piece, time of the transition in s, change of velocity [2] in m/s) of
    every two neighbouring pieces, in order of time.
    """
    for a, b in itertools.pairwise(pieces):
        time = _meeting(a, b, (a.last + 0.5) / fps, (b.first + 0.5) / fps)
        yield a, b, time, b.velocity(time) - a.velocity(time)


def drifts(pieces: list[Piece], fps: float) -> int:
    """Returns the number of gradual changes of velocity without a contact: successive changes that
    are each too small for a contact but together reach DRIFT m/s.

    Horizontal changes always count. Vertical ones, with gravity removed, count from flight to
    flight and from floor to floor.

    Args:
        pieces: of a track (`fit`).
        fps: frames/s.
    """
    count, since = 0, pieces[0]
    for _, b, _, change in _joints(pieces, fps):
        if np.hypot(*change) >= KINK:
            since = b
        elif np.hypot(b.u - since.u, (b.v - since.v) * (b.a == since.a)) >= DRIFT:
            count, since = count + 1, b
    return count


def kinks(pieces: list[Piece], track: Track, fps: float) -> list[Kink]:
    """Returns the contacts of a ball, in order of time: the changes of velocity of at least KINK
    m/s between neighbouring pieces of its track.

    Args:
        pieces: of the track (`fit`).
        track: the positions of a ball.
        fps: frames/s.
    """
    radius = float(np.nanmedian(track.radius))
    contacts = []
    for a, b, time, change in _joints(pieces, fps):
        if np.hypot(*change) < KINK:
            continue
        before, after = a.velocity(time), b.velocity(time)
        x, y = 0.5 * (a.at(time) + b.at(time))
        slack = 0.12  # metres
        if abs(y - radius) < slack and before[1] < -KINK and change[1] > KINK:
            kind = "floor"
        elif (x - radius < slack and change[0] > KINK) or (
            EXTENT - radius - x < slack and change[0] < -KINK
        ):
            kind = "wall"
        else:
            kind = "ball"
        contacts.append(
            Kink(
                time,
                kind,
                (float(before[0]), float(before[1])),
                (float(after[0]), float(after[1])),
            )
        )
    return contacts
