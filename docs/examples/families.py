"""Draws one scene of each family as one image: a row of frames for each, with its caption.

python docs/examples/families.py docs/families.png
"""

import dataclasses
import sys
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import sora_jax

# Family -> (split, number, clip format) of the scene.
SCENES = {
    "room": ("train", 4, "nano"),
    "court": ("train", 5, "nano"),
    "film": ("train", 7, "nano"),
    "occlude": ("train", 2, "nano"),
    "talk": ("train", 6, "S"),
    "story": ("train", 3, "story3"),
    "phyworld_collision_30k": ("train", 9, "phyworld"),
}
COLUMNS = 6  # frames of a row, at equal distances
# In pixels: side of a frame, gap between frames, a line of a caption; and its characters.
SIDE, GAP, LINE, WIDEST = 112, 4, 15, 100


def row(family: str) -> Image.Image:
    """Draws the row of a family: frames of its scene, and the first caption below them."""
    split, number, name = SCENES[family]
    take = sora_jax.draw(split, number, family=family)
    frames = sora_jax.render(
        take, dataclasses.replace(sora_jax.FORMATS[name], height=SIDE, width=SIDE)
    ).frames
    # Not the first and last frame: in a story these would be the only ones of their shots.
    chosen = np.linspace(0, len(frames) - 1, 2 * COLUMNS + 1).round().astype(int)[1::2]
    caption = take.captions[0] if take.captions and take.captions[0] else "no caption"
    lines = textwrap.wrap(f"{family}: {caption}", WIDEST)
    image = Image.new(
        "RGB", (COLUMNS * (SIDE + GAP) - GAP, SIDE + LINE * len(lines) + 2 * GAP), "white"
    )
    for column, index in enumerate(chosen):
        pixels = (255 * frames[index]).round().astype(np.uint8)
        image.paste(Image.fromarray(pixels), (column * (SIDE + GAP), 0))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=12)
    for i, line in enumerate(lines):
        draw.text((0, SIDE + 2 + i * LINE), line, fill="black", font=font)
    return image


def main(path: str) -> None:
    """Draws all families and writes the image to `path`."""
    rows = [row(family) for family in SCENES]
    sheet = Image.new("RGB", (rows[0].width, sum(one.height for one in rows)), "white")
    top = 0
    for one in rows:
        sheet.paste(one, (0, top))
        top += one.height
    sheet.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
