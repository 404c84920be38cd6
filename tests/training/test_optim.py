"""The optimizer against its equations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.training.optim import (
    OptimConfig,
    averaged_params,
    decayed,
    ema_params,
    make_optimizer,
    matrices,
    schedule,
    stable_steps,
)
from sora_jax.tree import flatten


def test_average_against_closed_form():
    """With constant parameters p_t after update t: e_n = prod(d) e_0 + sum_t (1 - d_t) prod_{k > t}
    d_k p_t.
    """
    decay, steps = 0.8, 40
    optimizer = optax.chain(optax.sgd(0.1), ema_params(decay))
    params = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(3.0)}
    state = optimizer.init(params)
    history = [params]
    for t in range(steps):
        gradients = jax.tree.map(lambda p, t=t: jnp.sin(p + t), params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        history.append(params)
    d = np.minimum(decay, (1 + np.arange(steps)) / (10 + np.arange(steps)))
    weights = np.array([np.prod(d)] + [(1 - d[t]) * np.prod(d[t + 1 :]) for t in range(steps)])
    np.testing.assert_allclose(weights.sum(), 1)
    for name in params:
        expected = sum(
            w * np.asarray(h[name], np.float64) for w, h in zip(weights, history, strict=True)
        )
        np.testing.assert_allclose(averaged_params(state, params)[name], expected, rtol=1e-5)
    assert np.abs(averaged_params(state, params)["a"] - params["a"]).max() > 1e-3


def test_schedule_warms_up_and_falls():
    lr = schedule(OptimConfig(lr=2.0, warmup=50, final=0.1), 1000)
    assert lr(0) == 0 and float(lr(25)) == 1 and float(lr(50)) == 2
    np.testing.assert_allclose([lr(525), lr(1000), lr(2000)], [1.1, 0.2, 0.2], rtol=1e-5)
    # a short run warms up within a tenth
    assert float(schedule(OptimConfig(lr=2.0, warmup=50), 20)(2)) == 2


def test_stable_schedule_falls_over_the_last_updates():
    config = OptimConfig(lr=2.0, schedule="wsd", warmup=50, decay=0.2, final=0.1)
    lr = schedule(config, 1000)
    assert [float(lr(n)) for n in (0, 25, 50, 799, 800)] == [0, 1, 2, 2, 2]
    np.testing.assert_allclose([lr(850), lr(1000), lr(1500)], [1.1, 0.2, 0.2], rtol=1e-5)
    # before the decay, runs of all lengths have the same rate to the bit, traced or not
    longer, counts = schedule(config, 1737), jnp.arange(801)
    np.testing.assert_array_equal(jax.vmap(lr)(counts), jax.vmap(longer)(counts))
    traced = jax.jit(lambda steps, n: schedule(config, steps)(n))
    np.testing.assert_allclose([traced(1000, 850), traced(1000, 1000)], [1.1, 0.2], rtol=1e-5)
    assert stable_steps(config, 1000) == 800 and stable_steps(OptimConfig(), 1000) is None
    # 1000 batches are 333 updates, of which the last 66 fall
    several = OptimConfig(schedule="wsd", accumulate=3, decay=0.2)
    assert stable_steps(several, 1000) == 3 * (333 - 66)
    never = OptimConfig(lr=2.0, schedule="wsd", decay=0.0)
    assert float(schedule(never, 1000)(1000)) == 2 and stable_steps(never, 1000) == 1000
    with pytest.raises(ValueError, match="schedule='linear'; use cosine or wsd"):
        OptimConfig(schedule="linear")


@pytest.mark.parametrize("kind", ["cosine", "wsd"])
def test_new_moments_rise_to_the_schedule(kind):
    config = OptimConfig(lr=2.0, schedule=kind, warmup=10)
    whole, again = schedule(config, 1000), schedule(config, 1000, start=300)
    assert again(0) == 0 and float(again(5)) == float(whole(305)) / 2
    for count in (10, 600, 700):
        assert again(count) == whole(300 + count)


def test_decay_spares_vectors_and_large_gradients_are_clipped():
    # the gates of a stack of three
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "gate": jnp.ones((3, 2))}
    optimizer = make_optimizer(OptimConfig(lr=1.0, weight_decay=0.5, warmup=1, ema=0.0), 100)
    state = optimizer.init(params)
    for _ in range(2):  # the first update has lr 0
        updates, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), state, params)
    np.testing.assert_allclose(updates["kernel"], -0.5)
    for name in ("bias", "gate"):
        np.testing.assert_array_equal(updates[name], 0)
    clip = make_optimizer(OptimConfig(clip=1.0), 10)
    _, state = clip.update(jax.tree.map(lambda p: 1e6 * p, params), clip.init(params), params)
    mu = optax.tree.get(state, "mu")
    np.testing.assert_allclose(optax.tree.norm(mu), 1 - OptimConfig().b1, rtol=1e-5)


def test_muon_makes_kernels_orthogonal_and_leaves_the_rest_to_adamw():
    """(2'): each matrix's update is lr .2 sqrt(max(a, b)) times a nearly orthogonal one; other
    parameters move as under AdamW.
    """
    shapes = {"linear": (24, 8), "stack": (3, 8, 16), "convolution": (3, 3, 4, 12)}
    keys = jax.random.split(jax.random.key(0), 4)
    params = {name: {"kernel": jnp.zeros(shape)} for name, shape in shapes.items()} | {
        "embedding": jnp.zeros((9, 8))
    }
    gradients = {
        name: {"kernel": jax.random.normal(k, s)}
        for (name, s), k in zip(shapes.items(), keys[:3], strict=True)
    }
    gradients["embedding"] = jax.random.normal(keys[3], (9, 8))
    moved = {}
    for muon in (False, True):
        optimizer = make_optimizer(
            OptimConfig(lr=0.1, weight_decay=0.0, warmup=1, ema=0.0, clip=1e9, muon=muon), 10
        )
        state = optimizer.init(params)
        for _ in range(2):  # the first update has lr 0
            moved[muon], state = optimizer.update(gradients, state, params)
    # nesterov differs, no more
    np.testing.assert_allclose(moved[True]["embedding"], moved[False]["embedding"], rtol=0.35)
    lr = float(schedule(OptimConfig(lr=0.1, warmup=1), 10)(1))
    for name, shape in shapes.items():
        for x in moved[True][name]["kernel"].reshape(
            -1, np.prod(shape[:-1]) if len(shape) == 4 else shape[-2], shape[-1]
        ):
            singular = np.linalg.svd(x, compute_uv=False) / (lr * 0.2 * np.sqrt(max(x.shape)))
            assert singular.min() > 0.6 and singular.max() < 1.3, (name, singular)
            assert not np.allclose(
                x,
                moved[False][name]["kernel"].reshape(x.shape) if x.size == np.prod(shape) else 0,
                rtol=0.1,
            )


def test_muon_on_the_model():
    model = nnx.eval_shape(lambda: STDiT(PRESETS["nano"], rngs=nnx.Rngs(0)))
    params = nnx.state(model, nnx.Param)
    is_axes = lambda x: x is None or hasattr(x, "reduction_axis")
    flat = dict(
        zip(flatten(params), jax.tree.leaves(matrices(params), is_leaf=is_axes), strict=True)
    )
    assert flat["pairs/space/mlp/up/kernel"] == (1, 2) and flat["video_in/kernel"] == (0, 1)
    assert flat["pairs/space/table"] is None and flat["text/embedding/embedding"] is None


def test_decay_on_the_model():
    """What decays of STDiT, whose pairs are stacked: the weights, and no bias, scale, gate, table
    or register.
    """
    model = nnx.eval_shape(lambda: STDiT(PRESETS["nano"], nnx.Rngs(0)))
    mask = flatten(decayed(nnx.state(model, nnx.Param)))
    axes = {
        name: leaf.ndim - name.startswith(("pairs/", "text/blocks/"))
        for name, leaf in flatten(nnx.state(model)).items()
    }
    assert (
        mask["pairs/space/mlp/up/kernel"]
        and mask["text/embedding/embedding"]
        and mask["video_in/kernel"]
    )
    assert (
        not mask["pairs/space/mlp/up/bias"]
        and not mask["pairs/exchange/video_gate"]
        and not mask["video_head/table"]
    )
    assert {name for name in mask if mask[name]} == {
        name for name in axes if axes[name] >= 2 and not name.endswith("/table")
    }


def test_accumulation_is_one_large_batch():
    params = {"w": jnp.asarray([[1.0, 2.0]])}
    gradients = [{"w": jnp.asarray([[g, -g]])} for g in (0.1, 0.2, 0.6)]
    once, thrice = (
        make_optimizer(OptimConfig(warmup=1), 9),
        make_optimizer(OptimConfig(warmup=1, accumulate=3), 27),
    )
    a, b, sa, sb = params, params, once.init(params), thrice.init(params)
    for _ in range(3):
        updates, sa = once.update({"w": sum(g["w"] for g in gradients) / 3}, sa, a)
        a = optax.apply_updates(a, updates)
        for g in gradients:
            updates, sb = thrice.update(g, sb, b)
            b = optax.apply_updates(b, updates)
    assert np.abs(a["w"] - params["w"]).max() > 1e-4
    np.testing.assert_allclose(a["w"], b["w"], rtol=1e-6)
    np.testing.assert_allclose(averaged_params(sa, a)["w"], averaged_params(sb, b)["w"], rtol=1e-6)


def test_impossible_settings():
    with pytest.raises(ValueError, match="ema"):
        make_optimizer(OptimConfig(ema=1.0), 10)


@pytest.mark.slow
def test_the_schedule_is_bitwise_that_of_optax():
    for steps, warmup, accumulate, final in [
        (1, 100, 1, 0.1),
        (20, 0, 1, 0.01),
        (1000, 50, 3, 0.0),
        (7500, 100, 1, 0.01),
    ]:
        config = OptimConfig(lr=5e-3, warmup=warmup, accumulate=accumulate, final=final)
        updates = max(steps // accumulate, 1)
        warmup = min(warmup, max(updates // 10, 1))
        end = max(updates, warmup + 1)
        reference = optax.warmup_cosine_decay_schedule(0.0, 5e-3, warmup, end, 5e-3 * final)
        counts = jnp.arange(updates + 3)
        expected = jax.vmap(reference)(counts)
        np.testing.assert_array_equal(jax.vmap(schedule(config, steps))(counts), expected)
        of = lambda n, config=config, counts=counts: jax.vmap(schedule(config, n))(counts)
        traced = jax.jit(of)(steps)
        np.testing.assert_allclose(traced, expected, rtol=1e-6, atol=5e-3 * 1e-6)
