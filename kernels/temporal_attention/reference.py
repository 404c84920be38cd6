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

With `windows` the tokens of a window take the place of the frames of a site. Windows of a x b x c
tokens, shifted by a' x b' x c', hold the token of frame t, row y and column x in window

    (floor((t + a') / a), floor((y + b') / b), floor((x + c') / c))                              (6)

Each token has the angles of its own frame and site, and the mask and the order of its own frame.

All arguments must be finite. The effect of a NaN or Inf beyond its own site is unspecified.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kernels.temporal_attention.specs import Windows

EPSILON = 1e-6


def check(spec) -> None:
    """Accepts every spec: the reference supports all calls."""


def normalise_and_rotate(x: jax.Array, scale: jax.Array, angles: jax.Array | None) -> jax.Array:
    """Applies RMS norm with gain, then rotation, to queries or keys.

    Args:
        x: [..., D].
        scale: [D] gain of the norm.
        angles: [..., D/2] in radians, broadcast against the halves of x. None: no rotation.

    Returns:
        float32 [..., D].
    """
    x = x.astype(jnp.float32)
    x = (
        x
        * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + EPSILON)
        * scale.astype(jnp.float32)
    )
    if angles is None:
        return x
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
    shifted=None,
) -> jax.Array:
    """Specifies `temporal_attention` in plain JAX: softmax attention along time of normalised and
    rotated q and k.

    The arguments are those of `temporal_attention`; q, k, v [..., T, S, H, D] -> the same shape and
    dtype.
    """
    T, S, _, D = q.shape[-4:]
    product = functools.partial(
        jnp.einsum, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32
    )
    angles = angles[:, None, None] if windows is None else angles[:, :, None]
    k = normalise_and_rotate(k, k_scale, angles).astype(v.dtype)
    q = (normalise_and_rotate(q, q_scale, angles) * D**-0.5).astype(v.dtype)
    frame = np.arange(T)[None]
    if windows is not None:
        q, k, v = (divide(x, windows, shifted) for x in (q, k, v))
        frame = jnp.broadcast_to(frame.reshape(T, 1, 1, 1), (T, S, 1, 1))
        frame = divide(frame, windows, shifted, empty=T)[..., 0, 0].T
    # From here on s is a window, and t and u are its tokens. `frame` [s, t] has their frames, and T
    # in empty slots, which see all of the window and nobody sees.
    t, u = frame[:, None, :, None], frame[:, None, None, :]
    logits = product("...tshd,...ushd->...shtu", q, k)
    if windows is not None:
        logits = jnp.where((u < T) | (t == T), logits, -jnp.inf)
    if causal:
        logits = jnp.where(u <= t, logits, -jnp.inf)
    if visible is not None:
        logits = jnp.where(visible[..., jnp.minimum(u, T - 1)], logits, -jnp.inf)
    if shared_k is not None:
        logits = jnp.concatenate([logits, product("...tshd,...ahd->...shta", q, shared_k)], -1)
    # Only a `visible` mask can leave a query without any key.
    p = (jax.nn.softmax(logits, axis=-1) if visible is None else _softmax(logits)).astype(v.dtype)
    N = v.shape[-4]
    out = product("...shtu,...ushd->...tshd", p[..., :N], v)
    if shared_v is not None:
        out = out + product("...shta,...ahd->...tshd", p[..., N:], shared_v)
    if windows is not None:
        out = join(out, windows, shifted, T, S)
    return out.astype(v.dtype)


def divide(
    x: jax.Array, windows: Windows, shifted: jax.Array | None, empty: float = 0
) -> jax.Array:
    """Divides a grid of tokens into windows by equation (6).

    Args:
        x: [..., T, S, H, D].
        windows: W windows of up to N tokens.
        shifted: whether they are shifted, bool []. None: they never are.
        empty: value of slots without a token. Default 0.

    Returns:
        [..., N, W, H, D].
    """
    *batch, T, S, H, D = x.shape
    grid, counts = windows.grid(T, S), windows.counts(T, S, shifted is not None)
    shifts = (0, 0, 0) if shifted is None else windows.shifts(T, S)
    x = x.reshape(*batch, *grid, H, D)
    for i, (side, count, shift) in enumerate(zip(windows.sides, counts, shifts, strict=True)):
        axis = len(batch) + i
        widths = [(0, 0)] * x.ndim
        widths[axis] = (shift, side * count - grid[i])
        x = jnp.pad(x, widths, constant_values=empty)
        if shifted is not None and shift:
            start = jnp.where(shifted, 0, shift)
            x = jax.lax.dynamic_slice_in_dim(x, start, side * count, axis)
    cells = [n for pair in zip(counts, windows.sides, strict=True) for n in pair]
    x = jnp.moveaxis(x.reshape(*batch, *cells, H, D), (-7, -5, -3), (-8, -7, -6))
    return x.reshape(*batch, windows.tokens, -1, H, D)


def join(x: jax.Array, windows: Windows, shifted: jax.Array | None, T: int, S: int) -> jax.Array:
    """Inverts `divide`: x [..., N, W, H, D] -> [..., T, S, H, D]. Empty slots are dropped."""
    *batch, _, _, H, D = x.shape
    counts = windows.counts(T, S, shifted is not None)
    lengths = (side * count for side, count in zip(windows.sides, counts, strict=True))
    x = x.reshape(*batch, *windows.sides, *counts, H, D)
    x = jnp.moveaxis(x, (-8, -7, -6), (-7, -5, -3)).reshape(*batch, *lengths, H, D)
    for i, (length, shift) in enumerate(zip(windows.grid(T, S), windows.shifts(T, S), strict=True)):
        start = 0 if shifted is None else jnp.where(shifted, shift, 0)
        x = jax.lax.dynamic_slice_in_dim(x, start, length, len(batch) + i)
    return x.reshape(*batch, T, S, H, D)


def _softmax(logits: jax.Array) -> jax.Array:
    """Softmax over the last axis. A row of -inf gives zeros, with zero gradients."""
    some = jnp.isfinite(logits).any(-1, keepdims=True)
    return jnp.where(some, jax.nn.softmax(jnp.where(some, logits, 0.0), axis=-1), 0.0)
