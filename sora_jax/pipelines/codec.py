"""Compiled calls of the tokenizers: frames and samples to latents, and back."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.errors import UserError
from sora_jax.modality import AUDIO_CHANNELS, VIDEO_CHANNELS


@functools.partial(jax.jit, static_argnames="shots")
def _encode(tokenizer: Any, x: jax.Array, shots: tuple[int, ...]) -> jax.Array:
    return tokenizer.encode(x, shots) if shots else tokenizer.encode(x)


@functools.partial(jax.jit, static_argnames="num_samples")
def _decode_audio(tokenizer: Any, latents: jax.Array, num_samples: int) -> jax.Array:
    return tokenizer.decode(latents, num_samples)


@jax.jit
def decode_chunk(tokenizer: Any, latents: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
    """Decodes a piece of a video, compiled: latents [B, T, h, w, C] and the decoder's cache before
    them (None: the start) to frames [B, F, H, W, 3] and the cache after them.
    """
    return tokenizer.decode_chunk(latents, cache)


def encode(tokenizer: Any, x: np.ndarray, shots: tuple[int, ...] = ()) -> np.ndarray:
    """Encodes frames [F, H, W, 3] in [0, 1] to latents [T, h, w, C], or samples [S] to [N, C].

    `shots` is the number of frames of each shot. Default (): one shot, or audio.
    """
    return np.asarray(_encode(tokenizer, jnp.asarray(x, jnp.float32)[None], shots)[0])


def decode_video(
    tokenizer: Any,
    latents: np.ndarray | jax.Array,
    sides: tuple[int, int],
    cache: Any = None,
    shots: tuple[int, ...] = (),
) -> tuple[np.ndarray, list[Any]]:
    """Decodes the latents of a batch to frames.

    Args:
        tokenizer: the video tokenizer.
        latents: [B, T, h, w, C].
        sides: height and width of the frames. Encoding pads them to whole latents, and the padding
            is cut here.
        cache: the decoder's cache before the latents, with batch axis B. Default None: the start
            of a video.
        shots: number of latents of each shot. Default (): one shot.

    Returns:
        Frames float32 [B, F, H, W, 3] in [0, 1], and for each clip the cache after its last latent,
        with a batch axis of 1.
    """
    parts, made = jnp.split(jnp.asarray(latents), np.cumsum(shots)[:-1], axis=1), []
    for number, part in enumerate(parts):
        frames, cache = decode_chunk(tokenizer, part, None if number else cache)
        made.append(frames)
    frames = jnp.concatenate(made, axis=1) if len(made) > 1 else made[0]
    if len(frames.sharding.device_set) > 1:  # a clip that is continued stays on one device
        cache = jax.device_get(cache)
    caches = [jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], cache) for i in range(len(latents))]
    frames = np.asarray(frames, np.float32)[..., : sides[0], : sides[1], :]
    return np.clip(frames, 0, 1), caches


def decode_audio(tokenizer: Any, latents: np.ndarray | jax.Array, num_samples: int) -> np.ndarray:
    """Decodes latents [B, N, C] to samples, float32 [B, num_samples]."""
    return np.asarray(_decode_audio(tokenizer, jnp.asarray(latents), num_samples))


def check_latents(latents: Mapping[str, np.ndarray]) -> None:
    """Raises UserError unless `latents` are {"video": [T, h, w, C], "audio": [N, C]}."""
    for name, axes, channels in (("video", 4, VIDEO_CHANNELS), ("audio", 2, AUDIO_CHANNELS)):
        shape = np.shape(latents.get(name, 0))
        if len(shape) != axes or shape[-1] != channels or not all(shape):
            raise UserError(
                f"latents {name} have the shape {shape}; give what encode returns, {axes} "
                f"axes of which the last holds {channels}",
                field="latents",
            )
