"""Diagnostic pictures of the tracker: frames with a ring around every tracked ball."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sora_jax import files
from sora_jax.mp4 import to_uint8
from sora_jax.oracles.tracker import EXTENT, Track
from sora_jax.worlds.playhouse.spec import pixels_per_metre, to_pixels

ZOOM = 4  # sheet pixels per frame pixel


def tracked_frames(frames: np.ndarray, tracks: list[Track], columns: int = 9) -> Image.Image:
    """Draws all frames of a clip, with its tracks, on one sheet.

    A white ring marks a ball's position and radius, a black cross its centre. A red border marks a
    frame in which a ball is lost or found more than once.

    Args:
        frames: [F, H, W, 3].
        tracks: the tracks of the balls.
        columns: frames in a row of the sheet. Default 9.
    """
    frames = to_uint8(frames)
    count, height, width = frames.shape[:3]
    # tracks are in the central square
    size = min(height, width)
    beside = np.array([(width - size) // 2, (height - size) // 2])
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * (width * ZOOM + 4), rows * (height * ZOOM + 4)), "white")
    for f, picture in enumerate(frames):
        tile = Image.fromarray(picture).resize(
            (width * ZOOM, height * ZOOM), Image.Resampling.NEAREST
        )
        pen = ImageDraw.Draw(tile)
        for t in tracks:
            if not t.found[f]:
                pen.rectangle([0, 0, width * ZOOM - 1, height * ZOOM - 1], outline="red", width=3)
            if t.copies[f]:
                column, row = (to_pixels(t.position[f], EXTENT, size) + beside + 0.5) * ZOOM
                r = t.radius[f] * pixels_per_metre(EXTENT, size) * ZOOM
                pen.ellipse([column - r, row - r, column + r, row + r], outline="white")
                pen.line([column - 4, row, column + 4, row], fill="black")
                pen.line([column, row - 4, column, row + 4], fill="black")
        sheet.paste(
            tile, ((f % columns) * (width * ZOOM + 4), (f // columns) * (height * ZOOM + 4))
        )
    return sheet


def save_tracked(path: Path, frames: np.ndarray, tracks: list[Track]) -> None:
    """Writes the frames [F, H, W, 3] of a clip with its tracks (`tracked_frames`) to `path`, a PNG.

    The file appears whole or not at all.
    """
    with files.replacing(path) as partial:
        tracked_frames(frames, tracks).save(partial, "png")
