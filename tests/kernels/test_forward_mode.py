"""`dispatch.forward_mode`: each operation and a whole model have a `jax.jvp` on a GPU.

Kernels run where they have one.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kernels import dispatch, target
from sora_jax.models.st_dit import STDiT, STDiTConfig

# Operation, one of its shapes, and what runs in forward mode on a GPU.
OPERATIONS = [
    ("temporal_attention", "t16", "triton"),
    ("spatial_attention", "frame16", "triton"),
    ("spatial_attention", "s1024", "xla"),
    ("cross_attention", "words64", "xla"),
    ("gated_norm", "t16", "xla"),
]


@pytest.mark.parametrize(("name", "case", "form"), OPERATIONS)
def test_every_operation_has_a_tangent(name, case, form):
    operation = getattr(importlib.import_module(f"kernels.{name}"), name)
    specs = importlib.import_module(f"kernels.{name}.specs")
    given = jax.eval_shape(functools.partial(specs.inputs, specs.SPECS[case]))
    free = {key: x for key, x in given.items() if key not in ("angles", "visible")}

    @jax.jit
    def tangent(free):
        fixed = {key: jnp.zeros(x.shape, x.dtype) for key, x in given.items() if key not in free}
        return jax.jvp(lambda free: operation(**fixed, **free), (free,), (free,))

    # JAX traces the tangent of a `jax.custom_vjp` as this primitive, and refuses to compile it.
    refused = "custom_lin"
    with target.assume(target.H200):
        if case != "s1024":  # cuDNN's attention is traced only where cuDNN is installed
            assert (refused in str(jax.make_jaxpr(tangent)(free))) == (form == "xla")
        with dispatch.forward_mode(), dispatch.recorded() as forms:
            assert refused not in str(jax.make_jaxpr(tangent)(free))
    assert forms[name] == {form}


CONFIG = STDiTConfig(
    video_channels=3,
    audio_channels=5,
    depth=2,
    width=32,
    heads=2,
    mlp_ratio=2.0,
    audio_width=32,
    audio_heads=2,
    exchange_width=32,
    exchange_heads=2,
    frame_tokens=2,
    text_width=32,
    text_heads=2,
    text_layers=1,
    vocabulary=32,
)


def meanflow(state, graphdef, latents, along):
    """A loss whose target holds the model's tangent, stopped."""
    text = {"tokens": jnp.array([[1, 2, 3]]), "mask": jnp.array([[True, True, False]])}
    times = {"video": jnp.linspace(0.05, 1.0, 3), "audio": jnp.linspace(0.02, 1.1, 4)}
    levels = {"video": jnp.full((1, 3), 0.3), "audio": jnp.full((1, 4), 0.6)}
    model = nnx.merge(graphdef, state)
    u, du = jax.jvp(lambda x: model(x, levels, text, times), (latents,), (along,))
    stopped = jax.lax.stop_gradient(du)
    return sum(((u[name] - along[name] + stopped[name]) ** 2).sum() for name in u)


@pytest.mark.slow
def test_gradient_of_meanflow_by_a_whole_model():
    graphdef, state = nnx.split(STDiT(CONFIG, nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    state = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.2, x.dtype), state)
    shapes = {"video": (1, 3, 4, 4, 3), "audio": (1, 4, 5)}
    latents, along = (
        {name: jnp.asarray(rng.normal(size=s), jnp.float32) for name, s in shapes.items()}
        for _ in range(2)
    )
    step = jax.jit(jax.value_and_grad(meanflow), static_argnums=1)
    want = step(state, graphdef, latents, along)
    with target.assume(target.H200), dispatch.forward_mode(), dispatch.recorded() as forms:
        found = step(state, graphdef, latents, along)
    assert forms["temporal_attention"] == {"triton"} and forms["gated_norm"] == {"xla"}
    for got, one in zip(*map(jax.tree.leaves, (found, want)), strict=True):
        np.testing.assert_allclose(got, one, atol=1e-4 * max(1, np.abs(one).max()))
