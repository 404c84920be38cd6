"""Attention patterns of a pair's two video blocks, by the name that `STDiTConfig.attention` gives.

A pattern takes the `VideoTokens` of one evaluation and returns two blocks, the spatial and the
temporal one; each is (phi, over): the angles of the rotation and a function as
`sora_jax.nn.attention` describes them. A user adds one by registering a function in ATTENTION.
Weights trained with it name it, and load only where it is registered.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

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
