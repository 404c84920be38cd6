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
    """Accepts every spec."""


def ready(q, k, q_scale, k_scale, angles) -> tuple[jax.Array, jax.Array]:
    """Computes q' and k' of equation (1), with the factor 1 / sqrt(D) of equation (2) in q'.

    Args:
        q, k: [..., S, H, D].
        q_scale, k_scale: [D], gains of the norms.
        angles: [S, D/2] in radians.

    Returns:
        q' and k', of the shapes and dtypes of q and k.
    """
    angles = angles[:, None]
    q32 = normalise_and_rotate(q, q_scale, angles) * q.shape[-1] ** -0.5
    return q32.astype(q.dtype), normalise_and_rotate(k, k_scale, angles).astype(k.dtype)


def attend(q, k, v, q_scale, k_scale, angles) -> jax.Array:
    """Computes equations (1) and (2).

    Arguments as for `spatial_attention`; q, k, v [..., S, H, D] -> the same shape and dtype.
    """
    q, k = ready(q, k, q_scale, k_scale, angles)
    p = jax.nn.softmax(
        jnp.einsum("...shd,...uhd->...hsu", q, k, preferred_element_type=jnp.float32), axis=-1
    ).astype(v.dtype)
    return jnp.einsum("...hsu,...uhd->...shd", p, v)
