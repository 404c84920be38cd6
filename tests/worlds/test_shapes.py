"""Shapes are painted where they are and ring when they are struck, the same in any batch and beside
any other family.
"""

import dataclasses

import numpy as np
import pytest

from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.render import render, render_inputs
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.sound import sound_inputs, synthesise
from sora_jax.worlds.playhouse.spec import PAINTS, SURFACES, Ball, Scene, Shape, from_pixels

FORMAT = ClipFormat(frames=5, fps=8)


def take_of(*shapes, balls=(), **fields):
    scene = Scene(0, tuple(balls), shapes=tuple(shapes), **fields)
    return Take("train", 0, scene, simulate(scene, 2.0), None, ("",), family="room")


def frames_of(*takes):
    return np.asarray(render(render_inputs(takes, FORMAT), FORMAT))


def area(picture, paint):
    """Square metres painted, by the darkening of an empty picture."""
    dark, back = np.array(PAINTS[paint]).sum(), frames_of(take_of())[0, 0].sum(-1)
    return ((back - picture.sum(-1)) / (back - dark)).sum() / 16**2


@pytest.mark.parametrize(
    "shape, expected",
    [
        (Shape(((2.0, 2.0),), "iron", 0.5), np.pi * 0.25),
        (Shape(((1.0, 1.0), (3.0, 2.0)), "iron", 0.2), 0.4 * 5**0.5 + np.pi * 0.04),
        (Shape(((1.0, 1.0), (3.0, 1.0), (1.0, 3.0)), "iron"), 2.0),
        (
            Shape(((1.0, 1.0), (3.0, 1.0), (3.0, 2.5), (1.0, 2.5)), "iron", 0.1),
            3.0 + 0.7 + np.pi * 0.01,
        ),
        (
            Shape(((1.0, 1.0), (2.0, 0.5), (3.0, 1.0), (3.0, 2.0), (2.0, 2.5), (1.0, 2.0)), "iron"),
            3.0,
        ),
    ],
)
def test_a_shape_covers_its_area(shape, expected):
    """Coverage sums to the area: of a disc, a bar, a triangle, a rounded box; 2 % for the ramp's
    corners.
    """
    assert area(frames_of(take_of(shape))[0, 0], "iron") == pytest.approx(expected, rel=0.02)


def test_a_shape_is_where_it_is():
    picture = frames_of(take_of(Shape(((0.5, 1.0), (1.5, 1.0), (0.5, 3.0)), "iron")))[0, 0]
    rows, columns = np.nonzero(picture.sum(-1) < 1.0)
    points = from_pixels(np.stack([columns, rows], -1).astype(float), 4.0, 64)
    # a triangle's centre
    np.testing.assert_allclose(points.mean(0), [0.5 + 1 / 3, 1.0 + 2 / 3], atol=0.03)


def test_front_hides_the_ball_and_behind_does_not():
    box = ((1.0, 0.5), (3.0, 0.5), (3.0, 3.0), (1.0, 3.0))
    ball = Ball("red", "small", "rubber", "thrown", None, 0.3, (2.0, 2.5), (0.0, 0.0))
    hidden, seen = frames_of(
        take_of(Shape(box, "frame", front=True), balls=[ball]),
        take_of(Shape(box, "frame"), balls=[ball]),
    )
    red = lambda clip: (clip[..., 0] > 0.8) & (clip[..., 1] < 0.2)
    assert not red(hidden).any() and red(seen).any()


def test_a_moving_shape_is_painted_where_it_moves():
    panel = Shape(
        ((0.2, 1.0), (1.2, 1.0), (1.2, 2.0), (0.2, 2.0)),
        "iron",
        path=((0.0, 0.0, 0.0), (1.0, 2.0, 1.0)),
    )
    clip = frames_of(take_of(panel))[0]
    for f, t in enumerate(FORMAT.frame_times()):
        rows, columns = np.nonzero(clip[f].sum(-1) < 1.0)
        point = from_pixels(np.array([columns.mean(), rows.mean()]), 4.0, 64)
        np.testing.assert_allclose(point, [0.7 + 2.0 * t, 1.5 + t], atol=0.05)


def test_families_share_a_batch():
    """A room beside a court, and a court beside fewer shapes, have the pixels and samples that they
    have alone.
    """
    takes = [
        draw("train", 4),
        draw("train", 1, family="court"),
        draw("val", 2, family="phyworld_collision_30k"),
        draw("train", 7, family="court"),
    ]
    together = frames_of(*takes)
    heard = np.asarray(synthesise(sound_inputs(takes, FORMAT), FORMAT))
    for i, take in enumerate(takes):
        assert np.abs(frames_of(take)[0] - together[i]).max() <= 1 / 255
        assert (
            np.abs(np.asarray(synthesise(sound_inputs([take], FORMAT), FORMAT))[0] - heard[i]).max()
            <= 1e-3
        )
    assert not heard[2].any()  # PhyWorld is silent


def test_the_rim_rings_at_its_own_frequency():
    """A heavy cloth ball on the rim: its own modes are low, so the spectrum's peak above 400 Hz is
    the iron's.
    """
    rim = Shape(((2.0, 1.0),), "iron", 0.05, "iron")
    take = take_of(
        rim, balls=[Ball("red", "large", "cloth", "thrown", None, 0.4, (2.02, 3.0), (0.0, 0.0))]
    )
    at = take.trajectory.contacts[0]
    assert at.kind == "shape"
    format = ClipFormat(frames=17, fps=8)
    sound = np.asarray(synthesise(sound_inputs([take], format), format))[0]
    start = int(at.time * SAMPLE_RATE)
    assert np.abs(sound[start : start + 400]).max() > 4 * np.abs(sound[start - 400 : start]).max()
    spectrum = np.abs(np.fft.rfft(sound[start + 80 : start + 1680] * np.hanning(1600), 16000))
    assert spectrum[400:].argmax() + 400 == pytest.approx(SURFACES["iron"].base_hz, rel=0.02)
    mute = dataclasses.replace(take, scene=dataclasses.replace(take.scene, ambience="silence"))
    assert not np.asarray(synthesise(sound_inputs([mute], format), format)).any()
