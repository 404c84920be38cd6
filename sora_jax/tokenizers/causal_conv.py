"""Causal 3-D convolution with an explicit cache: a video processed in chunks gives the same result
as in one piece.

k is the length of the kernel in time: output frame t sees input frames t - k + 1 .. t. Of the past,
a chunk needs only the last k - 1 input frames. They are the cache: `kernels.conv_prologue` puts it
in front of a chunk and returns the cache for the next chunk. Before the first frame the cache is
zero.

A k x n x n kernel is computed as one 2-D convolution over k time-shifted copies stacked as
channels. XLA runs 2-D convolutions faster than 3-D ones on CPU, and keeps channels last on
GPU. For n = 1 it is a matrix product, another three times faster (forward and backward, 96 and
192 channels, 2-core CPU).
"""

import jax
import jax.numpy as jnp
from flax import nnx


class SpatialConv(nnx.Module):
    """A convolution frame by frame with an n x n kernel and zero padding: [B, T, H, W, C_in] ->
    [B, T, H, W, C_out].

    Args:
        features_in, features_out: C_in and C_out.
        space: n. Default 1.
        rngs: random keys of the initial values.
        scale: factor of the initial kernel. Default 1.
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
        """Convolves frame by frame: x [B, T, H, W, C_in] -> [B, T, H, W, C_out]."""
        if self.kernel.shape[:2] == (1, 1):
            return x @ self.kernel[...][0, 0] + self.bias[...]
        b, t, h, w, _ = x.shape
        folded = x.reshape(b * t, h, w, -1)
        y = jax.lax.conv_general_dilated(
            folded, self.kernel[...], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return y.reshape(b, t, h, w, -1) + self.bias[...]


class CausalConv(nnx.Module):
    """A causal convolution with a (time, space, space) kernel: past [B, time - 1 + T, H, W, C_in]
    -> [B, T, H, W, C_out].

    It pads space with zeros and does not pad time, because `past` begins with the cached frames.

    Args:
        features_in, features_out: C_in and C_out.
        time, space: sides of the kernel.
        rngs: random keys of the initial values.
        scale: factor of the initial kernel. Default 1.
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
        """Returns the cache of a video's start, zeros [batch, time - 1, height, width, C_in]."""
        return jnp.zeros((batch, self.time - 1, height, width, self.features_in))

    def __call__(self, past: jax.Array) -> jax.Array:
        """Convolves: past [B, time - 1 + T, H, W, C_in], the cached frames and T new ones ->
        [B, T, H, W, C_out].
        """
        t = past.shape[1] - (self.time - 1)
        return self.conv(jnp.concatenate([past[:, i : i + t] for i in range(self.time)], axis=-1))
