"""The prologue of a causal convolution: the specification, in float32 whatever the dtype of the
arguments.

For every position of x [B, T, H, W, C], with gain g [C], and the cache c [B, K, H, W, C] of what
the K frames before gave:

    n = x r,   r = 1 / sqrt(mean_c x_c^2 + eps)                                                  (1)
    y = u sigmoid(u),   u = g n                                                                  (2)
    past = c and then y along time,   [B, K + T, H, W, C]                                        (3)
    next cache = the last K frames of past                                                       (4)

and past is returned with P rows and columns of zeros around every frame. A convolution over k = K +
1 frames reads it without any padding along time. The cache holds what the convolution reads,
normalised and activated, not what the norm reads; zeros stand before the first frame. So pieces of
any length, the cache handed on, give the same numbers as the whole.
"""

import jax
import jax.numpy as jnp

EPSILON = 1e-6


def check(spec) -> None:
    """Takes everything."""


def prologue(
    x: jax.Array, gain: jax.Array, cache: jax.Array, *, padding: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Equations (1) to (4); arguments as of `conv_prologue` with one batch axis."""
    T = x.shape[1]
    x32 = x.astype(jnp.float32)
    n = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)
    y = jax.nn.silu(n * gain.astype(jnp.float32)).astype(x.dtype)
    past = jnp.concatenate([cache, y], axis=1)
    around = (padding, padding)
    return jnp.pad(past, ((0, 0), (0, 0), around, around, (0, 0))) if padding else past, past[:, T:]
