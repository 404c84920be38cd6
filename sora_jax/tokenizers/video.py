"""The video tokenizer: k x 8 x 8 compression into 16 channels, k = 4 unless said, causal and exact
in any chunking.

    frames -> Haar (space 2^2, time k) -> [fine blocks, 1/4 size] -> 2 x 2 to channels -> [coarse
    blocks, 1/8 size] -> 16 channels latents -> [coarse blocks] -> channels to 2 x 2 -> [fine
    blocks] -> inverse Haar -> frames

Frame 0 is a group of its own and every later group has k frames (`haar.py`), so F = 1 + k n frames
become T = 1 + n latents. All blocks are per-position RMS norms and causal convolutions: nothing
looks ahead, and what looks back is kept in a cache. Latents are

    z = scale * mu(frames),      z ~ (approximately) unit standard deviation                     (1)

with one number `scale` set after training. Training adds noise of standard deviation `noise` to mu
(scale is 1 then) instead of a Kullback-Leibler term: the decoder must live with latents that a
sampler gets slightly wrong, and a hinge keeps mu from growing to drown it:

    loss = mean w |x - x^|^2 + charbonnier term + hinge(|mu| - 3)                                (2)

The weight w grows where a pixel differs from the clip's temporal mean: moving things are few
pixels, and what the model is about.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from kernels.conv_prologue import conv_prologue
from sora_jax.modality import FRAMES_PER_LATENT, PIXELS_PER_LATENT, VIDEO_CHANNELS
from sora_jax.nn.norm import rms_norm
from sora_jax.tokenizers import haar
from sora_jax.tokenizers.causal_conv import CausalConv, SpatialConv

LEVELS = 2  # Haar levels in space: 4 x 4 blocks; one more halving is learned


@dataclasses.dataclass(frozen=True)
class VideoTokenizerConfig:
    """Widths at 1/4 and 1/8 of the picture's size, and the number of residual blocks at each, for
    encoder and decoder.
    """

    fine_width: int = 96
    coarse_width: int = 192
    encoder_fine: int = 1
    encoder_coarse: int = 2
    decoder_coarse: int = 3
    decoder_fine: int = 2
    channels: int = VIDEO_CHANNELS
    noise: float = 0.1  # standard deviation added to the latent in training
    motion_weight: float = 10.0
    frames_per_latent: int = FRAMES_PER_LATENT  # k: 1, 2, 4 or 8

    def __post_init__(self):
        if self.frames_per_latent not in (1, 2, 4, 8):
            raise ValueError(f"frames_per_latent={self.frames_per_latent}; use 1, 2, 4 or 8")


class Block(nnx.Module):
    """x + conv_time(silu(rms(conv_space(silu(rms(x)))))): a 3 x 3 x 3 neighbourhood as 1 x 3 x 3
    then 3 x 1 x 1.
    """

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.space = SpatialConv(width, width, 3, rngs=rngs)
        self.time = CausalConv(width, width, 3, 1, rngs=rngs, scale=0.3)
        self.gain1, self.gain2 = nnx.Param(jnp.ones(width)), nnx.Param(jnp.ones(width))

    def __call__(self, x, cache):
        """x [B, T, H, W, C] and the cache before it, or what makes that of the cache after it
        (`sora_jax.parallel.halo`) -> the same.
        """
        h = self.space(jax.nn.silu(rms_norm(x) * self.gain1[...]))
        # the frames before these lie elsewhere, where the end of these is wanted too
        if callable(cache):
            end = h[:, 1 - self.time.time :]
            cache = cache(conv_prologue(end, self.gain2[...], jnp.zeros_like(end))[1])
        past, cache = conv_prologue(h, self.gain2[...], cache)
        return x + self.time(past), cache

    def empty_cache(self, batch, height, width):
        return self.time.empty_cache(batch, height, width)


def _fold(x: jax.Array) -> jax.Array:
    """2 x 2 positions to channels."""
    b, t, h, w, c = x.shape
    return (
        x.reshape(b, t, h // 2, 2, w // 2, 2, c)
        .transpose(0, 1, 2, 4, 3, 5, 6)
        .reshape(b, t, h // 2, w // 2, 4 * c)
    )


def _unfold(x: jax.Array) -> jax.Array:
    """Channels to 2 x 2 positions."""
    b, t, h, w, c = x.shape
    return (
        x.reshape(b, t, h, w, 2, 2, c // 4)
        .transpose(0, 1, 2, 4, 3, 5, 6)
        .reshape(b, t, 2 * h, 2 * w, c // 4)
    )


class VideoTokenizer(nnx.Module):
    """Encoder and decoder.

    `encode` and `decode` take whole clips; the `_chunk` methods take pieces and a cache (a pytree).
    """

    def __init__(self, config: VideoTokenizerConfig, *, rngs: nnx.Rngs):
        self.config = config
        coefficients = 3 * config.frames_per_latent * 4**LEVELS
        fine, coarse = config.fine_width, config.coarse_width
        self.embed = SpatialConv(coefficients, fine, rngs=rngs)
        self.encoder_fine = nnx.List([Block(fine, rngs) for _ in range(config.encoder_fine)])
        self.down = SpatialConv(4 * fine, coarse, rngs=rngs)
        self.encoder_coarse = nnx.List([Block(coarse, rngs) for _ in range(config.encoder_coarse)])
        self.to_latent = SpatialConv(coarse, config.channels, rngs=rngs)
        self.from_latent = SpatialConv(config.channels, coarse, 3, rngs=rngs)
        self.decoder_coarse = nnx.List([Block(coarse, rngs) for _ in range(config.decoder_coarse)])
        self.up = SpatialConv(coarse, 4 * fine, rngs=rngs)
        self.decoder_fine = nnx.List([Block(fine, rngs) for _ in range(config.decoder_fine)])
        self.head = SpatialConv(fine, coefficients, rngs=rngs, scale=0.5)
        # Equation (1) and, for study, the statistics of each channel of the scaled latents.
        self.scale = nnx.Variable(jnp.ones(()))
        self.channel_mean = nnx.Variable(jnp.zeros(config.channels))
        self.channel_std = nnx.Variable(jnp.ones(config.channels))

    def set_statistics(self, latents: jax.Array) -> None:
        """Fix `scale` from latents [..., C] encoded with scale 1, and note each channel's mean and
        deviation after scaling.
        """
        scale = 1.0 / jnp.std(latents)
        scaled = latents.reshape(-1, latents.shape[-1]) * scale
        self.scale[...] = scale
        self.channel_mean[...] = scaled.mean(0)
        self.channel_std[...] = scaled.std(0)

    def encoder_cache(self, batch: int, height: int, width: int):
        """The cache before the first frame, for pictures of height x width pixels (multiples of
        8).
        """
        fine, coarse = (
            (height // 4, width // 4),
            (height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT),
        )
        return [b.empty_cache(batch, *fine) for b in self.encoder_fine] + [
            b.empty_cache(batch, *coarse) for b in self.encoder_coarse
        ]

    def decoder_cache(self, batch: int, rows: int, columns: int):
        """The cache before the first latent, for latents of rows x columns."""
        coarse = [b.empty_cache(batch, rows, columns) for b in self.decoder_coarse]
        return coarse + [b.empty_cache(batch, 2 * rows, 2 * columns) for b in self.decoder_fine]

    def encode_groups(self, groups: jax.Array, cache):
        """Groups of frames [B, T, k, H, W, 3] in [0, 1] to latents [B, T, H/8, W/8, C]."""
        cache, after = list(cache), []
        x = self.embed(haar.forward(groups - 0.5, LEVELS))
        for block in self.encoder_fine:
            x, kept = block(x, cache.pop(0))
            after.append(kept)
        x = self.down(_fold(x))
        for block in self.encoder_coarse:
            x, kept = block(x, cache.pop(0))
            after.append(kept)
        z = self.to_latent(rms_norm(x))
        return z * self.scale[...], after

    def decode_groups(self, latents: jax.Array, cache):
        """Latents [B, T, h, w, C] to groups of frames [B, T, k, 8h, 8w, 3]."""
        cache, after = list(cache), []
        x = self.from_latent(latents / self.scale[...])
        for block in self.decoder_coarse:
            x, kept = block(x, cache.pop(0))
            after.append(kept)
        x = self.up(rms_norm(x))
        x = _unfold(x)
        for block in self.decoder_fine:
            x, kept = block(x, cache.pop(0))
            after.append(kept)
        y = self.head(rms_norm(x))
        return haar.inverse(y, LEVELS, self.config.frames_per_latent) + 0.5, after

    def encode_chunk(self, frames: jax.Array, cache=None):
        """Encode the next frames of a video.

        Args:
            frames: [B, F, H, W, 3] in [0, 1], any F >= 1, any H and W (padded to multiples of 8 by
              repeating the edge).
            cache: what the previous call returned; None at the start of a video.
        Returns:
            (latents [B, T, H/8, W/8, C], cache). Frames that do not fill a group wait in the cache;
              see `flush`.
        """
        frames = pad_sides(frames)
        (b, _, h, w, _), k = frames.shape, self.config.frames_per_latent
        if cache is None:
            first = jnp.repeat(frames[:, :1, None], k, axis=2)
            z, blocks = self.encode_groups(first, self.encoder_cache(b, h, w))
            waiting, latents = frames[:, 1:], [z]
        else:
            blocks, waiting, latents = (
                cache["blocks"],
                jnp.concatenate([cache["waiting"], frames], axis=1),
                [],
            )
        full = waiting.shape[1] // k
        if full:
            groups = waiting[:, : full * k].reshape(b, full, k, h, w, 3)
            z, blocks = self.encode_groups(groups, blocks)
            latents.append(z)
        empty = jnp.zeros(
            (b, 0, h // PIXELS_PER_LATENT, w // PIXELS_PER_LATENT, self.config.channels)
        )
        return jnp.concatenate([empty, *latents], axis=1), {
            "blocks": blocks,
            "waiting": waiting[:, full * k :],
        }

    def flush(self, cache):
        """Encode the frames that wait in the cache, the last one repeated to fill its group:
        latents [B, 0 or 1, ...].
        """
        waiting = cache["waiting"]
        missing = -waiting.shape[1] % self.config.frames_per_latent
        if not missing:
            b, _, h, w, _ = waiting.shape
            return jnp.zeros(
                (b, 0, h // PIXELS_PER_LATENT, w // PIXELS_PER_LATENT, self.config.channels)
            )
        return self.encode_chunk(jnp.repeat(waiting[:, -1:], missing, axis=1), cache)[0]

    def encode(self, frames: jax.Array) -> jax.Array:
        """Whole video [B, F, H, W, 3] in [0, 1] to latents [B, T, ceil(H/8), ceil(W/8), C], T = 1 +
        ceil((F - 1) / k).
        """
        latents, cache = self.encode_chunk(frames)
        return jnp.concatenate([latents, self.flush(cache)], axis=1)

    def decode_chunk(self, latents: jax.Array, cache=None):
        """Decode the next latents [B, T, h, w, C] of a video: (frames [B, F, 8h, 8w, 3] in [0, 1],
        cache).
        """
        b, _, rows, columns, _ = latents.shape
        start = cache is None
        groups, cache = self.decode_groups(
            latents, self.decoder_cache(b, rows, columns) if start else cache
        )
        frames = frames_of(groups) if start else groups.reshape(b, -1, *groups.shape[3:])
        return jnp.clip(frames, 0.0, 1.0), cache

    def decode(self, latents: jax.Array) -> jax.Array:
        """Whole video: latents [B, T, h, w, C] to frames [B, 1 + k (T - 1), 8h, 8w, 3] in [0,
        1].
        """
        return self.decode_chunk(latents)[0]


def groups_of(frames: jax.Array, k: int) -> jax.Array:
    """A whole video [B, F, H, W, C] as groups [B, 1 + ceil((F - 1) / k), k, H, W, C]: the first
    frame k times, the last one to fill its group.
    """
    missing = -(frames.shape[1] - 1) % k
    parts = [
        jnp.repeat(frames[:, :1], k, axis=1),
        frames[:, 1:],
        jnp.repeat(frames[:, -1:], missing, axis=1),
    ]
    return jnp.concatenate(parts, axis=1).reshape(frames.shape[0], -1, k, *frames.shape[2:])


def frames_of(groups: jax.Array) -> jax.Array:
    """The frames [B, 1 + k (T - 1), H, W, C] of groups [B, T, k, H, W, C]: the first group stands
    for one, its mean, which is the sum coefficient of equation (1) of haar.py.
    """
    later = groups[:, 1:].reshape(groups.shape[0], -1, *groups.shape[3:])
    return jnp.concatenate([groups[:, 0].mean(axis=1, keepdims=True), later], axis=1)


def pad_sides(frames: jax.Array) -> jax.Array:
    """Height and width to multiples of 8, by repeating the edge."""
    bottom, right = -frames.shape[2] % PIXELS_PER_LATENT, -frames.shape[3] % PIXELS_PER_LATENT
    return (
        jnp.pad(frames, ((0, 0), (0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
        if bottom or right
        else frames
    )


def video_loss(
    tokenizer: VideoTokenizer, frames: jax.Array, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Equation (2) on frames [B, F, H, W, 3] in [0, 1], F = 1 + k n. Returns (loss, metrics)."""
    config = tokenizer.config
    latents = tokenizer.encode(frames)
    noisy = latents + config.noise * jax.random.normal(key, latents.shape)
    b, _, rows, columns, _ = latents.shape
    groups, _ = tokenizer.decode_groups(noisy, tokenizer.decoder_cache(b, rows, columns))
    target = groups_of(frames, config.frames_per_latent)
    error = target - groups
    moved = jnp.max(jnp.abs(target - frames.mean(axis=1)[:, None, None]), axis=-1, keepdims=True)
    weight = 1.0 + config.motion_weight * jnp.clip(moved / 0.1 - 0.5, 0.0, 1.0)
    squared = jnp.square(error)
    fidelity = jnp.mean(weight * squared)
    sharp = jnp.mean(weight * (jnp.sqrt(squared + 1e-4) - 1e-2))
    hinge = jnp.mean(jnp.square(jnp.maximum(jnp.abs(latents) - 3.0, 0.0)))
    mse = jnp.mean(jnp.square(frames_of(error)))
    loss = fidelity + 0.1 * sharp + 0.01 * hinge
    return loss, {
        "psnr": -10.0 * jnp.log10(mse),
        "latent_std": latents.std(),
        "weighted_mse": fidelity,
    }
