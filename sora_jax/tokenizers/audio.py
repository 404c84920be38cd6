"""Audio tokenizer: 16 kHz audio to 25 latents per second of 64 channels each, and back.

A latent holds no phase, only which frequencies sound, how loud, and when. Signed coefficients (of
an MDCT, for example) and samples oscillate with every cycle of a tone, so a small network cannot
compress or generate them. Magnitudes are smooth, and constant in silence.

X[i, k] is the STFT of the audio x at frame i and frequency bin k, with the window w (640 samples,
hop 160: four frames per latent). b are bands of its power, spaced about 25 Hz at low frequencies
and by a constant fraction of the frequency above 2 kHz:

    P[i, b] = mean over the band of |X[i, k]|^2 / sum w^2                                        (1)
    u       = ((P + 1e-8)^(1/8) - m) / d                                                         (2)
    z       = E(u),     latent = (z - mean) / scale                                              (3)
    u^      = D(z),     P^ = (m + d u^)^8                                                        (4)
    |X^|^2  = max(0, P^ B^+) sum w^2,     x^ = Griffin-Lim(|X^|)                                 (5)

White noise of variance v has P = v. u is the companded power, m and d constants (CENTRE, SPREAD):
loud sounds weigh more, and silence is one value. The encoder E and the decoder D are residual
networks over time; B is the matrix of the means in (1), and B^+ its pseudo-inverse. A hat (u^)
marks a decoded quantity.

Phases come from the fast Griffin-Lim iteration (`stft.py`): it has no parameters, gives exact
frequencies and does not move onsets. `mean` is a number per channel. `scale` is ONE number,
the standard deviation over all channels, so that channels keep their relative importance. Both
are measured after training, and are 0 and 1 until then. Latents and all later values are
float32.

In training the decoder sees z with noise of standard deviation sigma (`latent_noise`), e being
standard normal, and the size of z is penalised by beta (`latent_weight`). So the loss is

    L = mean |D(z + sigma e) - u|^2 + beta mean z^2                                              (6)

This is a VAE whose posterior has one fixed standard deviation. The latent is smooth at the
scale sigma, and encoding values that do not lower the error (the details of a noise) does not
pay off.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from sora_jax.config import within
from sora_jax.modality import AUDIO_CHANNELS, SAMPLE_RATE, SAMPLES_PER_LATENT
from sora_jax.tokenizers import stft

QUIET = 1e-8  # added to the power: 80 dB below full-scale white noise
EXPONENT = 8  # companding: power^(1/8), so magnitude^(1/4)
CENTRE, SPREAD = 0.15, 0.11  # m and d: mean and deviation of companded Playhouse audio


@dataclasses.dataclass(frozen=True)
class AudioTokenizerConfig:
    """Settings of an `AudioTokenizer`: its transform, networks and loss.

    Attributes:
        kind: type of the tokenizer, stored with its weights. Default "audio_tokenizer".
        channels: channels of a latent. Default 64.
        window: window of the Fourier transform, in samples. Default 640.
        hop: hop of the Fourier transform, in samples; it divides the window and 640. Default 160.
        bands: number of frequency bands. Default 128.
        corner_hz: bands are evenly spaced in ln(1 + f / corner_hz), f in Hz. Default 2000.
        width: features of the networks. Default 256.
        encoder_blocks: residual blocks of the encoder. Default 2.
        decoder_blocks: residual blocks of the decoder. Default 2.
        iterations: iterations of Griffin-Lim, which finds phases. Default 32.
        latent_noise: sigma, standard deviation of the noise added to latents in training. Default
            0.2.
        latent_weight: beta, factor of the mean square of latents in the loss. Default 1e-4.
    """

    kind: str = "audio_tokenizer"
    channels: int = AUDIO_CHANNELS
    window: int = 640
    hop: int = 160
    bands: int = 128
    corner_hz: float = 2000.0
    width: int = 256
    encoder_blocks: int = 2
    decoder_blocks: int = 2
    iterations: int = 32
    latent_noise: float = 0.2
    latent_weight: float = 1e-4

    def __post_init__(self):
        blocks = ("encoder_blocks", "decoder_blocks", "iterations")
        within(self, "[0, inf)", "latent_noise", "latent_weight", *blocks)
        within(self, "[1, inf)", "channels", "window", "hop", "bands", "width")
        within(self, "(0, inf)", "corner_hz")


class LatentStatistics(nnx.Variable):
    """The type of parameters that are measured after training (mean, deviation, scale), stored with
    the weights and never trained.
    """


class ResidualBlock(nnx.Module):
    """A residual block over time: x + W2 gelu(W1 [norm(x) at n-1, n, n+1]).

    W1 is a convolution of kernel size 3 over time, computed as one matrix product. W2 is pointwise.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.mix = nnx.Linear(3 * width, width, rngs=rngs)
        # Small initial weights, so that a stack of blocks starts near the identity.
        self.out = nnx.Linear(
            width, width, kernel_init=nnx.initializers.normal(0.1 / math.sqrt(width)), rngs=rngs
        )

    def __call__(self, x: Array) -> Array:
        """Applies the block: x [B, N, D] -> [B, N, D]."""
        y = jnp.pad(self.norm(x), ((0, 0), (1, 1), (0, 0)))
        return x + self.out(
            nnx.gelu(self.mix(jnp.concatenate([y[:, :-2], y[:, 1:-1], y[:, 2:]], axis=-1)))
        )


class ResidualNetwork(nnx.Module):
    """A residual network over time, [B, N, inputs] -> [B, N, outputs]: linear layer, residual
    blocks, norm, linear layer.
    """

    def __init__(self, inputs: int, width: int, blocks: int, outputs: int, *, rngs: nnx.Rngs):
        self.into = nnx.Linear(inputs, width, rngs=rngs)
        self.blocks = nnx.List([ResidualBlock(width, rngs=rngs) for _ in range(blocks)])
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.out = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Applies the network: x [B, N, inputs] -> [B, N, outputs]."""
        x = self.into(x)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))


class AudioTokenizer(nnx.Module):
    """Encoder and decoder of audio: 640 samples at 16 kHz to one latent of 64 numbers.

    The module docstring has the equations.

    Args:
        config: the sizes.
        rngs: random keys of the initial weights.

    Raises:
        ValueError: the hop does not divide a latent's 640 samples and the window, or bands are
            closer than the frequency bins of the transform.
    """

    def __init__(self, config: AudioTokenizerConfig, *, rngs: nnx.Rngs):
        if SAMPLES_PER_LATENT % config.hop or config.window % config.hop:
            raise ValueError(
                f"hop {config.hop} must divide the window {config.window} and {SAMPLES_PER_LATENT}"
            )
        self.config = config
        self._averages()  # raises if bands are closer than bins
        features = SAMPLES_PER_LATENT // config.hop * config.bands
        self.encoder = ResidualNetwork(
            features, config.width, config.encoder_blocks, config.channels, rngs=rngs
        )
        self.decoder = ResidualNetwork(
            config.channels, config.width, config.decoder_blocks, features, rngs=rngs
        )
        self.mean = LatentStatistics(jnp.zeros(config.channels))
        self.std = LatentStatistics(jnp.ones(config.channels))
        self.scale = LatentStatistics(jnp.ones(()))

    def encode(self, samples: Array) -> Array:
        """Encodes samples [B, S] in [-1, 1] to latents [B, N, 64], N = ceil(S / 640).

        The end is padded with zeros.
        """
        return (self.encoder(self.features(samples)) - self.mean[...]) / self.scale[...]

    def decode(self, latents: Array, num_samples: int) -> Array:
        """Decodes latents [B, N, 64] to samples [B, num_samples]. The result is deterministic.

        Raises:
            ValueError: num_samples is larger than 640 N.
        """
        batch, count, _ = latents.shape
        if num_samples > count * SAMPLES_PER_LATENT:
            raise ValueError(
                f"{count} latents hold {count * SAMPLES_PER_LATENT} samples, not {num_samples}"
            )
        config = self.config
        u = self.decoder(latents.astype(jnp.float32) * self.scale[...] + self.mean[...])
        companded = jnp.maximum(CENTRE + SPREAD * u.reshape(batch, -1, config.bands), 0.0)
        power = (
            jnp.maximum(companded**EXPONENT @ np.linalg.pinv(self._averages()), 0.0)
            * self._window_energy()
        )
        samples = stft.audio_of_magnitudes(
            jnp.sqrt(power), config.window, config.hop, config.iterations, jax.random.key(0)
        )
        return samples[:, :num_samples]

    def set_statistics(self, latents: Array) -> None:
        """Measures mean, standard deviation and scale of the latents and stores them. `encode` then
        normalises with mean and scale.

        `latents` [..., 64] are those that `encode` returned for training audio.
        """
        z = (
            jnp.reshape(latents, (-1, self.config.channels)).astype(jnp.float32) * self.scale[...]
            + self.mean[...]
        )
        self.mean[...] = jnp.mean(z, axis=0)
        self.std[...] = jnp.std(z, axis=0)
        self.scale[...] = jnp.sqrt(jnp.mean(jnp.square(self.std[...])))

    def features(self, samples: Array) -> Array:
        """Returns the input of the encoder: companded band powers of the audio, equations (1) and
        (2) of this module.

        Samples [B, S] -> [B, N, 640 / hop * bands], N = ceil(S / 640).
        """
        config = self.config
        samples = jnp.pad(
            samples.astype(jnp.float32), ((0, 0), (0, -samples.shape[1] % SAMPLES_PER_LATENT))
        )
        spectrum = stft.stft(samples, config.window, config.hop)
        power = (
            (jnp.square(spectrum.real) + jnp.square(spectrum.imag))
            @ self._averages()
            / self._window_energy()
        )
        u = ((power + QUIET) ** (1.0 / EXPONENT) - CENTRE) / SPREAD
        return u.reshape(samples.shape[0], samples.shape[1] // SAMPLES_PER_LATENT, -1)

    def _averages(self) -> np.ndarray:
        """Returns the weights of the mean in equation (1), [window / 2 + 1, bands]."""
        hats = stft.warped_bands(
            self.config.window // 2 + 1, self.config.bands, SAMPLE_RATE / 2, self.config.corner_hz
        )
        return hats / hats.sum(axis=0)

    def _window_energy(self) -> float:
        return float(np.sum(np.square(stft.hann(self.config.window))))


def audio_loss(
    tokenizer: AudioTokenizer, samples: Array, key: Array
) -> tuple[Array, dict[str, Array]]:
    """Returns the training loss of the audio tokenizer: error of the companded band powers, and a
    penalty on the size of latents.

    Args:
        tokenizer: the tokenizer.
        samples: audio at 16 kHz, [B, S] in [-1, 1].
        key: random key of the latent noise.

    Returns:
        The scalar loss, and metrics: `companded_error`, the mean of |D(z + sigma e) - u|^2, and
        `latent_square`, the mean of z^2.
    """
    config = tokenizer.config
    u = tokenizer.features(samples)
    z = tokenizer.encoder(u)
    error = jnp.mean(
        jnp.square(tokenizer.decoder(z + config.latent_noise * jax.random.normal(key, z.shape)) - u)
    )
    size = jnp.mean(jnp.square(z))
    return error + config.latent_weight * size, {"companded_error": error, "latent_square": size}
