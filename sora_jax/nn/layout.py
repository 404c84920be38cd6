"""Sharding hooks. A model calls them where activations may be resharded; the default hooks are
identities.

A model knows no mesh. It says where its tokens should be together, a frame's for attention within
frames and a site's for attention along time, and where a block's weights are about to be used;
`sora_jax.parallel.sequence` answers with collectives.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax


def as_is(x: Any) -> Any:
    return x


@dataclasses.dataclass(frozen=True)
class Layout:
    """Hooks. Each returns its argument's values, placed otherwise.

    frames_apart  video tokens [B, T, S, D] before blocks that work within frames: devices may share
                  out T
    sites_apart   the same tokens before blocks that work along time: devices may share out S
    heads_apart   queries, keys or values [B, T, S, h, d] before attention across frames and sites:
                  devices may share out h, all T and S here
    heads_joined  what comes out of it, back as the tokens lie
    everywhere    tokens of the sound [B, N, D], which every sharer of a clip holds whole
    weights       (name of a stack, parameters of one of its blocks) where the block runs
    frames        how many of the T frames are a clip's; those after them are padding, and no frame
                  sees them. None: all
    """

    frames_apart: Callable[[jax.Array], jax.Array] = as_is
    sites_apart: Callable[[jax.Array], jax.Array] = as_is
    heads_apart: Callable[[jax.Array], jax.Array] = as_is
    heads_joined: Callable[[jax.Array], jax.Array] = as_is
    everywhere: Callable[[jax.Array], jax.Array] = as_is
    weights: Callable[[str, Any], Any] | None = None
    frames: int | None = None

    def weights_of(self, stack: str) -> Callable[[Any], Any] | None:
        """`weights` for one stack, as `scan_stack` takes it."""
        return self.weights and functools.partial(self.weights, stack)


ALONE = Layout()
