"""The feed-forward part of a block: two linear layers around a tanh-approximated GELU."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float


def linear(
    features_in: int,
    features_out: int,
    rngs: nnx.Rngs,
    *,
    bias: bool = False,
    zero: bool = False,
    dtype: DTypeLike = jnp.float32,
) -> nnx.Linear:
    """Returns a linear layer with float32 parameters that computes in `dtype`.

    Args:
        features_in: D of the input [..., D].
        features_out: D' of the output [..., D'].
        rngs: random keys of the initial weights.
        bias: whether it has a bias. Default False.
        zero: True initialises the kernel to zero. Default False: LeCun normal.
        dtype: dtype of the computation. Default float32.
    """
    init = nnx.initializers.zeros_init() if zero else nnx.initializers.lecun_normal()
    return nnx.Linear(
        features_in, features_out, use_bias=bias, kernel_init=init, dtype=dtype, rngs=rngs
    )


class MLP(nnx.Module):
    """Feed-forward network: x [..., D] -> W2 gelu(W1 x + b1) + b2 [..., D].

    Args:
        width: D.
        ratio: the hidden width is round(ratio * D).
        rngs: random keys of the initial weights.
        dtype: dtype of the computation. Default float32.
    """

    def __init__(self, width: int, ratio: float, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        hidden = round(width * ratio)
        self.up = linear(width, hidden, rngs, bias=True, dtype=dtype)
        self.down = linear(hidden, width, rngs, bias=True, dtype=dtype)

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Applies the network: x [..., D] -> [..., D]."""
        return self.down(jax.nn.gelu(self.up(x), approximate=True))
