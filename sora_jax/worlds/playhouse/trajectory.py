"""Trajectories: the contacts and the motion of a simulated scene, in pieces of closed form.

Each piece starts at t0 and has constant acceleration,

    p(t) = p0 + v0 (t - t0) + a (t - t0)^2 / 2                                                   (1)

so the motion can be evaluated at any time. `simulate.py` makes the pieces. A new piece starts
where a contact or a silent event (such as the start of rolling) changes the motion.
"""

import dataclasses
import itertools

import numpy as np

from sora_jax.worlds.playhouse.spec import Shape


@dataclasses.dataclass(frozen=True)
class Contact:
    """An impact of two bodies, or of a body and the bounds of the scene.

    Attributes:
        time: in seconds.
        kind: what a ball hits: "floor" or "wall" (the bounds), "ball" or "shape"; "crate" for an
            impact of a sliding crate on a shape or a wall.
        a: index of the ball; for "crate", of the crate among the shapes.
        b: index of the other ball, or of the shape that is hit; -1 for the bounds.
        speed: approach speed along the normal, m/s.
        rebound: separation speed along the normal, m/s.
    """

    time: float
    kind: str
    a: int
    b: int
    speed: float
    rebound: float


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """The motion of K balls and S shapes, in pieces of constant acceleration.

    A piece is p(t) = p0 + v0 (t - t0) + a (t - t0)^2 / 2 from its start t0 on.

    Attributes:
        arcs: for each ball, float64 [pieces, 6]: start time, x, y, v_x, v_y, a_y of each piece, in
            s and metres.
        contacts: the impacts, in order of time.
        turns: for each ball, float64 [pieces, 4]: a_x, angle (rad), spin (rad/s) and its rate
            (rad/s^2) of the same pieces. Default: (), all are zero.
        shifts: for each shape, float64 [pieces, 6]: start time, displacement x, y from
            `Shape.points`, v_x, v_y, a_x, in s and metres. Default: (), no shape moves.
    """

    arcs: tuple[np.ndarray, ...]
    contacts: tuple[Contact, ...]
    turns: tuple[np.ndarray, ...] = ()
    shifts: tuple[np.ndarray, ...] = ()

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Returns the balls' centres in metres, float64 [T, K, 2], at times [T] in seconds."""
        return self._evaluate(times)[0]

    def velocities(self, times: np.ndarray) -> np.ndarray:
        """Returns the balls' velocities in m/s, float64 [T, K, 2], at times [T] in seconds."""
        return self._evaluate(times)[1]

    def spins(self, times: np.ndarray) -> np.ndarray:
        """Returns the balls' angles (rad) and spins (rad/s), float64 [T, K, 2], at times [T] in
        seconds.

        Both are counter-clockwise. Without `turns` all are zero.
        """
        out = np.zeros((len(times), len(self.arcs), 2))
        for k, turns in enumerate(self.turns):
            piece = _piece(self.arcs[k][:, 0], times)
            dt = times - self.arcs[k][piece, 0]
            _, angle, spin, rate = turns[piece].T
            out[:, k] = np.stack(
                [angle + spin * dt + 0.5 * rate * dt * dt, spin + rate * dt], axis=-1
            )
        return out

    def displacements(self, times: np.ndarray) -> np.ndarray:
        """Returns the shapes' displacements in metres, float64 [T, S, 2], at times [T] in seconds.

        S = 0 if no shape moves.
        """
        out = np.zeros((len(times), len(self.shifts), 2))
        for s, shifts in enumerate(self.shifts):
            start, x, y, vx, vy, ax = shifts[_piece(shifts[:, 0], times)].T
            dt = times - start
            out[:, s] = np.stack([x + vx * dt + 0.5 * ax * dt * dt, y + vy * dt], axis=-1)
        return out

    def bounces(self, ball: int) -> int:
        """Returns the number of times that a ball, given by its index, hits the floor and leaves it
        again.
        """
        return sum(c.kind == "floor" and c.a == ball and c.rebound > 0 for c in self.contacts)

    def _evaluate(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns positions and velocities, each [T, K, 2]: equation (1)."""
        position, velocity = np.zeros((2, len(times), len(self.arcs), 2))
        for k, arcs in enumerate(self.arcs):
            piece = _piece(arcs[:, 0], times)
            start, x, y, vx, vy, ay = arcs[piece].T
            ax = self.turns[k][piece, 0] if self.turns else 0.0
            dt = times - start
            position[:, k] = np.stack(
                [x + vx * dt + 0.5 * ax * dt * dt, y + vy * dt + 0.5 * ay * dt * dt], axis=-1
            )
            velocity[:, k] = np.stack([vx + ax * dt, vy + ay * dt], axis=-1)
        return position, velocity


def _piece(starts: np.ndarray, times: np.ndarray) -> np.ndarray:
    return np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)


def path_pieces(shape: Shape) -> list[tuple[float, ...]] | None:
    """Returns the motion of a shape with a path, as rows (start time, x, y, v_x, v_y, a_x) of
    `Trajectory.shifts`; None without a path.
    """
    knots = shape.path
    if not knots:
        return None
    pieces = []
    if knots[0][0] > 0.0:
        pieces.append((0.0, knots[0][1], knots[0][2], 0.0, 0.0, 0.0))
    for (t0, x0, y0), (t1, x1, y1) in itertools.pairwise(knots):
        pieces.append((t0, x0, y0, (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0), 0.0))
    return [*pieces, (knots[-1][0], knots[-1][1], knots[-1][2], 0.0, 0.0, 0.0)]
