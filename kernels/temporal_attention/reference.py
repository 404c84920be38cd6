"""Specification of temporal attention, in float32 except for operands of products.

Operands of matrix products are rounded to the dtype of the arguments. For every batch element,
site and head, over frames t, u = 1 .. T with angles phi_t [D/2]:

    n(x) = x / sqrt(mean_i x_i^2 + eps)                                                          (1)
    q'_t = R(phi_t) (g_q n(q_t)),     k'_u = R(phi_u) (g_k n(k_u))                               (2)
    l_tu = q'_t . k'_u / sqrt(D)   where frame u is visible, and u <= t if causal, else -inf   (3)
    l_ta = q'_t . c_a  / sqrt(D)      for shared keys c_a, a = 1 .. A, the same at every site    (4)
    o_t  = sum_u p_tu v_u + sum_a p_ta w_a,     p = softmax over u and a together                (5)

R(phi) rotates every plane (x_i, x_{i + D/2}) by phi_i. The shared keys c arrive already
normalised and rotated, with their values w: the caller computes them once for all sites
(`normalise_and_rotate`). They are always visible. A query without any visible key gives o = 0.

With `windows` the tokens of a window take the place of the frames of a site: t and u run over
them, each with the angles, the mask and the order of its own frame and site.

All arguments must be finite. The effect of a NaN or Inf beyond its own site is unspecified.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

EPSILON = 1e-6


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def normalise_and_rotate(x: jax.Array, scale: jax.Array, angles: jax.Array) -> jax.Array:
    """Applies RMS norm with gain, then rotation, to queries or keys.

    Args:
        x: [..., D].
        scale: [D] gain of the norm.
        angles: [..., D/2] in radians, broadcast against the halves of x.

    Returns:
        float32 [..., D].
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
    q,
    k,
    v,
    q_scale,
    k_scale,
    angles,
    visible=None,
    shared_k=None,
    shared_v=None,
    *,
    causal=False,
    windows=None,
) -> jax.Array:
    """Specifies `temporal_attention` in plain JAX: softmax attention along time of normalised and
    rotated q and k.

    The arguments are those of `temporal_attention`; q, k, v [..., T, S, H, D] -> the same shape and
    dtype.
    """
    T, S, H, D = q.shape[-4:]
    product = functools.partial(
        jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )
    angles = angles[:, None, None] if windows is None else angles[:, :, None]
    k = normalise_and_rotate(k, k_scale, angles).astype(v.dtype)
    q = (normalise_and_rotate(q, q_scale, angles) * D**-0.5).astype(v.dtype)
    # From here on t and u are tokens of a window, and s is a window.
    frame, place = np.arange(T)[None], None
    if windows is not None:
        gather, place = windows.index(T, S)
        frame = np.where(gather < 0, T - 1, gather // S)  # an empty slot sees its window's tokens
        tokens = np.maximum(gather, 0).T

        def cut(x):
            return x.reshape(*x.shape[:-4], T * S, H, D)[..., tokens, :, :]

        q, k, v = cut(q), cut(k), cut(v)
        T = windows.tokens
    logits = product("...tshd,...ushd->...shtu", q, k)
    if windows is not None:
        logits = jnp.where((gather >= 0)[:, None, None], logits, -jnp.inf)
    if causal:
        earlier = frame[:, None, None, :] <= frame[:, None, :, None]
        logits = jnp.where(earlier, logits, -jnp.inf)
    if visible is not None:
        shown = visible[..., None, :] if windows is None else visible[..., frame]
        logits = jnp.where(shown[..., None, None, :], logits, -jnp.inf)
    if shared_k is not None:
        logits = jnp.concatenate([logits, product("...tshd,...ahd->...shta", q, shared_k)], -1)
    # Only a `visible` mask can leave a query without any key.
    p = (jax.nn.softmax(logits, axis=-1) if visible is None else _softmax(logits)).astype(v.dtype)
    out = product("...shtu,...ushd->...tshd", p[..., :T], v)
    if shared_v is not None:
        out = out + product("...shta,...ahd->...tshd", p[..., T:], shared_v)
    if place is not None:
        slots = out.swapaxes(-4, -3).reshape(*out.shape[:-4], -1, H, D)
        out = slots[..., place, :, :].reshape(*out.shape[:-4], -1, S, H, D)
    return out.astype(v.dtype)


def _softmax(logits: jax.Array) -> jax.Array:
    """Softmax over the last axis. A row of -inf gives zeros, with zero gradients."""
    some = jnp.isfinite(logits).any(-1, keepdims=True)
    return jnp.where(some, jax.nn.softmax(jnp.where(some, logits, 0.0), axis=-1), 0.0)
