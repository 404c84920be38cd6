"""Diagnostic pictures: frames with a ring around every tracked ball, and the shots of a story (the
parts between its cuts) with what was read beside each.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sora_jax import files
from sora_jax.mp4 import to_uint8
from sora_jax.oracles.story_shots import Moment, Shot
from sora_jax.oracles.tracker import EXTENT, Track
from sora_jax.worlds.playhouse.spec import pixels_per_metre, to_pixels

ZOOM = 4  # sheet pixels per frame pixel
WORDS = 280  # pixels: width of the text beside a shot


def tracked_frames(frames: np.ndarray, tracks: list[Track], columns: int = 9) -> Image.Image:
    """Returns a picture of all frames of a clip with the tracked balls marked.

    A white ring marks a ball's position and radius, a black cross its centre. A red border marks a
    frame in which a ball is lost or found more than once.

    Args:
        frames: [F, H, W, 3], uint8 or floats in [0, 1].
        tracks: the tracks of the balls (`tracker.track`), in the central square of the frames.
        columns: frames in a row of the picture. Default 9.
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
    """Writes the picture of `tracked_frames`, frames [F, H, W, 3] with the tracked balls marked, to
    `path`, a PNG that appears whole or not at all.
    """
    with files.replacing(path) as partial:
        tracked_frames(frames, tracks).save(partial, "png")


def shots_read(frames: np.ndarray, starts: Sequence[int], shots: Sequence[Shot]) -> Image.Image:
    """Returns a picture with a row for each shot: its first, middle and last frame, and a text of
    what was read of it.

    Args:
        frames: [F, H, W, 3], uint8 or floats in [0, 1].
        starts: index of the first frame of each shot except the first.
        shots: what was read of each shot.
    """
    frames = to_uint8(frames)
    height, width = frames.shape[1:3]
    tile, bounds = (3 * width, 3 * height), [0, *starts, len(frames)]
    rows = list(zip(itertools.pairwise(bounds), shots, strict=True))
    sheet = Image.new("RGB", (3 * tile[0] + WORDS, len(rows) * (tile[1] + 4)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, ((first, end), shot) in enumerate(rows):
        top = row * (tile[1] + 4)
        for column, number in enumerate((first, (first + end) // 2, end - 1)):
            picture = Image.fromarray(frames[number]).resize(tile, Image.Resampling.NEAREST)
            sheet.paste(picture, (column * tile[0], top))
        head = f"{shot.place or 'no place'}, {shot.frame}, {shot.move}"
        ball = f"ball {shot.colour or 'unseen'}" + (f", {shot.throw}" if shot.throw else "")
        lines = [head, *_said("start", shot.start), *_said("end", shot.end), ball]
        pen.multiline_text((3 * tile[0] + 8, top + 4), "\n".join(lines), fill="black")
    return sheet


def _said(name: str, moment: Moment) -> list[str]:
    """Returns two lines of text about the state at one end of a shot, `name`: "start" or "end"."""
    door = {None: "unseen", 0: "closed", 1: "open"}[moment.door]
    score = "unseen" if moment.score is None else str(moment.score)
    hats = {None: "hat?", False: "", True: "hat"}
    people = ", ".join(f"x={one.x:.2f} {hats[one.hat]}".strip() for one in moment.people)
    return [
        f"{name}: lamp {('off', 'on')[moment.lamp]}, door {door}, score {score}",
        f"   {people or 'nobody'}",
    ]


def save_shots(
    path: Path, frames: np.ndarray, starts: Sequence[int], shots: Sequence[Shot]
) -> None:
    """Writes the picture of `shots_read` to `path`, a PNG that appears whole or not at all.

    Args:
        path: the file.
        frames: [F, H, W, 3], uint8 or floats in [0, 1].
        starts: index of the first frame of each shot except the first.
        shots: what was read of each shot.
    """
    with files.replacing(path) as partial:
        shots_read(frames, starts, shots).save(partial, "png")
