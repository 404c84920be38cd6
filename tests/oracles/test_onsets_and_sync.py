"""Arcs, onsets and matching on motions and sounds made here."""

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.oracles import arcs, material, sync
from sora_jax.oracles.onsets import audio_onsets
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import Track

RATE = 16_000


def bouncing(times, radius=0.25, drop=2.0, restitution=0.7, speed=0.5):
    """A ball dropped from `drop` m above the floor: positions [T, 2] and its impact times."""
    impact, up = np.sqrt(2 * drop / 9.8), np.sqrt(2 * 9.8 * drop) * restitution
    y, impacts, start, v = radius + drop - 4.9 * times**2, [], impact, up
    while start < times[-1] + 1:
        impacts.append(start)
        dt = times - start
        y = np.where(dt > 0, radius + v * dt - 4.9 * dt**2, y)
        start, v = start + 2 * v / 9.8, v * restitution
    return np.stack([0.8 + speed * times, y], -1), impacts


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_bounces_are_read_between_the_frames(noise):
    fps, frames = 8, 17
    times = (np.arange(frames) + 0.5) / fps
    path, impacts = bouncing(times)
    path = path + np.random.default_rng(0).normal(scale=noise, size=path.shape)
    seen = Track("red", path, np.full(frames, 0.25), np.ones(frames, int))
    found = arcs.kinks(arcs.fit(seen, fps), seen, fps)
    expected = [t for t in impacts if t < times[-2]]
    assert [k.kind for k in found] == ["floor"] * len(expected) and all(k.rebounds for k in found)
    assert np.allclose([k.time for k in found], expected, atol=0.002 + noise)


def test_a_smooth_flight_has_no_kinks():
    times = (np.arange(6) + 0.5) / 8
    path = np.stack([0.5 + 2 * times, 1.5 + 3 * times - 4.9 * times**2], -1)
    seen = Track("red", path, np.full(6, 0.25), np.ones(6, int))
    assert arcs.kinks(arcs.fit(seen, 8), seen, 8) == []


def impacts_sound(times, seconds=2.0, hertz=600.0, loudness=0.2, rate=RATE):
    t = np.arange(int(seconds * rate)) / rate
    sound = np.random.default_rng(0).normal(scale=0.005, size=len(t))
    for start in times:
        dt = np.maximum(t - start, 0)
        sound += loudness * (t >= start) * np.exp(-dt / 0.05) * np.sin(2 * np.pi * hertz * dt)
        click = (t >= start) & (dt < 0.004)
        sound[click] += loudness * 0.3 * np.random.default_rng(1).normal(size=click.sum())
    return sound


def test_onsets_are_heard_and_silence_is_silent():
    times = [0.31, 0.62, 1.337, 1.61]
    found = [o.time for o in audio_onsets(impacts_sound(times))]
    assert len(found) == 4 and np.allclose(found, times, atol=0.005)
    assert audio_onsets(impacts_sound([])) == []
    assert audio_onsets(np.zeros(2 * RATE)) == []
    assert audio_onsets(np.zeros(0)) == []


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_onsets_are_heard_at_every_rate(rate):
    """Constants of the oracles are of 16 kHz: other rates are converted."""
    times = [0.31, 0.62, 1.337, 1.61]
    samples = impacts_sound(times, rate=rate)
    reading = Reading(Clip(np.zeros((16, 8, 8, 3), np.float32), samples, rate=rate))
    assert len(reading.heard_impacts) == 4
    np.testing.assert_allclose(reading.heard_impacts, times, atol=0.005)
    assert len(reading.samples) == 2 * reading.rate
    assert Reading(Clip(reading.frames, np.zeros(0), rate=rate)).heard_impacts == []


@pytest.mark.parametrize("rate", [0, -16_000, 44_100.5, None])
def test_a_rate_that_is_none_is_refused(rate):
    frames = np.zeros((16, 8, 8, 3), np.float32)
    with pytest.raises(UserError, match=f"rate is {rate}; give samples per second"):
        Reading(Clip(frames, np.zeros(RATE), rate=rate))


@pytest.mark.parametrize("gravity", [9.8, 1.62])
def test_a_flight_meets_the_floor_at_every_gravity(gravity):
    """Equation (1): a ball falls 1 m in sqrt(2 / g) s."""
    flying = arcs.Piece(0, 9, 0.0, 0.0, 1.25, 0.0, -gravity)
    resting = arcs.Piece(10, 19, 0.0, 0.0, 0.25, 0.0, 0.0)
    falls = np.sqrt(2.0 / gravity)
    assert arcs._meeting(flying, resting, 0.0, 2.0) == pytest.approx(falls)


def test_dominant_mode():
    assert material.dominant_mode(impacts_sound([0.5], hertz=733.0), 0.5) == pytest.approx(
        733.0, rel=0.01
    )
    assert np.isnan(material.dominant_mode(np.zeros(RATE), 0.5))
    assert material.read_material(np.zeros(RATE), 0.5)[0] is None


def test_matching_is_one_to_one():
    assert sync.f1([], [], 0.1) == 1.0
    assert sync.f1([0.5], [], 0.1) == 0.0
    assert sync.f1([0.5, 0.52], [0.51], 0.1) == pytest.approx(2 / 3)
    # The nearest pair must not take the only partner of another.
    assert sorted(sync.match([0.50, 0.59], [0.58, 0.66], 0.1)) == [(0, 0), (1, 1)]
    assert sync.match([0.5], [0.601], 0.1) == []
    assert sync.agreement([0.53, 1.03], [0.5, 1.0]).offset == pytest.approx(0.03)


def test_a_torn_path_is_told_from_a_bounce():
    times = (np.arange(17) + 0.5) / 8
    path, _ = bouncing(times)
    moved = path + np.where((times > 0.7) & (times < 1.4), 0.9, 0.0)[:, None] * [1.0, 0.0]
    whole, torn = (Track("red", p, np.full(17, 0.25), np.ones(17, int)) for p in (path, moved))
    assert arcs.tears(arcs.fit(whole, 8), whole, 8) == 0
    assert arcs.tears(arcs.fit(torn, 8), torn, 8) == 2


def test_a_bounce_that_gains_energy_is_none():
    """Played backwards, a ball leaves the floor faster than it came: kinks at the floor, but no
    bounces.
    """
    times = (np.arange(17) + 0.5) / 8
    path, impacts = bouncing(times)
    seen = Track("red", path[::-1].copy(), np.full(17, 0.25), np.ones(17, int))
    found = arcs.kinks(arcs.fit(seen, 8), seen, 8)
    assert [k.kind for k in found] == ["floor"] * len([t for t in impacts if t < times[-2]])
    assert not any(k.rebounds for k in found)


def test_the_lag_of_a_whole_sound():
    seen = [0.31, 0.62, 1.34]
    for shift in (-0.16, -0.02, 0.0, 0.09, 0.2):
        assert sync.lag([t + shift for t in seen[1:]], seen) == pytest.approx(shift)
    assert sync.lag([0.33, 0.64, 1.36, 1.0], seen) == pytest.approx(0.02)  # one sound too many
    assert np.isnan(sync.lag([], seen)) and np.isnan(sync.lag([2.0], [1.0]))
