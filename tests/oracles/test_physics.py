"""Laws read from tracks made here: what keeps them, what breaks them, and by which name."""

import dataclasses

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.oracles import loudness, physics
from sora_jax.oracles.facts import coherent
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import Track

FPS, TIMES = 8, (np.arange(17) + 0.5) / 8


def ball(path, colour="red", radius=0.25):
    return Track(
        colour, np.asarray(path, float), np.full(len(path), radius), np.ones(len(path), int)
    )


def bouncing(g=9.8, e=0.7, drop=2.0, radius=0.25, speed=0.6, times=TIMES):
    """Positions of a ball that is let go `drop` m above the floor and drifts to the right."""
    v, start, y = (
        np.sqrt(2 * g * drop) * e,
        np.sqrt(2 * drop / g),
        radius + drop - 0.5 * g * times**2,
    )
    for _ in range(6):
        dt = times - start
        y = np.where(dt > 0, radius + v * dt - 0.5 * g * dt**2, y)
        start, v = start + 2 * v / g, v * e
    return np.stack([0.8 + speed * times, y], -1)


def meeting(mass=1.2, closing=1.8):
    """Two balls that roll towards one another and meet elastically."""
    radius, start = 0.3, (0.9, 3.1)
    v = np.array([closing / 2, -closing / 2])
    met = (start[1] - start[0] - 2 * radius) / closing
    centre = (v[0] + mass * v[1]) / (1 + mass)
    after = 2 * centre - v
    paths = []
    for k in (0, 1):
        x = start[k] + v[k] * np.minimum(TIMES, met) + after[k] * np.maximum(TIMES - met, 0)
        paths.append(np.stack([x, np.full(17, radius)], -1))
    return [ball(paths[0], "red", radius), ball(paths[1], "blue", radius)]


def read(*tracks):
    return physics.read_physics(list(tracks), FPS, 64)


def test_a_bouncing_ball_is_lawful_and_measured():
    found = read(ball(bouncing()))
    assert found.violations == () and found.residual_px < 0.05 and found.momentum_error is None
    assert len(found.restitution) >= 2 and np.allclose(found.restitution[:2], 0.7, atol=0.03)


@pytest.mark.parametrize("v,a", [(0.5, 0.4), (1.3, -0.5)])
def test_a_ball_that_speeds_up_or_brakes_by_itself_is_kicked(v, a):
    """Each piece of its path differs from the one before by less than any contact makes."""
    noise = np.random.default_rng(1).normal(scale=0.004, size=(17, 2))
    rolled = lambda a: ball(
        np.stack([0.8 + v * TIMES + 0.5 * a * TIMES**2, np.full(17, 0.25)], -1) + noise
    )
    assert read(rolled(a)).violations == ("kicks",) and read(rolled(0.0)).violations == ()


def test_a_ball_keeps_its_size():
    seen = ball(bouncing())
    shrunk = dataclasses.replace(seen, radius=np.where(TIMES < 1.0, 0.25, 0.2))
    assert read(shrunk).violations == ("swelling",) and read(shrunk).swelling == pytest.approx(1.25)
    # unknown is not another
    lost = dataclasses.replace(seen, radius=np.where(np.arange(17) < 6, np.nan, 0.25))
    assert lost.swelling == 1.0


def test_what_is_there_now_and_then_is_a_law_broken():
    away = np.abs(np.arange(17) - 8) > 2
    path = np.where(away[:, None], np.nan, [[3.0, 2.0]])
    visitor = Track("blue", path, np.where(away, np.nan, 0.2), np.where(away, 0, 1))
    seen = ball(bouncing())
    assert read(seen, visitor).lost == 5 and read(seen, visitor).violations == ("lost",)
    assert coherent([seen], FPS) and not coherent([seen, visitor], FPS)
    assert physics.read_physics([visitor], FPS, 64) is None  # no ball of the clip's


def test_what_hangs_in_the_air_is_no_ball_that_was_dropped():
    still = ball(np.tile([2.0, 2.5], (17, 1)))
    assert not coherent([still], FPS)


@pytest.mark.parametrize("g", [3.7, 9.8, 14.0])
def test_gravity_is_read(g):
    noise = np.random.default_rng(0).normal(scale=0.004, size=(17, 2))
    assert physics.read_gravity([ball(bouncing(g) + noise)], FPS) == pytest.approx(g, rel=0.04)


def test_what_lies_has_no_gravity():
    assert physics.read_gravity(meeting(), FPS) is None and physics.read_gravity([], FPS) is None
    assert read() is None


def test_two_balls_that_meet_keep_momentum_and_energy():
    found = read(*meeting())
    assert found.violations == () and found.momentum_error < 0.05


def test_a_push_from_nothing_is_a_kick():
    alone = meeting()[0]
    assert read(alone).violations == ("kicks",)


def test_two_balls_that_gain_energy():
    red, blue = meeting()
    faster = [dataclasses.replace(b, position=_hasten(b.position)) for b in (red, blue)]
    assert "gains" in read(*faster).violations


def _hasten(path):
    turn = int(np.argmax(np.abs(np.diff(path[:, 0], 2)))) + 1
    out = path.copy()
    out[turn + 1 :, 0] = path[turn + 1, 0] + 2.2 * (path[turn + 1 :, 0] - path[turn + 1, 0])
    return out


def test_each_corruption_breaks_its_law():
    path = bouncing()
    jump, sunk, gone, slid = path.copy(), path - [0.0, 0.3], np.ones(17, int), path.copy()
    jump[8:, 0] += 1.5
    gone[6:9] = 0
    slid[:, 0] += np.where(TIMES > 0.9, 2.0 * (TIMES - 0.9), 0.0)  # blown away in mid-air
    # sideways, by the floor
    pushed = path + [[0.6, 0.0]] * np.maximum(TIMES - np.sqrt(2 * 2.0 / 9.8), 0)[:, None]
    lost = Track(
        "red", np.where(gone[:, None] > 0, path, np.nan), np.where(gone > 0, 0.25, np.nan), gone
    )
    assert "teleports" in read(ball(jump)).violations
    assert "overlap_px" in read(ball(sunk)).violations
    assert "lost" in read(lost).violations
    assert "kicks" in read(ball(slid)).violations
    assert read(ball(pushed)).violations == ("slips",)
    assert "gains" in read(ball(path[::-1])).violations
    assert "overlap_px" in read(ball(path), ball(path + np.array([0.3, 0.0]), "blue")).violations
    assert read(ball(bouncing(times=1.3 * TIMES))).violations


def test_loudness_is_judged_by_order():
    rising = [(1.0, -30.0), (2.0, -22.0), (4.0, -15.0)]
    assert loudness.in_order(rising) is True and loudness.correlation(rising) == 1.0
    assert loudness.in_order([(1.0, -10.0), (4.0, -15.0)]) is False
    assert loudness.in_order([(1.0, -10.0), (1.2, -15.0)]) is None and loudness.in_order([]) is None
    assert loudness.correlation(rising[:2]) is None


def test_a_ball_that_rests_at_a_wall_and_leaves_did_not_rebound():
    """It was not coming: no restitution, but energy from nowhere."""
    x = 0.25 + 1.5 * np.maximum(TIMES - 1.0, 0)
    found = read(ball(np.stack([x, np.full(17, 0.25)], -1)))
    assert found.restitution == () and found.violations


def test_a_ring_adds_nothing_to_the_blow_that_strikes_into_it():
    t = np.arange(8000) / 16000
    ring = lambda since, gain: np.where(
        t > since, gain * np.exp(-(t - since) / 0.2) * np.sin(2 * np.pi * 800 * (t - since)), 0.0
    )
    reading = Reading(Clip(np.zeros((4, 8, 8, 3)), ring(0.1, 0.5) + ring(0.16, 0.1), FPS, 16000))
    loud, soft = (loudness._level(reading, time) for time in (0.1, 0.16))
    assert loud == pytest.approx(20 * np.log10(0.5), abs=0.2) and soft < loud - 5.0
