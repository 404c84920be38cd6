"""The state of balls and shapes during a simulation: positions, velocities and accelerations.

Numbers of equations are those of `simulate.py`.
"""

import math

from sora_jax.worlds.playhouse.spec import SURFACES, Ball, Shape

SLIP = 1e-9  # m/s: a smaller slip counts as rolling


class Line:
    """A straight piece of boundary that balls can touch: the floor, a wall or an edge of a shape.

    Attributes:
        kind: "floor", "wall" or "shape".
        index: index of the shape whose edge it is; -1 for floor and walls.
        surface, friction: a name in SURFACES, and its Coulomb coefficient.
        nx, ny: unit normal, towards the balls.
        offset: position along the normal, in metres.
        radius: radius of the shape around its edge, in metres. Default: 0.
        start: (x, y) of the end from which the tangent (ny, -nx) runs along the edge, in metres.
            Default: (0, 0), unused for floor and walls.
        length: length of the edge in metres. Default: infinite, for floor and walls.
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

    Attributes:
        x, y: displacement from `Shape.points`, in metres.
        vx, vy: velocity in m/s.
        ax: acceleration along x in m/s^2.
        index: index of the shape in its scene.
        surface, friction, restitution: a name in SURFACES, and its coefficients.
        inverse_mass: 1 / mass; 0 for a shape that balls do not push.
        points, radius: those of the `Shape`.
        lines: its edges, without the displacement.
        left, right, bottom, top: bounds of `points`, in metres.
        knots: knots of its path from the last passed one on; [] without a path.
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
        """Sets the acceleration of a crate by friction on its ground, equation (7). gravity is in
        m/s^2.
        """
        grip = self.friction * gravity
        braking = -grip if self.vx > 0.0 else grip
        self.ax = 0.0 if self.vx == 0.0 else braking

    def state(self, now: float) -> tuple[float, ...]:
        """Returns (now, x, y, vx, vy, ax), a row of `Trajectory.shifts`. `now` is the current time
        in s.
        """
        return (now, self.x, self.y, self.vx, self.vy, self.ax)


class Body:
    """Mutable state of one ball at one time of a simulation, in metres, seconds and radians.

    Attributes:
        x, y, vx, vy, ax, ay: position, velocity and acceleration of the centre.
        angle, spin, spin_rate: angle and its first two derivatives, counter-clockwise.
        radius, mass, material: those of the `Ball`.
        support: the line on which it rests, slips or rolls; None in flight.
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
        """Returns the slip: the speed in m/s at which the ball's surface slides along its support,
        0 for a ball that rolls.
        """
        line = self.support
        assert line is not None, "a ball in flight has no slip"
        return line.ny * self.vx - line.nx * self.vy + self.radius * self.spin

    def settle(self, line: Line, gravity: float) -> None:
        """Makes a line the support of the ball and sets its acceleration there: it slips, equation
        (5), or rolls, (6).

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
        """Returns (now, x, y, vx, vy, ay, ax, angle, spin, spin_rate): a row of `Trajectory.arcs`,
        then one of `Trajectory.turns`. `now` is the current time in s.
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
