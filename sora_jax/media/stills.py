"""Reads still images through Pillow and fits them to the frames of a clip."""

import io
import os
import warnings

import numpy as np
from PIL import Image, ImageCms, ImageOps

from sora_jax.errors import UserError

# Modes of one channel with more than 8 bits, which Pillow would clip at 255 on conversion to RGB.
DEEP = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
SAME_PICTURE = ("MPO",)  # formats whose further images are views or previews of the first


def fit_frame(image: np.ndarray, height: int, width: int, letterbox: bool = False) -> np.ndarray:
    """Returns an image uint8 [H, W, 3] as uint8 [height, width, 3], antialiased.

    The centre of the image is cropped to the proportions of the result, then resized. With
    `letterbox` the whole image is resized into the centre of the result, between black bars.

    Args:
        image: the image.
        height: height of the result in pixels.
        width: width of the result in pixels.
        letterbox: whether to keep the whole image. Default False.
    """
    if image.shape[:2] == (height, width):
        return image
    if letterbox:
        rows, columns = inner_sides(image.shape[:2], (height, width))
        picture = Image.fromarray(image).resize((columns, rows), Image.Resampling.LANCZOS)
        fitted = np.zeros((height, width, 3), np.uint8)
        top, left = (height - rows) // 2, (width - columns) // 2
        fitted[top : top + rows, left : left + columns] = np.asarray(picture)
        return fitted
    scale = min(image.shape[0] / height, image.shape[1] / width)
    high, wide = height * scale, width * scale
    left, top = (image.shape[1] - wide) / 2, (image.shape[0] - high) / 2
    box = (left, top, left + wide, top + high)
    picture = Image.fromarray(image)
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS, box=box))


def inner_sides(sides: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) that an image with `sides` has within the frame `target` after
    letterboxing.
    """
    scale = min(target[0] / sides[0], target[1] / sides[1])
    return max(1, round(sides[0] * scale)), max(1, round(sides[1] * scale))


def resizing(sides: tuple[int, int], target: tuple[int, int], letterbox: bool = False) -> str:
    """Returns the text of a note on how `fit_frame` converts frames with `sides` to `target`, both
    (height, width); "resized to 64 x 64" has the width first.
    """
    (height, width), (rows, columns) = sides, target
    if letterbox and inner_sides(sides, target) != target:
        return f"letterboxed to {columns} x {rows}"
    shape = "central square" if rows == columns else f"central {columns}:{rows}"
    crop = not letterbox and height * columns != width * rows
    return f"{f'cropped to their {shape} and ' * crop}resized to {columns} x {rows}"


def read_image(
    path: str | os.PathLike, size: int | tuple[int, int]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Reads a still image as sRGB, cropped around its centre to the proportions of `size`.

    Greyscale of 16 bits is scaled from 0 .. 65,535 to 0 .. 1. Images of 32-bit integers, and float
    images with values outside [0, 1], are scaled from the range of their values. Colour profiles
    are applied. Transparent parts become white.

    Args:
        path: the file.
        size: (height, width) of the result in pixels, or the side of a square.

    Returns:
        Float32 [height, width, 3] in [0, 1], and notes on the changes.

    Raises:
        UserError: the file is missing, not a readable image, or holds NaN or infinity.
    """
    sides = (size, size) if isinstance(size, int) else size
    try:
        # Pillow warns of images of more than 89 million pixels, and refuses twice as many.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            notes = _animation(image)
            image = ImageOps.exif_transpose(image)
            if image.mode in DEEP:
                pixels = _from_deep(image, notes, path)
            else:
                pixels = np.asarray(_to_srgb(image, notes))
    except UserError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for damaged files
        reason = "it is not a readable image"
        if isinstance(error, FileNotFoundError):
            reason = "no such file"
        elif isinstance(error, (MemoryError, Image.DecompressionBombError)):
            reason = "it is too large"
        raise UserError(f"cannot read {path}: {reason}; give a png or jpeg file") from None
    height, width = pixels.shape[:2]
    if (height, width) != sides:
        change = resizing((height, width), sides).replace("their", "its")
        notes.append(f"image of {width} x {height} {change}")
    return fit_frame(pixels, *sides).astype(np.float32) / 255.0, tuple(notes)


def _animation(image: Image.Image) -> list[str]:
    """Returns a note if a file holds several images."""
    count = getattr(image, "n_frames", 1)
    if count == 1 or image.format in SAME_PICTURE:
        return []
    return [f"the first of its {count} images is read"]


def _from_deep(image: Image.Image, notes: list[str], path: str | os.PathLike) -> np.ndarray:
    """Converts one channel of more than 8 bits to uint8 [H, W, 3]; adds notes."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError(f"cannot read {path}: it holds NaN or infinity; give finite values")
    low, high = float(values.min()), float(values.max())
    # Older versions of Pillow open a png of 16 bits in mode I.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        values /= 65535.0
    elif image.mode == "I" or low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-12)
        notes.append(f"values from {low:.5g} to {high:.5g} scaled to 0 to 1")
    grey = np.round(values * 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Converts an image of 8 bits to RGB on a white ground; adds notes."""
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode == "P":
        image = image.convert("RGB")
    if image.mode == "LAB":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    if profile and image.mode in ("L", "RGB", "CMYK", "LAB"):
        image = _without_profile(image, profile, notes)
    image = image.convert("RGB")
    if alpha is not None and np.asarray(alpha).min() < 255:
        image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
        notes.append("transparent parts composited on white")
    return image


def _without_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Converts an image from its colour profile to sRGB, or adds a note that it cannot."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).strip()
        if "sRGB" in name:
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("its colour profile is damaged and not applied")
        return image
    notes.append(f"colours converted from {name or 'its profile'} to sRGB")
    return converted if converted is not None else image
