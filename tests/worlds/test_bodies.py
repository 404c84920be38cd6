"""Every body of the world against its formula: shapes, rims, paddles, crates, friction, and the
laws that hold for all.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from sora_jax.worlds.playhouse.events import NoClosedForm
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import SURFACES, Ball, Scene, Shape, material, restitution

G = 9.8


def ball(
    position,
    velocity=(0.0, 0.0),
    material="rubber",
    radius=0.25,
    launch="thrown",
    colour="red",
    spin=0.0,
):
    return Ball(colour, "small", material, launch, "left", radius, position, velocity, spin)


def box(left, bottom, right, top, **fields):
    return Shape(
        ((left, bottom), (right, bottom), (right, top), (left, top)),
        "stone",
        material=fields.pop("material", "stone"),
        **fields,
    )


def play(balls, shapes=(), seconds=2.0, **fields):
    return simulate(
        Scene(
            0, tuple(balls), shapes=tuple(shapes), **{"extent": 10.0, "bounds": "floor", **fields}
        ),
        seconds,
    )


def at(motion, t, k=0):
    times = np.array([t])
    return motion.positions(times)[0, k], motion.velocities(times)[0, k], motion.spins(times)[0, k]


def test_scene_with_everything_survives_json():
    paddle = Shape(
        ((1.0, 1.0), (1.0, 2.0)), "pad", 0.1, "pad", path=((0.0, 0.0, 0.0), (1.0, 0.5, 0.0))
    )
    scene = Scene(
        3,
        (ball((1.0, 5.0), spin=2.0),),
        shapes=(paddle, box(0.0, 0.0, 1.0, 1.0, mass=2.0)),
        bounds="floor",
        ground="ground",
        below=0.0,
    )
    assert Scene.from_json(scene.to_json()) == scene
    assert "shapes" not in Scene(3, (ball((1.0, 5.0)),)).to_json()  # the text of the first scenes


# Shapes that stand still.


def test_drop_on_a_platform():
    motion = play([ball((2.0, 2.25))], [box(1.0, 0.0, 3.0, 1.0)])
    first = math.sqrt(2 * 1.0 / G)
    e = restitution("rubber", "stone")
    assert (motion.contacts[0].kind, motion.contacts[0].b) == ("shape", 0)
    assert motion.contacts[0].time == pytest.approx(first, abs=1e-12)
    assert motion.contacts[0].rebound == pytest.approx(e * G * first, abs=1e-12)
    assert motion.contacts[1].time == pytest.approx(first * (1 + 2 * e), abs=1e-12)


def test_ramp_turns_the_velocity_about_its_normal():
    """A ball dropped on a 30 degree ramp: v' = v - (1 + e) (v.n) n without friction."""
    slope = math.radians(30)
    ramp = Shape(((0.0, 0.0), (6.0, 0.0), (0.0, 6.0 * math.tan(slope))), "stone", material="board")
    n = np.array([math.sin(slope), math.cos(slope)])
    start = np.array([2.0, 4.0])
    motion = play([ball(tuple(start), spin=0.0)], [ramp])
    (hit,) = [c for c in motion.contacts if c.time < 1.0][:1]
    gap = (start - [0.0, 6.0 * math.tan(slope)]) @ n - 0.25
    time = math.sqrt(2 * gap / (G * n[1]))
    assert hit.time == pytest.approx(time, abs=1e-12)
    v = np.array([0.0, -G * time])
    e, mu, t = restitution("rubber", "board"), SURFACES["board"].friction, np.array([n[1], -n[0]])
    slip = v @ t
    change = np.clip(-slip / 3, -mu * (1 + e) * -(v @ n), mu * (1 + e) * -(v @ n))
    expected = n * e * -(v @ n) + t * (v @ t + change)
    np.testing.assert_allclose(at(motion, time + 1e-9)[1], expected, atol=1e-7)


@pytest.mark.parametrize("mu_too_small", [False, True])
def test_rolling_and_slipping_down_a_ramp(mu_too_small):
    """Equation (6): a disc that rolls gains 2/3 g sin; on a slope steeper than tan = 3 mu it slips
    with g (sin - mu cos).
    """
    slope = math.radians(55 if mu_too_small else 20)
    sin, cos = math.sin(slope), math.cos(slope)
    ramp = Shape(((0.0, 0.0), (8.0, 0.0), (0.0, 8.0 * math.tan(slope))), "stone", material="board")
    n, start = np.array([sin, cos]), np.array([1.0, 7.0 * math.tan(slope)])
    motion = play([ball(tuple(start + 0.25 * n), launch="rolled")], [ramp], seconds=0.8)
    mu = SURFACES["board"].friction
    a = G * (sin - mu * cos) if mu_too_small else 2 / 3 * G * sin
    p, v, (_, spin) = at(motion, 0.5)
    along = np.array([cos, -sin])
    np.testing.assert_allclose(p, start + 0.25 * n + along * a * 0.125, atol=1e-9)
    np.testing.assert_allclose(v, along * a * 0.5, atol=1e-9)
    expected = -2 * mu * G * cos / 0.25 * 0.5 if mu_too_small else -a * 0.5 / 0.25
    assert spin == pytest.approx(expected, abs=1e-9)


def test_sliding_ball_ends_in_rolling_at_two_thirds():
    """Equation (5): a disc set down without spin rolls at 2/3 of its speed after v / (3 mu g)."""
    motion = play([ball((1.0, 0.25), (3.0, 0.0), launch="rolled")], ground="ground")
    mu = SURFACES["ground"].friction
    end = 3.0 / (3 * mu * G)
    before, after = at(motion, end - 1e-3), at(motion, end + 1e-3)
    assert before[1][0] > 2.0 and after[1][0] == pytest.approx(2.0, abs=1e-12)
    assert after[2][1] == pytest.approx(-2.0 / 0.25, abs=1e-9)
    assert at(motion, end + 0.5)[1][0] == after[1][0]
    angle = motion.spins(np.array([end, end + 0.5]))[:, 0, 0]
    assert angle[1] - angle[0] == pytest.approx(-2.0 / 0.25 * 0.5, abs=1e-9)


def test_a_ball_rolls_off_its_platform():
    motion = play(
        [ball((1.0, 2.25), (2.0, 0.0), launch="rolled", spin=-8.0)], [box(0.0, 0.0, 2.0, 2.0)]
    )
    floor = next(c for c in motion.contacts if c.kind == "floor")
    assert not [c for c in motion.contacts if c.kind == "shape"]
    assert floor.time == pytest.approx(0.5 + math.sqrt(2 * 2.0 / G), abs=1e-12)
    with pytest.raises(NoClosedForm):  # v^2 < g r: it would turn about the corner
        play([ball((1.0, 2.25), (1.0, 0.0), launch="rolled", spin=-4.0)], [box(0.0, 0.0, 2.0, 2.0)])


@pytest.mark.parametrize("radius", [0.0, 0.05])
def test_rim_point(radius):
    """A ball falling on a point, off its centre, meets it where the circle says and leaves along
    the line of centres.
    """
    rim = Shape(((3.0, 1.0),), "iron", radius, "iron")
    offset, reach = 0.1, 0.25 + radius
    motion = play([ball((3.0 + offset, 3.0), material="ideal")], [rim])
    hit = motion.contacts[0]
    height = 1.0 + math.sqrt(reach**2 - offset**2)
    assert hit.time == pytest.approx(math.sqrt(2 * (3.0 - height) / G), abs=1e-9)
    n = np.array([offset / reach, (height - 1.0) / reach])
    v = np.array([0.0, -G * hit.time])
    e, t = SURFACES["iron"].restitution, np.array([n[1], -n[0]])
    assert hit.speed == pytest.approx(-(v @ n), abs=1e-9)
    limit = SURFACES["iron"].friction * (1 + e) * hit.speed
    expected = n * e * hit.speed + t * (v @ t + np.clip(-(v @ t) / 3, -limit, limit))
    np.testing.assert_allclose(at(motion, hit.time + 1e-10)[1], expected, atol=1e-7)


def test_board_is_hit_from_both_sides_and_at_its_ends():
    board = Shape(((3.0, 1.0), (3.0, 2.0)), "white", 0.05, "board")
    for side in (-1, 1):
        motion = play([ball((3.0 - 2.0 * side, 1.5), (4.0 * side, 0.0))], [board], gravity=0.0)
        assert motion.contacts[0].time == pytest.approx((2.0 - 0.3) / 4.0, abs=1e-12)
        assert motion.contacts[0].speed == pytest.approx(4.0, abs=1e-12)
    # Its rounded end: level with 2.0 + 0.3 / sqrt(2), the normal leans back by 45 degrees.
    motion = play(
        [ball((1.0, 2.0 + 0.3 * math.sqrt(0.5)), (4.0, 0.0))], [board], gravity=0.0, seconds=0.6
    )
    assert motion.contacts[0].time == pytest.approx((2.0 - 0.3 * math.sqrt(0.5)) / 4.0, abs=1e-9)
    assert motion.contacts[0].speed == pytest.approx(4.0 * math.sqrt(0.5), abs=1e-9)
    assert not play([ball((1.0, 2.31), (4.0, 0.0))], [board], gravity=0.0, seconds=0.9).contacts


# Things that move.


def test_paddle_adds_its_own_speed():
    """e (v + w) + w: in the paddle's frame the ball rebounds with e times its approach speed."""
    paddle = Shape(
        ((5.0, 0.0), (5.0, 2.0)), "pad", 0.1, "pad", path=((0.2, 0.0, 0.0), (1.2, -1.0, 0.0))
    )
    motion = play([ball((2.0, 1.0), (2.0, 0.0))], [paddle], gravity=0.0)
    hit = motion.contacts[0]
    time = 0.2 + (3.0 - 0.35 - 2.0 * 0.2) / 3.0
    assert hit.time == pytest.approx(time, abs=1e-12) and hit.speed == pytest.approx(3.0, abs=1e-12)
    assert at(motion, time + 1e-9)[1][0] == pytest.approx(
        -restitution("rubber", "pad") * 3.0 - 1.0, abs=1e-9
    )
    np.testing.assert_allclose(
        motion.displacements(np.array([0.0, 0.2, 0.7, 1.2, 1.9]))[:, 0, 0],
        [0, 0, -0.5, -1, -1],
        atol=1e-12,
    )


def test_panel_moves_and_is_not_felt():
    panel = Shape(
        ((3.0, 0.0), (4.0, 0.0), (4.0, 3.0), (3.0, 3.0)),
        "frame",
        front=True,
        path=((0.5, 0.0, 0.0), (1.0, 0.0, 2.0)),
    )
    motion = play([ball((1.0, 1.0), (3.0, 0.0))], [panel], gravity=0.0)
    assert not motion.contacts
    np.testing.assert_allclose(
        motion.displacements(np.array([0.2, 0.75, 1.5]))[:, 0, 1], [0, 1, 2], atol=1e-12
    )


def test_crate_is_pushed_and_slides_to_rest():
    """Momentum along x is shared at the blow; then the crate stops after w^2 / (2 mu g)."""
    crate = box(4.0, 0.0, 5.0, 1.0, mass=1.0, material="crate")
    thing = ball((1.0, 0.5), (4.0, 0.0), material="metal", radius=0.25)
    motion = play([dataclasses.replace(thing, position=(3.4, 0.6))], [crate], seconds=2.0)
    hit = motion.contacts[0]
    m, w = thing.mass, motion.shifts[0][1, 3]
    e = restitution("metal", "crate")
    assert w == pytest.approx((1 + e) * 4.0 * m / (m + 1.0), abs=1e-9)
    vx = at(motion, hit.time + 1e-9)[1][0]
    assert m * vx + 1.0 * w == pytest.approx(m * 4.0, abs=1e-9) and w - vx == pytest.approx(
        e * 4.0, abs=1e-9
    )
    mu = SURFACES["crate"].friction
    stop = hit.time + w / (mu * G)
    late = motion.displacements(np.array([stop + 0.01, stop + 0.1]))[:, 0, 0]
    assert late[0] == late[1] == pytest.approx(w * w / (2 * mu * G), abs=1e-9)


def test_crates_meet_each_other_and_the_wall():
    a, b = (
        box(x, 0.0, x + 1.0, 1.0, mass=m, velocity=v, material="crate")
        for x, m, v in ((1.0, 1.0, 5.0), (3.0, 2.0, 0.0))
    )
    motion = play([], [a, b], bounds="room", extent=4.3, seconds=1.5)
    meet, wall = motion.contacts[:2]
    assert (meet.kind, meet.a, meet.b, wall.b) == ("crate", 0, 1, -1)
    mu = SURFACES["crate"].friction
    speed = math.sqrt(25.0 - 2 * mu * G * 1.0)
    assert meet.speed == pytest.approx(speed, abs=1e-9)
    row_a, row_b = (s[np.searchsorted(s[:, 0], meet.time)] for s in motion.shifts)
    assert row_a[3] + 2.0 * row_b[3] == pytest.approx(speed, abs=1e-9)
    assert row_b[3] - row_a[3] == pytest.approx(SURFACES["crate"].restitution * speed, abs=1e-9)


# Laws.


def energy(scene, motion, times):
    m = np.array([b.mass for b in scene.balls])
    r = np.array([b.radius for b in scene.balls])
    p, v, s = motion.positions(times), motion.velocities(times), motion.spins(times)[..., 1]
    return (m * (0.5 * (v**2).sum(-1) + scene.gravity * p[..., 1] + 0.25 * (r * s) ** 2)).sum(-1)


def crowd(seed, **fields):
    """Balls among fixed shapes; drawn with NumPy, for tests alone."""
    rng = np.random.default_rng(seed)
    balls = [
        ball(
            (1.5 + 2.3 * k, rng.uniform(5, 8)),
            tuple(rng.uniform(-3, 3, 2)),
            fields.get("what", "wood"),
            rng.uniform(0.2, 0.4),
            colour=c,
        )
        for k, c in enumerate(("red", "green", "blue"))
    ]
    shapes = [
        box(1.0, 0.0, 3.0, 1.5),
        Shape(((6.0, 3.0),), "iron", 0.05, "iron"),
        Shape(((4.0, 0.5), (5.5, 1.5)), "white", 0.1, "board"),
        Shape(((7.0, 0.0), (9.5, 0.0), (9.5, 2.0)), "stone", material="stone"),
    ]
    return Scene(0, tuple(balls), extent=10.0, bounds="room", ground="ground", shapes=tuple(shapes))


def test_energy_never_grows_and_falls_only_where_something_touches():
    events = 0
    for seed in range(60):
        scene = crowd(seed)
        try:
            motion = simulate(scene, 1.6)
        except (NoClosedForm, TooManyEvents):
            continue
        times = np.linspace(0, 1.6, 3001)
        e = energy(scene, motion, times)
        assert np.diff(e).max() < 1e-9
        # from here on something may slip
        lying = min([a[a[:, 5] > -G + 1e-9][:, 0].min(initial=9.9) for a in motion.arcs])
        quiet = np.array(
            [
                not any(t0 <= c.time <= t1 for c in motion.contacts)
                for t0, t1 in itertools.pairwise(times)
            ]
        ) & (times[1:] < lying)
        assert np.abs(np.diff(e))[quiet].max() < 1e-9
        events += len(motion.contacts)
    assert events > 100


def test_without_losses_nothing_is_lost(monkeypatch):
    for name in SURFACES:
        monkeypatch.setitem(
            SURFACES, name, dataclasses.replace(SURFACES[name], restitution=1.0, friction=0.0)
        )
    played = 0
    for seed in range(40):
        scene = crowd(seed, what="ideal")
        try:
            motion = simulate(scene, 1.5)
        except TooManyEvents:
            continue
        if any((a[:, 5] > -G + 1e-9).any() for a in motion.arcs):  # a rebound below the rest speed
            continue
        e = energy(scene, motion, np.linspace(0, 1.5, 501))
        np.testing.assert_allclose(e, e[0], atol=1e-9)
        played += len(motion.contacts) > 3
    assert played > 10


def test_nothing_enters_anything_and_events_are_in_order():
    for seed in range(40):
        scene = crowd(seed)
        try:
            motion = simulate(scene, 1.6)
        except (NoClosedForm, TooManyEvents):
            continue
        stamps = [c.time for c in motion.contacts]
        assert stamps == sorted(stamps) and all(
            c.speed >= -1e-9 and 0 <= c.rebound <= c.speed + 1e-9 for c in motion.contacts
        )
        p = motion.positions(np.linspace(0, 1.6, 1500))
        for k, b in enumerate(scene.balls):
            for shape in scene.shapes:
                assert distance(p[:, k], shape).min() > b.radius - 1e-8, (seed, k, shape)


def distance(points, shape):
    """From points [T, 2] to the surface of a shape, by its corners and edges; negative inside."""
    corners = np.array(shape.points)
    best, inside = np.full(len(points), np.inf), np.full(len(points), len(corners) > 2)
    for a, b in zip(corners, np.roll(corners, -1, 0), strict=True):
        s = np.clip(((points - a) @ (b - a)) / max((b - a) @ (b - a), 1e-12), 0, 1)
        best = np.minimum(best, np.linalg.norm(points - a - s[:, None] * (b - a), axis=1))
        inside &= (b - a)[0] * (points - a)[:, 1] - (b - a)[1] * (points - a)[:, 0] > 0
    return np.where(inside, -best, best) - shape.radius


def test_two_balls_keep_momentum_among_none():
    balls = [
        ball((2.0, 5.0), (1.0, 0.3), "metal"),
        ball((4.0, 5.1), (-2.0, 0.0), "glass", 0.4, colour="blue"),
    ]
    motion = play(balls, bounds="open", gravity=0.0)
    m = np.array([b.mass for b in balls])[:, None]
    p = (m * motion.velocities(np.linspace(0, 2, 9))).sum(1)
    np.testing.assert_allclose(p, np.broadcast_to(p[0], p.shape), atol=1e-9)
    assert len(motion.contacts) == 1 and material("metal").density == 4.0


def test_too_much_happens():
    # balanced on it, a ball hops ever less high, without end
    point = Shape(((1.0, 1.0),), "iron", 0.0, "iron")
    with pytest.raises(TooManyEvents):
        play([ball((1.0, 1.6))], [point], seconds=20.0)
