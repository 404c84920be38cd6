"""Orthonormal Haar transforms in space and time, the cheap front end of the video tokenizer.

One level maps a pair of neighbours by the rotation

    s = (a + b) / sqrt 2,      d = (a - b) / sqrt 2                                              (1)

along rows, columns or time. The transform is orthonormal and keeps squared errors, so a loss
on coefficients is a loss on pixels. Space has `levels` levels: blocks of 2^levels x 2^levels
pixels, whose coefficients become channels, as in wavelet front ends of other video tokenizers
(Cosmos, arXiv:2501.03575; WF-VAE, arXiv:2411.17459).

In time, frames form groups of k, a power of two: first frame 0 alone, then k frames each. A
group is transformed by log2 k levels of (1). Frame 0 enters as k equal frames, whose only
non-zero coefficient is sqrt(k) * frame 0. A group depends on no frame outside it, so any cut
between groups is exact.
"""

import jax
import jax.numpy as jnp
import numpy as np


def _matrix(n: int) -> np.ndarray:
    """Returns the orthonormal Haar matrix [n, n] for n a power of two: equation (1), applied
    recursively to the sums.
    """
    if n == 1:
        return np.ones((1, 1), np.float32)
    half = _matrix(n // 2)
    eye = np.eye(n // 2, dtype=np.float32)
    return np.concatenate([np.kron(half, [1.0, 1.0]), np.kron(eye, [1.0, -1.0])]).astype(
        np.float32
    ) / np.sqrt(2.0, dtype=np.float32)


def _transform(k: int, n: int) -> np.ndarray:
    """Returns the transform of a block of k frames of n x n pixels as a matrix [k n n, k n n]:
    equation (1) along time, rows and columns.

    `forward` and `inverse` apply it as one matrix product. With one product per axis, XLA's CPU
    compiler of jax 0.11 takes minutes.
    """
    return np.kron(_matrix(k), np.kron(_matrix(n), _matrix(n)))


def forward(groups: jax.Array, levels: int, mix: bool = True) -> jax.Array:
    """Returns the Haar transform of groups of k frames, orthonormal in space and time.

    Frames [..., k, H, W, 3] -> coefficients [..., H / 2^levels, W / 2^levels, k * 4^levels * 3].

    Args:
        groups: the frames, [..., k, H, W, 3].
        levels: levels in space.
        mix: False only moves the pixels of a block to channels, without the transform. Default
            True.
    """
    n = 2**levels
    *lead, k, h, w, c = groups.shape
    x = groups.reshape(-1, k, h // n, n, w // n, n, c)
    x = x.transpose(0, 2, 4, 1, 3, 5, 6).reshape(-1, h // n, w // n, k * n * n, c)
    y = jnp.einsum("qp,bhwpc->bhwqc", _transform(k, n), x) if mix else x
    return y.reshape(*lead, h // n, w // n, k * n * n * c)


def inverse(coefficients: jax.Array, levels: int, k: int, mix: bool = True) -> jax.Array:
    """Inverts `forward` with the same `mix`: coefficients [..., h, w, k * 4^levels * 3] -> groups
    of frames [..., k, h 2^levels, w 2^levels, 3].
    """
    n = 2**levels
    *lead, h, w, channels = coefficients.shape
    c = channels // (k * n * n)
    y = coefficients.reshape(-1, h, w, k * n * n, c)
    x = jnp.einsum("qp,bhwqc->bhwpc", _transform(k, n), y) if mix else y
    x = x.reshape(-1, h, w, k, n, n, c).transpose(0, 3, 1, 4, 2, 5, 6)
    return x.reshape(*lead, k, h * n, w * n, c)
