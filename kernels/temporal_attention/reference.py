"""Temporal attention: the specification, in float32 but for what products take, which is rounded to
the dtype of the arguments.

For every batch element, site and head, over frames t, u = 1 .. T with angles phi_t [D/2]:

    n(x) = x / sqrt(mean_i x_i^2 + eps)                                                          (1)
    q'_t = R(phi_t) (g_q n(q_t)),     k'_u = R(phi_u) (g_k n(k_u))                               (2)
    l_tu = q'_t . k'_u / sqrt(D)   where frame u is visible, and u <= t if causal, else -inf   (3)
    l_ta = q'_t . c_a  / sqrt(D)      for shared keys c_a, a = 1 .. A, the same at every site    (4)
    o_t  = sum_u p_tu v_u + sum_a p_ta w_a,     p = softmax over u and a together                (5)

R(phi) turns every plane (x_i, x_{i + D/2}) by phi_i. Shared keys c and values w come ready,
normalised and rotated by whoever makes them once for all sites (`normalise_and_rotate`), and are
always visible. A query that sees no key gives o = 0.

All arguments are finite. What a NaN or Inf does beyond its own site is not specified.
"""

import functools

import jax
import jax.numpy as jnp

EPSILON = 1e-6


def check(spec) -> None:
    """Takes everything."""


def normalise_and_rotate(x: jax.Array, scale: jax.Array, angles: jax.Array) -> jax.Array:
    """Equations (1) and (2): x [..., D], scale [D], angles [..., D/2] broadcast against the halves
    of x -> float32 [..., D].
    """
    x = x.astype(jnp.float32)
    x = (
        x
        * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)
        * scale.astype(jnp.float32)
    )
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1)


def attend(
    q, k, v, q_scale, k_scale, angles, visible=None, shared_k=None, shared_v=None, *, causal=False
) -> jax.Array:
    """Equations (3) to (5); arguments as of `temporal_attention`, q, k, v [..., T, S, H, D] -> the
    same shape and dtype.
    """
    T, D = q.shape[-4], q.shape[-1]
    product = functools.partial(
        jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )
    k = normalise_and_rotate(k, k_scale, angles[:, None, None]).astype(v.dtype)
    q = (normalise_and_rotate(q, q_scale, angles[:, None, None]) * D**-0.5).astype(v.dtype)
    logits = product("...tshd,...ushd->...shtu", q, k)
    if causal:
        logits = jnp.where(jnp.tril(jnp.ones((T, T), bool)), logits, -jnp.inf)
    if visible is not None:
        logits = jnp.where(visible[..., None, None, None, :], logits, -jnp.inf)
    if shared_k is not None:
        logits = jnp.concatenate([logits, product("...tshd,...ahd->...shta", q, shared_k)], -1)
    # Only where frames are hidden can a query see nothing.
    p = (jax.nn.softmax(logits, axis=-1) if visible is None else _softmax(logits)).astype(v.dtype)
    out = product("...shtu,...ushd->...tshd", p[..., :T], v)
    if shared_v is not None:
        out = out + product("...shta,...ahd->...tshd", p[..., T:], shared_v)
    return out.astype(v.dtype)


def _softmax(logits: jax.Array) -> jax.Array:
    """Over the last axis; a row of -inf gives zeros, with zero gradients."""
    some = jnp.isfinite(logits).any(-1, keepdims=True)
    return jnp.where(some, jax.nn.softmax(jnp.where(some, logits, 0.0), axis=-1), 0.0)
