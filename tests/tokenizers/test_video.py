"""The video tokenizer in pieces is the tokenizer of the whole, and sees only the past."""

import dataclasses
import functools
import itertools
import time

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from sora_jax.tokenizers import haar
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig, video_loss

TINY = VideoTokenizerConfig(
    fine_width=8,
    coarse_width=16,
    encoder_fine=1,
    encoder_coarse=1,
    decoder_coarse=1,
    decoder_fine=1,
)


@functools.cache
def tokenizer(frames_per_latent=4):
    return VideoTokenizer(
        dataclasses.replace(TINY, frames_per_latent=frames_per_latent), rngs=nnx.Rngs(0)
    )


def video(frames, height, width, seed=0):
    return jnp.asarray(
        np.random.default_rng(seed).random((1, frames, height, width, 3)), jnp.float32
    )


def pieces(total, cuts):
    stops = sorted({c % total for c in cuts} - {0})
    return list(itertools.pairwise([0, *stops, total]))


@pytest.mark.slow
@hypothesis.given(
    st.integers(1, 33),
    st.sampled_from([(8, 8), (13, 9), (24, 17)]),
    st.lists(st.integers(1, 32), max_size=6),
)
@hypothesis.settings(max_examples=12, deadline=None)
def test_encoding_in_pieces_equals_the_whole(frames, size, cuts):
    x = video(frames, *size)
    whole = tokenizer().encode(x)
    assert whole.shape == (1, 1 + -(-(frames - 1) // 4), -(-size[0] // 8), -(-size[1] // 8), 16)
    cache, parts = None, []
    for start, stop in pieces(frames, cuts):
        z, cache = tokenizer().encode_chunk(x[:, start:stop], cache)
        parts.append(z)
    parts.append(tokenizer().flush(cache))
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-4)


@pytest.mark.slow
@hypothesis.given(st.integers(1, 9), st.lists(st.integers(1, 8), max_size=4))
@hypothesis.settings(max_examples=6, deadline=None)
def test_decoding_in_pieces_equals_the_whole(latents, cuts):
    z = jnp.asarray(np.random.default_rng(1).normal(size=(1, latents, 2, 3, 16)), jnp.float32)
    whole = tokenizer().decode(z)
    assert whole.shape == (1, 1 + 4 * (latents - 1), 16, 24, 3)
    cache, parts = None, []
    for start, stop in pieces(latents, cuts):
        frames, cache = tokenizer().decode_chunk(z[:, start:stop], cache)
        parts.append(frames)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-4)


@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_fewer_frames_to_a_latent(k):
    x = video(9, 16, 8)
    z = tokenizer(k).encode(x)
    assert z.shape == (1, 1 + 8 // k, 2, 1, 16) and tokenizer(k).decode(z).shape == x.shape
    cache, parts = None, []
    for start, stop in ((0, 4), (4, 9)):
        part, cache = tokenizer(k).encode_chunk(x[:, start:stop], cache)
        parts.append(part)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), z, atol=1e-4)
    # frames 0 to 2 are the first latents, alone
    changed = tokenizer(k).encode(x.at[:, 3:].add(0.3))
    np.testing.assert_array_equal(changed[:, : 1 + 2 // k], z[:, : 1 + 2 // k])
    with pytest.raises(ValueError, match="use 1, 2, 4 or 8"):
        dataclasses.replace(TINY, frames_per_latent=3)


def test_latents_see_only_their_past():
    x = video(13, 16, 16)
    changed = x.at[:, 9:].add(0.3)
    a, b = tokenizer().encode(x), tokenizer().encode(changed)
    np.testing.assert_array_equal(a[:, :3], b[:, :3])
    assert (jnp.abs(a[:, 3] - b[:, 3]) > 1e-4).any()


def test_haar_is_orthonormal_and_inverts():
    x = video(8, 16, 8).reshape(1, 2, 4, 16, 8, 3)
    c = haar.forward(x, 2)
    np.testing.assert_allclose(jnp.sum(c**2), jnp.sum(x**2), rtol=1e-5)
    np.testing.assert_allclose(haar.inverse(c, 2, 4), x, atol=1e-5)
    plain = haar.forward(x, 2, mix=False)
    assert sorted(plain.ravel().tolist()) == sorted(x.ravel().tolist())
    np.testing.assert_array_equal(haar.inverse(plain, 2, 4, mix=False), x)
    # a still group has one temporal coefficient
    still = haar.forward(jnp.repeat(x[:, :, :1], 4, axis=2), 0)
    np.testing.assert_allclose(still[..., 3:], 0, atol=1e-6)


def test_haar_orders_coefficients_by_time_row_and_column():
    x = np.random.default_rng(0).random((4, 16, 8, 3), np.float32)
    time, space = haar._matrix(4), haar._matrix(4)
    blocks = x.reshape(4, 4, 4, 2, 4, 3)
    expected = np.einsum("ui,vj,sk,khiwjc->hwsuvc", space, space, time, blocks).reshape(4, 2, 192)
    np.testing.assert_allclose(haar.forward(jnp.asarray(x), 2), expected, atol=1e-5)


def test_encoding_and_decoding_compile_in_seconds():
    # jax 0.11 took minutes on a CPU for a Haar transform of three products.
    frames = jax.ShapeDtypeStruct((2, 17, 64, 64, 3), jnp.float32)
    latents = jax.ShapeDtypeStruct((2, 5, 8, 8, 16), jnp.float32)
    begun = time.monotonic()
    jax.jit(tokenizer().encode).lower(frames).compile()
    jax.jit(tokenizer().decode).lower(latents).compile()
    assert time.monotonic() - begun < 60


def test_statistics_scale_the_latents():
    model = VideoTokenizer(TINY, rngs=nnx.Rngs(1))
    x = video(9, 16, 16)
    before = model.decode(model.encode(x))
    model.set_statistics(model.encode(x))
    assert float(model.encode(x).std()) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(model.decode(model.encode(x)), before, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 5, pytest.param(17, marks=pytest.mark.slow)])
def test_psnr_is_that_of_the_clip(frames):
    """Without noise, and with every error inside what `decode` clips to."""
    model = VideoTokenizer(dataclasses.replace(TINY, noise=0.0), rngs=nnx.Rngs(0))
    model.head.kernel[...] = 0.1 * model.head.kernel[...]
    x = video(frames, 16, 16)
    decoded = np.asarray(model.decode(model.encode(x)))
    assert decoded.min() > 0 and decoded.max() < 1
    expected = -10 * np.log10(np.square(decoded - np.asarray(x)).mean())
    assert float(video_loss(model, x, jax.random.key(0))[1]["psnr"]) == pytest.approx(
        expected, abs=1e-3
    )


def test_loss_falls():
    graphdef, params, rest = nnx.split(VideoTokenizer(TINY, rngs=nnx.Rngs(0)), nnx.Param, ...)
    x = jnp.broadcast_to(jnp.linspace(0.2, 0.8, 16)[:, None, None], (2, 5, 16, 16, 3))

    adam = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        loss, gradient = jax.value_and_grad(
            lambda p: video_loss(nnx.merge(graphdef, p, rest), x, jax.random.key(0))[0]
        )(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state, loss

    losses, state = [], adam.init(params)
    for _ in range(40):
        params, state, loss = step(params, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
