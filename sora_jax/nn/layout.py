"""Sharding hooks. A model calls them where activations may be resharded; the default hooks are
identities.

A model does not know the mesh. It calls a hook where the tokens of a frame must be on one
device (attention within frames), where those of a site must be (attention along time), and
where a block's weights are about to be used. `sora_jax.parallel.sequence` implements the hooks
with collectives.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P


def unchanged(x: Any) -> Any:
    """Returns x. The default sharding hook."""
    return x


@dataclasses.dataclass(frozen=True)
class Layout:
    """A set of sharding hooks. Each returns its argument's values, possibly with another sharding.

    Attributes:
        shard_frames: video tokens [B, T, S, D] before blocks that work within frames; T may be
            sharded.
        shard_sites: the same tokens before blocks that work along time; S may be sharded.
        shard_heads: queries, keys or values [B, T, S, h, d] before attention across frames and
            sites; h may be sharded, T and S may not.
        unshard_heads: the output of that attention; it returns to the sharding of the tokens.
        in_frames: sharding of queries, keys and values [B, T, S, h, d] in blocks that work within
            frames, for the kernels of attention and norms. Default None: on one device, or
            partitioned by the compiler, which cannot partition kernels.
        along_time: like `in_frames`, in blocks that work along time.
        across: like `in_frames`, between `shard_heads` and `unshard_heads`.
        in_audio: like `in_frames`, for queries, keys and values [B, N, h, d] of the audio.
        replicate_audio: audio tokens [B, N, D], which become replicated on all devices that share a
            clip.
        weights: (name of a stack, parameters of one of its blocks) -> the parameters that the block
            computes with. Called where the block runs. Default None: identity.
        frames: number of the T latent frames that belong to the clip; the rest is padding, which no
            frame attends to. Default None: all T.
    """

    shard_frames: Callable[[Array], Array] = unchanged
    shard_sites: Callable[[Array], Array] = unchanged
    shard_heads: Callable[[Array], Array] = unchanged
    unshard_heads: Callable[[Array], Array] = unchanged
    replicate_audio: Callable[[Array], Array] = unchanged
    weights: Callable[[str, Any], Any] | None = None
    frames: int | None = None
    in_frames: NamedSharding | None = None
    along_time: NamedSharding | None = None
    across: NamedSharding | None = None
    in_audio: NamedSharding | None = None

    def weights_of(self, stack: str) -> Callable[[Any], Any] | None:
        """Returns `weights` with `stack` filled in, the argument `weights` of `scan_stack`; None if
        `weights` is None.
        """
        return self.weights and functools.partial(self.weights, stack)


def of_tokens(sharding: NamedSharding | None) -> NamedSharding | None:
    """Returns the sharding of tokens [B, T, S, D] that agrees with that of their queries
    [B, T, S, h, d]; None for None.
    """
    return sharding and NamedSharding(sharding.mesh, P(*sharding.spec[:3], None))


NO_SHARDING = Layout()
