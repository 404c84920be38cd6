"""Which frames are given, by task, and that picture and sound are cut at the same moment; how
training draws noise levels.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.flow.conditioning import TaskMixture, draw_given, latent_spans
from sora_jax.flow.process import interpolate, to_velocity
from sora_jax.flow.timesteps import TimestepConfig, draw_levels
from sora_jax.modality import FORMATS

BATCH = 256
NOTHING = {field.name: 0.0 for field in dataclasses.fields(TaskMixture)}


def given_for(format_name="nano", has_audio=True, **weights):
    times = FORMATS[format_name].latent_times()
    present = jnp.full((BATCH,), has_audio)
    given, conditional = draw_given(
        jax.random.key(0), BATCH, times, TaskMixture(**NOTHING | weights), present
    )
    return np.asarray(given["video"]), np.asarray(given["audio"]), np.asarray(conditional)


@pytest.mark.parametrize("name", ["nano", "S", "phyworld", "story3"])
def test_spans_tile_the_clip(name):
    format = FORMATS[name]
    for start, end in latent_spans(format.latent_times()).values():
        np.testing.assert_allclose(start[0], 0, atol=1e-5)
        np.testing.assert_allclose(start[1:], end[:-1], atol=1e-5)
    np.testing.assert_allclose(
        latent_spans(format.latent_times())["video"][1][-1], format.seconds, atol=1e-5
    )


def test_whole_modalities_and_first_frame():
    video, audio, conditional = given_for(video_to_audio=1.0)
    assert video.all() and not audio.any() and conditional.all()
    video, audio, _ = given_for(audio_to_video=1.0)
    assert audio.all() and not video.any()
    video, audio, _ = given_for(first_frame=1.0)
    assert video[:, 0].all() and not video[:, 1:].any() and not audio.any()
    times = FORMATS["phyworld"].latent_times()
    given, _ = draw_given(
        jax.random.key(0),
        8,
        times,
        TaskMixture(**NOTHING | {"first_frame": 1.0}),
        jnp.zeros(8, bool),
        first_latents=3,
    )
    assert given["video"][:, :3].all() and not given["video"][:, 3:].any()
    video, audio, conditional = given_for(text=1.0)
    assert not video.any() and not audio.any() and not conditional.any()


@pytest.mark.parametrize("name", ["nano", "S"])
def test_continuation_gives_a_prefix_of_both(name):
    format = FORMATS[name]
    video, audio, _ = given_for(name, continuation=1.0)
    prefixes = set()
    for v, a in zip(video, audio, strict=True):
        slots = np.flatnonzero(v)
        assert (
            slots[0] in (0, 1)
            and (np.diff(slots) == 1).all()
            and slots[-1] < format.video_latents - 1
        )
        end = (4 * slots[-1] + 1) / format.fps  # latent k ends with frame 4k
        # whole latents of sound up to that moment
        assert a.sum() == int(end * 25 + 1e-6) and a[: a.sum()].all()
        prefixes.add((slots[0], slots[-1]))
    # both forms, every length
    assert len(prefixes) == (format.video_latents - 1) + (format.video_latents - 2)


@pytest.mark.parametrize("name", ["nano", "S"])
def test_between_gives_a_prefix_and_a_suffix_of_both(name):
    format = FORMATS[name]
    video, audio, conditional = given_for(name, between=1.0)
    spans, gaps = latent_spans(format.latent_times()), set()
    for v, a in zip(video, audio, strict=True):
        first = int(not v[0])
        inner = [i for i in np.flatnonzero(~v) if i >= first]
        assert v[-1] and v[first] and inner == list(range(inner[0], inner[-1] + 1))
        begin, end = float(spans["video"][0][inner[0]]), float(spans["video"][1][inner[-1]])
        clear = (spans["audio"][1] <= begin + 1e-4) | (spans["audio"][0] >= end - 1e-4)
        np.testing.assert_array_equal(a, clear)
        gaps.add((first, inner[0], inner[-1]))
    last = format.video_latents - 2
    assert {gap[0] for gap in gaps} == {0, 1} and {gap[1] for gap in gaps} >= {1, 2, last}
    assert {gap[2] for gap in gaps} >= {2, last} and conditional.all()


def test_between_leaves_out_whole_shots_in_half_of_the_draws():
    format = FORMATS["story3"]
    video, audio, _ = given_for("story3", between=1.0)
    shots = format.latent_shots()
    whole = [
        (n, a)
        for v, a in zip(video, audio, strict=True)
        for n in range(3)
        if not v[shots["video"] == n].any() and v[1:][shots["video"][1:] != n].all()
    ]
    assert 0.4 * BATCH < len(whole) < 0.65 * BATCH and {n for n, _ in whole} == {0, 1, 2}
    for n, a in whole:
        inside = shots["audio"] == n
        assert not a[inside][1:-1].any() and a[~inside].sum() >= (~inside).sum() - 2


def test_runs_without_between_draw_what_they_drew_before_it():
    times = FORMATS["nano"].latent_times()
    given, _ = draw_given(jax.random.key(3), 512, times, TaskMixture(), jnp.ones(512, bool))
    assert (int(given["video"].sum()), int(given["audio"].sum())) == (308, 2934)


def test_backward_gives_a_suffix_of_both():
    format = FORMATS["nano"]
    video, audio, _ = given_for(backward=1.0)
    for v, a in zip(video, audio, strict=True):
        first = np.flatnonzero(v)[0]
        assert first >= 1 and v[first:].all()
        start = (4 * first - 3) / format.fps
        assert a.sum() == format.audio_latents - int(np.ceil(start * 25 - 1e-6)) and a[-1]


def test_clips_without_sound_are_given_none():
    video, audio, _ = given_for(
        has_audio=False, continuation=1.0, audio_to_video=1.0, video_to_audio=1.0
    )
    assert not audio.any() and not video.all(1).any() and video.any()


def test_mixture_is_respected():
    video, _, conditional = given_for(text=3.0, first_frame=1.0)
    assert 0.17 < conditional.mean() < 0.33
    np.testing.assert_array_equal(conditional, video[:, 0])


def test_levels_are_stratified_logit_normal_with_a_uniform_share():
    draw = lambda config: np.asarray(draw_levels(jax.random.key(1), 4096, config))
    s = draw(TimestepConfig(uniform=0.0))
    logit = np.log(s / (1 - s))
    # far closer than 4,096 independent draws (0.016, 0.011)
    assert abs(logit.mean()) < 0.01 and abs(logit.std() - 1) < 0.01
    assert ((s > 0) & (s < 1)).all() and abs(np.corrcoef(s[:-1], s[1:])[0, 1]) < 0.06
    tail = lambda s: (s < 0.02).mean()
    assert tail(s) < 0.001 and 0.001 < tail(draw(TimestepConfig(uniform=0.1))) < 0.004
    shifted = draw(TimestepConfig(uniform=0.0, shift=3.0))
    np.testing.assert_allclose(np.median(shifted), 0.75, atol=0.01)


def test_velocity_and_interpolation_agree():
    x, e = jax.random.normal(jax.random.key(2), (2, 3, 5, 4))
    level = jnp.linspace(0.1, 1, 15).reshape(3, 5)
    x_s = interpolate(x, e, level)
    for output, kind in ((x, "x"), (e - x, "v")):
        v = to_velocity(output, x_s, level, kind)
        np.testing.assert_allclose(v, e - x, atol=1e-5)
    np.testing.assert_array_equal(interpolate(x, e, jnp.zeros((3, 5))), x)
    with pytest.raises(ValueError, match="epsilon"):
        to_velocity(x, x_s, level, "epsilon")
