"""A scanned stack is the loop over its blocks, at any depth one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sora_jax.nn.mlp import MLP
from sora_jax.nn.modulation import LevelEmbedding, modulate
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.stack import init_stack, scan_stack


def run(stack, x, **kwargs):
    return scan_stack(
        stack,
        lambda block, x, scale: x + scale * block(x),
        x,
        jnp.array([1.0, -2.0, 3.0]),
        **kwargs,
    )


@pytest.mark.parametrize("kwargs", [{}, {"remat": "block"}, {"remat": "matmuls"}, {"unroll": 3}])
def test_scan_is_the_loop(kwargs):
    stack = init_stack(lambda rngs: MLP(8, 2.0, rngs), 3, nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (5, 8))
    graphdef, state = nnx.split(stack)

    def loop(state, x):
        for i, scale in enumerate([1.0, -2.0, 3.0]):
            x = x + scale * nnx.merge(graphdef, jax.tree.map(lambda p, i=i: p[i], state))(x)
        return x

    def scanned(state, x):
        return run(nnx.merge(graphdef, state), x, **kwargs)

    np.testing.assert_allclose(scanned(state, x), loop(state, x), rtol=1e-5, atol=1e-6)
    gradients = [
        jax.jit(jax.grad(lambda s, f=f: jnp.sum(f(s, x) ** 2)))(state) for f in (scanned, loop)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4), *gradients)


def test_blocks_start_different_and_as_wide_as_alone():
    stack = init_stack(lambda rngs: MLP(64, 4.0, rngs), 3, nnx.Rngs(0))
    kernels = np.asarray(stack.up.kernel[...])
    assert kernels.shape == (3, 64, 256)
    assert np.abs(kernels[0] - kernels[1]).max() > 0.1
    np.testing.assert_allclose(kernels.std(axis=(1, 2)), 64**-0.5, rtol=0.05)


def test_program_does_not_grow_with_depth():
    def size(depth):
        stack = init_stack(lambda rngs: MLP(8, 2.0, rngs), depth, nnx.Rngs(0))
        step = jax.make_jaxpr(lambda s, x: scan_stack(s, lambda b, x, _: b(x), x))
        return len(str(step(stack, jnp.zeros((5, 8)))).splitlines())

    assert size(2) == size(9)


def test_rms_norm_in_half_precision():
    x = 300.0 * jax.random.normal(jax.random.key(0), (4, 4096))
    np.testing.assert_allclose(jnp.mean(rms_norm(x) ** 2, -1), 1.0, rtol=1e-5)
    half = rms_norm(x.astype(jnp.float16))  # the squares overflow float16
    assert half.dtype == jnp.float16
    np.testing.assert_allclose(half.astype(jnp.float32), rms_norm(x), rtol=5e-3, atol=1e-3)


def test_a_step_size_of_zero_is_none():
    """Whatever the weights of the steps are; another size moves its own frame."""
    embed = LevelEmbedding(16, 8, nnx.Rngs(0), step_sizes=True)
    assert (embed.step.kernel[...] == 0).all()
    embed.step.kernel[...] = jax.random.normal(jax.random.key(2), embed.step.kernel.shape)
    levels, pooled = jnp.array([[0.0, 0.5, 1.0]]), jnp.ones((1, 8))
    plain, _ = embed(levels, pooled)
    zero, _ = embed(levels, pooled, jnp.zeros((1, 3)))
    np.testing.assert_array_equal(zero, plain)
    moved, _ = embed(levels, pooled, jnp.array([[0.0, 0.25, 0.0]]))
    changed = np.abs(np.asarray(moved - plain)).max(-1)[0]
    assert changed[1] > 0.01 and changed[0] == changed[2] == 0


def test_levels_modulate_their_own_frames():
    embed = LevelEmbedding(16, 8, nnx.Rngs(0))
    embed.rows.kernel[...] = jax.random.normal(jax.random.key(2), embed.rows.kernel.shape)
    levels = jnp.array([[0.0, 0.5, 1.0]])
    _, m = embed(levels, jnp.ones((1, 8)))
    _, moved = embed(levels.at[0, 1].set(0.51), jnp.ones((1, 8)))
    assert m.shape == (1, 3, 96)
    changed = np.abs(np.asarray(m - moved)).max(-1)[0]
    assert changed[1] > 0.01 and changed[0] == changed[2] == 0
    x = jax.random.normal(jax.random.key(3), (2, 16))
    np.testing.assert_allclose(modulate(x, jnp.zeros(16), jnp.zeros(16)), rms_norm(x))
    np.testing.assert_allclose(
        modulate(x, jnp.full(16, 0.5), jnp.ones(16)), 2 * rms_norm(x) + 0.5, rtol=1e-6
    )
