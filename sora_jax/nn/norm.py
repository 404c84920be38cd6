"""Root-mean-square normalisation, with and without a learned scale.

    rms(x) = x / sqrt(mean_i x_i^2 + eps)                                                        (1)

Streams are normalised by (1) alone, because adaptive modulation supplies scale and shift; queries,
keys and text carry a learned scale. The mean is taken in float32 whatever the dtype of x. Source:
Zhang & Sennrich 2019; per-head use on queries and keys as in Dehghani et al. 2023 (ViT-22B).
"""

import jax
import jax.numpy as jnp
from flax import nnx

EPSILON = 1e-6


def rms_norm(x: jax.Array, scale: jax.Array | None = None) -> jax.Array:
    """Equation (1) over the last axis of x [..., D], times scale [D] where given; dtype of x."""
    x32 = x.astype(jnp.float32)
    y = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)
    if scale is not None:
        y = y * scale
    return y.astype(x.dtype)


class RMSNorm(nnx.Module):
    """Equation (1) with a learned scale [D], initially one."""

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return rms_norm(x, self.scale[...])
