"""The training loss: what counts, what the model is told, and what the right answer scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sora_jax.flow.conditioning import TaskMixture
from sora_jax.flow.loss import FlowConfig, flow_loss
from sora_jax.modality import ClipFormat

FORMAT = ClipFormat(frames=17, fps=8, height=16, width=16)
TIMES = {name: t.astype(np.float32) for name, t in FORMAT.latent_times().items()}
ONLY_TEXT = TaskMixture(1, 0, 0, 0, 0, 0)


def make_batch(size=64, seed=0):
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "video": jax.random.normal(keys[0], (size, FORMAT.video_latents, 2, 2, 3)),
        "audio": jax.random.normal(keys[1], (size, FORMAT.audio_latents, 4)),
        "tokens": jnp.ones((size, 6), jnp.int32),
        "text_mask": jnp.ones((size, 6), bool),
        "has_audio": jnp.ones((size,), bool),
    }


def recording(answer, seen):
    def model(latents, levels, text, times, couple):
        seen.append((latents, levels, text, couple))
        return answer(latents, levels)

    return model


def test_right_answer_scores_zero_and_zeros_score_the_variance():
    batch = make_batch()
    loss, metrics = flow_loss(
        lambda *_: {m: batch[m] for m in ("video", "audio")}, batch, jax.random.key(1), TIMES
    )
    assert loss == 0 and metrics["video_loss"] == 0
    zeros = {m: jnp.zeros_like(batch[m]) for m in ("video", "audio")}
    loss, metrics = flow_loss(
        lambda *_: zeros, batch, jax.random.key(1), TIMES, FlowConfig(output="v")
    )
    np.testing.assert_allclose(metrics["video_loss"], 2, atol=0.2)  # var(e - x) = 1 + 1
    np.testing.assert_allclose(loss, metrics["video_loss"] + metrics["audio_loss"], rtol=1e-5)


def test_loss_counts_only_frames_to_be_made():
    batch, seen = make_batch(64), []
    tasks = TaskMixture(0.2, 0.2, 0.2, 0.2, 0.1, 0.1)
    config = FlowConfig(tasks=tasks, history_noise=0.0)

    def answer(latents, levels):  # right where the level is above 0, absurd on the given frames
        return {
            m: jnp.where(
                (levels[m] > 0).reshape(levels[m].shape + (1,) * (batch[m].ndim - 2)), batch[m], 1e3
            )
            for m in latents
        }

    loss, _ = flow_loss(recording(answer, seen), batch, jax.random.key(2), TIMES, config)
    assert loss == 0
    latents, levels, _, _ = seen[0]
    for m in ("video", "audio"):
        held = np.asarray(levels[m] == 0)
        assert 0.05 < held.mean() < 0.6
        # given frames arrive as they are
        np.testing.assert_array_equal(np.asarray(latents[m])[held], np.asarray(batch[m])[held])


def test_history_is_lightly_noised():
    batch, seen = make_batch(), []
    config = FlowConfig(tasks=TaskMixture(0, 1, 0, 0, 0, 0), history_noise=0.1)
    flow_loss(recording(lambda z, _: z, seen), batch, jax.random.key(3), TIMES, config)
    first = np.asarray(seen[0][1]["video"][:, 0])
    assert 0.3 < (first == 0).mean() < 0.7 and 0.07 < first.max() <= 0.1


def test_missing_sound_is_noise_and_is_left_out():
    batch, seen = make_batch(), []
    batch["has_audio"] = jnp.arange(64) < 32
    batch["audio"] = batch["audio"].at[32:].set(1e4)  # would be seen in the input and in the loss
    tasks = TaskMixture(0.2, 0.2, 0.2, 0.2, 0.1, 0.1)
    model = recording(
        lambda z, _: {"video": batch["video"], "audio": jnp.zeros_like(batch["audio"])}, seen
    )
    loss, metrics = flow_loss(model, batch, jax.random.key(4), TIMES, FlowConfig(tasks=tasks))
    assert metrics["audio_loss"] < 1e3 and loss == metrics["audio_loss"]
    latents, levels, _, _ = seen[0]
    assert jnp.abs(latents["audio"][32:]).max() < 10 and (levels["audio"][32:] == 1).all()
    batch["has_audio"] = jnp.zeros((64,), bool)
    loss, metrics = flow_loss(model, batch, jax.random.key(4), TIMES, FlowConfig(tasks=tasks))
    assert loss == 0 and np.isnan(metrics["audio_loss"])


def test_quarters_partition_the_loss():
    batch = make_batch(64)
    _, metrics = flow_loss(
        lambda z, *_: z, batch, jax.random.key(5), TIMES, FlowConfig(tasks=ONLY_TEXT)
    )
    # z answers x with error s (e - x): weighted s^2 / max(s, .1)^2 |e - x|^2, so about 2 in every
    # quarter but the first.
    quarters = [float(metrics[f"video_loss_q{q}"]) for q in (1, 2, 3, 4)]
    assert all(np.isfinite(quarters)) and quarters[0] <= 2.2
    np.testing.assert_allclose(quarters[1:], 2, atol=0.35)


def test_text_and_coupling_are_dropped_for_guidance():
    batch, seen = make_batch(), []
    for seed in range(8):  # more draws of one shape: every operation here is compiled once
        flow_loss(recording(lambda z, _: z, seen), batch, jax.random.key(seed), TIMES)
    dropped = np.concatenate([~text["mask"].any(1) for _, _, text, _ in seen])
    cut = np.concatenate([couple == 0 for *_, couple in seen])
    own = np.concatenate(
        [levels["video"].max(1) != levels["audio"].max(1) for _, levels, _, _ in seen]
    )
    assert 0.06 < dropped.mean() < 0.15 and 0.02 < cut.mean() < 0.09
    assert 0.2 < own.mean() < 0.6  # levels are independent in half of the clips made from text


def test_output_must_be_the_models():
    class Model:
        config = FlowConfig(output="v")

    with pytest.raises(ValueError, match="outputs 'v'"):
        flow_loss(Model(), make_batch(2), jax.random.key(0), TIMES, FlowConfig(output="x"))


def test_gradient_is_finite_and_jits():
    batch = make_batch()

    def loss(scale):
        return flow_loss(
            lambda z, *_: {m: scale * z[m] for m in z}, batch, jax.random.key(7), TIMES
        )[0]

    gradient = jax.jit(jax.grad(loss))(0.5)
    assert np.isfinite(gradient) and gradient != 0


def test_some_clips_are_trained_without_references():
    batch, seen = make_batch(256), []
    present = jnp.tile(jnp.array([[True, False]]), (256, 1))
    batch |= {
        "text_shots": jnp.zeros((256, 6), jnp.int8),
        "references": {"stills": jnp.zeros((256, 2)), "present": present},
    }
    model = recording(lambda latents, levels: latents, seen)
    config = FlowConfig(reference_dropout=0.25)
    flow_loss(model, batch, jax.random.key(1), TIMES, config)
    flow_loss(model, {**batch, "references": {}}, jax.random.key(1), TIMES, config)
    (*with_them, text, _), (*without, plain, _) = seen
    kept = np.asarray(text["references"]["present"])
    assert 0.65 < kept[:, 0].mean() < 0.85 and not kept[:, 1].any()
    assert text["shots"] is batch["text_shots"] and "references" not in plain
    for a, b in zip(jax.tree.leaves(with_them), jax.tree.leaves(without), strict=True):
        np.testing.assert_array_equal(a, b)  # nothing else is drawn otherwise
