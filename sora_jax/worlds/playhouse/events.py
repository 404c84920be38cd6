"""The events of a simulation, such as impacts: how each changes the motion of balls and shapes.

Numbers of equations are those of `simulate.py`.
"""

import math

from sora_jax.worlds.playhouse.bodies import Body, Line, Solid
from sora_jax.worlds.playhouse.spec import SURFACES, Scene, material, restitution
from sora_jax.worlds.playhouse.touch import TOUCHING
from sora_jax.worlds.playhouse.trajectory import Contact

# m/s: a ball that would rebound more slowly comes to rest, because a hop of under 0.31 s and 12 cm
# cannot be seen in a clip at 8 fps
REST_SPEED = 1.5
REST_GRAVITY = 9.8  # m/s^2 at which REST_SPEED holds
LEVEL = 0.5  # smallest n_y of ground on which a ball can rest
SAME_TIME = 1e-12  # seconds: rounding error of the clock

# An event returns the contact or None, the indices of the balls whose motion changes, and the
# shapes whose motion changes.
Change = tuple[Contact | None, tuple[int, ...], tuple[Solid, ...]]


class NoClosedForm(ValueError):
    """Simulation error: a slow ball would turn about a corner, a motion without a closed form. Draw
    another scene.
    """


class Play:
    """A scene during its simulation. One method handles each kind of event and changes the motion.

    Each of these methods returns a `Change`: (contact or None, indices of the balls whose motion
    changes, shapes whose motion changes).

    Attributes:
        scene: the scene at time 0.
        now: current time in seconds.
        gravity: m/s^2, downwards.
        bodies: state of each ball.
        solids: state of each shape that balls can touch.
        of_shape: the same, {index of the shape: state}.
        moving: those of `solids` that slide or follow a path.
        planes: floor and walls, the floor first.
        states: for each ball, the pieces of its motion so far (`Body.state`).
        shifts: {index of a moving shape: pieces of its motion so far} (`Solid.state`).
        contacts: the contacts so far. The caller of the methods fills the last three.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.now, self.gravity = scene, 0.0, scene.gravity
        self.bodies = [Body(ball, scene.gravity) for ball in scene.balls]
        self.solids = [
            Solid(i, shape) for i, shape in enumerate(scene.shapes) if shape.material is not None
        ]
        self.of_shape = {solid.index: solid for solid in self.solids}
        self.moving = [s for s in self.solids if s.inverse_mass > 0.0 or s.knots]
        self.planes = []
        if scene.bounds in ("room", "floor"):
            self.planes.append(Line("floor", -1, scene.ground, (0.0, 1.0), 0.0))
        if scene.bounds == "room":
            self.planes.append(Line("wall", -1, scene.ground, (1.0, 0.0), 0.0))
            self.planes.append(Line("wall", -1, scene.ground, (-1.0, 0.0), -scene.extent))
        for solid in self.moving:
            solid.slide(self.gravity) if solid.inverse_mass else self._turn(solid)
        for ball, body in zip(scene.balls, self.bodies, strict=True):
            if ball.launch == "rolled":
                self._lay_down(body)
        self.states = [[body.state(0.0)] for body in self.bodies]
        self.shifts = {s.index: [s.state(0.0)] for s in self.moving}
        self.contacts: list[Contact] = []

    def meet(self, i: int, j: int) -> Change:
        """Handles the collision of balls i and j, equations (2) and (3). Returns a `Change`."""
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

    def _pushed(self, body: Body) -> None:
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

    def hit_point(self, i: int, solid: Solid, px: float, py: float) -> Change:
        """Handles ball `i` that hits a corner of a shape. Returns a `Change`.

        solid is the shape, and (px, py) the corner in metres, without the shape's displacement.
        """
        a = self.bodies[i]
        dx, dy = a.x - solid.x - px, a.y - solid.y - py
        distance = math.sqrt(dx * dx + dy * dy)
        nx, ny = dx / distance, dy / distance
        return self._rebound(i, solid.index, solid.surface, "shape", nx, ny, None)

    def hit(self, i: int, line: Line, nx: float, ny: float) -> Change:
        """Handles ball `i` that hits a line: floor, wall or edge. Returns a `Change`.

        (nx, ny) is the unit normal of the line, towards the ball.
        """
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
        self, i: int, index: int, surface: str, kind: str, nx: float, ny: float, line: Line | None
    ) -> Change:
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

    def roll(self, i: int) -> Change:
        """Handles the end of a slip: ball `i` rolls from now on. Returns a `Change`."""
        a = self.bodies[i]
        line = a.support
        assert line is not None, "a ball that slips has a support"
        a.spin = -(line.ny * a.vx - line.nx * a.vy) / a.radius
        a.settle(line, self.gravity)
        return None, (i,), ()

    def leave(self, i: int) -> Change:
        """Handles the end of a support: ball `i` flies off it. Returns a `Change`.

        Raises:
            NoClosedForm: the ball is too slow to leave the corner at once.
        """
        a = self.bodies[i]
        line = a.support
        assert line is not None, "a ball that leaves has a support"
        vt = line.ny * a.vx - line.nx * a.vy
        if vt * vt < line.ny * self.gravity * (line.radius + a.radius):
            raise NoClosedForm(f"ball {i} creeps over a corner at {vt:.3g} m/s")
        a.fly(self.gravity)
        return None, (i,), ()

    def knot(self, solid: Solid) -> Change:
        """Handles a shape that arrives at a knot of its path: the next piece starts. Returns a
        `Change`.
        """
        self._turn(solid)
        return None, (), (solid,)

    def _turn(self, solid: Solid) -> None:
        """Sets position and velocity of a shape with a path, from the last knot at or before the
        current time.
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

    def stop(self, solid: Solid) -> Change:
        """Handles a sliding crate that stops. Returns a `Change`."""
        solid.vx = 0.0
        solid.slide(self.gravity)
        return None, (), (solid,)

    def bump(self, crate: Solid, other: Solid | None, nx: float) -> Change:
        """Handles a crate that hits a wall (`other` is None), a fixed shape or another crate.
        Returns a `Change`.

        `nx` is the x component, 1 or -1, of the normal that points towards the crate.
        """
        wx, inverse = (other.vx, other.inverse_mass) if other else (0.0, 0.0)
        speed = nx * (wx - crate.vx)
        e = crate.restitution if other is None else math.sqrt(crate.restitution * other.restitution)
        impulse = (1.0 + e) * speed / (crate.inverse_mass + inverse)
        changed: tuple[Solid, ...] = (crate,)
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

    def _lay_down(self, body: Body) -> None:
        """Finds the support of a rolled ball at time 0: the floor, or an edge of a fixed shape.

        Raises:
            ValueError: neither is under the ball.
        """
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
