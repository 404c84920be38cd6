"""The pixel grid of a frame."""

import numpy as np

from sora_jax.modality import ClipFormat


def pixel_grid(format: ClipFormat) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows [H, 1] and columns [1, W] of a frame's pixels, float32.

    Row 0 and column 0 are those of the central square, which shows the view (`camera.py`, equation
    (1)). A longer side has pixels before it, with negative numbers, and after it.
    """
    row, column = (
        np.arange(side, dtype=np.float32) - (side - format.size) // 2
        for side in (format.height, format.width)
    )
    return row[:, None], column[None, :]
