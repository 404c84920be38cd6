"""The audio tokenizer and its transform: exact inverses, phases found, shapes, statistics, and that
training reaches the sound.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sora_jax.modality import SAMPLE_RATE
from sora_jax.tokenizers import stft
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig, audio_loss

WINDOW, HOP = 640, 160
SMALL = AudioTokenizerConfig(width=32, encoder_blocks=1, decoder_blocks=1)


def tones(hertz, seconds=0.64, start=0.2, decay=0.08) -> np.ndarray:
    """A struck tone per frequency over a faint noise: float32 [B, S]."""
    t = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE - start
    ring = np.where(t >= 0, 0.3 * np.exp(-np.maximum(t, 0) / decay), 0.0)
    noise = 0.002 * np.random.default_rng(0).normal(size=(len(hertz), len(t)))
    return (ring * np.sin(2 * np.pi * np.asarray(hertz)[:, None] * t) + noise).astype(np.float32)


def dominant(samples, start=0.2) -> np.ndarray:
    """The strongest frequency in Hz of the 100 ms after `start`: [B]."""
    part = np.asarray(samples)[:, int(start * SAMPLE_RATE) :][:, :1600]
    return (
        np.abs(np.fft.rfft(part * np.hanning(1600), 1 << 15)).argmax(-1) * SAMPLE_RATE / (1 << 15)
    )


@pytest.mark.parametrize(("window", "hop"), [(640, 160), (320, 80), (512, 128)])
def test_transform_is_inverted_exactly_and_keeps_energy(window, hop):
    x = jax.random.normal(jax.random.key(0), (2, 20 * hop))
    spectrum = stft.stft(x, window, hop)
    assert spectrum.shape == (2, 20, window // 2 + 1)
    np.testing.assert_allclose(stft.inverse_stft(spectrum, window, hop), x, atol=2e-6)
    # Parseval, frame by frame: the one-sided bins count twice but for the first and the last.
    counts = np.r_[1.0, np.full(window // 2 - 1, 2.0), 1.0]
    energy = (np.square(np.abs(spectrum)) * counts).sum(-1) / window
    np.testing.assert_allclose(
        energy, np.square(stft.frame(x, window, hop) * stft.hann(window)).sum(-1), rtol=1e-4
    )


def test_overlap_add_is_the_transpose_of_frame():
    x = jax.random.normal(jax.random.key(0), (1, 10 * HOP))
    frames = jax.random.normal(jax.random.key(1), (1, 10, WINDOW))
    np.testing.assert_allclose(
        (stft.frame(x, WINDOW, HOP) * frames).sum(),
        (x * stft.overlap_add(frames, HOP)).sum(),
        rtol=1e-4,
    )


def test_frames_are_centred_on_their_samples():
    x = jnp.zeros((1, 20 * HOP)).at[0, 7 * HOP + HOP // 2].set(1.0)
    assert int(np.argmax(np.square(np.abs(stft.stft(x, WINDOW, HOP))).sum(-1)[0])) == 7


def test_phases_are_found():
    x = tones([220.0, 1000.0, 3000.0])
    magnitudes = jnp.abs(stft.stft(x, WINDOW, HOP))
    errors = []
    for iterations in (1, 32):
        y = stft.audio_of_magnitudes(magnitudes, WINDOW, HOP, iterations, jax.random.key(0))
        errors.append(
            float(
                jnp.linalg.norm(jnp.abs(stft.stft(y, WINDOW, HOP)) - magnitudes)
                / jnp.linalg.norm(magnitudes)
            )
        )
    assert errors[1] < 0.1 < errors[0]
    np.testing.assert_allclose(dominant(y), [220, 1000, 3000], rtol=0.01)


def test_bands_interpolate_and_too_many_are_refused():
    hats = stft.warped_bands(321, 128, 8000.0, 2000.0)
    np.testing.assert_allclose(hats.sum(axis=1), 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="fewer or a higher corner"):
        stft.warped_bands(321, 300, 8000.0, 500.0)


def test_shapes_padding_and_repeatability():
    tokenizer = AudioTokenizer(SMALL, rngs=nnx.Rngs(0))
    samples = tones([500.0, 900.0])[:, :5000]
    latents = tokenizer.encode(samples)
    assert latents.shape == (2, 8, 64) and latents.dtype == jnp.float32
    np.testing.assert_allclose(
        latents, tokenizer.encode(np.pad(samples, ((0, 0), (0, 120)))), atol=1e-5
    )
    decoded = tokenizer.decode(latents.astype(jnp.bfloat16), 5000)
    assert decoded.shape == (2, 5000) and decoded.dtype == jnp.float32
    np.testing.assert_array_equal(decoded, tokenizer.decode(latents.astype(jnp.bfloat16), 5000))
    with pytest.raises(ValueError, match="8 latents hold 5120 samples, not 5121"):
        tokenizer.decode(latents, 5121)


def test_statistics_scale_by_one_number_and_leave_the_sound():
    tokenizer = AudioTokenizer(SMALL, rngs=nnx.Rngs(0))
    samples = tones([200.0, 500.0, 900.0])
    before = tokenizer.encode(samples)
    sound = tokenizer.decode(before, 10240)
    for _ in range(2):  # measuring normalised latents again changes nothing
        tokenizer.set_statistics(tokenizer.encode(samples))
    after = tokenizer.encode(samples)
    np.testing.assert_allclose(after.reshape(-1, 64).mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(np.sqrt(np.square(after).mean()), 1.0, rtol=1e-4)
    scale = float(tokenizer.scale[...])
    np.testing.assert_allclose(
        before.reshape(-1, 64).std(0), after.reshape(-1, 64).std(0) * scale, rtol=1e-3
    )
    # Griffin-Lim from almost equal magnitudes: the same sound but for rounding.
    assert (
        float(jnp.linalg.norm(tokenizer.decode(after, 10240) - sound) / jnp.linalg.norm(sound))
        < 0.05
    )


def test_latents_do_not_hear_phase():
    """A quarter of a turn moves the latents far less than a tenth of the pitch does."""
    tokenizer = AudioTokenizer(SMALL, rngs=nnx.Rngs(0))
    t = np.arange(6400) / SAMPLE_RATE
    wave = lambda hertz, turn: 0.2 * np.sin(2 * np.pi * (hertz * t + turn))
    z = tokenizer.encode(
        np.stack([wave(700, 0.0), wave(700, 0.25), wave(770, 0.0)]).astype(np.float32)
    )[:, 3:-3]
    distance = lambda i: float(jnp.linalg.norm(z[i] - z[0]))
    assert distance(1) < 0.1 * distance(2)


def test_a_hop_that_does_not_divide_a_latent_is_refused():
    with pytest.raises(ValueError, match="hop 150 must divide"):
        AudioTokenizer(AudioTokenizerConfig(hop=150), rngs=nnx.Rngs(0))


def test_training_reaches_the_sound():
    """After 150 steps on four struck tones the decoded pitch is right to 3 % and the onset to 10
    ms; before, neither.
    """
    hertz = np.array([330.0, 700.0, 1250.0, 2600.0])
    samples = jnp.asarray(tones(hertz))
    config = AudioTokenizerConfig(width=64, encoder_blocks=1, decoder_blocks=1, latent_noise=0.05)
    tokenizer = AudioTokenizer(config, rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(tokenizer, nnx.Param, ...)
    optimizer = optax.adam(5e-3)

    @jax.jit
    def train(params):
        def step(i, carry):
            params, opt_state = carry
            gradients = jax.grad(
                lambda p: audio_loss(nnx.merge(graphdef, p, rest), samples, jax.random.key(i))[0]
            )(params)
            updates, opt_state = optimizer.update(gradients, opt_state)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, 150, step, (params, optimizer.init(params)))[0]

    def pitch_error(params):
        tokenizer = nnx.merge(graphdef, params, rest)
        decoded = np.asarray(tokenizer.decode(tokenizer.encode(samples), samples.shape[1]))
        return np.abs(dominant(decoded) / hertz - 1.0), decoded

    assert pitch_error(params)[0].max() > 0.1
    errors, decoded = pitch_error(train(params))
    assert errors.max() < 0.03
    # The energy of 5 ms blocks first passes a tenth of its peak at the onset.
    energy = np.square(decoded).reshape(4, -1, 80).sum(-1)
    onset = (energy > 0.1 * energy.max(-1, keepdims=True)).argmax(-1) * 0.005
    np.testing.assert_allclose(onset, 0.2, atol=0.0101)
