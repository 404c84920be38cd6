"""Reads a track as pieces of free flight and of rolling: where the ball was pushed, and how it
moved in between.

Between contacts a ball of this world obeys, with the known gravity g,

    x(t) = x0 + u t,                                                                             (1)
    y(t) = y0 + v t - g t^2 / 2 (flight)   or   y(t) = y0 close to its radius (floor)

so z = y + g t^2 / 2 is linear in flight and every piece is a straight-line fit, whose squared error
over frames i..j comes from cumulative sums. The pieces are found exactly, by dynamic programming
over the change points, minimising

    sum over pieces of  SSE / sigma^2 + penalty                                                  (2)

The instant of a contact is where the two fitted pieces meet: between two flights their difference
is linear, d(t) = d0 + w t, and

    t = - d0 . w / w . w                                                                         (3)

so it is known far below the frame interval. From a flight to the floor it is the root of y(t) =
radius.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from sora_jax.oracles.tracker import EXTENT, Track

GRAVITY = 9.8  # m/s^2: a public constant of the world
# metres: least and greatest noise of a tracked position believed in, 0.4 and 0.8 pixels at 64
# pixels
SIGMA = (0.025, 0.05)
TREMBLE = 1.2  # sigma in units of the noise measured
PENALTY = 10.0  # price of a piece, in units of (2)
SHORT = 60.0  # price of a piece that a single frame makes up: nothing can be read from it
FLOOR_SLACK = 0.04  # metres: how far a resting ball's centre may be from its radius
PASSIVE = 1.1  # greatest restitution of a bounce: 1, and a tenth for the noise of the velocities
KINK = 0.45  # m/s: a smaller change of velocity is not a contact
# m/s: such changes come to no more where nothing pushes; in 281 tracks of lawful clips, and blurred
# or coded ones, to none
DRIFT = 0.15


@dataclasses.dataclass(frozen=True)
class Piece:
    """Frames first..last (inclusive) on one curve of (1): x0, u, y0, v refer to t = 0 s;
    acceleration a is -g or 0.
    """

    first: int
    last: int
    x0: float
    u: float
    y0: float
    v: float
    a: float

    def at(self, t: float) -> np.ndarray:
        return np.array([self.x0 + self.u * t, self.y0 + self.v * t + 0.5 * self.a * t * t])

    def velocity(self, t: float) -> np.ndarray:
        return np.array([self.u, self.v + self.a * t])


@dataclasses.dataclass(frozen=True)
class Kink:
    """A contact read from a track: time in s; kind "floor", "wall" or "ball"; velocities before and
    after in m/s.
    """

    time: float
    kind: str
    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def speed(self) -> float:
        """Size of the change of velocity, m/s."""
        return float(np.hypot(self.after[0] - self.before[0], self.after[1] - self.before[1]))

    @property
    def rebounds(self) -> bool:
        """A bounce: up again from the floor, and no faster than down, for a floor gives back no
        more than it takes.
        """
        return self.kind == "floor" and KINK < self.after[1] <= PASSIVE * -self.before[1]


def _line_fits(t, y, w):
    """Weighted straight lines through all runs i..j: SSE, offset, slope, each [F, F], and the
    number of frames with a position.
    """
    n, st, sy, stt, sty, syy = (
        np.concatenate([[0.0], np.cumsum(w * q)])
        for q in (np.ones_like(t), t, y, t * t, t * y, y * y)
    )
    n, st, sy, stt, sty, syy = (c[None, 1:] - c[:-1, None] for c in (n, st, sy, stt, sty, syy))
    m = np.maximum(n, 1.0)
    vt, cty, vy = stt - st * st / m, sty - st * sy / m, syy - sy * sy / m
    slope = np.where(vt > 1e-9, cty / np.maximum(vt, 1e-9), 0.0)
    return np.maximum(vy - slope * cty, 0.0), (sy - slope * st) / m, slope, n


def fit(seen: Track, fps: float) -> list[Piece]:
    """The pieces of a track, in order, covering all frames (equation (2)).

    Frames without a position carry no weight.

    sigma comes from the track: first a coarse fit with SIGMA[1], then the one that its median
    residual asks for, at least SIGMA[0]; so a sharp track shows its smallest hop, and a trembling
    one does not fall to pieces.
    """
    runs = _Runs(seen, fps)
    coarse = runs.pieces(SIGMA[1])
    sigma = TREMBLE * runs.noise(coarse)
    return runs.pieces(float(np.clip(sigma, *SIGMA)))


def cost(seen: Track, fps: float, gravity: float) -> float:
    """The least of (2) for a track if gravity were `gravity` m/s^2, at the least noise believed
    in.
    """
    return _Runs(seen, fps, gravity).division(SIGMA[0])[0]


class _Runs:
    """Both fits of (1) for every run of frames i..j of a track, [F, F] each."""

    def __init__(self, seen: Track, fps: float, gravity: float | None = None):
        self.gravity = GRAVITY if gravity is None else gravity
        frames = len(seen.position)
        self.t = t = (np.arange(frames) + 0.5) / fps
        self.w = w = (np.isfinite(seen.position[:, 0]) & (seen.copies > 0)).astype(float)
        self.x, self.y = x, y = np.nan_to_num(seen.position).T
        radius = np.nanmedian(seen.radius)
        self.shift = t.mean()  # for the cumulative sums' accuracy
        centred = t - self.shift
        self.x_sse, self.x0, self.u, self.n = _line_fits(centred, x, w)
        self.z_sse, self.z0, self.v, _ = _line_fits(centred, y + 0.5 * self.gravity * centred**2, w)
        level_sse, mean, _, _ = _line_fits(np.zeros_like(t), y, w)
        self.level = np.clip(mean, radius - FLOOR_SLACK, radius + FLOOR_SLACK)
        self.y_sse = level_sse + self.n * (mean - self.level) ** 2

    def division(self, sigma: float) -> tuple[float, list[tuple[int, int, bool]]]:
        """The least of (2) for a noise of sigma metres, and its pieces: first and last frame, and
        whether on the floor.
        """
        frames = len(self.t)
        price = np.where(self.n >= 2, PENALTY, SHORT)
        flight = (self.x_sse + self.z_sse) / sigma**2 + price
        floor = (self.x_sse + self.y_sse) / sigma**2 + price - 1.0  # one number fewer to fit
        cost = np.minimum(flight, floor)
        best, back = np.zeros(frames + 1), np.zeros(frames + 1, int)
        for j in range(frames):
            options = best[: j + 1] + cost[: j + 1, j]
            back[j + 1] = np.argmin(options)
            best[j + 1] = options[back[j + 1]]
        found, j = [], frames
        while j > 0:
            i, k = back[j], j - 1
            found.append((i, k, bool(floor[i, k] < flight[i, k])))
            j = i
        return float(best[frames]), found[::-1]

    def pieces(self, sigma: float) -> list[Piece]:
        """The best division into pieces for a noise of sigma metres."""
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
        """Robust standard deviation in metres of the positions around the pieces, corrected for the
        numbers fitted.
        """
        residuals = []
        for piece in pieces:
            for f in range(piece.first, piece.last + 1):
                if self.w[f]:
                    residuals.extend(np.abs(piece.at(self.t[f]) - (self.x[f], self.y[f])))
        free = max(len(residuals) - 4 * len(pieces), 1)
        return 1.4826 * float(np.median(residuals)) * np.sqrt(len(residuals) / free)


def _meeting(a: Piece, b: Piece, low: float, high: float) -> float:
    """When piece a turns into piece b, between the times low and high (equation (3))."""
    if a.a == b.a:
        d, w = a.at(0.0) - b.at(0.0), a.velocity(0.0) - b.velocity(0.0)
        time = -(d @ w) / max(w @ w, 1e-9)
    else:
        flying, lying, sign = (a, b, -1.0) if b.a == 0.0 else (b, a, 1.0)
        inside = flying.v**2 + 2.0 * GRAVITY * (flying.y0 - lying.y0)
        time = (flying.v - sign * np.sqrt(max(inside, 0.0))) / GRAVITY
        kink = a.u - b.u
        if abs(kink) > 2.0:  # pushed sideways: x is the sharper clock
            time = (b.x0 - a.x0) / kink
    slack = 0.3 * (high - low)
    return float(np.clip(time, low - slack, high + slack))


def tears(pieces: list[Piece], seen: Track, fps: float) -> int:
    """How often a track is torn: neighbouring pieces that come nowhere nearer than a radius between
    their frames. No contact does that.
    """
    radius, torn = float(np.nanmedian(seen.radius)), 0
    for a, b in itertools.pairwise(pieces):
        times = np.linspace((a.last + 0.5) / fps, (b.first + 0.5) / fps, 9)
        torn += min(np.linalg.norm(a.at(t) - b.at(t)) for t in times) > radius
    return torn


def _joints(pieces: list[Piece], fps: float) -> Iterator[tuple[Piece, Piece, float, np.ndarray]]:
    """(piece, the next, when the one becomes the other, the change of velocity) in order of
    time.
    """
    for a, b in itertools.pairwise(pieces):
        time = _meeting(a, b, (a.last + 0.5) / fps, (b.first + 0.5) / fps)
        yield a, b, time, b.velocity(time) - a.velocity(time)


def drifts(pieces: list[Piece], fps: float) -> int:
    """How often a ball that nothing pushes has another velocity by DRIFT than it had, by changes
    each too small for a contact.

    Sideways, and from flight to flight up and down too, gravity apart.
    """
    count, since = 0, pieces[0]
    for _, b, _, change in _joints(pieces, fps):
        if np.hypot(*change) >= KINK:
            since = b
        elif np.hypot(b.u - since.u, (b.v - since.v) * (b.a == since.a)) >= DRIFT:
            count, since = count + 1, b
    return count


def kinks(pieces: list[Piece], seen: Track, fps: float) -> list[Kink]:
    """The contacts between neighbouring pieces, in order of time; changes of velocity below KINK
    are left out.
    """
    radius = float(np.nanmedian(seen.radius))
    found = []
    for a, b, time, change in _joints(pieces, fps):
        if np.hypot(*change) < KINK:
            continue
        before, after = a.velocity(time), b.velocity(time)
        x, y = 0.5 * (a.at(time) + b.at(time))
        slack = 0.12
        if abs(y - radius) < slack and before[1] < -KINK and change[1] > KINK:
            kind = "floor"
        elif (x - radius < slack and change[0] > KINK) or (
            EXTENT - radius - x < slack and change[0] < -KINK
        ):
            kind = "wall"
        else:
            kind = "ball"
        found.append(Kink(time, kind, tuple(map(float, before)), tuple(map(float, after))))
    return found
