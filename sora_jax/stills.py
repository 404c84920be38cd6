"""Reads still images through Pillow and fits them to square frames."""

import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sora_jax.errors import UserError


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """Resizes the central square of uint8 [H, W, 3] to uint8 [size, size, 3], antialiased."""
    height, width = image.shape[:2]
    side = min(height, width)
    if height == width == size:
        return image
    left, top = (width - side) / 2, (height - side) / 2
    return np.asarray(
        Image.fromarray(image).resize(
            (size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
        )
    )


def read_image(path: str | os.PathLike, size: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads the central square of a still image.

    Returns:
        Float32 [size, size, 3] in [0, 1], and notes on the changes.
    Raises:
        UserError: the file is missing or not a readable image.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            notes = []
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
                notes.append("transparent parts composited on white")
            pixels = np.asarray(image.convert("RGB"))
    except (
        OSError,
        UnidentifiedImageError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        reason = (
            "no such file" if isinstance(error, FileNotFoundError) else "it is not a readable image"
        )
        raise UserError(f"cannot read {path}: {reason}; give a png or jpeg file") from None
    height, width = pixels.shape[:2]
    if (height, width) != (size, size):
        notes.append(
            f"image of {width} x {height} cropped to its central square and resized to {size} "
            f"x {size}"
        )
    return fit_square(pixels, size).astype(np.float32) / 255.0, tuple(notes)
