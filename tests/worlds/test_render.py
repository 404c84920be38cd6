"""Pictures and sound are where and when the simulation says, the same in any batch."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sora_jax.modality import FORMATS, SAMPLE_RATE
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.render import render, render_inputs
from sora_jax.worlds.playhouse.sound import sound_inputs, synthesise
from sora_jax.worlds.playhouse.spec import (
    COLOURS,
    MATERIALS,
    REFERENCE_RADIUS,
    from_pixels,
    to_pixels,
)

FORMAT = FORMATS["nano"]


@pytest.fixture(scope="module")
def takes():
    return [draw("train", i) for i in range(12)]


@pytest.fixture(scope="module")
def frames(takes):
    return np.asarray(render(render_inputs(takes, FORMAT), FORMAT))


@pytest.fixture(scope="module")
def sounds(takes):
    return np.asarray(synthesise(sound_inputs(takes, FORMAT), FORMAT))


def test_ranges_and_shapes(frames, sounds):
    assert frames.shape == (12, 17, 64, 64, 3) and frames.dtype == np.float32
    assert sounds.shape == (12, 34000) and sounds.dtype == np.float32
    assert frames.min() >= 0 and frames.max() <= 1 and np.abs(sounds).max() <= 1


def test_rooms_look_as_they_always_did(takes, frames):
    """Shipped weights were trained on these pixels: frames 0, 8 and 16 of the first four takes."""
    pinned = np.asarray(Image.open(Path(__file__).with_name("rooms.png")), np.float32)
    sheet = np.concatenate(
        [np.concatenate(clip[[0, 8, 16]], axis=1) for clip in frames[:4]], axis=0
    )
    assert {take.scene.style for take in takes[:4]} == {"flat", "shaded"}
    assert np.abs(sheet * 255 - pinned).max() <= 1.0


def test_flat_balls_are_where_they_should_be(takes, frames):
    checked = 0
    for take, clip in zip(takes, frames, strict=True):
        if take.scene.style != "flat":
            continue
        centres = to_pixels(
            take.trajectory.positions(FORMAT.frame_times()), take.scene.extent, FORMAT.size
        )
        for k, ball in enumerate(take.scene.balls):
            colour = np.array(COLOURS[ball.colour], np.float32)
            for f in (0, 8, 16):
                hit = np.abs(clip[f] - colour).max(-1) < 0.02
                rows, columns = np.nonzero(hit)
                assert (
                    abs(columns.mean() - centres[f, k, 0]) < 0.5
                    and abs(rows.mean() - centres[f, k, 1]) < 0.5
                )
                area = np.pi * (ball.radius * 16) ** 2
                assert 0.5 * area < hit.sum() < 1.1 * area
                checked += 1
    assert checked >= 6


def test_pixels_map_back():
    points = np.random.default_rng(0).uniform(0, 4, (50, 2))
    np.testing.assert_allclose(from_pixels(to_pixels(points, 4.0, 64), 4.0, 64), points, atol=1e-12)


def test_same_in_any_batch(takes, frames, sounds):
    alone = np.asarray(render(render_inputs(takes[3:4], FORMAT), FORMAT))
    heard = np.asarray(synthesise(sound_inputs(takes[3:4], FORMAT), FORMAT))
    assert np.abs(alone[0] - frames[3]).max() <= 1 / 255
    assert np.abs(heard[0] - sounds[3]).max() <= 1e-3


def test_impacts_sound_at_their_instant(takes, sounds):
    for take, sound in zip(takes, sounds, strict=True):
        for c in take.trajectory.contacts[:1]:
            at = int(np.ceil(c.time * SAMPLE_RATE))
            before = np.sqrt(np.mean(sound[at - 400 : at] ** 2))
            after = np.sqrt(np.mean(sound[at : at + 400] ** 2))
            assert after > 3 * before


def test_struck_ball_rings_at_its_frequency():
    take = next(
        t
        for t in (draw("train", i) for i in range(100))
        if len(t.scene.balls) == 1 and t.scene.balls[0].material == "glass"
    )
    sound = np.asarray(synthesise(sound_inputs([take], FORMAT), FORMAT))[0]
    at = int(take.trajectory.contacts[0].time * SAMPLE_RATE) + 80
    spectrum = np.abs(np.fft.rfft(sound[at : at + 1600] * np.hanning(1600), 16000))
    expected = MATERIALS["glass"].base_hz * REFERENCE_RADIUS / take.scene.balls[0].radius
    assert abs(spectrum[300:].argmax() + 300 - expected) < 0.02 * expected


def test_clips_of_the_other_format_render(takes):
    format = FORMATS["S"]
    assert render(render_inputs(takes[:1], format), format).shape == (1, 33, 64, 64, 3)
    assert synthesise(sound_inputs(takes[:1], format), format).shape == (1, 33000)


def test_room_for_one_ball_changes_no_bit():
    one = next(take for take in (draw("train", i) for i in range(20)) if len(take.scene.balls) == 1)
    wide, narrow = (render_inputs([one], FORMAT, alone=alone) for alone in (False, True))
    assert (wide["radius"].shape, narrow["radius"].shape) == ((1, 3), (1, 1))
    np.testing.assert_array_equal(render(wide, FORMAT), render(narrow, FORMAT))
