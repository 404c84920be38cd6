"""Attention patterns of the two video blocks of a pair, by the name in `STDiTConfig.attention`.

A pattern takes the `VideoTokens` of one evaluation and returns two blocks, the spatial and the
temporal one. A block is (phi, over):

    phi   rotation angles, [S, d/2], [T, d/2] or [T, S, d/2]; `tokens.phi` returns some
    over  over(q, k, v, q_scale, k_scale, phi) -> [B, T, S, h, d], the shape of q, k and v

`sora_jax.nn.attention` provides several functions for `over`. Those with a kernel take a
`sharding`: `tokens.layout` has one for each place (`Layout`). A user adds a pattern by
registering a function in ATTENTION; `docs/examples/own_attention.py` defines its own `over`.
Weights trained with a pattern store its name, and load only where it is registered.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from sora_jax.errors import UserError
from sora_jax.nn import attention
from sora_jax.nn.layout import Layout
from sora_jax.nn.rope import grid_angles
from sora_jax.registry import Registry

Block = tuple[Array, Callable[..., Array]]


@dataclasses.dataclass(frozen=True)
class VideoTokens:
    """Geometry of the video tokens of one evaluation of the network.

    Attributes:
        config: the `STDiTConfig`.
        times: midpoints of the latent frames in seconds, [T].
        grid: (T, rows, columns) in tokens.
        layout: sharding hooks.
        visible: bool [B, T], False for padding frames; None without padding.
        depth: index of the pair of blocks, a traced integer.
    """

    config: Any
    times: Float[Array, " T"]
    grid: tuple[int, int, int]
    layout: Layout
    visible: Bool[Array, "B T"] | None
    depth: Int[Array, ""] | int

    def phi(self, axes: str) -> Float[Array, "T S planes"]:
        """Returns the rotation angles of all tokens, [T, S, d/2].

        Args:
            axes: the axes that rotate: "t", "yx" or "tyx".
        """
        width = self.config.width // self.config.heads
        return grid_angles(self.times, *self.grid[1:], width, axes)


ATTENTION: Registry[Callable[[VideoTokens], tuple[Block, Block]]] = Registry("attention pattern")


def in_frame(tokens: VideoTokens) -> Block:
    """Returns the spatial block (phi, over): every token attends to the tokens of its frame."""
    over = functools.partial(attention.over_space, sharding=tokens.layout.in_frames)
    return tokens.phi("yx")[0], over


@ATTENTION.register
def pure(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns factorised attention: a spatial block, within a frame, and a temporal block, along
    time at a site of the frame.

    Each block is a pair (phi, over): the rotation angles of queries and keys, and the function that
    attends.
    """
    of_time = tokens.layout.along_time
    over = functools.partial(attention.over_time, visible=tokens.visible, sharding=of_time)
    return in_frame(tokens), (tokens.phi("t")[:, 0], over)


@ATTENTION.register
def window(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns windowed attention: a block within a frame and a block within 3-D windows.

    Each block is a pair (phi, over) as in `pure`.

    The windows have the sides `config.window`, and every second pair shifts them by half.
    """
    real = (tokens.layout.frames or tokens.grid[0], *tokens.grid[1:])
    shifted, sharding = tokens.depth % 2 == 1, tokens.layout.across
    over = attention.over_windows(real, tokens.config.window, shifted, sharding)
    over = attention.across(tokens.layout, over)
    return in_frame(tokens), (tokens.phi("tyx"), over)


@ATTENTION.register
def full(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns full attention: in both blocks, each a pair (phi, over) as in `pure`, every token
    attends to every token.
    """
    over = functools.partial(attention.over_all, sharding=tokens.layout.across)
    block = tokens.phi("tyx"), attention.across(tokens.layout, over)
    return block, block


@ATTENTION.register
def matrix(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns factorised attention whose temporal block attends from frame to frame
    (`attention.over_frames`). Each block is a pair (phi, over) as in `pure`.
    """
    over = attention.across(tokens.layout, attention.over_frames)
    return in_frame(tokens), (tokens.phi("t"), over)


@ATTENTION.register
def interleaved(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns factorised attention whose second block attends along time only in every
    `config.time_every`-th pair, and within a frame in all others, as in Dreamer 4 (Hafner et al.
    2025, arXiv:2509.24527). Each block is a pair (phi, over) as in `pure`.
    """
    in_time = (tokens.depth + 1) % tokens.config.time_every == 0

    def over(q: Array, k: Array, v: Array, q_scale: Array, k_scale: Array, phi: Array) -> Array:
        sharding = tokens.layout.across

        def along_time() -> Array:
            return attention.over_time(q, k, v, q_scale, k_scale, phi[:, 0], sharding=sharding)

        def within_frame() -> Array:
            return attention.over_space(q, k, v, q_scale, k_scale, phi[0], sharding=sharding)

        return jax.lax.cond(in_time, along_time, within_frame)

    phi = jnp.where(in_time, tokens.phi("t"), tokens.phi("yx"))
    return in_frame(tokens), (phi, attention.across(tokens.layout, over))


def blocks(tokens: VideoTokens) -> tuple[Block, Block]:
    """Returns the spatial and the temporal block of the pattern that `tokens.config` names.

    A block is (phi, over): rotation angles and a function of attention. Each `over` is checked when
    it runs.

    Raises:
        UserError: the pattern returns something other than two (phi, over), or `over` another shape
            than that of q.
    """
    name = tokens.config.attention
    given = ATTENTION[name](tokens)
    if not (isinstance(given, (tuple, list)) and len(given) == 2):
        raise UserError(
            f"attention pattern {name!r} returns {_described(given)}; return the spatial and the "
            "temporal block, ((phi, over), (phi, over))"
        )
    spatial, temporal = given
    of_pattern = f"block of attention pattern {name!r}"
    return (
        _checked(f"the spatial {of_pattern}", spatial, tokens),
        _checked(f"the temporal {of_pattern}", temporal, tokens),
    )


def _checked(owner: str, block: Any, tokens: VideoTokens) -> Block:
    """Checks phi now and the result of `over` at every call; `owner` names the block in errors."""
    if not (isinstance(block, (tuple, list)) and len(block) == 2 and callable(block[1])):
        raise UserError(f"{owner} is {_described(block)}; give (phi, over), angles and a function")
    phi, over = block
    frames, sites = tokens.grid[0], tokens.grid[1] * tokens.grid[2]
    planes = tokens.config.width // tokens.config.heads // 2
    allowed = [(sites, planes), (frames, planes), (frames, sites, planes)]
    if getattr(phi, "shape", None) not in allowed:
        raise UserError(
            f"phi of {owner} is {_described(phi)}; give angles of shape "
            f"{', '.join(map(str, allowed[:2]))} or {allowed[2]}"
        )

    def run(q: Array, *rest: Array) -> Array:
        out = over(q, *rest)
        if getattr(out, "shape", None) != q.shape:
            raise UserError(
                f"over of {owner} gives {_described(out)}; give the shape of q, {q.shape}"
            )
        return out

    return phi, run


def _described(value: Any) -> str:
    """Describes a value in a few words, for error messages."""
    if hasattr(value, "shape"):
        return f"an array of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "a function" if callable(value) else repr(value)[:40]
