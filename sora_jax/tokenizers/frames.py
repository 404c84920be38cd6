"""Prepares frames for the video tokenizer: pads their sides to whole latents, groups them by k, and
applies a function to each shot.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.modality import PIXELS_PER_LATENT


def each_shot(
    function: Callable[[jax.Array], jax.Array], x: jax.Array, lengths: Sequence[int]
) -> jax.Array:
    """Applies a function to each shot of x [B, F, ...], and joins the results along axis 1.

    `lengths` are the lengths of the shots along axis 1; () if x is one shot.
    """
    if not lengths:
        return function(x)
    if len(set(lengths)) == 1:  # shots of one length: as rows of a batch, so compiled once
        y = function(x.reshape(-1, lengths[0], *x.shape[2:]))
        return y.reshape(len(x), -1, *y.shape[2:])
    parts = jnp.split(x, np.cumsum(lengths)[:-1], axis=1)
    return jnp.concatenate([function(part) for part in parts], axis=1)


def groups_of(frames: jax.Array, k: int) -> jax.Array:
    """Splits a whole video [B, F, H, W, C] into groups [B, 1 + ceil((F - 1) / k), k, H, W, C].

    The first frame is repeated k times, and the last one until its group is full.
    """
    missing = -(frames.shape[1] - 1) % k
    parts = [
        jnp.repeat(frames[:, :1], k, axis=1),
        frames[:, 1:],
        jnp.repeat(frames[:, -1:], missing, axis=1),
    ]
    return jnp.concatenate(parts, axis=1).reshape(frames.shape[0], -1, k, *frames.shape[2:])


def frames_of(groups: jax.Array) -> jax.Array:
    """Joins groups of k frames, [B, T, k, H, W, C], to a video [B, 1 + k (T - 1), H, W, C]; inverts
    `groups_of`.

    The first group becomes one frame, the mean of its k frames.
    """
    later = groups[:, 1:].reshape(groups.shape[0], -1, *groups.shape[3:])
    return jnp.concatenate([groups[:, 0].mean(axis=1, keepdims=True), later], axis=1)


def pad_sides(frames: jax.Array) -> jax.Array:
    """Pads height and width of frames [..., H, W, C] to multiples of 8 by repeating the edge."""
    bottom, right = -frames.shape[2] % PIXELS_PER_LATENT, -frames.shape[3] % PIXELS_PER_LATENT
    return (
        jnp.pad(frames, ((0, 0), (0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
        if bottom or right
        else frames
    )
