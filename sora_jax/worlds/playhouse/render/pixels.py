"""The pixel grid of a frame, whose central square shows the camera's view."""

import jax
import jax.numpy as jnp

from sora_jax.modality import ClipFormat


def columns_before(format: ClipFormat) -> int:
    """Returns the number of columns on each side of the central square of a frame of this
    format.
    """
    return (format.width - format.size) // 2


def pixel_grid(format: ClipFormat) -> tuple[jax.Array, jax.Array]:
    """Returns the rows [H, 1] and columns [1, W] of the pixels of a frame of this format, float32.

    Row 0 and column 0 are the first of the central square, which shows the camera's view. In a
    frame that is not square, the longer side has pixels before the square, with negative indices,
    and after it.
    """
    row, column = (jnp.arange(side, dtype=jnp.float32) for side in (format.height, format.width))
    if format.height > format.size:
        row = row - (format.height - format.size) // 2
    if format.width > format.size:
        column = column - columns_before(format)
    return row[:, None], column[None, :]
