"""Formats of clips: any size and rate, exact clocks, and shots whose latents start anew."""

import json
from fractions import Fraction

import numpy as np
import pytest

from sora_jax.modality import FORMATS, SAMPLE_RATE, ClipFormat, frame_rate

STORY = FORMATS["story3"]
WIDE = ClipFormat(frames=73, fps=24, height=72, width=128)


def test_a_clip_of_one_shot_is_the_default():
    nano, one = FORMATS["nano"], ClipFormat(shots=(17,))
    assert repr(nano) == "ClipFormat(frames=17, fps=8, height=64, width=64)"
    assert one == nano == ClipFormat() and hash(one) == hash(nano)
    assert nano.latent_times()["video"].tolist() == [0.0625, 0.375, 0.875, 1.375, 1.875]
    assert not nano.frame_shots().any() and not nano.latent_shots()["audio"].any()
    assert (nano.samples, nano.audio_latents, nano.latent_sides) == (34_000, 54, (8, 8))


@pytest.mark.parametrize(
    "format",
    [*FORMATS.values(), WIDE, ClipFormat(fps="30000/1001", width=96)],
    ids=repr,
)
def test_formats_survive_json(format):
    assert ClipFormat.from_dict(json.loads(json.dumps(format.to_dict()))) == format
    with pytest.raises(ValueError, match="no size"):
        ClipFormat.from_dict({"size": 64})


@pytest.mark.parametrize(
    "given, exact",
    [
        (24, 24),
        (24.0, 24),
        ("25", 25),
        (29.97, Fraction(30000, 1001)),
        ("23.976", Fraction(24000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        (12.5, Fraction(25, 2)),
        (Fraction(2997, 100), Fraction(2997, 100)),
        ("2997/100", Fraction(2997, 100)),
        (0.004, Fraction(1, 250)),
    ],
)
def test_frame_rates_are_exact(given, exact):
    rate = frame_rate(given)
    assert rate == exact and isinstance(rate, int) == (exact == int(exact))


@pytest.mark.parametrize("fps", [0, -8, float("nan"), float("inf"), "fast", "1/0", 1e6, None])
def test_rates_that_cannot_be_are_refused(fps):
    with pytest.raises(ValueError, match="give frames per second"):
        ClipFormat(fps=fps)


def test_video_and_audio_keep_their_own_clocks():
    """At 24 frames/s a frame holds 666 2/3 samples, and the clip a whole number of them."""
    assert WIDE.samples == 48_667 and abs(WIDE.samples / SAMPLE_RATE - WIDE.seconds) < 0.5 / 16_000
    assert WIDE.latent_sides == (9, 16) and WIDE.video_latents == 19
    times = WIDE.latent_times()
    np.testing.assert_allclose(times["video"][[0, 1, 18]], [0.5 / 24, 3 / 24, 71 / 24])
    np.testing.assert_allclose(times["audio"][:2], [0.02, 0.06])
    film = ClipFormat(frames=301, fps=29.97, height=2, width=4)
    assert film.seconds == pytest.approx(301 * 1001 / 30_000)
    assert film.frame_times()[-1] == pytest.approx(film.seconds - 0.5 * 1001 / 30_000)


def test_latents_know_their_time_and_their_shot():
    one, times = FORMATS["nano"].latent_times(), STORY.latent_times()
    assert STORY.video_latents == 15 and STORY.shot_latents == (5, 5, 5)
    starts = np.repeat([0.0, 17 / 8, 34 / 8], 5)
    np.testing.assert_array_equal(times["video"], starts + np.tile(one["video"], 3))
    shots, within = STORY.latent_shots(), STORY.latent_shot_times()
    assert shots["video"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    np.testing.assert_allclose(within["video"], np.tile(one["video"], 3))
    assert len(shots["audio"]) == STORY.audio_latents and set(shots["audio"]) == {0, 1, 2}
    assert (within["audio"] >= 0.0).all() and within["audio"].max() < 17 / 8 + 0.02
    assert STORY.frame_shots().tolist() == [0] * 17 + [1] * 17 + [2] * 17


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"frames": 50, "shots": (17, 17, 17)}, "frames=50: the shots have 51"),
        ({"frames": 33, "shots": (17, 16)}, r"shots=16: a shot has 1 \+ 4k frames; use 17"),
        ({"frames": 16}, r"frames=16: a clip has 1 \+ 4k frames; use 17"),
        ({"height": 63}, "height=63: give an even number of pixels"),
        ({"width": 0}, "width=0: give an even number"),
        ({"width": 64.0}, "width=64.0: give an even number"),
        ({"width": 10_000}, "width=10000: give an even number of pixels, 2 to 8192"),
    ],
)
def test_impossible_formats_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        ClipFormat(**fields)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_changes_that_cannot_be_are_refused(value):
    for name in ("fps", "seconds"):
        with pytest.raises(ValueError, match=f"{name}=.*; give a positive number"):
            ClipFormat().changed(**{name: value})
    with pytest.raises(ValueError, match="for a clip of 3 shots"):
        STORY.changed(seconds=1.0)
    assert STORY.changed(fps=16).shots == (33, 33, 33)
