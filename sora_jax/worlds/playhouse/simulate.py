"""Exact, event-driven simulation of balls among shapes.

Motion is in closed form between events (impacts, and other changes of the acceleration), so there
is no time step and no discretisation error. Between events everything moves with constant
acceleration,

    p(t) = p0 + v0 (t - t0) + a (t - t0)^2 / 2,      a = (0, -g) in flight                       (1)

and the next event is the earliest contact (`touch.py`) or silent event. The state of balls and
shapes is in `bodies.py`, their events in `events.py`. A contact with normal n, tangent
t = (n_y, -n_x), approach speed u along n and friction coefficient mu gives the speed of the
rebound v_n' and the impulses J along n and J_t along t,

    v_n' = e u,     e = restitution of the pair;     two balls: e = sqrt(e_a e_b)                (2)
    J = (1 + e) u / (1 / m_a + 1 / m_b),  along n; 1 / m = 0 of a fixed or driven shape          (3)
    J_t = -m u_t / 3, at most mu J in size,     u_t = v_t + r omega                              (4)

Equation (4) is Coulomb friction on a disc of inertia m r^2 / 2 and spin omega. It ends the slip u_t
of the surfaces, or only reduces it where mu J is the limit. Two balls, or a ball and a crate, touch
without friction. A crate moves along x only, so its 1 / m is multiplied by n_x^2 in (3).

A ball comes to rest if ground that is fixed and level enough gives it a rebound slower than
REST_SPEED (at 9.8 m/s^2; the threshold is proportional to g). The ball then stays on this ground,
its support. With g_t and g_n the components of gravity, it has an acceleration a_t along t and an
angular acceleration alpha:

    slipping   a_t = g_t - sign(u_t) mu g_n,   r alpha = -2 sign(u_t) mu g_n,   until u_t = 0    (5)
    rolling    a_t = 2 g_t / 3,                  r alpha = -a_t,     if |g_t| / 3 <= mu g_n      (6)

and without friction a_t = g_t, alpha = 0. A crate slides with

    a = -sign(v) mu g,   until v = 0                                                             (7)

Silent events make no contact. They are the end of a slip (5) or of a slide (7), a knot of the path
of a moving shape, and the arrival of a ball at the end of its support. That ball flies off if the
corner falls away faster than the ball, v_t^2 >= g_n reach. A slower ball would turn about the
corner, which has no closed form: `NoClosedForm`.

All numbers are Python floats, combined by + - * / and sqrt in a fixed order. Results are bitwise
the same on any machine.
"""

import math
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from sora_jax.worlds.playhouse.bodies import SLIP, Body, Solid
from sora_jax.worlds.playhouse.events import SAME_TIME, Change, Play
from sora_jax.worlds.playhouse.spec import Scene
from sora_jax.worlds.playhouse.touch import edge_time, line_time, point_time, roots
from sora_jax.worlds.playhouse.trajectory import Contact, Trajectory, path_pieces

MAX_EVENTS = 64  # per clip; in a longer pile-up, rounding errors would decide the order

_Handler = Callable[..., Change]
_Event = tuple[float, _Handler | None, tuple[Any, ...]]  # seconds until it, handler, its arguments


class TooManyEvents(ValueError):
    """Simulation error: a scene has more than MAX_EVENTS events in a clip. Draw another scene."""


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
        accept: called with every contact; if it returns False, the simulation ends. Default:
            accepts all.

    Returns:
        The trajectory, or None if `accept` returned False.

    Raises:
        TooManyEvents: the clip has more than MAX_EVENTS events.
        NoClosedForm: a ball turns about a corner.
        ValueError: a rolled ball has no support at time 0.
    """
    play, events = Play(scene), 0
    while True:
        remaining = seconds - play.now
        dt, act, args = _next(play, remaining)
        if act is None or dt >= remaining:
            return _trajectory(play)
        if events == MAX_EVENTS:
            raise TooManyEvents(f"more than {MAX_EVENTS} events in {seconds} s")
        events += 1
        for body in play.bodies:
            body.advance(dt)
        for solid in play.moving:
            solid.advance(dt)
        play.now += dt
        contact, bodies, solids = act(*args)
        if contact is not None:
            play.contacts.append(contact)
            if not accept(contact):
                return None
        for k in bodies:
            play.states[k].append(play.bodies[k].state(play.now))
        for solid in solids:
            play.shifts[solid.index].append(solid.state(play.now))


def _trajectory(play: Play) -> Trajectory:
    states = [np.array(s) for s in play.states]
    arcs = tuple(np.ascontiguousarray(s[:, :6]) for s in states)
    turns = tuple(np.ascontiguousarray(s[:, 6:]) for s in states)
    shifts = ()
    if play.moving:
        at_rest = [(0.0,) * 6]
        shifts = tuple(
            np.array(play.shifts.get(i) or path_pieces(s) or at_rest)
            for i, s in enumerate(play.scene.shapes)
        )
    elif any(shape.path for shape in play.scene.shapes):
        shifts = tuple(np.array(path_pieces(s) or [(0.0,) * 6]) for s in play.scene.shapes)
    return Trajectory(
        arcs, tuple(play.contacts), turns if any(t.any() for t in turns) else (), shifts
    )


# Search for the next event.


def _next(play: Play, remaining: float) -> _Event:
    best: float = remaining
    act: _Handler | None = None
    args: tuple[Any, ...] = ()
    for i, a in enumerate(play.bodies):
        for j in range(i + 1, len(play.bodies)):
            b = play.bodies[j]
            p, v, acceleration = (
                (b.x - a.x, b.y - a.y),
                (b.vx - a.vx, b.vy - a.vy),
                (b.ax - a.ax, b.ay - a.ay),
            )
            t = point_time(p, v, acceleration, a.radius + b.radius, remaining, 1e-12, 0.0)
            if t < best:
                best, act, args = t, play.meet, (i, j)
        for line in play.planes:
            if line is a.support:
                continue
            nx, ny = line.nx, line.ny
            gap = nx * a.x + ny * a.y - (line.offset + a.radius)
            t = line_time(gap, nx * a.vx + ny * a.vy, nx * a.ax + ny * a.ay, remaining)
            if t < best:
                best, act, args = t, play.hit, (i, line, nx, ny)
        for solid in play.solids:
            best, act, args = _next_of(play, i, a, solid, best, act, args)
        if a.support is not None and (a.support.length < math.inf or a.support.friction > 0.0):
            best, act, args = _next_on_support(play, i, a, best, act, args)
    for solid in play.moving:
        best, act, args = _next_of_moving(play, solid, best, act, args)
    return best, act, args


def _next_of(
    play: Play,
    i: int,
    a: Body,
    solid: Solid,
    best: float,
    act: _Handler | None,
    args: tuple[Any, ...],
) -> _Event:
    """Returns the earlier of two events: the one given (best, act, args), and the next contact of
    ball `i` with an edge or a corner of a shape.
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
            best, act, args = t, play.hit, (i, line, line.nx, line.ny)
    if is_support:
        return best, act, args
    for px, py in solid.points:
        t = point_time((x - px, y - py), v, acceleration, solid.radius + a.radius, best)
        if t < best:
            best, act, args = t, play.hit_point, (i, solid, px, py)
    return best, act, args


def _next_on_support(
    play: Play, i: int, a: Body, best: float, act: _Handler | None, args: tuple[Any, ...]
) -> _Event:
    """Returns the earliest of three events: the one given (best, act, args), the end of the slip of
    ball `i`, and its arrival at the end of its support.
    """
    line = a.support
    assert line is not None, "a ball on a support"
    u, du = a.slip(), line.ny * a.ax - line.nx * a.ay + a.radius * a.spin_rate
    if line.friction > 0.0 and abs(u) > SLIP and u * du < 0.0 and -u / du < best:
        best, act, args = -u / du, play.roll, (i,)
    if line.length < math.inf:
        x, y = a.x - line.start[0], a.y - line.start[1]
        s, vs, hs = (
            line.ny * x - line.nx * y,
            line.ny * a.vx - line.nx * a.vy,
            0.5 * (line.ny * a.ax - line.nx * a.ay),
        )
        for gap, v, h in ((s, vs, hs), (line.length - s, -vs, -hs)):
            if gap <= 0.0 and v < 0.0:
                return 0.0, play.leave, (i,)
            for t in roots((gap, v, h), best):
                if v + 2.0 * h * t < 0.0:
                    best, act, args = t, play.leave, (i,)
                    break
    return best, act, args


def _next_of_moving(
    play: Play, solid: Solid, best: float, act: _Handler | None, args: tuple[Any, ...]
) -> _Event:
    if solid.knots:
        t = next(
            (knot[0] - play.now for knot in solid.knots[:2] if knot[0] > play.now + SAME_TIME),
            math.inf,
        )
        return (t, play.knot, (solid,)) if t < best else (best, act, args)
    if solid.ax * solid.vx < 0.0 and -solid.vx / solid.ax < best:
        best, act, args = -solid.vx / solid.ax, play.stop, (solid,)
    if play.scene.bounds == "room":
        for gap, sign in (
            (solid.x + solid.left - solid.radius, 1.0),
            (play.scene.extent - solid.x - solid.right - solid.radius, -1.0),
        ):
            t = line_time(gap, sign * solid.vx, sign * solid.ax, best)
            if t < best:
                best, act, args = t, play.bump, (solid, None, sign)
    for other in play.solids:
        level = solid.bottom < other.top + other.y and other.bottom + other.y < solid.top
        if other is solid or not level or (other.inverse_mass > 0.0 and other.index < solid.index):
            continue
        reach = solid.radius + other.radius
        # the gap if the other shape is on the right
        right_of = other.x + other.left - solid.x - solid.right - reach
        left_of = solid.x + solid.left - other.x - other.right - reach
        gap, sign = (right_of, 1.0) if right_of > left_of else (left_of, -1.0)
        t = line_time(gap, sign * (other.vx - solid.vx), sign * (other.ax - solid.ax), best)
        if t < best:
            best, act, args = t, play.bump, (solid, other, -sign)
    return best, act, args
