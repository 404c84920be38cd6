"""Video tokenizer: causal k x 8 x 8 compression into 16 channels, with exact results for any
chunking. k is 4 by default.

    encoder    frames -> Haar (space 2^2, time k) -> [fine blocks, 1/4 size] -> 2 x 2 to channels
               -> [coarse blocks, 1/8 size] -> latents, 16 channels
    decoder    latents -> [coarse blocks] -> channels to 2 x 2 -> [fine blocks] -> inverse Haar
               -> frames

Frame 0 is its own group and every later group has k frames (`haar.py`), so F = 1 + k n frames
become T = 1 + n latents. All blocks consist of per-position RMS norms and causal convolutions:
no output depends on later frames, and a cache holds the earlier frames that are needed.
Latents are

    z = scale * mu(frames)                                                                       (1)

where mu is the encoder, and `scale` one number that gives z unit standard deviation. It is set
after training, and is 1 until then. Instead of a Kullback-Leibler term, training adds noise of
standard deviation `noise` to mu, so the decoder learns to tolerate the small errors of a sampler. A
hinge keeps mu from growing until the noise is negligible:

    loss = mean w |x - x^|^2 + .1 mean w charbonnier(x - x^) + .01 mean max(0, |mu| - 3)^2       (2)

x are the frames, x^ the decoded ones, and charbonnier(y) = sqrt(y^2 + 1e-4) - 0.01. The weight w
grows from 1 to 1 + `motion_weight` where a pixel differs from the clip's temporal mean, because
moving objects cover few pixels and matter most to the model.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from kernels.conv_prologue import conv_prologue
from sora_jax.config import within
from sora_jax.modality import FRAMES_PER_LATENT, PIXELS_PER_LATENT, VIDEO_CHANNELS
from sora_jax.nn.norm import rms_norm
from sora_jax.tokenizers import haar
from sora_jax.tokenizers.causal_conv import CausalConv, SpatialConv
from sora_jax.tokenizers.frames import each_shot, frames_of, groups_of, pad_sides

LEVELS = 2  # Haar levels in space: 4 x 4 blocks; the third halving is learned


@dataclasses.dataclass(frozen=True)
class VideoTokenizerConfig:
    """Settings of a `VideoTokenizer`.

    Fine blocks work at 1/4 of the frame size, coarse ones at 1/8.

    Attributes:
        fine_width: features of fine blocks. Default 96.
        coarse_width: features of coarse blocks. Default 192.
        encoder_fine: fine residual blocks of the encoder. Default 1.
        encoder_coarse: coarse residual blocks of the encoder. Default 2.
        decoder_coarse: coarse residual blocks of the decoder. Default 3.
        decoder_fine: fine residual blocks of the decoder. Default 2.
        channels: channels of a latent. Default 16.
        noise: standard deviation of the noise added to latents in training. Default 0.1.
        motion_weight: weight of a moving pixel in the loss, in addition to the 1 of every pixel.
            Default 10.
        frames_per_latent: k, frames that a latent holds: 1, 2, 4 (default) or 8.
        haar: True (default) applies a Haar transform to blocks of 4 x 4 pixels x k frames before
            the encoder, and inverts it after the decoder. False uses the pixels themselves.
    """

    fine_width: int = 96
    coarse_width: int = 192
    encoder_fine: int = 1
    encoder_coarse: int = 2
    decoder_coarse: int = 3
    decoder_fine: int = 2
    channels: int = VIDEO_CHANNELS
    noise: float = 0.1
    motion_weight: float = 10.0
    frames_per_latent: int = FRAMES_PER_LATENT
    haar: bool = True

    def __post_init__(self):
        blocks = ("encoder_fine", "encoder_coarse", "decoder_coarse", "decoder_fine")
        within(self, "[0, inf)", "noise", "motion_weight", *blocks)
        within(self, "[1, inf)", "fine_width", "coarse_width", "channels")
        if self.frames_per_latent not in (1, 2, 4, 8):
            raise ValueError(f"frames_per_latent={self.frames_per_latent}; use 1, 2, 4 or 8")


class Block(nnx.Module):
    """A residual block: x + conv_time(silu(rms(conv_space(silu(rms(x)))))).

    It covers a 3 x 3 x 3 neighbourhood by a 1 x 3 x 3 and a 3 x 1 x 1 convolution.
    """

    def __init__(self, width: int, rngs: nnx.Rngs):
        self.space = SpatialConv(width, width, 3, rngs=rngs)
        self.time = CausalConv(width, width, 3, 1, rngs=rngs, scale=0.3)
        self.gain1, self.gain2 = nnx.Param(jnp.ones(width)), nnx.Param(jnp.ones(width))

    def __call__(self, x: Array, cache: Array):
        """Applies the block to frames x [B, T, H, W, C].

        Args:
            x: the frames.
            cache: the cache before x, [B, 2, H, W, C]. Or, where time is sharded over devices, a
                function that sends the cache after x to the next device, and returns the cache
                before x from the previous one (`sora_jax.parallel.halo`).

        Returns:
            Frames like x, and the cache after x.
        """
        h = self.space(jax.nn.silu(rms_norm(x) * self.gain1[...]))
        # Time is sharded: frames before x are on another device, and the next one needs x's end.
        if callable(cache):
            end = h[:, 1 - self.time.time :]
            cache = cache(conv_prologue(end, self.gain2[...], jnp.zeros_like(end))[1])
        past, cache = conv_prologue(h, self.gain2[...], cache)
        return x + self.time(past), cache

    def empty_cache(self, batch: int, height: int, width: int) -> Array:
        """Returns the cache of the block's convolution over time before the first frame.

        Args:
            batch: number of videos.
            height, width: sides of the block's input in sites.

        Returns:
            Zeros [batch, 2, height, width, C], which stand for the two frames before.
        """
        return self.time.empty_cache(batch, height, width)


def _fold(x: jax.Array) -> jax.Array:
    """Moves 2 x 2 positions to channels: [B, T, H, W, C] -> [B, T, H/2, W/2, 4 C]."""
    b, t, h, w, c = x.shape
    return (
        x.reshape(b, t, h // 2, 2, w // 2, 2, c)
        .transpose(0, 1, 2, 4, 3, 5, 6)
        .reshape(b, t, h // 2, w // 2, 4 * c)
    )


def _unfold(x: jax.Array) -> jax.Array:
    """Moves channels to 2 x 2 positions, inverts `_fold`."""
    b, t, h, w, c = x.shape
    return (
        x.reshape(b, t, h, w, 2, 2, c // 4)
        .transpose(0, 1, 2, 4, 3, 5, 6)
        .reshape(b, t, 2 * h, 2 * w, c // 4)
    )


class VideoTokenizer(nnx.Module):
    """Encoder and decoder of video: k frames of 8 x 8 pixels to one latent of C channels.

    k is `frames_per_latent`, C `channels`. `encode` and `decode` take whole videos. The `_chunk`
    methods take chunks and a cache (a pytree), with the same result.

    Args:
        config: the sizes.
        rngs: random keys of the initial weights.
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
        # `scale` of equation (1). The channel statistics of scaled latents are for analysis only.
        self.scale = nnx.Variable(jnp.ones(()))
        self.channel_mean = nnx.Variable(jnp.zeros(config.channels))
        self.channel_std = nnx.Variable(jnp.ones(config.channels))

    def set_statistics(self, latents: jax.Array) -> None:
        """Sets the scale that gives latents unit standard deviation, and stores each channel's mean
        and deviation after scaling.

        `latents` [..., C] are those that `encode` returned for training video, with scale 1.
        """
        scale = 1.0 / jnp.std(latents)
        scaled = latents.reshape(-1, latents.shape[-1]) * scale
        self.scale[...] = scale
        self.channel_mean[...] = scaled.mean(0)
        self.channel_std[...] = scaled.std(0)

    def encoder_cache(self, batch: int, height: int, width: int) -> list[Array]:
        """Returns the encoder's cache before the first frame of a video, an array for each block.

        Args:
            batch: number of videos B.
            height, width: sides of the frames in pixels, multiples of 8.
        """
        fine, coarse = (
            (height // 4, width // 4),
            (height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT),
        )
        return [b.empty_cache(batch, *fine) for b in self.encoder_fine] + [
            b.empty_cache(batch, *coarse) for b in self.encoder_coarse
        ]

    def decoder_cache(self, batch: int, rows: int, columns: int) -> list[Array]:
        """Returns the decoder's cache before the first latent of a video, an array for each block.

        Args:
            batch: number of videos B.
            rows, columns: sides of the latents.
        """
        coarse = [b.empty_cache(batch, rows, columns) for b in self.decoder_coarse]
        return coarse + [b.empty_cache(batch, 2 * rows, 2 * columns) for b in self.decoder_fine]

    def encode_groups(self, groups: jax.Array, cache: list[Array]) -> tuple[Array, list[Array]]:
        """Encodes groups of frames [B, T, k, H, W, 3] in [0, 1] to latents [B, T, H/8, W/8, C] and
        the next cache.
        """
        cache, after = list(cache), []
        x = self.embed(haar.forward(groups - 0.5, LEVELS, self.config.haar))
        for block in self.encoder_fine:
            x, block_cache = block(x, cache.pop(0))
            after.append(block_cache)
        x = self.down(_fold(x))
        for block in self.encoder_coarse:
            x, block_cache = block(x, cache.pop(0))
            after.append(block_cache)
        z = self.to_latent(rms_norm(x))
        return z * self.scale[...], after

    def decode_groups(self, latents: jax.Array, cache: list[Array]) -> tuple[Array, list[Array]]:
        """Decodes latents [B, T, h, w, C] to groups of frames [B, T, k, 8h, 8w, 3] and the next
        cache.
        """
        cache, after = list(cache), []
        x = self.from_latent(latents / self.scale[...])
        for block in self.decoder_coarse:
            x, block_cache = block(x, cache.pop(0))
            after.append(block_cache)
        x = self.up(rms_norm(x))
        x = _unfold(x)
        for block in self.decoder_fine:
            x, block_cache = block(x, cache.pop(0))
            after.append(block_cache)
        y = self.head(rms_norm(x))
        c = self.config
        return haar.inverse(y, LEVELS, c.frames_per_latent, c.haar) + 0.5, after

    def encode_chunk(self, frames: jax.Array, cache=None):
        """Encodes the next frames of a video.

        Args:
            frames: [B, F, H, W, 3] in [0, 1], any F >= 1, any H and W (padded to multiples of 8 by
                repeating the edge).
            cache: the cache that the previous call returned. Default None: the start of a video.

        Returns:
            Latents [B, T, H/8, W/8, C], and the next cache. Frames that do not fill a group wait in
            the cache; see `flush`.
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
        """Encodes the frames that wait in the cache of `encode_chunk`. Call it after the last chunk
        of a video. The last frame is repeated to fill its group.

        Returns:
            Latents [B, 1, H/8, W/8, C], or [B, 0, H/8, W/8, C] if no frame waits.
        """
        waiting = cache["waiting"]
        missing = -waiting.shape[1] % self.config.frames_per_latent
        if not missing:
            b, _, h, w, _ = waiting.shape
            return jnp.zeros(
                (b, 0, h // PIXELS_PER_LATENT, w // PIXELS_PER_LATENT, self.config.channels)
            )
        return self.encode_chunk(jnp.repeat(waiting[:, -1:], missing, axis=1), cache)[0]

    def encode(self, frames: jax.Array, shots: Sequence[int] = ()) -> jax.Array:
        """Encodes a whole video [B, F, H, W, 3] in [0, 1] to latents
        [B, T, ceil(H/8), ceil(W/8), C]. A shot of F frames has T = 1 + ceil((F - 1) / k) latents.

        Args:
            frames: the video.
            shots: number of frames of each shot; each is encoded for itself. Default (): one shot.
        """

        def encode(frames: jax.Array) -> jax.Array:
            latents, cache = self.encode_chunk(frames)
            return jnp.concatenate([latents, self.flush(cache)], axis=1)

        return each_shot(encode, frames, shots)

    def decode_chunk(self, latents: jax.Array, cache=None):
        """Decodes the next latents of a video.

        Args:
            latents: [B, T, h, w, C].
            cache: the cache that the previous call returned. Default None: the start of a video.

        Returns:
            Frames [B, F, 8h, 8w, 3] in [0, 1], and the next cache.
        """
        b, _, rows, columns, _ = latents.shape
        start = cache is None
        groups, cache = self.decode_groups(
            latents, self.decoder_cache(b, rows, columns) if start else cache
        )
        frames = frames_of(groups) if start else groups.reshape(b, -1, *groups.shape[3:])
        return jnp.clip(frames, 0.0, 1.0), cache

    def decode(self, latents: jax.Array, shots: Sequence[int] = ()) -> jax.Array:
        """Decodes the latents [B, T, h, w, C] of a whole video to frames [B, F, 8h, 8w, 3] in
        [0, 1]. A shot of T latents has F = 1 + k (T - 1) frames.

        Args:
            latents: the latents of the video.
            shots: number of latents of each shot. Default (): one shot.
        """
        return each_shot(lambda part: self.decode_chunk(part)[0], latents, shots)


def video_loss(
    tokenizer: VideoTokenizer, frames: jax.Array, key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the training loss of the video tokenizer: reconstruction error, weighted towards
    motion, and a penalty on large latents.

    Args:
        tokenizer: the tokenizer.
        frames: [B, F, H, W, 3] in [0, 1], F = 1 + k n.
        key: random key of the latent noise.

    Returns:
        The scalar loss, and metrics: `psnr` of the decoded frames in dB, `latent_std`, the standard
        deviation of the latents, and `weighted_mse`, the first term of the loss.
    """
    config, frames = tokenizer.config, pad_sides(frames)
    latents = tokenizer.encode(frames)
    noisy = latents + config.noise * jax.random.normal(key, latents.shape)
    b, _, rows, columns, _ = latents.shape
    groups, _ = tokenizer.decode_groups(noisy, tokenizer.decoder_cache(b, rows, columns))
    target = groups_of(frames, config.frames_per_latent)
    error = target - groups
    moved = jnp.max(jnp.abs(target - frames.mean(axis=1)[:, None, None]), axis=-1, keepdims=True)
    # w rises linearly while a pixel's difference from the temporal mean goes from 0.05 to 0.15
    weight = 1.0 + config.motion_weight * jnp.clip(moved / 0.1 - 0.5, 0.0, 1.0)
    squared = jnp.square(error)
    fidelity = jnp.mean(weight * squared)
    # Charbonnier loss with epsilon 0.01
    sharp = jnp.mean(weight * (jnp.sqrt(squared + 1e-4) - 1e-2))
    hinge = jnp.mean(jnp.square(jnp.maximum(jnp.abs(latents) - 3.0, 0.0)))
    mse = jnp.mean(jnp.square(frames_of(error)))
    loss = fidelity + 0.1 * sharp + 0.01 * hinge
    return loss, {
        "psnr": -10.0 * jnp.log10(mse),
        "latent_std": latents.std(),
        "weighted_mse": fidelity,
    }
