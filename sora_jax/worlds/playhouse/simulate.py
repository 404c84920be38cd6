"""Exact, event-driven simulation of balls among shapes.

Motion is in closed form between events, so there is no time step and no discretisation error.
Between events everything moves with constant acceleration,

    p(t) = p0 + v0 (t - t0) + a (t - t0)^2 / 2,      a = (0, -g) in flight                       (1)

and the next event is the earliest contact (`touch.py`) or silent event. A contact with normal n,
approach speed u and tangent t = (n_y, -n_x) gives the rebound and the impulses

    v_n' = e u,     e = restitution of the pair;     two balls: e = sqrt(e_a e_b)                (2)
    J = (1 + e) u / (1 / m_a + 1 / m_b),  along n; 1 / m = 0 of a fixed or driven shape          (3)
    J_t = -m u_t / 3, at most mu J in size,     u_t = v_t + r omega                              (4)

Equation (4) is Coulomb friction on a disc of inertia m r^2 / 2. It ends the slip u_t of the
surfaces, or only reduces it where mu J is the limit. Two balls, or a ball and a crate, touch
without friction. A crate moves along x only, so its 1 / m is multiplied by n_x^2 in (3).

A ball comes to rest if ground that is fixed and level enough gives it a rebound slower than
REST_SPEED (at 9.8 m/s^2; the threshold is proportional to g). The ball then stays on this support.
Along t, with g_t and g_n the components of gravity,

    slipping   a_t = g_t - sign(u_t) mu g_n,   r alpha = -2 sign(u_t) mu g_n,   until u_t = 0    (5)
    rolling    a_t = 2 g_t / 3,                  r alpha = -a_t,     if |g_t| / 3 <= mu g_n      (6)

and without friction a_t = g_t, alpha = 0. A sliding crate has a = -sign(v) mu g, until it stops
(7).

Silent events make no contact. They are the end of a slip (5) or slide (7), a knot of a paddle's
path, and the arrival of a ball at the end of its support. That ball flies off if the corner falls
away faster than the ball, v_t^2 >= g_n reach. A slower ball would turn about the corner, which has
no closed form: `NoClosedForm`.

All numbers are Python floats, combined by + - * / and sqrt in a fixed order. Results are bitwise
the same on any machine.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from sora_jax.worlds.playhouse.spec import SURFACES, Ball, Scene, Shape, material, restitution
from sora_jax.worlds.playhouse.touch import TOUCHING, edge_time, line_time, point_time, roots
from sora_jax.worlds.playhouse.trajectory import Contact, Trajectory, path_pieces

# m/s: a slower rebound is a hop of under 0.31 s and 12 cm, which a clip at 8 fps cannot show
REST_SPEED = 1.5
REST_GRAVITY = 9.8  # m/s^2 at which REST_SPEED holds
LEVEL = 0.5  # smallest n_y of ground on which a ball can rest
SLIP = 1e-9  # m/s: a smaller slip counts as rolling
SAME_TIME = 1e-12  # seconds: rounding error of the clock
MAX_EVENTS = 64  # per clip; in a longer pile-up, rounding errors would decide the order


class TooManyEvents(ValueError):
    """Simulation error: a scene has more than MAX_EVENTS events in a clip. Draw another scene."""


class NoClosedForm(ValueError):
    """Simulation error: a ball creeps over a corner and would turn about it. Draw another scene."""


class _Line:
    """A straight piece of boundary: the floor, a wall or an edge of a shape.

    (nx, ny) is its normal and `offset` its position along the normal. An edge also has a start and
    a length; floor and walls are infinite.
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


class _Solid:
    """Mutable state of a touchable shape: displacement x, y, velocity, and acceleration along x."""

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
        self.lines: list[_Line] = []
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
                _Line(
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
        self.x += self.vx * dt + 0.5 * self.ax * dt * dt
        self.y += self.vy * dt
        self.vx += self.ax * dt

    def slide(self, gravity: float) -> None:
        """Sets the acceleration of a sliding crate: equation (7)."""
        grip = self.friction * gravity
        braking = -grip if self.vx > 0.0 else grip
        self.ax = 0.0 if self.vx == 0.0 else braking


class _Body:
    """Mutable state of one ball. `support` is the line that it rests on; None in flight."""

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
        self.support: _Line | None = None
        self.ax, self.ay = 0.0, -gravity

    def advance(self, dt: float) -> None:
        self.x += self.vx * dt + 0.5 * self.ax * dt * dt
        self.y += self.vy * dt + 0.5 * self.ay * dt * dt
        self.vx += self.ax * dt
        self.vy += self.ay * dt
        self.angle += self.spin * dt + 0.5 * self.spin_rate * dt * dt
        self.spin += self.spin_rate * dt

    def fly(self, gravity: float) -> None:
        self.support, self.ax, self.ay, self.spin_rate = None, 0.0, -gravity, 0.0

    def slip(self) -> float:
        """Returns the slip u_t of equation (4) on the ball's support."""
        line = self.support
        assert line is not None, "a ball in flight has no slip"
        return line.ny * self.vx - line.nx * self.vy + self.radius * self.spin

    def settle(self, line: _Line, gravity: float) -> None:
        """Keeps the ball on a line and sets its acceleration there: equations (5) and (6)."""
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


# What a handler of an event returns: the contact, the balls and the shapes whose motion changes.
_Change = tuple[Contact | None, tuple[int, ...], tuple[_Solid, ...]]
_Handler = Callable[..., _Change]
_Event = tuple[float, _Handler | None, tuple[Any, ...]]  # seconds until it, handler, its arguments


def _accept_all(contact: Contact) -> bool:
    return True


@overload
def simulate(scene: Scene, seconds: float) -> Trajectory: ...


@overload
def simulate(
    scene: Scene, seconds: float, accept: Callable[[Contact], bool]
) -> Trajectory | None: ...


def simulate(
    scene: Scene, seconds: float, accept: Callable[[Contact], bool] = _accept_all
) -> Trajectory | None:
    """Simulates a scene and returns its motion.

    Args:
        scene: the scene at time 0.
        seconds: duration.
        accept: called with every contact; False ends the simulation. Default: accepts all.
    Returns:
        The trajectory, or None if `accept` returned False.
    Raises:
        TooManyEvents: there are more than 64 events.
        NoClosedForm: a ball turns about a corner.
        ValueError: a rolled ball lies on nothing at time 0.
    """
    return _Play(scene, seconds).run(accept)


class _Play:
    """A scene during its simulation. `run` is the loop over events."""

    def __init__(self, scene: Scene, seconds: float) -> None:
        self.scene, self.seconds, self.now, self.gravity = scene, seconds, 0.0, scene.gravity
        self.bodies = [_Body(ball, scene.gravity) for ball in scene.balls]
        self.solids = [
            _Solid(i, shape) for i, shape in enumerate(scene.shapes) if shape.material is not None
        ]
        self.of_shape = {solid.index: solid for solid in self.solids}
        self.moving = [s for s in self.solids if s.inverse_mass > 0.0 or s.knots]
        self.planes = []
        if scene.bounds in ("room", "floor"):
            self.planes.append(_Line("floor", -1, scene.ground, (0.0, 1.0), 0.0))
        if scene.bounds == "room":
            self.planes.append(_Line("wall", -1, scene.ground, (1.0, 0.0), 0.0))
            self.planes.append(_Line("wall", -1, scene.ground, (-1.0, 0.0), -scene.extent))
        for solid in self.moving:
            solid.slide(self.gravity) if solid.inverse_mass else self._turn(solid)
        for ball, body in zip(scene.balls, self.bodies, strict=True):
            if ball.launch == "rolled":
                self._lay_down(body)
        self.states = [[body.state(0.0)] for body in self.bodies]
        self.shifts = {s.index: [_shift(s, 0.0)] for s in self.moving}
        self.contacts: list[Contact] = []

    def run(self, accept: Callable[[Contact], bool]) -> Trajectory | None:
        events = 0
        while True:
            remaining = self.seconds - self.now
            dt, act, args = self._next(remaining)
            if act is None or dt >= remaining:
                return self._trajectory()
            if events == MAX_EVENTS:
                raise TooManyEvents(f"more than {MAX_EVENTS} events in {self.seconds} s")
            events += 1
            for body in self.bodies:
                body.advance(dt)
            for solid in self.moving:
                solid.advance(dt)
            self.now += dt
            contact, bodies, solids = act(*args)
            if contact is not None:
                self.contacts.append(contact)
                if not accept(contact):
                    return None
            for k in bodies:
                self.states[k].append(self.bodies[k].state(self.now))
            for solid in solids:
                self.shifts[solid.index].append(_shift(solid, self.now))

    def _trajectory(self) -> Trajectory:
        states = [np.array(s) for s in self.states]
        arcs = tuple(np.ascontiguousarray(s[:, :6]) for s in states)
        turns = tuple(np.ascontiguousarray(s[:, 6:]) for s in states)
        shifts = ()
        if self.moving:
            at_rest = [(0.0,) * 6]
            shifts = tuple(
                np.array(self.shifts.get(i) or path_pieces(s) or at_rest)
                for i, s in enumerate(self.scene.shapes)
            )
        elif any(shape.path for shape in self.scene.shapes):
            shifts = tuple(np.array(path_pieces(s) or [(0.0,) * 6]) for s in self.scene.shapes)
        return Trajectory(
            arcs, tuple(self.contacts), turns if any(t.any() for t in turns) else (), shifts
        )

    # Search for the next event: (seconds until it, its handler, arguments of the handler).

    def _next(self, remaining: float) -> _Event:
        best: float = remaining
        act: _Handler | None = None
        args: tuple[Any, ...] = ()
        for i, a in enumerate(self.bodies):
            for j in range(i + 1, len(self.bodies)):
                b = self.bodies[j]
                p, v, acceleration = (
                    (b.x - a.x, b.y - a.y),
                    (b.vx - a.vx, b.vy - a.vy),
                    (b.ax - a.ax, b.ay - a.ay),
                )
                t = point_time(p, v, acceleration, a.radius + b.radius, remaining, 1e-12, 0.0)
                if t < best:
                    best, act, args = t, self._meet, (i, j)
            for line in self.planes:
                if line is a.support:
                    continue
                nx, ny = line.nx, line.ny
                gap = nx * a.x + ny * a.y - (line.offset + a.radius)
                t = line_time(gap, nx * a.vx + ny * a.vy, nx * a.ax + ny * a.ay, remaining)
                if t < best:
                    best, act, args = t, self._hit, (i, line, nx, ny)
            for solid in self.solids:
                best, act, args = self._next_of(i, a, solid, best, act, args)
            if a.support is not None and (a.support.length < math.inf or a.support.friction > 0.0):
                best, act, args = self._next_on_support(i, a, best, act, args)
        for solid in self.moving:
            best, act, args = self._next_of_moving(solid, best, act, args)
        return best, act, args

    def _next_of(
        self,
        i: int,
        a: _Body,
        solid: _Solid,
        best: float,
        act: _Handler | None,
        args: tuple[Any, ...],
    ) -> _Event:
        """Returns the earlier of the event given and the ball's contact with edges and corners of a
        shape.
        """
        x, y, v, acceleration = (
            a.x - solid.x,
            a.y - solid.y,
            (a.vx - solid.vx, a.vy - solid.vy),
            (a.ax - solid.ax, a.ay),
        )
        is_support = a.support is not None and a.support.index == solid.index
        for line in solid.lines:
            if line is a.support:
                continue
            p = x - line.start[0], y - line.start[1]
            t = edge_time(
                p, v, acceleration, (line.nx, line.ny), line.length, line.radius + a.radius, best
            )
            if t < best:
                best, act, args = t, self._hit, (i, line, line.nx, line.ny)
        if is_support:
            return best, act, args
        for px, py in solid.points:
            t = point_time((x - px, y - py), v, acceleration, solid.radius + a.radius, best)
            if t < best:
                best, act, args = t, self._hit_point, (i, solid, px, py)
        return best, act, args

    def _next_on_support(
        self, i: int, a: _Body, best: float, act: _Handler | None, args: tuple[Any, ...]
    ) -> _Event:
        """Returns the earliest of the event given, the end of the ball's slip and the end of its
        support.
        """
        line = a.support
        assert line is not None, "a ball on a support"
        u, du = a.slip(), line.ny * a.ax - line.nx * a.ay + a.radius * a.spin_rate
        if line.friction > 0.0 and abs(u) > SLIP and u * du < 0.0 and -u / du < best:
            best, act, args = -u / du, self._roll, (i,)
        if line.length < math.inf:
            x, y = a.x - line.start[0], a.y - line.start[1]
            s, vs, hs = (
                line.ny * x - line.nx * y,
                line.ny * a.vx - line.nx * a.vy,
                0.5 * (line.ny * a.ax - line.nx * a.ay),
            )
            for gap, v, h in ((s, vs, hs), (line.length - s, -vs, -hs)):
                if gap <= 0.0 and v < 0.0:
                    return 0.0, self._leave, (i,)
                for t in roots((gap, v, h), best):
                    if v + 2.0 * h * t < 0.0:
                        best, act, args = t, self._leave, (i,)
                        break
        return best, act, args

    def _next_of_moving(
        self, solid: _Solid, best: float, act: _Handler | None, args: tuple[Any, ...]
    ) -> _Event:
        if solid.knots:
            t = next(
                (knot[0] - self.now for knot in solid.knots[:2] if knot[0] > self.now + SAME_TIME),
                math.inf,
            )
            return (t, self._knot, (solid,)) if t < best else (best, act, args)
        if solid.ax * solid.vx < 0.0 and -solid.vx / solid.ax < best:
            best, act, args = -solid.vx / solid.ax, self._stop, (solid,)
        if self.scene.bounds == "room":
            for gap, sign in (
                (solid.x + solid.left - solid.radius, 1.0),
                (self.scene.extent - solid.x - solid.right - solid.radius, -1.0),
            ):
                t = line_time(gap, sign * solid.vx, sign * solid.ax, best)
                if t < best:
                    best, act, args = t, self._bump, (solid, None, sign)
        for other in self.solids:
            level = solid.bottom < other.top + other.y and other.bottom + other.y < solid.top
            if (
                other is solid
                or not level
                or (other.inverse_mass > 0.0 and other.index < solid.index)
            ):
                continue
            reach = solid.radius + other.radius
            # the gap if the other shape is on the right
            right_of = other.x + other.left - solid.x - solid.right - reach
            left_of = solid.x + solid.left - other.x - other.right - reach
            gap, sign = (right_of, 1.0) if right_of > left_of else (left_of, -1.0)
            t = line_time(gap, sign * (other.vx - solid.vx), sign * (other.ax - solid.ax), best)
            if t < best:
                best, act, args = t, self._bump, (solid, other, -sign)
        return best, act, args

    # Handlers of events. Each returns (contact or None, balls whose motion changes, shapes whose
    # motion changes).

    def _meet(self, i: int, j: int) -> _Change:
        a, b = self.bodies[i], self.bodies[j]
        dx, dy = b.x - a.x, b.y - a.y
        distance = math.sqrt(dx * dx + dy * dy)
        nx, ny = dx / distance, dy / distance
        speed = -((b.vx - a.vx) * nx + (b.vy - a.vy) * ny)
        e = math.sqrt(material(a.material).restitution * material(b.material).restitution)
        impulse = (1.0 + e) * speed * a.mass * b.mass / (a.mass + b.mass)
        for body, sign in ((a, -1.0), (b, 1.0)):
            body.vx += sign * impulse * nx / body.mass
            body.vy += sign * impulse * ny / body.mass
            self._pushed(body)
        return Contact(self.now, "ball", i, j, speed, e * speed), (i, j), ()

    def _pushed(self, body: _Body) -> None:
        """Updates the support of a ball that was struck where it lay.

        A ball that is lifted, or pressed down and thus about to bounce, leaves its support. A ball
        that is pushed along its support stays on it.
        """
        line = body.support
        if line is None:
            return
        if line.nx * body.vx + line.ny * body.vy != 0.0:
            body.fly(self.gravity)
        else:
            body.settle(line, self.gravity)

    def _hit_point(self, i: int, solid: _Solid, px: float, py: float) -> _Change:
        a = self.bodies[i]
        dx, dy = a.x - solid.x - px, a.y - solid.y - py
        distance = math.sqrt(dx * dx + dy * dy)
        nx, ny = dx / distance, dy / distance
        return self._rebound(i, solid.index, solid.surface, "shape", nx, ny, None)

    def _hit(self, i: int, line: _Line, nx: float, ny: float) -> _Change:
        a, solid = self.bodies[i], self.of_shape.get(line.index)
        x, y = (solid.x, solid.y) if solid else (0.0, 0.0)
        # Put the ball exactly on the line: rounding must not leave it beyond.
        along, reach = (
            ny * (a.x - x) + (0.0 - nx) * (a.y - y),
            line.offset + (line.radius + a.radius),
        )
        a.x, a.y = x + (ny * along + nx * reach), y + ((0.0 - nx) * along + ny * reach)
        return self._rebound(i, line.index, line.surface, line.kind, nx, ny, line)

    def _rebound(
        self, i: int, index: int, surface: str, kind: str, nx: float, ny: float, line: _Line | None
    ) -> _Change:
        a, solid, g = self.bodies[i], self.of_shape.get(index), self.gravity
        wx, wy = (solid.vx, solid.vy) if solid else (0.0, 0.0)
        tx, ty = ny, 0.0 - nx
        vn, vt = nx * (a.vx - wx) + ny * (a.vy - wy), tx * (a.vx - wx) + ty * (a.vy - wy)
        speed, e, mu = -vn, restitution(a.material, surface), SURFACES[surface].friction
        rebound = e * speed
        if solid is not None and solid.inverse_mass > 0.0:
            impulse = (speed + rebound) / (1.0 / a.mass + nx * nx * solid.inverse_mass)
            a.vx += impulse * nx / a.mass
            a.vy += impulse * ny / a.mass
            solid.vx -= impulse * nx * solid.inverse_mass
            solid.slide(g)
            self._pushed(a)
            return Contact(self.now, kind, i, index, speed, rebound), (i,), (solid,)
        is_fixed = line is not None and (solid is None or not solid.knots)
        rests = is_fixed and ny > LEVEL and rebound < REST_SPEED * (g / REST_GRAVITY)
        if rests:
            rebound = 0.0
        if mu > 0.0:
            change = -(vt + a.radius * a.spin) / 3.0  # J_t / m of equation (4)
            limit = mu * (speed + rebound)
            change = min(max(change, -limit), limit)
            vt += change
            a.spin += 2.0 * change / a.radius
        a.vx, a.vy = wx + (tx * vt + nx * rebound), wy + (ty * vt + ny * rebound)
        if line is not None and rests:
            a.settle(line, g)
        elif a.support is None or a.support.nx * a.vx + a.support.ny * a.vy != 0.0:
            a.fly(g)
        else:
            a.settle(a.support, g)
        return Contact(self.now, kind, i, index, speed, rebound), (i,), ()

    def _roll(self, i: int) -> _Change:
        a = self.bodies[i]
        line = a.support
        assert line is not None, "a ball that slips has a support"
        a.spin = -(line.ny * a.vx - line.nx * a.vy) / a.radius
        a.settle(line, self.gravity)
        return None, (i,), ()

    def _leave(self, i: int) -> _Change:
        a = self.bodies[i]
        line = a.support
        assert line is not None, "a ball that leaves has a support"
        vt = line.ny * a.vx - line.nx * a.vy
        if vt * vt < line.ny * self.gravity * (line.radius + a.radius):
            raise NoClosedForm(f"ball {i} creeps over a corner at {vt:.3g} m/s")
        a.fly(self.gravity)
        return None, (i,), ()

    def _knot(self, solid: _Solid) -> _Change:
        self._turn(solid)
        return None, (), (solid,)

    def _turn(self, solid: _Solid) -> None:
        """Starts the next piece of a paddle's path, from the last knot at or before the current
        time.
        """
        knots = solid.knots
        while len(knots) > 1 and knots[1][0] <= self.now + SAME_TIME:
            knots.pop(0)
        if len(knots) > 1 and knots[0][0] <= self.now + SAME_TIME:
            (t0, x0, y0), (t1, x1, y1) = knots[:2]
            solid.x, solid.y, solid.vx, solid.vy = (
                x0,
                y0,
                (x1 - x0) / (t1 - t0),
                (y1 - y0) / (t1 - t0),
            )
        else:
            solid.x, solid.y = knots[0][1:]
            solid.vx = solid.vy = 0.0

    def _stop(self, solid: _Solid) -> _Change:
        solid.vx = 0.0
        solid.slide(self.gravity)
        return None, (), (solid,)

    def _bump(self, crate: _Solid, other: _Solid | None, nx: float) -> _Change:
        """Resolves the collision of a crate with a wall (`other` is None), a fixed shape or another
        crate.

        `nx` is the x component, 1 or -1, of the normal that points towards the crate.
        """
        wx, inverse = (other.vx, other.inverse_mass) if other else (0.0, 0.0)
        speed = nx * (wx - crate.vx)
        e = crate.restitution if other is None else math.sqrt(crate.restitution * other.restitution)
        impulse = (1.0 + e) * speed / (crate.inverse_mass + inverse)
        changed: tuple[_Solid, ...] = (crate,)
        crate.vx += nx * impulse * crate.inverse_mass
        crate.slide(self.gravity)
        if other is not None and inverse > 0.0:
            other.vx -= nx * impulse * inverse
            other.slide(self.gravity)
            changed = (crate, other)
        return (
            Contact(self.now, "crate", crate.index, other.index if other else -1, speed, e * speed),
            (),
            changed,
        )

    def _lay_down(self, body: _Body) -> None:
        """Finds the support of a rolled ball at time 0: the floor, or an edge of a fixed shape."""
        for line in [
            *self.planes[:1],
            *(line for s in self.solids if s not in self.moving for line in s.lines),
        ]:
            x, y = body.x - line.start[0], body.y - line.start[1]
            gap = line.nx * body.x + line.ny * body.y - (line.offset + line.radius + body.radius)
            if (
                line.ny > LEVEL
                and abs(gap) <= TOUCHING
                and (line.length == math.inf or 0.0 <= line.ny * x - line.nx * y <= line.length)
            ):
                body.settle(line, self.gravity)
                return
        raise ValueError(f"a rolled ball at {body.x, body.y} lies on nothing")


def _shift(solid: _Solid, now: float) -> tuple[float, ...]:
    return (now, solid.x, solid.y, solid.vx, solid.vy, solid.ax)
