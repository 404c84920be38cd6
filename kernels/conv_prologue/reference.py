"""Specification of the prologue of a causal convolution, computed in float32.

The inputs are frames x [B, T, H, W, C], a gain g [C], and a cache [B, K, H, W, C], which holds the
K frames of y before x. For every position (c runs over channels, eps is EPSILON):

    n = x r,   r = 1 / sqrt(mean_c x_c^2 + eps)                      RMS norm                    (1)
    y = u sigmoid(u),   u = g n                                      gain and SiLU               (2)
    past = the cache, then y along time,   [B, K + T, H, W, C]                                   (3)
    next cache = the last K frames of past                                                       (4)

past is returned with P rows and columns of zeros around every frame. A convolution over k = K
+ 1 frames reads it without padding along time. The cache holds the convolution's input
(normalised and activated), not the norm's input; before the first frame of a video it is zero.
Processing a video in pieces of any length, with the cache passed on, therefore gives the same
numbers as processing it whole.
"""

import jax
import jax.numpy as jnp

EPSILON = 1e-6


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def prologue(
    x: jax.Array, gain: jax.Array, cache: jax.Array, *, padding: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Specifies `conv_prologue` in plain JAX: norm, SiLU, cached frames and zero padding.

    Args:
        x: frames [B, T, H, W, C].
        gain: float32 [C], g.
        cache: the K frames of y before x, [B, K, H, W, C].
        padding: P, rows and columns of zeros on every side of every frame. Default 0.

    Returns:
        past [B, K + T, H + 2 P, W + 2 P, C], and the next cache [B, K, H, W, C].
    """
    T = x.shape[1]
    x32 = x.astype(jnp.float32)
    n = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)
    y = jax.nn.silu(n * gain.astype(jnp.float32)).astype(x.dtype)
    past = jnp.concatenate([cache, y], axis=1)
    around = (padding, padding)
    return jnp.pad(past, ((0, 0), (0, 0), around, around, (0, 0))) if padding else past, past[:, T:]
