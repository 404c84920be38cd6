"""Samplers against a flow whose velocity is known, guidance against its definition, and the frames
that must not move.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.errors import UserError
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.process import expand
from sora_jax.flow.sampler import SamplerConfig, draw_noise, sample
from sora_jax.flow.timesteps import sampling_levels, shift, shift_for_tokens

MEAN, DEVIATION = 0.7, 0.5
SHAPES = {"video": (5, 2, 2, 3), "audio": (6, 4)}
TIMES = {"video": np.arange(5.0), "audio": np.arange(6.0)}
PLAIN = Guidance(text=1.0)
DEFAULT = SamplerConfig(guidance=PLAIN)


def text(batch, present=True):
    return {"tokens": jnp.zeros((batch, 3), jnp.int32), "mask": jnp.full((batch, 3), present)}


def denoiser(latents, levels, texts, times, couple):
    """E[x | x_s] for x ~ N(MEAN, DEVIATION^2): exact, and the x-output of a perfect network."""

    def one(z, level):
        s = expand(level, z)
        gain = (1 - s) * DEVIATION**2 / ((1 - s) ** 2 * DEVIATION**2 + s**2)
        return MEAN + gain * (z - (1 - s) * MEAN)

    return {m: one(latents[m], levels[m]) for m in latents}


def velocity(latents, levels, texts, times, couple):
    """The same network with v-output."""
    x = denoiser(latents, levels, texts, times, couple)
    return {m: (latents[m] - x[m]) / jnp.maximum(expand(levels[m], x[m]), 1e-3) for m in x}


def run(model=denoiser, batch=4, config=DEFAULT, start=1.0, given=0.0, seed=0, **kwargs):
    keys = jax.vmap(jax.random.key)(jnp.arange(batch) + seed)
    levels = (
        {m: jnp.full((batch, shape[0]), start) for m, shape in SHAPES.items()}
        if np.isscalar(start)
        else start
    )
    values = (
        {m: jnp.full((batch, *shape), given) for m, shape in SHAPES.items()}
        if np.isscalar(given)
        else given
    )
    z = sample(
        model,
        keys,
        SHAPES,
        levels,
        values,
        text(batch),
        text(batch, False),
        TIMES,
        config,
        **kwargs,
    )
    return z, draw_noise(keys, SHAPES), values


@pytest.mark.parametrize("output", ["x", "v"])
@pytest.mark.parametrize("method, steps", [("euler", 100), ("heun", 20)])
def test_samples_have_the_distribution_of_the_data(method, steps, output):
    config = SamplerConfig(method, steps, guidance=PLAIN, output=output)
    z, _, _ = run(denoiser if output == "x" else velocity, batch=256, config=config)
    for m in z:
        np.testing.assert_allclose(z[m].mean(), MEAN, atol=0.03)
        np.testing.assert_allclose(z[m].std(), DEVIATION, atol=0.02)


def test_order_of_the_samplers():
    # The flow of a Gaussian has a closed form: x = MEAN + DEVIATION e carries the noise e to its
    # sample.
    def error(method, steps):
        z, e, _ = run(config=SamplerConfig(method, steps, guidance=PLAIN))
        return float(jnp.abs(z["video"] - (MEAN + DEVIATION * e["video"])).mean())

    euler = [error("euler", n) for n in (10, 20, 40)]
    heun = [error("heun", n) for n in (10, 20, 40)]
    orders = [[np.log2(a / b) for a, b in itertools.pairwise(errors)] for errors in (euler, heun)]
    assert all(0.8 < o < 1.3 for o in orders[0]), orders
    assert all(o > 1.6 for o in orders[1]), orders
    assert heun[1] < euler[2] / 3


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_given_frames_come_out_bitwise(method):
    given = {m: jax.random.normal(jax.random.key(9), (4, *shape)) for m, shape in SHAPES.items()}
    start = {
        "video": jnp.array([[0.0, 1, 1, 0, 1]] * 4),
        "audio": jnp.array([[0.0] * 3 + [1.0] * 3] * 4),
    }
    z, _, _ = run(config=SamplerConfig(method, 7, guidance=PLAIN), start=start, given=given)
    for m in z:
        held = np.asarray(start[m] == 0)
        np.testing.assert_array_equal(np.asarray(z[m])[held], np.asarray(given[m])[held])
        assert (np.asarray(z[m])[~held] != np.asarray(given[m])[~held]).mean() > 0.99


def test_frames_between_are_held_until_their_level():
    seen = []

    def model(latents, levels, texts, times, couple):
        note = lambda level, z: seen.append((np.asarray(level), np.asarray(z)))
        jax.debug.callback(note, levels["video"], latents["video"], ordered=True)
        return denoiser(latents, levels, texts, times, couple)

    config = SamplerConfig("euler", 10, guidance=PLAIN)
    z, e, _ = run(model, batch=1, config=config, start=0.35, given=2.0)
    held = 0.65 * 2.0 + 0.35 * np.asarray(e["video"])
    told = [float(level[0, 0]) for level, _ in seen]
    np.testing.assert_allclose(told, np.minimum(sampling_levels(10)[:-1], 0.35), rtol=1e-6)
    for level, latents in seen:
        if level[0, 0] == np.float32(0.35):
            np.testing.assert_allclose(latents, held, rtol=1e-5)
    assert np.abs(np.asarray(z["video"]) - held).max() > 0.1  # and is integrated from there


def test_guidance_is_its_equation():
    # A network that says x = 1 under text, 0 without, 5 where the streams are cut.
    def model(latents, levels, texts, times, couple):
        value = jnp.where(couple == 0, 5.0, jnp.where(texts["mask"].any(1), 1.0, 0.0))
        return {m: jnp.zeros_like(z) + expand(value, z) for m, z in latents.items()}

    both = Guidance(3.0), Guidance(3.0, audio=1.0), Guidance(2.0, video=4.0)
    for guidance in (PLAIN, *both, Guidance(1.0, couple=1.5), Guidance(3.0, couple=2.0)):
        z, _, _ = run(model, batch=2, config=SamplerConfig(steps=3, guidance=guidance))
        for m in z:
            wanted = 1 + (guidance.scale(m) - 1) * 1 + (guidance.couple - 1) * (1 - 5)
            np.testing.assert_allclose(z[m], wanted, atol=1e-4)
    assert PLAIN.passes == ("text",) and Guidance(2.0, couple=2.0).passes == (
        "text",
        "negative",
        "cut",
    )


def test_negative_text_takes_the_place_of_no_text():
    def model(latents, levels, texts, times, couple):
        value = texts["tokens"][:, 0].astype(jnp.float32) * texts["mask"][:, 0]
        return {m: jnp.zeros_like(z) + expand(value, z) for m, z in latents.items()}

    batch, config = 2, SamplerConfig(steps=2, guidance=Guidance(2.0))
    positive, negative = text(batch), text(batch)
    positive["tokens"] += 3
    negative["tokens"] += 1
    zeros = {m: jnp.zeros((batch, *shape)) for m, shape in SHAPES.items()}
    ones = {m: jnp.ones((batch, shape[0])) for m, shape in SHAPES.items()}
    shapes = {m: (batch, *s) for m, s in SHAPES.items()}
    z = sample(model, jax.random.key(0), shapes, ones, zeros, positive, negative, TIMES, config)
    np.testing.assert_allclose(z["video"], 3 + (3 - 1), atol=1e-4)


def test_a_clip_depends_on_its_own_key_only():
    alone, _, _ = run(batch=1, seed=5)
    among, _, _ = run(batch=3, seed=4)
    np.testing.assert_allclose(alone["video"][0], among["video"][1], atol=1e-6)


def test_progress_is_reported_and_bad_names_are_refused():
    steps = []
    run(
        batch=1,
        config=SamplerConfig(steps=4, guidance=PLAIN),
        on_step=lambda i, n: steps.append((i, n)),
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    with pytest.raises(UserError, match=r"no sampler 'rk9'"):
        run(config=SamplerConfig("rk9"))


def test_levels_and_shift():
    grid = sampling_levels(30, 3.0)
    assert grid[0] == 1 and grid[-1] == 0 and (np.diff(grid) < 0).all() and len(grid) == 31
    levels = shift(np.array([0.5, 0.3]), 3.0)
    assert levels[0] == 0.75 and (shift(levels, 1.0) == levels).all()
    assert shift_for_tokens(80) == 1 and shift_for_tokens(320) == 2 and shift_for_tokens(10) == 1


def test_guidance_by_references_goes_away_from_none():
    def model(latents, levels, texts, times, couple):
        shown = texts["references"]["present"].any(1)
        value = jnp.where(shown, 1.0, 0.25) + 2.0 * texts["mask"].any(1)
        return {m: jnp.zeros_like(z) + expand(value, z) for m, z in latents.items()}

    batch = 2
    given = {"references": {"present": jnp.ones((batch, 2), bool)}}
    nothing = {k: jnp.zeros_like(x) for k, x in text(batch).items()}
    zeros = {m: jnp.zeros((batch, *shape)) for m, shape in SHAPES.items()}
    ones = {m: jnp.ones((batch, shape[0])) for m, shape in SHAPES.items()}
    shapes = {m: (batch, *s) for m, s in SHAPES.items()}
    guidance = Guidance(2.0, reference=3.0)
    assert guidance.passes == ("text", "negative", "unreferenced")
    prompts = {**text(batch), **given}, {**nothing, **given}
    config = SamplerConfig(steps=2, guidance=guidance)
    z = sample(model, jax.random.key(0), shapes, ones, zeros, *prompts, TIMES, config)
    # text and references: 3; without text: 1; without references: 2.25
    np.testing.assert_allclose(z["video"], 3 + (3 - 1) + 2 * (3 - 2.25), atol=1e-4)
