"""Shortcuts against flows whose steps of any size are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_sampler import DEVIATION, MEAN, SHAPES, denoiser, run, text

from sora_jax.flow import shortcut
from sora_jax.flow.conditioning import TaskMixture
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.loss import FlowConfig, ShortcutConfig, flow_loss
from sora_jax.flow.process import expand
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.flow.timesteps import TimestepConfig

TIMES = {"video": jnp.arange(5.0) / 2, "audio": jnp.arange(6.0) / 3}
TEXT = TaskMixture(text=1, first_frame=0, continuation=0, backward=0, video_to_audio=0,
                   audio_to_video=0)  # fmt: skip


def exact(latents, levels, texts, times, couple=1.0, sizes=None):
    """The x-output of a perfect network for x ~ N(MEAN, DEVIATION^2), at any step size.

    The flow keeps (z - mean) / deviation, so z after the step is known.
    """
    flow = denoiser(latents, levels, texts, times, couple)

    def moments(s):
        return (1 - s) * MEAN, jnp.sqrt(((1 - s) * DEVIATION) ** 2 + s**2)

    def one(z, level, d, y):
        s, after = expand(level, z), expand(level - d, z)
        (mean, deviation), (mean_after, deviation_after) = moments(s), moments(after)
        end = mean_after + deviation_after / deviation * (z - mean)
        u = (z - end) / jnp.where(d > 0, d, 1.0).reshape(after.shape)
        return jnp.where(expand(d, z) > 0, z - s * u, y)

    if sizes is None:
        return flow
    return {m: one(latents[m], levels[m], sizes[m], flow[m]) for m in latents}


def batch(size=8, **more):
    keys = jax.random.split(jax.random.key(5))
    latents = {
        m: MEAN + DEVIATION * jax.random.normal(k, (size, *shape))
        for k, (m, shape) in zip(keys, SHAPES.items(), strict=True)
    }
    words = text(size)
    return {**latents, "tokens": words["tokens"], "text_mask": words["mask"], **more}


def flow(every=2, tasks=TEXT, **fields):
    return FlowConfig(
        tasks=tasks, shortcut=ShortcutConfig(every=every, **fields),
        timesteps=TimestepConfig(shift=1.5),
    )  # fmt: skip


@pytest.mark.parametrize("steps", [1, 4])
def test_a_perfect_network_needs_no_more_steps(steps):
    plain = Guidance(text=1.0)
    many, _, _ = run(exact, config=SamplerConfig("heun", 200, guidance=plain))
    few, _, _ = run(exact, config=SamplerConfig("shortcut", steps, guidance=plain))
    for m in SHAPES:
        np.testing.assert_allclose(few[m], many[m], atol=2e-3)
    euler, _, _ = run(exact, config=SamplerConfig("euler", steps, guidance=plain))
    assert abs(euler["video"] - many["video"]).max() > 0.1


def test_a_perfect_network_has_no_loss_but_for_the_halves_of_the_finest_steps():
    losses = {}
    for name, model in {
        "exact": exact,
        "without sizes": lambda *args, sizes=None: denoiser(*args),
    }.items():
        config = flow(finest=128)
        total, metrics = shortcut.step_loss(model, batch(), jax.random.key(0), TIMES, config)
        np.testing.assert_allclose(
            total, metrics["video_shortcut_loss"] + metrics["audio_shortcut_loss"], rtol=1e-6
        )
        losses[name] = float(total)
    assert losses["exact"] < 1e-4 and losses["without sizes"] > 0.01


def constant(guidance, with_text=3.0, without=1.0):
    """A network whose flow is constant: with_text or without; its steps include the guidance."""
    guided = with_text + (guidance - 1) * (with_text - without)

    def model(latents, levels, texts, times, couple=1.0, sizes=None):
        shown = texts["mask"].any(1)

        def one(z, level, d):
            v = jnp.where(shown, with_text, without)[:, None]
            v = expand(jnp.where(d > 0, guided, v), z)
            return z - expand(level, z) * v

        sizes = jax.tree.map(jnp.zeros_like, levels) if sizes is None else sizes
        return {m: one(latents[m], levels[m], sizes[m]) for m in latents}

    return model


@pytest.mark.parametrize("trained, learnt, exact", [(2.0, 2.0, True), (3.0, 3.0, True),
                                                    (3.0, 2.0, False)])  # fmt: skip
def test_steps_include_the_guidance(trained, learnt, exact):
    config = flow(finest=4, guidance=trained)
    total, _ = shortcut.step_loss(constant(learnt), batch(), jax.random.key(1), TIMES, config)
    assert (total < 1e-8) == exact


def test_given_frames_and_missing_audio_do_not_count():
    """A network that is wrong there, and right elsewhere, has no loss."""
    right = constant(2.0)
    has_audio = jnp.arange(8) % 2 == 0

    def wrong(latents, levels, texts, times, couple=1.0, sizes=None):
        out = right(latents, levels, texts, times, couple, sizes)
        if texts["mask"].shape[0] > 8:  # the halves of the steps, two passes
            return out
        return {m: jnp.where(expand(levels[m], x) == 0, 9.0, x) for m, x in out.items()}

    tasks = TaskMixture(text=0, video_to_audio=0, audio_to_video=0)
    given = batch(has_audio=has_audio)
    total, _ = shortcut.step_loss(
        wrong, given, jax.random.key(2), TIMES, flow(tasks=tasks, finest=4)
    )
    assert total < 1e-8

    def silent(latents, *rest, **more):  # wrong in the audio of the clips without it
        out = right(latents, *rest, **more)
        if len(latents["audio"]) > 8:
            return out
        return {**out, "audio": jnp.where(has_audio[:, None, None], out["audio"], 9.0)}

    assert shortcut.step_loss(silent, given, jax.random.key(2), TIMES, flow(finest=4))[0] < 1e-8


def test_one_clip_in_so_many_learns_steps():
    """The loss is the mean over clips of both losses, and its gradient that of the student."""
    config, clips, key = flow(every=4, finest=2), batch(8, times=TIMES), jax.random.key(3)
    seen = []

    def model(latents, *rest, sizes=None, **more):
        seen.append((len(latents["video"]), sizes is not None))
        return exact(latents, *rest, sizes=sizes, **more)

    total, metrics = shortcut.loss(model, clips, key, TIMES, config)
    assert seen == [(6, False), (4, True), (4, True), (2, True)]
    rows = jnp.asarray([1, 2, 3, 5, 6, 7])
    others = {k: x[rows] for k, x in clips.items() if k != "times"}
    of_flow, _ = flow_loss(exact, others, key, TIMES, config)
    of_steps = metrics["video_shortcut_loss"] + metrics["audio_shortcut_loss"]
    np.testing.assert_allclose(total, 0.75 * of_flow + 0.25 * of_steps, rtol=1e-6)
    assert metrics["loss"] == total


def test_no_gradient_flows_into_the_target():
    def loss(w):
        def model(latents, levels, texts, times, couple=1.0, sizes=None):
            return {
                m: w * x for m, x in exact(latents, levels, texts, times, couple, sizes).items()
            }

        config = flow(finest=4)
        return shortcut.step_loss(model, batch(), jax.random.key(4), TIMES, config)[0]

    def with_fixed_target(w, fixed):
        def model(latents, *rest, sizes=None, **more):
            factor = fixed if len(latents["video"]) > 8 else w  # two passes make the target
            return {m: factor * x for m, x in exact(latents, *rest, sizes=sizes, **more).items()}

        config = flow(finest=4)
        return shortcut.step_loss(model, batch(), jax.random.key(4), TIMES, config)[0]

    w = jnp.float32(0.9)
    np.testing.assert_allclose(jax.grad(loss)(w), jax.grad(with_fixed_target)(w, w), rtol=1e-5)


@pytest.mark.parametrize("fields", [{"every": 1}, {"finest": 12}, {"finest": 0}, {"guidance": -1}])
def test_settings_out_of_range(fields):
    with pytest.raises(ValueError, match=r"every|finest|guidance"):
        ShortcutConfig(**fields)
