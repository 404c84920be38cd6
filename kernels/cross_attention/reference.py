"""Specification of cross-attention, in float32 except for operands of products.

Operands of matrix products are rounded to the dtype of the arguments. All tokens of a batch element
attend to the same M keys, such as the words of a prompt. For every batch element and head, over
frames t = 1 .. T with angles phi_t [D/2], sites s and keys u = 1 .. M, with n and R as in temporal
attention (`kernels.temporal_attention.reference`):

    q'_ts = R(phi_t) (g n(q_ts))                                                                 (1)
    l_tsu = q'_ts . k_u / sqrt(D)   where key u is visible to frame t, else -inf                 (2)
    o_ts  = sum_u p_tsu v_u,     p = softmax over u                                              (3)

Without angles R is the identity. The keys k arrive normalised and rotated already: the caller
computes them once for all tokens. A query without any visible key gives o = 0.
"""

import jax
import jax.numpy as jnp

from kernels.temporal_attention.reference import normalise_and_rotate

HIDDEN = -1e9  # finite, so that a row without visible keys is not NaN


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def attend(q, k, v, q_scale, angles=None, visible=None) -> jax.Array:
    """Specifies `cross_attention` in plain JAX: softmax attention of normalised and rotated q to k.

    The arguments are those of `cross_attention`; q [..., T, S, H, D] -> the same shape and dtype.
    """
    *batch, T, S, H, D = q.shape
    turned = None if angles is None else jnp.repeat(angles, S, axis=0)[:, None]
    q = q.reshape(*batch, T * S, H, D)
    q = (normalise_and_rotate(q, q_scale, turned) * D**-0.5).astype(q.dtype)
    logits = jnp.einsum("...lhd,...uhd->...hlu", q, k, preferred_element_type=jnp.float32)
    if visible is not None:
        of_frames = visible.ndim > k.ndim - 2
        visible = jnp.repeat(visible, S, axis=-2) if of_frames else visible[..., None, :]
        visible = visible[..., None, :, :]
        logits = jnp.where(visible, logits, HIDDEN)
    p = jax.nn.softmax(logits, axis=-1)
    if visible is not None:
        p = jnp.where(visible, p, 0.0)
    out = jnp.einsum("...hlu,...uhd->...lhd", p.astype(v.dtype), v)
    return out.reshape(*batch, T, S, H, D)
