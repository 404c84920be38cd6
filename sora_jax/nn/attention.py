"""Attention: the arithmetic, on which tokens it runs, and the two modules that use it.

    attend(q, k, v) = softmax(q k^T / sqrt(d)) v        over the keys that are visible           (1)

Queries and keys are RMS-normalised per head with a learned scale, then rotated (`rope`), so (1)
never saturates. A pattern is a function of q, k, v as the projections leave them, the two scales
and the angles phi, and runs (1) over parts of a video [B, T, S, h, d]: the sites of one frame
(`over_space`, phi [S, d/2]), the frames of one site (`over_time`, phi [T, d/2]), everything
(`over_all`) or three-dimensional windows (`over_windows`, both phi [T, S, d/2]). The first three
are operations of `kernels`, which choose what is best on the machine; cross-attention, masks and
windows pass through `attend`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from kernels.spatial_attention import spatial_attention
from kernels.temporal_attention import temporal_attention
from sora_jax.nn.layout import Layout
from sora_jax.nn.mlp import linear
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import rotate
from sora_jax.nn.stack import KEPT

HIDDEN = -1e9  # finite, so that a row with no visible key (a window's padding) stays a number


def attend(q: jax.Array, k: jax.Array, v: jax.Array, visible: jax.Array | None = None) -> jax.Array:
    """Equation (1). q [..., L, h, d], k and v [..., M, h, d] -> [..., L, h, d]; softmax in float32.

    visible: bool, broadcast to [..., L, M]: which keys each query sees. None: all.
    """
    logits = jnp.einsum(
        "...lhd,...mhd->...hlm", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32
    )
    if visible is not None:
        logits = jnp.where(visible[..., None, :, :], logits, HIDDEN)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("...hlm,...mhd->...lhd", weights, v)


over_space = spatial_attention
over_time = temporal_attention


def over_all(q, k, v, q_scale, k_scale, phi) -> jax.Array:
    """Every token sees every token: [B, T, S, h, d] -> same."""
    flat = (q.shape[0], q.shape[1] * q.shape[2], *q.shape[3:])
    q, k, v, shape = q.reshape(flat), k.reshape(flat), v.reshape(flat), q.shape
    return spatial_attention(q, k, v, q_scale, k_scale, phi.reshape(flat[1], -1)).reshape(shape)


def among(visible: jax.Array) -> Callable[..., jax.Array]:
    """The tokens of a sequence see those that are visible, bool [..., L]: a pattern of [..., L, h,
    d] with phi [..., L, d/2].
    """

    def over(q, k, v, q_scale, k_scale, phi):
        q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
        return attend(q, k, v, visible[..., None, :])

    return over


def window_index(
    grid: tuple[int, int, int], window: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Which token lies where when a grid is cut into windows, unshifted and shifted by half a
    window.

    grid is (T, H, W) and window its three sides in tokens, 0 for a whole axis. Returns gather [2,
    windows, size], the token at each place of each window with -1 where there is none, and place
    [2, T*H*W], the inverse: row 0 unshifted, row 1 shifted. Windows do not wrap around: those at
    the edge are smaller.
    """
    sides = [min(w or g, g) for g, w in zip(grid, window, strict=True)]
    shifts = [side // 2 if side < g else 0 for g, side in zip(grid, sides, strict=True)]
    counts = [-(-(g + shift) // side) for g, side, shift in zip(grid, sides, shifts, strict=True)]
    position = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
    size = int(np.prod(sides))
    gather = np.full((2, int(np.prod(counts)), size), -1, np.int32)
    place = np.zeros((2, len(position)), np.int32)
    for row, shift in enumerate((0, np.array(shifts))):
        cell, inside = np.divmod(position + shift, sides)
        place[row] = np.ravel_multi_index(cell.T, counts) * size + np.ravel_multi_index(
            inside.T, sides
        )
        gather[row].reshape(-1)[place[row]] = np.arange(len(position))
    return gather, place


def over_windows(gather: jax.Array, place: jax.Array) -> Callable[..., jax.Array]:
    """Attention inside windows, given one row of `window_index`: a pattern of [B, T, S, h, d]."""

    def over(q, k, v, q_scale, k_scale, phi):
        shape, flat = q.shape, (q.shape[0], q.shape[1] * q.shape[2], *q.shape[3:])
        q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
        q, k, v = (jnp.take(a.reshape(flat), jnp.maximum(gather, 0), axis=1) for a in (q, k, v))
        out = attend(q, k, v, (gather >= 0)[None, :, None])
        return jnp.take(out.reshape(flat[0], -1, *flat[2:]), place, axis=1).reshape(shape)

    return over


def across(layout: Layout, over: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A pattern that needs every frame and site at once, where devices share them out: they share
    out the heads meanwhile.

    Padding frames (`Layout.frames`) are left out of the pattern, and come back as zeros.
    """

    def run(q, k, v, q_scale, k_scale, phi):
        frames = slice(layout.frames)
        out = over(
            *(layout.heads_apart(x)[:, frames] for x in (q, k, v)), q_scale, k_scale, phi[frames]
        )
        return layout.heads_joined(
            jnp.pad(out, [(0, 0), (0, q.shape[1] - out.shape[1]), (0, 0), (0, 0), (0, 0)])
        )

    return run


class SelfAttention(nnx.Module):
    """x [..., D] -> [..., D]; `over` is a pattern, by default the whole of the last token axis."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs, dtype=jnp.float32):
        if width % heads or (width // heads) % 2:
            raise ValueError(f"width {width} needs an even head width, but has {heads} heads")
        self.heads = heads
        # Three maps, not one of 3 D features: XLA on a CPU copies the slices of its result.
        self.q, self.k, self.v = (linear(width, width, rngs, dtype=dtype) for _ in range(3))
        self.out = linear(width, width, rngs, dtype=dtype)
        self.q_scale = nnx.Param(jnp.ones((width // heads,)))
        self.k_scale = nnx.Param(jnp.ones((width // heads,)))

    def __call__(self, x: jax.Array, phi: jax.Array, over: Callable = over_space) -> jax.Array:
        """x [..., L, D] and angles phi as the pattern wants them -> [..., L, D]."""
        q, k, v = (
            project(x).reshape(*x.shape[:-1], self.heads, -1)
            for project in (self.q, self.k, self.v)
        )
        seen = over(q, k, v, self.q_scale[...], self.k_scale[...], phi).reshape(x.shape)
        return self.out(checkpoint_name(seen, KEPT))


class CrossAttention(nnx.Module):
    """Queries from one stream, keys and values from another, of their own widths; `inner` is the
    width the heads share.
    """

    def __init__(
        self,
        width: int,
        source_width: int,
        inner: int,
        heads: int,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
    ):
        self.heads = heads
        self.q = linear(width, inner, rngs, dtype=dtype)
        self.k = linear(source_width, inner, rngs, dtype=dtype)
        self.v = linear(source_width, inner, rngs, dtype=dtype)
        self.out = linear(inner, width, rngs, dtype=dtype)
        self.q_scale = nnx.Param(jnp.ones((inner // heads,)))
        self.k_scale = nnx.Param(jnp.ones((inner // heads,)))

    def __call__(self, x, source, visible=None, phi=None, source_phi=None) -> jax.Array:
        """x [B, L, D], source [B, M, Ds], visible bool [B, M], angles phi [L, d/2] and source_phi
        [M, d/2] -> [B, L, D].
        """
        q = rms_norm(self.q(x).reshape(*x.shape[:-1], self.heads, -1), self.q_scale[...])
        k, v = (
            project(source).reshape(*source.shape[:-1], self.heads, -1)
            for project in (self.k, self.v)
        )
        k = rms_norm(k, self.k_scale[...])
        if phi is not None:
            q, k = rotate(q, phi), rotate(k, source_phi)
        if visible is not None:
            visible = visible[:, None]
        return self.out(attend(q, k, v, visible).reshape(*x.shape[:-1], -1))
