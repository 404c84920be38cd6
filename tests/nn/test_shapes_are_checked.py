"""Annotated shapes are checked while the tests run (`conftest.py`)."""

import jax.numpy as jnp
import pytest
from flax import nnx
from jaxtyping import TypeCheckError

from kernels.gated_norm import gated_norm
from sora_jax.flow.process import interpolate
from sora_jax.models.tokens import time_features
from sora_jax.nn.attention import attend
from sora_jax.nn.norm import RMSNorm


@pytest.mark.parametrize(
    "call",
    [
        lambda: attend(jnp.zeros((2, 3, 4, 8)), *[jnp.zeros((2, 5, 2, 8))] * 2),
        lambda: attend(*[jnp.zeros((2, 3, 4, 8), int)] * 3),
        lambda: RMSNorm(8)(jnp.zeros((2, 4))),
        lambda: interpolate(jnp.zeros((2, 3)), jnp.zeros((2, 4)), jnp.zeros(2)),
        lambda: time_features(jnp.zeros((2, 3))),
        lambda: gated_norm(*[jnp.zeros((2, 3, 8))] * 2, *[jnp.zeros((2, 4))] * 3),
    ],
    ids=["heads", "dtype", "method", "named axes", "rank", "kernel"],
)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_right_shape_is_accepted():
    assert RMSNorm(8)(jnp.ones((2, 8), jnp.bfloat16)).dtype == jnp.bfloat16
    assert isinstance(RMSNorm(8), nnx.Module)
