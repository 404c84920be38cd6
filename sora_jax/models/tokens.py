"""Tokens of latents: patches of their sites, and Fourier features of a token's place and time."""

import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Shaped

from sora_jax.modality import AUDIO_LATENT_RATE
from sora_jax.nn.modulation import fourier_features
from sora_jax.nn.rope import SECONDS
from sora_jax.typing import AnyArray

PLACE_FEATURES = 16  # Fourier features of each coordinate (time, row, column) of a token


# Seconds from one latent to the next on the clock "index": those of a clip at 8 frames/s with 4
# frames per latent.
INDEX_SECONDS = {"video": 0.5, "audio": 1 / AUDIO_LATENT_RATE}


def on_clock(times: Float[Array, " T"], modality: str, clock: str) -> Float[Array, " T"]:
    """Returns the times that place the latents of a stream, [T] in seconds.

    Args:
        times: midpoints of the latents in seconds, [T].
        modality: "video" or "audio".
        clock: "seconds" returns these times. "index" returns the index of each latent, from 0,
            times INDEX_SECONDS, whatever the frame rate.
    """
    if clock == "seconds":
        return times
    return jnp.arange(len(times), dtype=times.dtype) * INDEX_SECONDS[modality]


def of_shot(
    mask: Bool[Array, "B words"],
    word_shots: Shaped[AnyArray, "B L"],
    latent_shots: Float[AnyArray, " T"] | None,
) -> Bool[Array, "B *T words"]:
    """Returns which words each latent reads: those of its own shot, and those of all shots.

    Args:
        mask: bool [B, L + 1 + K], False for padding: the pooled prompt, L words, and K tokens
            behind them that all shots read (references).
        word_shots: the shot that each word describes, from 1; 0 for all shots. [B, L].
        latent_shots: the shot of each latent, from 1, [T]. None, for a clip of one shot, returns
            `mask`.

    Returns:
        A mask bool [B, T, L + 1 + K], True where a latent reads a token.
    """
    if latent_shots is None:
        return mask
    after = mask.shape[1] - 1 - word_shots.shape[1]
    number = jnp.pad(jnp.asarray(word_shots), [(0, 0), (1, after)])[:, None]
    own = number == jnp.asarray(latent_shots)[:, None].astype(number.dtype)
    return mask[:, None] & ((number == 0) | own)


def patches(
    latents: Float[AnyArray, "B T H W C"], patch: int
) -> Float[Array, "B T S patch_features"]:
    """Groups patch x patch sites of latents to tokens: [B, T, H, W, C] -> [B, T, S, patch^2 C].

    Zeros fill the last rows and columns if `patch` does not divide the sides.
    """
    B, T, H, W, C = latents.shape
    fill = [(0, 0), (0, 0), (0, -H % patch), (0, -W % patch), (0, 0)]
    x = jnp.pad(latents, fill) if H % patch or W % patch else jnp.asarray(latents)
    x = x.reshape(B, T, x.shape[2] // patch, patch, x.shape[3] // patch, patch, C)
    return x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(B, T, -1, patch * patch * C)


def from_patches(
    tokens: Float[Array, "B T S patch_features"], patch: int, sides: tuple[int, int]
) -> Float[Array, "B T H W C"]:
    """Inverts `patches`: tokens [B, T, S, patch^2 C] -> latents [B, T, H, W, C] with `sides`
    (H, W).
    """
    B, T = tokens.shape[:2]
    rows, columns = (-(-side // patch) for side in sides)
    x = tokens.reshape(B, T, rows, columns, patch, patch, -1).transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(B, T, rows * patch, columns * patch, -1)[:, :, : sides[0], : sides[1]]


def time_features(times: Float[AnyArray, " T"]) -> Float[Array, "T features"]:
    """Returns Fourier features [T, PLACE_FEATURES] of times [T] in seconds.

    The time constants are those of the rotary embedding in time, `rope.SECONDS`.
    """
    return fourier_features(
        jnp.asarray(times, jnp.float32), 1 / SECONDS[1], 1 / SECONDS[0], PLACE_FEATURES
    )


def place_features(
    times: Float[AnyArray, " T"], sides: tuple[float, float]
) -> Float[Array, "T S features"]:
    """Returns Fourier features [T, S, 3 PLACE_FEATURES] of the place of a video's tokens: time in
    seconds, row y (downwards) and column x.

    The unit of y and x is the shorter side of the frame, and the central square spans [0, 1]. So an
    object has the same size and place in the centre of frames of every aspect ratio.

    Args:
        times: midpoints of the latent frames in seconds, [T].
        sides: height and width of the frame in tokens. The last row or column may be partial.
    """
    short, (rows, columns) = min(sides), (math.ceil(side) for side in sides)
    y, x = ((np.arange(math.ceil(n)) + 0.5 + (short - n) / 2) / short for n in sides)
    t = time_features(times)[:, None, None]
    y = fourier_features(jnp.asarray(y, jnp.float32), 1.0, 50.0, PLACE_FEATURES)[None, :, None]
    x = fourier_features(jnp.asarray(x, jnp.float32), 1.0, 50.0, PLACE_FEATURES)[None, None]
    shape = (t.shape[0], rows, columns, PLACE_FEATURES)
    features = jnp.concatenate([jnp.broadcast_to(f, shape) for f in (t, y, x)], -1)
    return features.reshape(shape[0], rows * columns, -1)
