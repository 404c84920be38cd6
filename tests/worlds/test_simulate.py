"""The motion is exact: closed forms, conservation laws, and a small-step integration agree with
it.
"""

import dataclasses
import math

import numpy as np
import pytest

from sora_jax.worlds.playhouse.draw import CLIP_SECONDS, draw
from sora_jax.worlds.playhouse.events import REST_SPEED
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import MATERIALS, Ball, Scene
from sora_jax.worlds.playhouse.touch import roots


def ball(
    position, velocity=(0.0, 0.0), material="rubber", radius=0.25, launch="thrown", colour="red"
):
    return Ball(colour, "small", material, launch, "left", radius, position, velocity)


def test_drop_bounces_when_and_as_high_as_the_formula_says():
    height, g, e = 2.0, 9.8, MATERIALS["rubber"].restitution
    motion = simulate(Scene(0, (ball((2.0, 0.25 + height)),)), 2.0)
    first = math.sqrt(2 * height / g)
    assert motion.contacts[0].time == pytest.approx(first, abs=1e-12)
    assert motion.contacts[1].time == pytest.approx(first + 2 * e * first, abs=1e-12)
    apex = motion.positions(np.array([first + e * first]))[0, 0, 1] - 0.25
    assert apex == pytest.approx(e * e * height, abs=1e-12)


def test_ball_comes_to_rest_below_the_rest_speed_and_stays():
    motion = simulate(Scene(0, (ball((2.0, 0.25 + 0.05), (0.3, 0.0)),)), 2.0)
    (contact,) = motion.contacts
    assert contact.rebound == 0 and contact.speed * MATERIALS["rubber"].restitution < REST_SPEED
    late = motion.positions(np.array([1.0, 1.9]))[:, 0]
    assert (late[:, 1] == 0.25).all()
    assert late[1, 0] - late[0, 0] == pytest.approx(0.27, abs=1e-12)


def test_two_balls_conserve_momentum_and_lose_the_stated_energy():
    a, b = (
        ball((1.0, 1.5), (2.0, 0.0), "metal"),
        ball((2.5, 1.5), (-1.0, 0.0), "wood", 0.4, colour="blue"),
    )
    motion = simulate(Scene(0, (a, b), gravity=0.0), 0.6)
    (contact,) = motion.contacts
    before, after = motion.velocities(np.array([0.0, 0.59]))
    mass = np.array([a.mass, b.mass])[:, None]
    np.testing.assert_allclose((mass * before).sum(0), (mass * after).sum(0), atol=1e-12)
    e = math.sqrt(MATERIALS["metal"].restitution * MATERIALS["wood"].restitution)
    assert after[1, 0] - after[0, 0] == pytest.approx(e * 3.0, abs=1e-12)
    assert contact.time == pytest.approx((1.5 - 0.65) / 3.0, abs=1e-12)


def test_flying_ball_meets_lying_ball():
    """Equation (4) with relative acceleration: the gap is zero at the contact and never
    negative.
    """
    falling, lying = (
        ball((2.1, 2.0)),
        ball((1.9, 0.45), launch="rolled", radius=0.45, colour="blue"),
    )
    motion = simulate(Scene(0, (falling, lying)), 1.2)
    hit = next(c for c in motion.contacts if c.kind == "ball")
    times = np.linspace(0, 1.2, 5001)
    gap = np.linalg.norm(np.diff(motion.positions(times), axis=1)[:, 0], axis=-1) - 0.7
    assert gap.min() > -1e-9
    at = motion.positions(np.array([hit.time]))[0]
    assert np.linalg.norm(at[1] - at[0]) == pytest.approx(0.7, abs=1e-9)


def test_agrees_with_small_steps():
    """An independent integrator with 20 us steps finds the same contacts in drawn scenes."""
    for index in range(6):
        take = draw("train", index)
        step, g = 2e-5, take.scene.gravity
        p = np.array([b.position for b in take.scene.balls])
        v = np.array([b.velocity for b in take.scene.balls])
        r = np.array([b.radius for b in take.scene.balls])
        first = take.trajectory.contacts[0].time if take.trajectory.contacts else CLIP_SECONDS
        flying = np.array([b.launch != "rolled" for b in take.scene.balls])
        for _ in range(int((first - 1e-3) / step)):
            v[flying, 1] -= g * step
            p += v * step
        assert (p[:, 1] > r - 1e-3).all()
        np.testing.assert_allclose(
            p,
            take.trajectory.positions(np.array([int((first - 1e-3) / step) * step]))[0],
            atol=1e-3,
        )


def test_no_ball_leaves_the_room_or_enters_another():
    times = np.linspace(0, CLIP_SECONDS, 400)
    for index in range(40):
        take = draw("train", index)
        p, r = take.trajectory.positions(times), np.array([b.radius for b in take.scene.balls])
        assert (
            (p[..., 0] > r - 1e-9).all()
            and (p[..., 0] < take.scene.extent - r + 1e-9).all()
            and (p[..., 1] > r - 1e-9).all()
        )
        for i in range(len(r)):
            for j in range(i):
                assert (np.linalg.norm(p[:, i] - p[:, j], axis=-1) > r[i] + r[j] - 1e-9).all()


def test_a_pile_up_is_refused():
    cramped = Scene(
        0,
        (ball((0.26, 0.26), (9.0, 9.0)), ball((0.78, 0.26), (-9.0, 3.0), colour="blue")),
        extent=1.05,
        gravity=0.0,
    )
    with pytest.raises(TooManyEvents):
        simulate(
            dataclasses.replace(
                cramped,
                balls=tuple(dataclasses.replace(b, material="rubber") for b in cramped.balls),
            ),
            400.0,
        )


@pytest.mark.parametrize("zeros", [(0.5,), (0.25, 0.75), (0.1, 0.2, 0.9), (0.1, 0.4, 0.6, 0.7)])
def test_roots_are_found(zeros):
    coefficients = np.polynomial.polynomial.polyfromroots(zeros)
    np.testing.assert_allclose(roots(tuple(coefficients), 1.0), zeros, atol=1e-9)
