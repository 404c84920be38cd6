"""The balls and shapes of a simulation: their places, velocities and accelerations.

Equations are those of `simulate.py`.
"""

import math

from sora_jax.worlds.playhouse.spec import SURFACES, Ball, Shape

SLIP = 1e-9  # m/s: a smaller slip counts as rolling


class Line:
    """A straight piece of boundary that balls can touch: the floor, a wall or an edge of a shape.

    It has a unit normal (nx, ny) and a position `offset` along it, in metres. An edge also has a
    start and a length; floor and walls are infinite.
    """

    __slots__ = (
        "friction",
        "index",
        "kind",
        "length",
        "nx",
        "ny",
        "offset",
        "radius",
        "start",
        "surface",
    )

    def __init__(
        self,
        kind: str,
        index: int,
        surface: str,
        normal: tuple[float, float],
        offset: float,
        radius: float = 0.0,
        start: tuple[float, float] = (0.0, 0.0),
        length: float = math.inf,
    ) -> None:
        self.kind, self.index, self.surface, self.friction = (
            kind,
            index,
            surface,
            SURFACES[surface].friction,
        )
        self.nx, self.ny = normal
        self.offset, self.radius, self.start, self.length = offset, radius, start, length


class Solid:
    """Mutable state of a shape that balls can touch, at one time of a simulation.

    It has a displacement x, y in metres, a velocity vx, vy in m/s, and an acceleration ax along x
    in m/s^2.
    """

    __slots__ = (
        "ax",
        "bottom",
        "friction",
        "index",
        "inverse_mass",
        "knots",
        "left",
        "lines",
        "points",
        "radius",
        "restitution",
        "right",
        "surface",
        "top",
        "vx",
        "vy",
        "x",
        "y",
    )

    def __init__(self, index: int, shape: Shape) -> None:
        assert shape.material is not None, "a shape that is touched has a material"
        self.index, self.surface = index, shape.material
        self.points, self.radius = shape.points, shape.radius
        self.inverse_mass = 1.0 / shape.mass if shape.mass > 0.0 else 0.0
        self.friction, self.restitution = (
            SURFACES[shape.material].friction,
            SURFACES[shape.material].restitution,
        )
        self.knots = list(shape.path)
        self.x, self.y = self.knots[0][1:] if self.knots else (0.0, 0.0)
        self.vx, self.vy, self.ax = shape.velocity, 0.0, 0.0
        self.lines: list[Line] = []
        n = len(shape.points)
        for i in range(n if n > 1 else 0):
            (x0, y0), (x1, y1) = shape.points[i], shape.points[(i + 1) % n]
            dx, dy = x1 - x0, y1 - y0
            length = math.sqrt(dx * dx + dy * dy)
            # The normal points outwards for counter-clockwise corners. 0.0 - dx instead of -dx
            # avoids a negative zero.
            nx, ny = dy / length, 0.0 - dx / length
            # The tangent (ny, -nx) runs against the order of the corners, so the edge starts at its
            # second corner.
            self.lines.append(
                Line(
                    "shape",
                    index,
                    shape.material,
                    (nx, ny),
                    nx * x0 + ny * y0,
                    shape.radius,
                    (x1, y1),
                    length,
                )
            )
        xs, ys = [p[0] for p in shape.points], [p[1] for p in shape.points]
        self.left, self.right, self.bottom, self.top = min(xs), max(xs), min(ys), max(ys)

    def advance(self, dt: float) -> None:
        """Moves the shape on by `dt` seconds with constant acceleration."""
        self.x += self.vx * dt + 0.5 * self.ax * dt * dt
        self.y += self.vy * dt
        self.vx += self.ax * dt

    def slide(self, gravity: float) -> None:
        """Sets the acceleration of a sliding crate by friction on its ground; gravity is in
        m/s^2.
        """
        grip = self.friction * gravity
        braking = -grip if self.vx > 0.0 else grip
        self.ax = 0.0 if self.vx == 0.0 else braking

    def state(self, now: float) -> tuple[float, ...]:
        """Returns (time, x, y, vx, vy, ax) from the time `now` in s on, a row of
        `Trajectory.shifts`.
        """
        return (now, self.x, self.y, self.vx, self.vy, self.ax)


class Body:
    """Mutable state of one ball at one time of a simulation, in metres, seconds and radians.

    `support` is the line that it rests on; None in flight.
    """

    __slots__ = (
        "angle",
        "ax",
        "ay",
        "mass",
        "material",
        "radius",
        "spin",
        "spin_rate",
        "support",
        "vx",
        "vy",
        "x",
        "y",
    )

    def __init__(self, ball: Ball, gravity: float) -> None:
        self.x, self.y = ball.position
        self.vx, self.vy = ball.velocity
        self.radius, self.mass, self.material = ball.radius, ball.mass, ball.material
        self.angle, self.spin, self.spin_rate = 0.0, ball.spin, 0.0
        self.support: Line | None = None
        self.ax, self.ay = 0.0, -gravity

    def advance(self, dt: float) -> None:
        """Moves the ball on by `dt` seconds with constant acceleration, and turns it."""
        self.x += self.vx * dt + 0.5 * self.ax * dt * dt
        self.y += self.vy * dt + 0.5 * self.ay * dt * dt
        self.vx += self.ax * dt
        self.vy += self.ay * dt
        self.angle += self.spin * dt + 0.5 * self.spin_rate * dt * dt
        self.spin += self.spin_rate * dt

    def fly(self, gravity: float) -> None:
        """Makes the ball leave its support and fly; gravity is in m/s^2."""
        self.support, self.ax, self.ay, self.spin_rate = None, 0.0, -gravity, 0.0

    def slip(self) -> float:
        """Returns the speed in m/s of the ball's surface along its support, 0 for a ball that
        rolls.
        """
        line = self.support
        assert line is not None, "a ball in flight has no slip"
        return line.ny * self.vx - line.nx * self.vy + self.radius * self.spin

    def settle(self, line: Line, gravity: float) -> None:
        """Keeps the ball on a line, and sets its acceleration there: it slips or rolls.

        gravity is in m/s^2.
        """
        self.support = line
        tx, ty = line.ny, 0.0 - line.nx
        g_t, g_n, mu = 0.0 - ty * gravity, line.ny * gravity, line.friction
        a_t, self.spin_rate = g_t, 0.0
        if mu > 0.0:
            u = self.slip()
            if abs(u) <= SLIP and abs(g_t) / 3.0 <= mu * g_n:
                a_t = 2.0 * g_t / 3.0
                self.spin_rate = -a_t / self.radius
            else:
                positive = (g_t if abs(u) <= SLIP else u) > 0.0
                grip = mu * g_n if positive else -mu * g_n
                a_t = g_t - grip
                self.spin_rate = -2.0 * grip / self.radius
        self.ax, self.ay = tx * a_t, ty * a_t

    def state(self, now: float) -> tuple[float, ...]:
        """Returns (time, x, y, vx, vy, ay, ax, angle, spin, rate of spin) from the time `now` in s
        on: a piece of its motion.
        """
        return (
            now,
            self.x,
            self.y,
            self.vx,
            self.vy,
            self.ay,
            self.ax,
            self.angle,
            self.spin,
            self.spin_rate,
        )
