"""What came of a scene: its contacts, and its motion in pieces that can be read at any time.

Each piece begins at t0 and has constant acceleration,

    p(t) = p0 + v0 (t - t0) + a (t - t0)^2 / 2                                                   (1)

`simulate.py` makes them. A new piece begins where a contact, or a silent event, changes the motion.
"""

import dataclasses

import numpy as np

from sora_jax.worlds.playhouse.spec import Shape


@dataclasses.dataclass(frozen=True)
class Contact:
    """An impact. time in s; speeds along the normal in m/s.

    kind "floor" or "wall" (of the scene's bounds), "ball" or "shape": a is the ball, b the other
    ball, the shape, or -1. kind "crate": a is the shape that slides, b the shape that it meets, or
    -1 for a wall.
    """

    time: float
    kind: str
    a: int
    b: int
    speed: float
    rebound: float


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """Motion of K balls and S shapes, in pieces of equation (1).

    arcs[k]: float64 [M_k, 6]: start time, x, y, v_x, v_y, a_y of each piece of ball k. turns[k]:
    float64 [M_k, 4]: a_x, angle (rad), spin (rad/s), its rate (rad/s^2) at the same start times; ()
    if all are zero. shifts[s]: float64 [N_s, 6]: start time, displacement x, y from the shape's
    points, v_x, v_y, a_x; () if no shape moves.
    """

    arcs: tuple[np.ndarray, ...]
    contacts: tuple[Contact, ...]
    turns: tuple[np.ndarray, ...] = ()
    shifts: tuple[np.ndarray, ...] = ()

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Centres in metres, float64 [T, K, 2], at times [T] in seconds."""
        return self._evaluate(times)[0]

    def velocities(self, times: np.ndarray) -> np.ndarray:
        """Velocities in m/s, float64 [T, K, 2], at times [T] in seconds."""
        return self._evaluate(times)[1]

    def spins(self, times: np.ndarray) -> np.ndarray:
        """Angles in rad and spins in rad/s, counter-clockwise, float64 [T, K, 2], at times [T] in
        seconds.
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
        """How far each shape is from its points, metres, float64 [T, S, 2], at times [T] in
        seconds. S = 0 if no shape moves.
        """
        out = np.zeros((len(times), len(self.shifts), 2))
        for s, shifts in enumerate(self.shifts):
            start, x, y, vx, vy, ax = shifts[_piece(shifts[:, 0], times)].T
            dt = times - start
            out[:, s] = np.stack([x + vx * dt + 0.5 * ax * dt * dt, y + vy * dt], axis=-1)
        return out

    def bounces(self, ball: int) -> int:
        """How often the ball leaves the floor again."""
        return sum(c.kind == "floor" and c.a == ball and c.rebound > 0 for c in self.contacts)

    def _evaluate(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Equation (1): positions and velocities [T, K, 2]."""
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
    """Rows of `Trajectory.shifts` of a shape on a path, or None for one without."""
    knots = shape.path
    if not knots:
        return None
    pieces = []
    if knots[0][0] > 0.0:
        pieces.append((0.0, knots[0][1], knots[0][2], 0.0, 0.0, 0.0))
    for (t0, x0, y0), (t1, x1, y1) in zip(knots, knots[1:]):
        pieces.append((t0, x0, y0, (x1 - x0) / (t1 - t0), (y1 - y0) / (t1 - t0), 0.0))
    return [*pieces, (knots[-1][0], knots[-1][1], knots[-1][2], 0.0, 0.0, 0.0)]
