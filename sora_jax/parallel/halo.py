"""The video tokenizer sharded along time over the mesh axis `seq`, by halo exchange.

Each device holds consecutive groups of frames. A causal convolution over k frames also needs
the k - 1 frames before a device's first frame, its halo. They are the last frames of its left
neighbour in the same layer, so one collective-permute per convolution transfers them: k - 1 frames,
however long the video is. The first device receives the zeros that precede every video. All
devices work in parallel, because a halo depends only on the layer before; a cache passed from
device to device would make them wait for each other.

The video is padded at its end to a multiple of the size of `seq`. The tokenizer is causal, so
no real frame depends on the padding.
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
from sora_jax.tokenizers.frames import frames_of, groups_of, pad_sides
from sora_jax.tokenizers.video import VideoTokenizer


def encode(tokenizer: VideoTokenizer, frames: jax.Array, mesh: Mesh) -> jax.Array:
    """Encodes videos to latents with the tokenizer sharded over a mesh, with the result of
    `tokenizer.encode`.

    Clips are sharded over `data` and `fsdp`, time over `seq`.

    Args:
        tokenizer: the video tokenizer.
        frames: frames [B, F, H, W, 3] in [0, 1].
        mesh: the mesh.

    Returns:
        Latents [B, T, H/8, W/8, C].

    Raises:
        UserError: a device would hold fewer latent frames than a halo needs.
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
    """Decodes latents to frames with the tokenizer sharded over a mesh, with the result of
    `tokenizer.decode`.

    Clips are sharded over `data` and `fsdp`, time over `seq`.

    Args:
        tokenizer: the video tokenizer.
        latents: latents [B, T, h, w, C].
        mesh: the mesh.

    Returns:
        Frames [B, F, 8h, 8w, 3] in [0, 1].

    Raises:
        UserError: a device would hold fewer latent frames than a halo needs.
    """
    blocks = [*tokenizer.decoder_coarse, *tokenizer.decoder_fine]
    return jnp.clip(
        frames_of(_shared(tokenizer, VideoTokenizer.decode_groups, blocks, latents, mesh)), 0.0, 1.0
    )


def _shared(
    tokenizer: VideoTokenizer, method: Callable, blocks: list[Any], x: jax.Array, mesh: Mesh
) -> jax.Array:
    """Returns the first result of method(tokenizer, x, caches), computed with the axis T of x
    [B, T, ...] sharded over `seq`.

    There is a cache for each of `blocks`. Each is a function that sends this device's last frames
    to the right neighbour and returns those of the left one.
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
    # No pair sends to device 0, and ppermute gives zeros to a device that receives nothing: the
    # zeros that precede every video.
    rightwards = [(i, i + 1) for i in range(share - 1)]

    def from_left(end: jax.Array) -> jax.Array:
        return jax.lax.ppermute(end, "seq", rightwards)

    def work(state: Any, x: jax.Array) -> Any:
        return method(nnx.merge(graphdef, state), x, [from_left] * len(blocks))[0]

    return jax.shard_map(
        work, mesh=mesh, in_specs=(P(), P(BATCH, "seq")), out_specs=P(BATCH, "seq")
    )(state, x)[:, :length]
