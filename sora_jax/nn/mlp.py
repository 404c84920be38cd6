"""The feed-forward part of a block: two linear maps about a tanh-GELU."""

import jax
import jax.numpy as jnp
from flax import nnx


def linear(
    features_in: int,
    features_out: int,
    rngs: nnx.Rngs,
    *,
    bias: bool = False,
    zero: bool = False,
    dtype=jnp.float32,
):
    """A linear map with float32 parameters, computing in `dtype`; `zero` starts it at zero, else
    LeCun normal.
    """
    init = nnx.initializers.zeros_init() if zero else nnx.initializers.lecun_normal()
    return nnx.Linear(
        features_in, features_out, use_bias=bias, kernel_init=init, dtype=dtype, rngs=rngs
    )


class MLP(nnx.Module):
    """x [..., D] -> W2 gelu(W1 x + b1) + b2, with hidden width round(ratio * D)."""

    def __init__(self, width: int, ratio: float, rngs: nnx.Rngs, dtype=jnp.float32):
        hidden = round(width * ratio)
        self.up = linear(width, hidden, rngs, bias=True, dtype=dtype)
        self.down = linear(hidden, width, rngs, bias=True, dtype=dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(jax.nn.gelu(self.up(x), approximate=True))
