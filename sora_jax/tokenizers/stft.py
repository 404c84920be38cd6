"""Short-time Fourier transform, its least-squares inverse, frequency bands, and phase
reconstruction from magnitudes.

Frame i of a transform with window W and hop h is centred at (i + 1/2) h, so it represents the
samples [i h, (i + 1) h):

    X[i, k] = sum_n w[n] x[i h - (W - h) / 2 + n] exp(-2 pi j k n / W),      w: periodic Hann    (1)
    x       = overlap-add of w IDFT(X) / overlap-add of w^2                                      (2)

x are the samples, k is a frequency bin, and j^2 = -1. The inverse (2) is the signal whose transform
is nearest to X in least squares (Griffin and Lim, 1984). It inverts (1) where windows overlap.

Magnitudes A alone determine the signal almost completely when neighbouring frames overlap by
three quarters. With C(X) = STFT(inverse(X)), the nearest consistent transform, the fast
Griffin-Lim iteration (Perraudin, Balazs and Sondergaard, 2013) finds phases:

    Y_n = C(A exp(j arg Z_(n-1))),   Z_n = Y_n + alpha (Y_n - Y_(n-1)),                          (3)
    x = inverse(A exp(j arg Z))

n is the number of the iteration, and Z_0 has random phases. The iteration has no learned
parameters, works for any signal, and runs in float32.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

MOMENTUM = 0.99  # alpha in equation (3), as published


def hann(window: int) -> np.ndarray:
    """Returns the periodic Hann window, float32 [window]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


def frame(samples: Array, window: int, hop: int) -> Array:
    """Cuts samples [B, T * hop] into overlapping frames [B, T, window].

    Frame i is centred at sample (i + 1/2) hop, with zeros beyond the ends.

    Raises:
        ValueError: `hop` does not divide the window and the samples, or window - hop is odd.
    """
    if window % hop or (window - hop) % 2 or samples.shape[-1] % hop:
        raise ValueError(
            f"window {window}, {samples.shape[-1]} samples: need multiples of the hop {hop}, "
            "window - hop even"
        )
    margin = (window - hop) // 2
    blocks = jnp.pad(samples, ((0, 0), (margin, window - hop - margin))).reshape(
        samples.shape[0], -1, hop
    )
    count = samples.shape[-1] // hop
    return jnp.concatenate([blocks[:, i : i + count] for i in range(window // hop)], axis=-1)


def overlap_add(frames: Array, hop: int) -> Array:
    """Sums overlapping frames [B, T, window] into samples [B, T * hop]: the transpose of `frame`.
    Values beyond the ends are dropped.
    """
    batch, count, window = frames.shape
    pieces = frames.reshape(batch, count, window // hop, hop)
    overlap = window // hop
    padded = (
        jnp.pad(pieces[:, :, j], ((0, 0), (j, overlap - 1 - j), (0, 0))) for j in range(overlap)
    )
    total = sum(padded, jnp.zeros((), frames.dtype)).reshape(batch, -1)
    margin = (window - hop) // 2
    return total[:, margin : margin + count * hop]


def stft(samples: Array, window: int, hop: int) -> Array:
    """Returns the short-time Fourier transform of samples [B, T * hop]: complex
    [B, T, window / 2 + 1].

    The window is a periodic Hann window; `window` and `hop` are in samples.
    """
    return jnp.fft.rfft(frame(samples, window, hop) * hann(window))


def inverse_stft(spectrum: Array, window: int, hop: int) -> Array:
    """Returns the samples [B, T * hop] whose `stft` is nearest to a spectrum [B, T, window / 2 + 1]
    in least squares.

    `hop` is in samples; overlapping windows make it the exact inverse of `stft`.
    """
    taper = hann(window)
    weight = overlap_add(jnp.broadcast_to(jnp.square(taper), (1, spectrum.shape[1], window)), hop)
    return overlap_add(jnp.fft.irfft(spectrum, window) * taper, hop) / weight


def audio_of_magnitudes(
    magnitudes: Array, window: int, hop: int, iterations: int, key: Array
) -> Array:
    """Reconstructs samples [B, T * hop] from magnitudes by the fast Griffin-Lim iteration.

    Args:
        magnitudes: magnitudes of the transform, [B, T, window / 2 + 1].
        window, hop: window and hop of the transform, in samples.
        iterations: number of iterations.
        key: random key of the initial phases, which are the same for all clips.
    """
    first = jnp.exp(2j * np.pi * jax.random.uniform(key, magnitudes.shape[1:]))

    def iterate(_: Any, carry: Any) -> Any:
        z, y = carry
        spectrum = magnitudes * z / jnp.maximum(jnp.abs(z), 1e-12)
        y_next = stft(inverse_stft(spectrum, window, hop), window, hop)
        return y_next + MOMENTUM * (y_next - y), y_next

    start = magnitudes * first
    z, _ = jax.lax.fori_loop(0, iterations, iterate, (start, start))
    return inverse_stft(magnitudes * z / jnp.maximum(jnp.abs(z), 1e-12), window, hop)


@functools.cache
def warped_bands(bins: int, bands: int, top_hz: float, corner_hz: float) -> np.ndarray:
    """Returns triangular frequency bands as weights, float32 [bins, bands].

    The centres of bands are evenly spaced in ln(1 + f / corner_hz) from 0 to top_hz. So their
    spacing is about constant below the corner and a constant fraction of f above it, as in the mel
    scale. A band falls linearly in f from its centre to the neighbouring centres. Every row sums to
    one, so `values @ warped_bands(...).T` interpolates from bands to bins.

    Args:
        bins: number of frequency bins of the transform, from 0 to top_hz.
        bands: number of bands.
        top_hz: frequency of the last bin and centre of the last band, in Hz.
        corner_hz: frequency above which the spacing grows, in Hz.

    Raises:
        ValueError: bands are closer than bins, so that a band would contain no bin.
    """
    frequency = np.linspace(0.0, top_hz, bins)
    centres = corner_hz * np.expm1(np.linspace(0.0, np.log1p(top_hz / corner_hz), bands))
    hats = np.stack([np.interp(frequency, centres, row) for row in np.eye(bands)], axis=1)
    if (hats.sum(axis=0) < 0.5).any():
        raise ValueError(
            f"{bands} bands from a corner of {corner_hz} Hz lie closer than {bins} bins; use "
            "fewer or a higher corner"
        )
    return hats.astype(np.float32)
