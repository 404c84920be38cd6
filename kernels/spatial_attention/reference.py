"""Specification of spatial attention, in float32 except for operands of products.

Operands of matrix products are rounded to the dtype of the arguments. For every sequence and
head, over sites s, u = 1 .. S with angles phi_s [D/2], and n and R as in temporal attention
(`kernels.temporal_attention.reference`):

    q'_s = R(phi_s) (g_q n(q_s)),     k'_u = R(phi_u) (g_k n(k_u))                               (1)
    o_s = sum_u p_su v_u,     p = softmax over u of q'_s . k'_u / sqrt(D)                        (2)
"""

import jax
import jax.numpy as jnp

from kernels.temporal_attention.reference import normalise_and_rotate


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def ready(q, k, q_scale, k_scale, angles) -> tuple[jax.Array, jax.Array]:
    """Returns q and k normalised, scaled and rotated, with the factor 1 / sqrt(D) in q.

    Args:
        q: [..., S, H, D].
        k: [..., S, H, D].
        q_scale: [D], gain of the norm of q.
        k_scale: [D], gain of the norm of k.
        angles: [S, D/2] in radians.

    Returns:
        Both, of the shapes and dtypes of q and k.
    """
    angles = angles[:, None]
    q32 = normalise_and_rotate(q, q_scale, angles) * q.shape[-1] ** -0.5
    return q32.astype(q.dtype), normalise_and_rotate(k, k_scale, angles).astype(k.dtype)


def attend(q, k, v, q_scale, k_scale, angles) -> jax.Array:
    """Specifies `spatial_attention` in plain JAX: softmax attention of normalised and rotated q and
    k.

    Args:
        q: [..., S, H, D], and so are k and v.
        k: [..., S, H, D].
        v: [..., S, H, D].
        q_scale: [D], gain of the norm of q.
        k_scale: [D], gain of the norm of k.
        angles: [S, D/2] in radians.

    Returns:
        [..., S, H, D] of q's dtype.
    """
    q, k = ready(q, k, q_scale, k_scale, angles)
    p = jax.nn.softmax(
        jnp.einsum("...shd,...uhd->...hsu", q, k, preferred_element_type=jnp.float32), axis=-1
    ).astype(v.dtype)
    return jnp.einsum("...hsu,...uhd->...shd", p, v)
