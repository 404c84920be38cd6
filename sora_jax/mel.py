"""The mel scale, and triangular bands that are even on it.

    m = 2595 log10(1 + f / 700)        f in Hz                                                   (1)

Source: O'Shaughnessy 1987.
"""

import numpy as np


def to_mel(hertz: float | np.ndarray) -> float | np.ndarray:
    """Equation (1)."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def to_hertz(mel: float | np.ndarray) -> float | np.ndarray:
    """The inverse of (1)."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def bands(
    hertz: np.ndarray, low: float, high: float, count: int, narrowest: float = 0.0
) -> np.ndarray:
    """Triangles [count, bins] over the frequencies `hertz` [bins], from `low` to `high` Hz.

    narrowest: Hz that a side of a triangle has at least, so that a low band holds a bin.
    """
    edges = to_hertz(np.linspace(to_mel(low), to_mel(high), count + 2))
    below, middle, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    below = np.minimum(below, middle - narrowest)
    above = np.maximum(above, middle + narrowest)
    rise, fall = (hertz - below) / (middle - below), (above - hertz) / (above - middle)
    return np.maximum(np.minimum(rise, fall), 0.0)
