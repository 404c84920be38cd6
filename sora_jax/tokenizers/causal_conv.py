"""Causal 3-D convolution with an explicit cache, so that a video can be processed in pieces and
come out the same.

Output frame t sees input frames t - k + 1 .. t. What a piece needs of the past is its last k - 1
input frames: that is the cache, which `kernels.conv_prologue` puts in front of a piece, and hands
on. Before the first frame there are zeros.

A k x n x n kernel is computed as one 2-D convolution over k time-shifted copies stacked as
channels: XLA runs 2-D convolutions faster than 3-D ones on a CPU, and keeps channels last on a GPU.
For n = 1 it is a matrix product, three times faster again (forward and backward, 96 and 192
channels, 2-core CPU).
"""

import jax
import jax.numpy as jnp
from flax import nnx


class SpatialConv(nnx.Module):
    """[B, T, H, W, C_in] -> [B, T, H, W, C_out] frame by frame, with an n x n kernel and zero
    padding.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        space: int = 1,
        *,
        rngs: nnx.Rngs,
        scale: float = 1.0,
    ):
        init = nnx.initializers.normal(scale * (space * space * features_in) ** -0.5)
        self.kernel = nnx.Param(init(rngs.params(), (space, space, features_in, features_out)))
        self.bias = nnx.Param(jnp.zeros(features_out))

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.kernel.shape[:2] == (1, 1):
            return x @ self.kernel[...][0, 0] + self.bias[...]
        b, t, h, w, _ = x.shape
        folded = x.reshape(b * t, h, w, -1)
        y = jax.lax.conv_general_dilated(
            folded, self.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y.reshape(b, t, h, w, -1) + self.bias[...]


class CausalConv(nnx.Module):
    """past [B, time - 1 + T, H, W, C_in] -> [B, T, H, W, C_out] with a (time, space, space) kernel;
    zero padding in space, none in time.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        time: int,
        space: int,
        *,
        rngs: nnx.Rngs,
        scale: float = 1.0,
    ):
        self.conv = SpatialConv(time * features_in, features_out, space, rngs=rngs, scale=scale)
        self.features_in, self.time = features_in, time

    def empty_cache(self, batch: int, height: int, width: int) -> jax.Array:
        return jnp.zeros((batch, self.time - 1, height, width, self.features_in))

    def __call__(self, past: jax.Array) -> jax.Array:
        t = past.shape[1] - (self.time - 1)
        return self.conv(jnp.concatenate([past[:, i : i + t] for i in range(self.time)], axis=-1))
