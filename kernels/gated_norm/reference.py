"""Specification of a gated residual and the modulated norm after it, computed in float32.

The inputs are x and f [N, S, D], of N frames of S sites (tokens), and a gate a, a shift b and a
scale c [N, D], each shared by all sites of a frame. d runs over D, and eps is EPSILON:

    y = x + a f,   rounded to the dtype of x                                                     (1)
    n = y r,   r = 1 / sqrt(mean_d y_d^2 + eps)                                                  (2)
    z = (1 + c) n + b                                                                            (3)
"""

import jax
import jax.numpy as jnp

EPSILON = 1e-6


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def gated_norm(
    x: jax.Array, f: jax.Array, gate: jax.Array, shift: jax.Array, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Specifies `api.gated_norm` in plain JAX: y = x + gate f and z = (1 + scale) rms(y) + shift.

    Args:
        x: the residual stream, [..., S, D].
        f: the output of a branch, [..., S, D].
        gate: [..., D], a.
        shift: [..., D], b.
        scale: [..., D], c.

    Returns:
        y and z, each [..., S, D] of x's dtype.
    """
    gate, shift, scale = (row.astype(jnp.float32)[..., None, :] for row in (gate, shift, scale))
    y = (x.astype(jnp.float32) + gate * f.astype(jnp.float32)).astype(x.dtype)
    y32 = y.astype(jnp.float32)
    n = y32 * jax.lax.rsqrt(jnp.mean(jnp.square(y32), axis=-1, keepdims=True) + EPSILON)
    return y, (n * (1 + scale) + shift).astype(x.dtype)
