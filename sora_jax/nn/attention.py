"""Attention: the operation, the patterns that apply it to parts of a video, and two modules.

    attend(q, k, v) = softmax(q k^T / sqrt(d)) v        over the visible keys                    (1)

Queries and keys are RMS-normalised per head with a learned scale (QK-norm), then rotated
(`rope`), so the softmax of (1) never saturates. A pattern is a function of q, k and v as the
projections return them, the two scales and the angles phi. It applies (1) to parts of a video
[B, T, S, h, d]:

    over_space      within a frame               phi [S, d/2]
    over_time       along time at a site         phi [T, d/2]
    over_all        over all tokens              phi [T, S, d/2]
    over_windows    within 3-D windows           phi [T, S, d/2]
    over_frames     from frame to frame          phi [T, S, d/2]

All but the last are operations of `kernels`, which select the best implementation for the
machine, and so is cross-attention. Masks (`among`) use `attend`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike
from jaxtyping import Bool, Float

from kernels.cross_attention import cross_attention
from kernels.spatial_attention import spatial_attention
from kernels.temporal_attention import temporal_attention
from kernels.temporal_attention.specs import Windows
from sora_jax.nn.layout import Layout
from sora_jax.nn.mlp import linear
from sora_jax.nn.norm import rms_norm
from sora_jax.nn.rope import rotate
from sora_jax.nn.stack import KEPT

HIDDEN = -1e9  # finite, so that a row without visible keys (padding of a window) is not NaN


def attend(
    q: Float[Array, "*B L h d"],
    k: Float[Array, "*B M h d"],
    v: Float[Array, "*B M h d"],
    visible: Bool[Array, "... #L M"] | None = None,
) -> Float[Array, "*B L h d"]:
    """Computes multi-head attention: softmax(q k^T / sqrt(d)) v, with the softmax in float32.

    Args:
        q: queries [..., L, h, d].
        k, v: keys and values [..., M, h, d].
        visible: bool, broadcastable to [..., L, M]: the keys that each query attends to. Default
            None: all.

    Returns:
        [..., L, h, d], in the dtype of v.
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


def over_all(
    q: Float[Array, "B T S h d"],
    k: Float[Array, "B T S h d"],
    v: Float[Array, "B T S h d"],
    q_scale: Float[Array, " d"],
    k_scale: Float[Array, " d"],
    phi: Float[Array, "T S d//2"],
    sharding: NamedSharding | None = None,
) -> Float[Array, "B T S h d"]:
    """Attends from every token of a video to every token.

    The arguments are those of every pattern of this module.

    Args:
        q, k, v: queries, keys and values [B, T, S, h, d], before norm and rotation.
        q_scale, k_scale: scales [d] of the RMS norms of q and k.
        phi: rotation angles [T, S, d/2].
        sharding: of q, k and v; T and S are whole. Default None.

    Returns:
        [B, T, S, h, d].
    """
    if sharding is not None:
        batch, _, _, heads, _ = sharding.spec
        sharding = NamedSharding(sharding.mesh, P(batch, None, heads, None))
    flat = (q.shape[0], q.shape[1] * q.shape[2], *q.shape[3:])
    q, k, v, shape = q.reshape(flat), k.reshape(flat), v.reshape(flat), q.shape
    phi = phi.reshape(flat[1], -1)
    out = spatial_attention(q, k, v, q_scale, k_scale, phi, sharding=sharding)
    return out.reshape(shape)


def over_frames(
    q: Float[Array, "B T S h d"],
    k: Float[Array, "B T S h d"],
    v: Float[Array, "B T S h d"],
    q_scale: Float[Array, " d"],
    k_scale: Float[Array, " d"],
    phi: Float[Array, "T S d//2"],
) -> Float[Array, "B T S h d"]:
    """Attends from frame to frame: all sites of a frame share one weight for each other frame,

        w_tu = softmax_u(sum_s q_ts . k_us / sqrt(S d)),        out_ts = sum_u w_tu v_us

    the frame-level attention of FrameDiT (Le et al. 2026, arXiv:2603.09721) without its linear maps
    across sites. The arguments are those of `over_all`.
    """
    q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
    q = q * (q.shape[2] * q.shape[-1]) ** -0.5
    logits = jnp.einsum("btshd,bushd->bhtu", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("bhtu,bushd->btshd", weights, v)


def among(visible: Bool[Array, "*B L"]) -> Callable[..., Array]:
    """Returns a pattern in which the tokens of a sequence attend only to the visible ones.

    Args:
        visible: bool [..., L].

    Returns:
        A pattern of [..., L, h, d] with phi [..., L, d/2].
    """

    def over(
        q: Float[Array, "*B L h d"],
        k: Float[Array, "*B L h d"],
        v: Float[Array, "*B L h d"],
        q_scale: Float[Array, " d"],
        k_scale: Float[Array, " d"],
        phi: Float[Array, "... #L d//2"],
    ) -> Float[Array, "*B L h d"]:
        q, k = rotate(rms_norm(q, q_scale), phi), rotate(rms_norm(k, k_scale), phi)
        return attend(q, k, v, visible[..., None, :])

    return over


def over_windows(
    grid: tuple[int, int, int],
    window: tuple[int, int, int],
    shifted: Bool[Array, ""] | bool,
    sharding: NamedSharding | None = None,
) -> Callable[..., Array]:
    """Returns the pattern of attention within 3-D windows of a video [B, T, S, h, d].

    Tokens of the same window attend to each other. A frame of S tokens is a grid of rows x columns.
    Windows do not wrap around: those at an edge hold fewer tokens.

    Args:
        grid: T, rows and columns of the video in tokens; S = rows x columns.
        window: frames, rows and columns of a window in tokens. 0, or more than the axis has, means
            the whole axis.
        shifted: whether windows begin half a window earlier along each axis that has several.
        sharding: the sharding of q, k and v on a mesh. T and S may not be sharded. Default None.

    Returns:
        The pattern, with the arguments of `over_all`.
    """
    frames, rows, columns = (min(w or g, g) for g, w in zip(grid, window, strict=True))
    return functools.partial(
        over_time,
        windows=Windows((frames, rows, columns), grid[2]),
        shifted=jnp.asarray(shifted),
        sharding=sharding,
    )


def across(layout: Layout, over: Callable[..., Array]) -> Callable[..., Array]:
    """Adapts a pattern that needs all frames and sites at once to sharded tokens.

    Within the pattern the heads are sharded instead of the tokens, as in DeepSpeed Ulysses
    (arXiv:2309.14509). Padding frames (`Layout.frames`) are excluded from it and returned as zeros.

    Args:
        layout: the sharding hooks.
        over: a pattern of [B, T, S, h, d], such as `over_all`.

    Returns:
        The adapted pattern, with the arguments of `over_all`.
    """

    def run(
        q: Float[Array, "B T S h d"],
        k: Float[Array, "B T S h d"],
        v: Float[Array, "B T S h d"],
        q_scale: Float[Array, " d"],
        k_scale: Float[Array, " d"],
        phi: Float[Array, "T S d//2"],
    ) -> Float[Array, "B T S h d"]:
        frames = slice(layout.frames)
        out = over(
            *(layout.shard_heads(x)[:, frames] for x in (q, k, v)), q_scale, k_scale, phi[frames]
        )
        return layout.unshard_heads(
            jnp.pad(out, [(0, 0), (0, q.shape[1] - out.shape[1]), (0, 0), (0, 0), (0, 0)])
        )

    return run


class SelfAttention(nnx.Module):
    """Self-attention with QK-norm and rotary positions: x [..., L, D] -> [..., L, D]."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs, dtype: DTypeLike = jnp.float32):
        if width % heads or (width // heads) % 2:
            raise ValueError(f"width {width} needs an even head width, but has {heads} heads")
        self.heads = heads
        # Three layers rather than one with 3 D outputs: XLA on CPU copies the slices of its result.
        self.q, self.k, self.v = (linear(width, width, rngs, dtype=dtype) for _ in range(3))
        self.out = linear(width, width, rngs, dtype=dtype)
        self.q_scale = nnx.Param(jnp.ones((width // heads,)))
        self.k_scale = nnx.Param(jnp.ones((width // heads,)))

    def __call__(
        self,
        x: Float[Array, "*B L D"],
        phi: Float[Array, "..."],
        over: Callable[..., Array] = over_space,
    ) -> Float[Array, "*B L D"]:
        """Applies attention: x [..., L, D] -> [..., L, D].

        Args:
            x: tokens [..., L, D].
            phi: rotation angles of the shape that `over` needs, such as [L, d/2].
            over: the pattern: which tokens attend to each other. Default: all along the axis L.
        """
        q, k, v = (
            project(x).reshape(*x.shape[:-1], self.heads, -1)
            for project in (self.q, self.k, self.v)
        )
        attended = over(q, k, v, self.q_scale[...], self.k_scale[...], phi).reshape(x.shape)
        # the name lets remat="attention" keep this tensor (`stack.REMAT`)
        return self.out(checkpoint_name(attended, KEPT))


class CrossAttention(nnx.Module):
    """Cross-attention with QK-norm: queries from one stream, keys and values from another.

    The streams have `width` and `source_width` features, and the heads together `inner`.
    """

    def __init__(
        self,
        width: int,
        source_width: int,
        inner: int,
        heads: int,
        rngs: nnx.Rngs,
        dtype: DTypeLike = jnp.float32,
    ):
        self.heads = heads
        self.q = linear(width, inner, rngs, dtype=dtype)
        self.k = linear(source_width, inner, rngs, dtype=dtype)
        self.v = linear(source_width, inner, rngs, dtype=dtype)
        self.out = linear(inner, width, rngs, dtype=dtype)
        self.q_scale = nnx.Param(jnp.ones((inner // heads,)))
        self.k_scale = nnx.Param(jnp.ones((inner // heads,)))

    def __call__(
        self,
        x: Float[Array, "B T *S D"],
        source: Float[Array, "B M Ds"],
        visible: Bool[Array, "B *T M"] | None = None,
        phi: Float[Array, "T planes"] | None = None,
        source_phi: Float[Array, "M planes"] | None = None,
        sharding: NamedSharding | None = None,
    ) -> Float[Array, "B T *S D"]:
        """Attends from x to source.

        Args:
            x: [B, T, D], or the tokens of a video [B, T, S, D].
            source: [B, M, Ds].
            visible: bool [B, M], which of source is attended to, or [B, T, M], by which frame.
                Default None: all.
            phi: rotation angles of the frames' queries [T, d/2]. Default None: no rotation.
            source_phi: rotation angles of the keys [M, d/2]; given with phi.
            sharding: the sharding of the queries on a mesh, [B, T, h, d] or [B, T, S, h, d].
                Default None.

        Returns:
            Like x.
        """
        q = self.q(x).reshape(*x.shape[:2], -1, self.heads, self.q_scale.shape[0])
        k, v = (
            project(source).reshape(*source.shape[:-1], self.heads, -1)
            for project in (self.k, self.v)
        )
        k = rms_norm(k, self.k_scale[...])
        if phi is not None:
            assert source_phi is not None
            k = rotate(k, source_phi)
        if sharding is not None and x.ndim == 3:  # queries have an axis of one site
            batch, frames, heads, width = sharding.spec
            sharding = NamedSharding(sharding.mesh, P(batch, frames, None, heads, width))
        q_scale = self.q_scale[...]
        out = cross_attention(q, k, v, q_scale, angles=phi, visible=visible, sharding=sharding)
        return self.out(out.reshape(*x.shape[:-1], -1))
