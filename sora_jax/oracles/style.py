"""Classifies the rendering style of a clip (such as anime or cinematic), by a linear probe on pixel
statistics.

1. Statistics. Every frame is averaged to SIZE pixels and blurred by BLUR of them. With Y the
   brightness, R red and B blue, the statistics are:

   - medians of Y and of R - B in bands of rows (for black bars, a sky, a gradient, a grade),
   - how much darker the sides are than the middle,
   - quantiles of the differences of Y along rows and along columns (textures, hills),
   - quantiles of how much darker Y is than its surroundings within three pixels (ink),
   - the spread of the brightness of coloured pixels (a ball in one tone, in two, or lit).

   Their means over each half of the clip are x.
2. Probe. Let z be a constant and (x - mean) / deviation over the training set, clipped at CUT, Z
   the matrix of all n training rows z, Z' its transpose, and T one-hot targets for the styles and
   for "none of them":

       A = (Z'Z + RIDGE n I)^-1 Z'T,   scores of x = z A,   the style has the largest score      (1)

   A clip has a style if both of its halves do.

The probe was fitted on renders of the split `train`: unchanged, blurred, and with noise of
deviation 5 to 25 / 255. The examples of "none" are uniform frames, with and without noise, and
renders with shuffled tiles. Its weights are stored beside this file, in the table made by

    python -m experiments.fit_style

A new style, or a changed look of an existing one, requires fitting again. A style is a name in
STYLES.

Limits: the world's own styles, at 64 pixels (other sizes are resampled). `shaded` is
recognized in rooms and courts only; both have a static camera.
"""

import dataclasses
import functools
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import BLANK, corrupt, corrupt_frames, redrawn
from sora_jax.oracles.corruptions import splice
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.worlds.playhouse.draw import in_style
from sora_jax.worlds.playhouse.spec import FILM_STYLES

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

STYLES = (*FILM_STYLES, "shaded")
TABLE = Path(__file__).parent / "style.json"
SIZE, BLUR = 64, 1.0  # pixels
BANDS = 10  # bands of rows in a frame
RIDGE, CUT = 1e-3, 4.0  # regularization per training example; standard deviations


def resampled(frames: np.ndarray) -> np.ndarray:
    """Returns frames [F, H, W, 3] resampled to float32 [F, SIZE, SIZE, 3]: by means over blocks if
    H and W are multiples of SIZE, else by linear interpolation.
    """
    frames = np.asarray(frames, np.float32)
    height, width = frames.shape[1:3]
    if height % SIZE or width % SIZE:
        return np.asarray(ndimage.zoom(frames, (1, SIZE / height, SIZE / width, 1), order=1))
    return frames.reshape(len(frames), SIZE, height // SIZE, SIZE, width // SIZE, 3).mean((2, 4))


def statistics(frames: np.ndarray) -> np.ndarray:
    """Returns the pixel statistics that the style is read from, float64 [F, features], of frames
    [F, H, W, 3] in [0, 1]: brightness and colour of bands, textures, outlines and tones (step 1 of
    this module).
    """
    frames = ndimage.gaussian_filter(resampled(frames), (0, BLUR, BLUR, 0))
    bright, warm = frames @ np.array([0.3, 0.59, 0.11], np.float32), frames[..., 0] - frames[..., 2]
    edges = np.linspace(0, SIZE, BANDS + 1).astype(int)
    bands = [slice(a, b) for a, b in itertools.pairwise(edges)]
    x = [_median(bright[:, band]) for band in bands]
    x += [_median(warm[:, band]) for band in bands[1:-1]]
    inner = slice(bands[1].start + 2, bands[-2].stop - 2)  # inside the bars of the cinematic style
    third = SIZE // 3
    middle = _median(bright[:, inner, third:-third])
    x += [
        _median(bright[:, inner, : third // 2]) - middle,
        _median(bright[:, inner, -third // 2 :]) - middle,
    ]
    x += [np.abs(np.diff(bright[:, inner], axis=axis)) for axis in (1, 2)]
    x[-2:] = [
        q for steps in x[-2:] for q in np.quantile(steps, (0.25, 0.5, 0.75, 0.9), axis=(1, 2))
    ]
    ink = ndimage.grey_closing(bright, (1, 7, 7))[:, inner] - bright[:, inner]
    x += list(np.quantile(ink, (0.5, 0.9, 0.97), axis=(1, 2)))
    high = frames.max(-1)
    vivid = ndimage.binary_erosion(
        high - frames.min(-1) > np.maximum(0.2, 0.45 * high), np.ones((1, 3, 3))
    )
    tones = [high[f][vivid[f]] if vivid[f].sum() > 8 else np.zeros(9) for f in range(len(frames))]
    x += list(
        np.array(
            [[np.std(t), *np.subtract(*np.quantile(t, ((0.95, 0.5), (0.5, 0.05))))] for t in tones]
        ).T
    )
    return np.stack(x, axis=-1).astype(np.float64)


def _median(part: np.ndarray) -> np.ndarray:
    """Returns the median of each frame of part [F, h, w]: [F]."""
    return np.median(part, axis=(1, 2))


def halves(frames: np.ndarray) -> np.ndarray:
    """Returns the means of the pixel statistics over the first and over the second half of a clip,
    [2, features]. frames are [F, H, W, 3] in [0, 1].
    """
    each = statistics(frames)
    return np.stack([each[: (len(each) + 1) // 2].mean(0), each[len(each) // 2 :].mean(0)])


def _design(x: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Returns the rows z of (1), [..., features + 1], for statistics x [..., features]."""
    z = np.clip((x - mean) / deviation, -CUT, CUT)
    return np.concatenate([np.ones((*z.shape[:-1], 1)), z], axis=-1)


def fit(x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the table of the linear probe, fitted by ridge regression: {"mean" [features],
    "deviation" [features], "weights" A [features + 1, len(STYLES) + 1]}.

    Args:
        x: statistics [n, features] of n halves of clips.
        labels: style of each, int [n], an index in STYLES; len(STYLES) for none of them.
    """
    mean, deviation = x.mean(0), x.std(0) + 1e-6
    rows = _design(x, mean, deviation)
    targets = np.eye(len(STYLES) + 1)[labels]
    weights = np.linalg.solve(
        rows.T @ rows + RIDGE * len(rows) * np.eye(rows.shape[1]), rows.T @ targets
    )
    return {"mean": mean, "deviation": deviation, "weights": weights}


def probe(table: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Returns the style of each row of statistics, int [...]: an index in STYLES; len(STYLES) for
    none of them.

    Args:
        table: the probe, from `fit`.
        x: statistics [..., features].
    """
    return np.argmax(_design(x, table["mean"], table["deviation"]) @ table["weights"], axis=-1)


@functools.cache
def _table() -> dict[str, np.ndarray]:
    return {
        name: np.array(values)
        for name, values in json.loads(TABLE.read_text(encoding="utf-8")).items()
    }


def read_style(frames: np.ndarray) -> str | None:
    """Returns the rendering style of a clip, a name in STYLES; None if it has none of them, or its
    halves differ in style. frames are [F, H, W, 3] in [0, 1].
    """
    first, second = probe(_table(), halves(frames))
    return (*STYLES, None)[first] if first == second else None


def mixed_tiles(frames: np.ndarray, seed: int, across: int = 8) -> np.ndarray:
    """Returns frames [F, H, W, 3] cut into tiles, which are permuted alike in all frames.

    Args:
        frames: their sides are multiples of `across`.
        seed: chooses the permutation.
        across: number of tiles in a row and in a column. Default 8.
    """
    count, height, width = frames.shape[:3]
    cut = frames.reshape(count, across, height // across, across, width // across, 3).swapaxes(2, 3)
    order = np.random.default_rng([18, seed]).permutation(across * across)
    mixed = cut.reshape(count, across * across, *cut.shape[3:])[:, order].reshape(cut.shape)
    return mixed.swapaxes(2, 3).reshape(frames.shape)


@corrupt_frames
def tiles(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` cut into 8 x 8 tiles, which are permuted."""
    return mixed_tiles(c.frames, c.take.index)


@corrupt(VIDEO)
def restyle(clips: list[Example]) -> list[Example]:
    """Corruption: the clips rendered in the next style of FILM_STYLES, cyclically."""
    following: dict[str, str] = dict(
        zip(FILM_STYLES, FILM_STYLES[1:] + FILM_STYLES[:1], strict=True)
    )
    return redrawn(clips, [in_style(c.take, following[c.take.scene.style]) for c in clips])


@corrupt(VIDEO)
def turn(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with their second half rendered in the next style of FILM_STYLES."""
    return splice(clips, restyle(clips))


class StyleOracle(Oracle):
    """Oracle `style`: the rendering style of a clip, one of STYLES or none."""

    name = "style"
    media = (VIDEO,)
    tolerance = "the style"
    corruptions = (tiles, restyle, turn)
    ceiling = 1 / len(FILM_STYLES)  # shuffled labels agree by chance in so many clips
    stage = "film"
    empty = BLANK

    def read(self, reading: "Reading") -> str | None:
        """Returns the rendering style of a clip, a name in STYLES; None for none of them."""
        return read_style(reading.frames)

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether the style read is that of the example's take."""
        return reading.of(self.name) == example.take.scene.style

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every pair of a film and the take of another film, so that readings agree as
        often as by chance, in whatever order the films are.
        """
        return [dataclasses.replace(c, take=o.take) for c in clips for o in clips if o is not c]
