"""The video tokenizer with time shared out over `seq`: every device has some groups of frames, and
asks its neighbour for the end of the others.

A causal convolution over k frames needs the k - 1 before a device's first. They are the end of what
its left neighbour has, in the same layer, so one collective-permute a convolution brings them, of k
- 1 frames however long the video is; the first device gets the zeros that stand before every video.
Devices wait for no one: unlike a cache that is handed on, a halo needs only the layer before.

The video is padded at its end to a multiple of the axis, which nothing before the end can see.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UserError
from sora_jax.parallel.mesh import BATCH
from sora_jax.tokenizers.video import VideoTokenizer, frames_of, groups_of, pad_sides


def encode(tokenizer: VideoTokenizer, frames: jax.Array, mesh: Mesh) -> jax.Array:
    """`tokenizer.encode` with clips over `data` and `fsdp` and time over `seq`.

    Raises UserError where a device would have too few latents.
    """
    blocks = [*tokenizer.encoder_fine, *tokenizer.encoder_coarse]
    return _shared(
        tokenizer,
        VideoTokenizer.encode_groups,
        blocks,
        groups_of(pad_sides(frames), tokenizer.config.frames_per_latent),
        mesh,
    )


def decode(tokenizer: VideoTokenizer, latents: jax.Array, mesh: Mesh) -> jax.Array:
    """`tokenizer.decode`, likewise."""
    blocks = [*tokenizer.decoder_coarse, *tokenizer.decoder_fine]
    return jnp.clip(
        frames_of(_shared(tokenizer, VideoTokenizer.decode_groups, blocks, latents, mesh)), 0.0, 1.0
    )


def _shared(
    tokenizer: VideoTokenizer, method: Callable, blocks: list[Any], x: jax.Array, mesh: Mesh
) -> jax.Array:
    """method(tokenizer, x [B, T, ...], caches) with T over `seq`; a cache is what brings the
    neighbour's end here.
    """
    share, length = mesh.shape["seq"], x.shape[1]
    here, halo = -(-length // share), max(block.time.time for block in blocks) - 1
    if share > 1 and here < halo:
        raise UserError(
            f"mesh.seq={share} leaves a device {here} of {length} latent frames, and a "
            f"convolution needs {halo} of its neighbour's; "
            f"give at most {length // halo}"
        )
    x = jnp.pad(x, [(0, here * share - length if axis == 1 else 0) for axis in range(x.ndim)])
    graphdef, state = nnx.split(tokenizer)
    rightwards = [(i, i + 1) for i in range(share - 1)]

    def from_left(end):
        return jax.lax.ppermute(end, "seq", rightwards)

    def work(state, x):
        return method(nnx.merge(graphdef, state), x, [from_left] * len(blocks))[0]

    return jax.shard_map(
        work, mesh=mesh, in_specs=(P(), P(BATCH, "seq")), out_specs=P(BATCH, "seq")
    )(state, x)[:, :length]
