"""Orthonormal Haar transforms in space and time: the front end that makes the video tokenizer
cheap.

One level on a pair of neighbours is the rotation

    s = (a + b) / sqrt 2,      d = (a - b) / sqrt 2                                              (1)

applied along rows, columns or time. Being orthonormal it keeps squared errors: a loss on
coefficients is a loss on pixels. Space uses `levels` levels (blocks of 2^levels pixels, every
subband moved to channels), as in wavelet front ends of video tokenizers (Cosmos, WF-VAE).

In time, frames come in groups of k, a power of two: frame 0 alone, then k by k. A group is
transformed by log2 k levels of (1); frame 0 enters as k equal frames, whose only non-zero
coefficient is sqrt(k) * frame 0. A group never looks outside itself, so any cut between groups is
exact.
"""

import jax
import jax.numpy as jnp
import numpy as np


def _matrix(n: int) -> np.ndarray:
    """The orthonormal Haar matrix [n, n] for n a power of two: equation (1) applied again to the
    sums.
    """
    if n == 1:
        return np.ones((1, 1), np.float32)
    half = _matrix(n // 2)
    eye = np.eye(n // 2, dtype=np.float32)
    return np.concatenate([np.kron(half, [1.0, 1.0]), np.kron(eye, [1.0, -1.0])]).astype(
        np.float32
    ) / np.sqrt(2.0, dtype=np.float32)


def _transform(k: int, n: int) -> np.ndarray:
    """One group's transform [k n n, k n n]: equation (1) along time, rows and columns at once.

    `forward` and `inverse` apply it as one matrix product. As one product for each axis, XLA's CPU
    compiler of jax 0.11 takes minutes.
    """
    return np.kron(_matrix(k), np.kron(_matrix(n), _matrix(n)))


def forward(groups: jax.Array, levels: int) -> jax.Array:
    """[..., k, H, W, 3] -> [..., H / 2^levels, W / 2^levels, k * 4^levels * 3]."""
    n = 2**levels
    *lead, k, h, w, c = groups.shape
    x = groups.reshape(-1, k, h // n, n, w // n, n, c)
    x = x.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, h // n, w // n, k * n * n, c)
    y = jnp.einsum("qp,bhwpc->bhwqc", _transform(k, n), x)
    return y.reshape(*lead, h // n, w // n, k * n * n * c)


def inverse(coefficients: jax.Array, levels: int, k: int) -> jax.Array:
    """The inverse of `forward`: [..., h, w, k * 4^levels * 3] -> [..., k, h 2^levels, w 2^levels,
    3].
    """
    n = 2**levels
    *lead, h, w, channels = coefficients.shape
    c = channels // (k * n * n)
    y = coefficients.reshape(-1, h, w, k * n * n, c)
    x = jnp.einsum("qp,bhwqc->bhwpc", _transform(k, n), y)
    x = x.reshape(-1, h, w, k, n, n, c).transpose(0, 3, 1, 4, 2, 5, 6)
    return x.reshape(*lead, k, h * n, w * n, c)
