"""Sharding hooks. A model calls them where activations may be resharded; the default hooks are
identities.

A model does not know the mesh. It calls a hook where the tokens of a frame must be on one device
(attention within frames), where those of a site must be (attention along time), and where a block's
weights are about to be used. `sora_jax.parallel.sequence` implements the hooks with collectives.
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
    """A set of sharding hooks. Each returns its argument's values, possibly with another sharding.

    Attributes:
        frames_apart: video tokens [B, T, S, D] before blocks that work within frames; T may be
            sharded.
        sites_apart: the same tokens before blocks that work along time; S may be sharded.
        heads_apart: queries, keys or values [B, T, S, h, d] before attention across frames and
            sites; h may be sharded, T and S may not.
        heads_joined: the output of that attention; it returns to the sharding of the tokens.
        everywhere: audio tokens [B, N, D], replicated on all devices that share a clip.
        weights: called with (name of a stack, parameters of one of its blocks) where the block
            runs. Default None: parameters are used as they are.
        frames: number of frames of the clip among the T; the rest is padding, which no frame
            attends to. Default None: all.
    """

    frames_apart: Callable[[jax.Array], jax.Array] = as_is
    sites_apart: Callable[[jax.Array], jax.Array] = as_is
    heads_apart: Callable[[jax.Array], jax.Array] = as_is
    heads_joined: Callable[[jax.Array], jax.Array] = as_is
    everywhere: Callable[[jax.Array], jax.Array] = as_is
    weights: Callable[[str, Any], Any] | None = None
    frames: int | None = None

    def weights_of(self, stack: str) -> Callable[[Any], Any] | None:
        """Returns `weights` for one stack, as `scan_stack` takes it."""
        return self.weights and functools.partial(self.weights, stack)


ALONE = Layout()
