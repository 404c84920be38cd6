"""Draws a held-out clip of each set before and after a tokenizer encodes and decodes it.

video   frames of the clip, the frames decoded, and 4 |difference|
audio   log-mel spectrogram of the clip, that of the samples decoded, and their difference
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from sora_jax.contact_sheet import log_mel
from sora_jax.data.tokenizer_clips import VIDEO, Clips
from sora_jax.files import replacing
from sora_jax.mp4 import to_uint8
from sora_jax.training.tokenizer_run import Kind

FRAMES = 8  # frames shown of a clip
SIDE = 128  # smallest height of a frame in the picture, in pixels
LABEL = 16  # height of a line of text, in pixels
FLOOR = -80.0  # dB at which a spectrogram is black
GAIN = 4.0  # factor of the difference of frames


def draw_round_trips(path: Path, kind: Kind, tokenizer: Any, sets: Mapping[str, Clips]) -> None:
    """Writes the picture of the first held-out clip of each set as a png file.

    Args:
        path: the file.
        kind: the kind of tokenizer.
        tokenizer: the tokenizer.
        sets: the clips of each set by name. A set without held-out clips is left out.
    """
    panels = []
    for name, clips in sets.items():
        if not clips.count["val"]:
            continue
        inputs = jax.tree.map(jnp.asarray, clips.batch("val", range(1)))
        before = np.asarray(clips.render(inputs))
        after = np.asarray(_round_trip(tokenizer, before))
        panels.append(
            _frames(name, before, after) if kind.name == VIDEO else _mel(name, before, after)
        )
    width = max(panel.width for panel in panels)
    sheet = Image.new("RGB", (width, sum(panel.height for panel in panels)), "white")
    top = 0
    for panel in panels:
        sheet.paste(panel, (0, top))
        top += panel.height
    with replacing(path) as temporary:
        sheet.save(temporary, format="png")


@jax.jit
def _round_trip(tokenizer: Any, x: jax.Array) -> jax.Array:
    latents = tokenizer.encode(x)
    if x.ndim == 2:
        return tokenizer.decode(latents, x.shape[1])
    return tokenizer.decode(latents)[:, :, : x.shape[2], : x.shape[3]]


def _frames(name: str, before: np.ndarray, after: np.ndarray) -> Image.Image:
    """Returns the panel of a clip of frames [shots, F, H, W, 3] before and after, in [0, 1].

    The shots are joined, and FRAMES frames of the whole clip are shown at equal distances.
    """
    error = np.square(after - before).mean()
    before, after = (x.reshape(-1, *x.shape[2:]) for x in (before, after))
    shown = np.linspace(0, len(before) - 1, min(FRAMES, len(before))).round().astype(int)
    rows = [before[shown], after[shown], GAIN * np.abs(after - before)[shown]]
    zoom = -(-SIDE // before.shape[1])
    image = np.concatenate([np.concatenate(list(to_uint8(row)), 1) for row in rows])
    text = f"{name}: clip, decoded, {GAIN:g} |difference|; {-10 * np.log10(error):.1f} dB"
    return _labelled(text, image.repeat(zoom, 0).repeat(zoom, 1))


def _mel(name: str, before: np.ndarray, after: np.ndarray) -> Image.Image:
    """Returns the panel of a clip's samples [1, S] before and after."""
    levels = [np.maximum(log_mel(x[0]), FLOOR) for x in (before, after)]
    rows = [1 - levels[0] / FLOOR, 1 - levels[1] / FLOOR, np.abs(levels[1] - levels[0]) / -FLOOR]
    image = to_uint8(np.concatenate([row[::-1] for row in rows]))
    text = f"{name}: log-mel of clip, decoded and |difference|, {-FLOOR:g} dB from black to white"
    return _labelled(text, np.repeat(image[..., None], 3, -1).repeat(2, 0).repeat(2, 1))


def _labelled(text: str, image: np.ndarray) -> Image.Image:
    panel = Image.new("RGB", (image.shape[1], image.shape[0] + LABEL), "white")
    ImageDraw.Draw(panel).text((2, 2), text, fill="black")
    panel.paste(Image.fromarray(np.ascontiguousarray(image)), (0, LABEL))
    return panel
