"""The mel scale of pitch, and triangular bands of frequencies that are evenly spaced on it.

    m = 2595 log10(1 + f / 700)        f in Hz, m in mel                                         (1)

Source: O'Shaughnessy 1987, Speech Communication: Human and Machine.
"""

import numpy as np


def to_mel(hertz: float | np.ndarray) -> np.ndarray:
    """Converts frequencies in Hz to mel, elementwise: 2595 log10(1 + hertz / 700)."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def to_hertz(mel: float | np.ndarray) -> np.ndarray:
    """Converts mel to frequencies in Hz, elementwise; inverts `to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def bands(
    hertz: np.ndarray, low: float, high: float, count: int, narrowest: float = 0.0
) -> np.ndarray:
    """Returns triangular filters as weights [count, bins] with peaks of 1, evenly spaced in mel.

    Args:
        hertz: frequencies of the spectrum's bins in Hz, [bins].
        low, high: lower edge of the lowest band and upper edge of the highest one, in Hz.
        count: number of bands.
        narrowest: minimum width in Hz of each side of a triangle. If it is the distance between
            neighbouring bins, every band contains a bin. Default 0.
    """
    edges = to_hertz(np.linspace(to_mel(low), to_mel(high), count + 2))
    below, middle, above = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    below = np.minimum(below, middle - narrowest)
    above = np.maximum(above, middle + narrowest)
    rise, fall = (hertz - below) / (middle - below), (above - hertz) / (above - middle)
    return np.maximum(np.minimum(rise, fall), 0.0)
