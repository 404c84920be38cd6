"""Attention patterns of a pair's two video blocks, by the name that `STDiTConfig.attention` gives.

A pattern takes the `VideoTokens` of one evaluation and returns two blocks, the spatial and the
temporal one. A block is (phi, over):

    phi   angles of the rotation, [S, d/2], [T, d/2] or [T, S, d/2]; `tokens.phi` makes some
    over  over(q, k, v, q_scale, k_scale, phi) -> [B, T, S, h, d], as q, k and v are

`sora_jax.nn.attention` has several of the kind of `over`. A user adds a pattern by registering a
function in ATTENTION: `docs/examples/own_attention.py` writes its own `over`. Weights trained with
it name it, and load only where it is registered.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from sora_jax.errors import UserError
from sora_jax.nn import attention
from sora_jax.nn.layout import Layout
from sora_jax.nn.rope import grid_angles
from sora_jax.registry import Registry

Block = tuple[jax.Array, Callable[..., jax.Array]]


@dataclasses.dataclass(frozen=True)
class VideoTokens:
    """The video tokens of one evaluation, and where they lie.

    Attributes:
        config: the `STDiTConfig`.
        times: of the frames in s, [T].
        grid: (T, rows, columns).
        layout: how devices share the tokens out.
        visible: bool [B, T], the frames that are no padding; None where all are.
        depth: number of the pair, traced.
    """

    config: Any
    times: jax.Array
    grid: tuple[int, int, int]
    layout: Layout
    visible: jax.Array | None
    depth: jax.Array

    def phi(self, axes: str) -> jax.Array:
        """Angles [T, S, d/2] of a rotation by the axes named, of "tyx"."""
        width = self.config.width // self.config.heads
        return grid_angles(self.times, *self.grid[1:], width, axes)


ATTENTION: Registry[Callable[[VideoTokens], tuple[Block, Block]]] = Registry("attention pattern")


def in_frame(tokens: VideoTokens) -> Block:
    """The sites of one frame see each other."""
    return tokens.phi("yx")[0], attention.over_space


@ATTENTION.register
def pure(tokens: VideoTokens) -> tuple[Block, Block]:
    """Factorised: the sites of a frame, then the frames of a site."""
    over = functools.partial(attention.over_time, visible=tokens.visible)
    return in_frame(tokens), (tokens.phi("t")[:, 0], over)


@ATTENTION.register
def window(tokens: VideoTokens) -> tuple[Block, Block]:
    """The sites of a frame, then windows of `config.window`, shifted by half in every second
    pair.
    """
    real = (tokens.layout.frames or tokens.grid[0], *tokens.grid[1:])
    index = attention.window_index(real, tokens.config.window)
    windows = (jnp.asarray(rows)[tokens.depth % 2] for rows in index)
    over = attention.across(tokens.layout, attention.over_windows(*windows))
    return in_frame(tokens), (tokens.phi("tyx"), over)


@ATTENTION.register
def full(tokens: VideoTokens) -> tuple[Block, Block]:
    """Every token sees every token, in both blocks."""
    block = tokens.phi("tyx"), attention.across(tokens.layout, attention.over_all)
    return block, block


def blocks(tokens: VideoTokens) -> tuple[Block, Block]:
    """The blocks of the pattern that `tokens.config` names, each `over` watched.

    Raises UserError for a pattern that gives something else than its contract says.
    """
    name = tokens.config.attention
    given = ATTENTION[name](tokens)
    if not (isinstance(given, (tuple, list)) and len(given) == 2):
        raise UserError(
            f"attention pattern {name!r} returns {_told(given)}; return the spatial and the "
            "temporal block, ((phi, over), (phi, over))"
        )
    return tuple(
        _watched(f"the {kind} block of attention pattern {name!r}", block, tokens)
        for kind, block in zip(("spatial", "temporal"), given)
    )


def _watched(whose: str, block: Block, tokens: VideoTokens) -> Block:
    if not (isinstance(block, (tuple, list)) and len(block) == 2 and callable(block[1])):
        raise UserError(f"{whose} is {_told(block)}; give (phi, over), angles and a function")
    phi, over = block
    frames, sites = tokens.grid[0], tokens.grid[1] * tokens.grid[2]
    planes = tokens.config.width // tokens.config.heads // 2
    fit = [(sites, planes), (frames, planes), (frames, sites, planes)]
    if getattr(phi, "shape", None) not in fit:
        raise UserError(
            f"phi of {whose} is {_told(phi)}; give angles of shape {', '.join(map(str, fit[:2]))} "
            f"or {fit[2]}"
        )

    def run(q, *rest):
        out = over(q, *rest)
        if getattr(out, "shape", None) != q.shape:
            raise UserError(f"over of {whose} gives {_told(out)}; give the shape of q, {q.shape}")
        return out

    return phi, run


def _told(value: Any) -> str:
    """A value in a few words."""
    if hasattr(value, "shape"):
        return f"an array of shape {value.shape}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "a function" if callable(value) else repr(value)[:40]
