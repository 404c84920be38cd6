"""Draws one story in the four styles as one image: a row of frames for each style, under its name.

    python docs/examples/story_in_styles.py docs/story.png

It also prints the caption. The motion and the audio are the same in all four styles.
"""

import dataclasses
import sys

import numpy as np
from PIL import Image, ImageDraw

import sora_jax
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.draw import in_style
from sora_jax.worlds.playhouse.spec import FILM_STYLES

SPLIT, INDEX = "val", 47
FRAMES = (4, 12, 21, 29, 38, 46)  # two of each shot
# In pixels: side of a frame, gap between frames, gap between shots, height of a row's label.
SIZE, THIN, WIDE, LABEL = 112, 1, 6, 15


def row(frames: np.ndarray) -> np.ndarray:
    """Joins the FRAMES of a clip [F, H, W, 3] into one row, an image [H, W', 3], with a wider gap
    where a new shot begins.
    """
    parts = [frames[FRAMES[0]]]
    for number, frame in enumerate(FRAMES[1:], 1):
        parts += [np.ones((SIZE, THIN if number % 2 else WIDE, 3)), frames[frame]]
    return np.concatenate(parts, axis=1)


def label(text: str, width: int) -> np.ndarray:
    """Writes `text` at the left of a white image [LABEL, width, 3]."""
    image = Image.new("RGB", (width, LABEL), "white")
    ImageDraw.Draw(image).text((1, 2), text, fill="black")
    return np.asarray(image) / 255


def main(path: str) -> None:
    """Draws the story and writes the image to `path`."""
    take = sora_jax.draw(SPLIT, INDEX, family="story")
    print(take.captions[0])
    format = dataclasses.replace(FORMATS["story3"], height=SIZE, width=SIZE)
    rows: list[np.ndarray] = []
    for style in FILM_STYLES:
        drawn = row(sora_jax.render(in_style(take, style), format).frames)
        rows += [label(style, drawn.shape[1]), drawn]
    image = Image.fromarray((255 * np.concatenate(rows)).round().astype(np.uint8))
    image.quantize(160).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
