"""Pymunk, an engine that steps, agrees with the exact motion ever better as its steps get
shorter.
"""

import pytest

from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import SURFACES, Ball, Scene, Shape, restitution

pytestmark = pytest.mark.slow
STEP = 1e-4
# Pymunk resolves a contact at the end of a step, where the ball is up to u * STEP = 0.6 mm inside,
# and every later contact inherits its error, amplified where the surface is curved. Measured over
# these five scenes: at most 345 mm with steps of 1/60 s, 16 mm with 1 ms, 6 mm with 0.1 ms; so the
# difference is pymunk's, and shrinks with its step.
TOLERANCE = 0.01  # metres


def scene(number: int) -> Scene:
    shapes = (
        Shape(((1.0, 0.0), (3.0, 0.0), (3.0, 1.0), (1.0, 1.0)), "stone", material="stone"),
        Shape(((6.0, 2.0),), "iron", 0.05, "iron"),
        Shape(((8.0, 0.5), (9.0, 1.5)), "white", 0.1, "board"),
    )
    starts = [
        ((2.0, 3.0), (0.4, 0.0)),
        ((5.6, 4.0), (0.2, 0.5)),
        ((7.3, 3.0), (0.8, -1.0)),
        ((4.5, 2.0), (2.0, 1.0)),
        ((9.2, 4.0), (-0.6, 0.0)),
    ]
    position, velocity = starts[number]
    ball = Ball("red", "small", "rubber", "thrown", None, 0.25, position, velocity)
    return Scene(0, (ball,), extent=10.0, bounds="floor", ground="ground", shapes=shapes)


@pytest.mark.parametrize("number", range(5))
def test_agrees_with_pymunk(number):
    pymunk = pytest.importorskip("pymunk")
    played = scene(number)
    ball = played.balls[0]
    space = pymunk.Space()
    space.gravity, space.collision_slop, space.collision_bias, space.iterations = (
        (0, -9.8),
        0.0,
        0.0,
        30,
    )
    body = pymunk.Body(ball.mass, 0.5 * ball.mass * ball.radius**2)
    body.position, body.velocity = ball.position, ball.velocity
    circle = pymunk.Circle(body, ball.radius)
    # pymunk multiplies the two: the pair's values stand on the other shape
    circle.elasticity = circle.friction = 1.0
    space.add(body, circle)
    for shape in (Shape(((-50.0, -1.0), (60.0, -1.0)), "stone", 1.0, "ground"), *played.shapes):
        made = [pymunk.Circle(space.static_body, shape.radius, shape.points[0]), None][
            len(shape.points) > 1
        ]
        if len(shape.points) == 2:
            made = pymunk.Segment(space.static_body, *shape.points, shape.radius)
        elif len(shape.points) > 2:
            made = pymunk.Poly(space.static_body, shape.points, radius=shape.radius)
        made.elasticity, made.friction = (
            restitution("rubber", shape.material),
            SURFACES[shape.material].friction,
        )
        space.add(made)
    motion = simulate(played, 1.5)
    # the rule of rest is this world's own
    resting = [c.time for c in motion.contacts if c.rebound == 0.0]
    steps = int(min([1.5, *resting]) / STEP) - 1
    assert motion.contacts and motion.contacts[0].time < steps * STEP
    for i in range(steps):
        space.step(STEP)
        if i % 500 == 499:
            x, y = motion.positions([(i + 1) * STEP])[0, 0]
            assert abs(body.position.x - x) < TOLERANCE and abs(body.position.y - y) < TOLERANCE, (
                i * STEP,
                motion.contacts,
            )
