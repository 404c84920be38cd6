"""Fit the face detector of the oracles (`sora_jax/oracles/faces.py`) and write its table.

    python -m experiments.fit_faces

The training data are renders of Playhouse, the synthetic world: clips in which characters of the
training split talk, and scenes without a face. Takes about three minutes on one CPU core; the table
is reproducible on the same machine. Run it after changing the look of the characters, then run
experiments.calibrate again.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from scipy import ndimage

from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.modality import FORMATS
from sora_jax.oracles import faces
from sora_jax.oracles.examples import Example, head_centres, render_takes
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import FILM_STYLES

_OUTPUT = flags.DEFINE_string(
    "output", None, "JSON file for the weights. Default: the file that the oracles read."
)
_CLIPS = flags.DEFINE_integer("num_clips", 1200, "Clips with faces.", lower_bound=16)
FIRST = 21_000  # index of the first take (scene) of the split train that is used
FRAMES = 2  # frames of each clip, chosen at random
OTHERS = 0.15  # share of the grid's cells without a face that are kept
# Weight of a cell at a face, and of one in a scene without a face, relative to other cells.
WEIGHT, FACELESS_WEIGHT = 8.0, 3.0
FACELESS = ("film", "court", "occlude", "room")  # families of scenes without a face
RIDGE, FIGURES = 1e-4, 4  # ridge penalty; significant digits of the table


def training_clips(num_clips: int) -> Iterator[Example]:
    """Yields `num_clips` clips of the family talk in all styles, and a sixth as many of each family
    in FACELESS.
    """
    for family, count, name in (
        ("talk", num_clips, "S"),
        *((family, num_clips // 6, "nano") for family in FACELESS),
    ):
        for first in range(FIRST, FIRST + count, 32):
            takes = []
            for i in range(first, min(first + 32, FIRST + count)):
                style = None if family in ("court", "room") else FILM_STYLES[i % 4]
                takes.append(draw("train", i, family=family, style=style))
            yield from render_takes(takes, FORMATS[name], batch=16)


def target(centres: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the target of the detector, equation (1) of `faces`, for N x N cells of each frame:
    exp(-d^2 / (2 SPREAD^2)), with d the distance in cells to the nearest head, [F, N, N].

    Args:
        centres: centres (x, y) of K heads in each frame, [K, F, 2] in widths of the frame; K may be
            0.
        shape: (F, N, N).
    """
    middle, wanted = (np.arange(shape[1]) + 0.5), np.zeros(shape)
    for head in shape[1] * centres:
        for f, (x, y) in enumerate(head):
            square = (middle - x) ** 2 + (middle[:, None] - y) ** 2
            wanted[f] = np.maximum(wanted[f], np.exp(-square / (2.0 * faces.SPREAD**2)))
    return wanted


def fit(num_clips: int) -> dict[str, np.ndarray]:
    """Returns the table of the detector, fitted on clips with and without faces: {"weights": w,
    flat, "constant": w_0} of equation (1) of `faces`.
    """
    rng = np.random.default_rng(0)
    size = faces.CHANNELS * faces.ROWS * faces.COLUMNS + 1
    square, product, count = np.zeros((size, size)), np.zeros(size), 0
    for i, clip in enumerate(training_clips(num_clips)):
        chosen = rng.choice(clip.format.frames, FRAMES, replace=False)
        frames, heads = clip.frames[chosen], head_centres(clip)[:, chosen]
        if i % 3 == 1:
            frames = ndimage.gaussian_filter(frames, (0, 1, 1, 0))
        if i % 3 == 2:
            noise = rng.normal(scale=rng.uniform(5, 25) / 255, size=frames.shape)
            frames = np.clip(frames + noise, 0.0, 1.0).astype(np.float32)
        other = 1.0 if len(heads) else FACELESS_WEIGHT
        for shown in faces.WIDTHS:
            around = faces.surroundings(faces.cells(frames, shown))
            true = clip.take.scene.view[0][3] if clip.take.scene.cast else 0.0
            wanted = target(heads[: len(heads) * (true == shown)], around.shape[:3]).ravel()
            kept = (wanted > 0.05) | (rng.random(len(wanted)) < OTHERS)
            x = around.reshape(len(wanted), -1)[kept]
            x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
            weighted = x.T * np.where(wanted[kept] > 0.05, WEIGHT, other)
            square, product = square + weighted @ x, product + weighted @ wanted[kept]
            count += len(x)
    weights = np.linalg.solve(square + RIDGE * count * np.eye(size), product)
    return {"weights": weights[:-1], "constant": weights[-1]}


def main(_: Sequence[str]) -> None:
    table = fit(_CLIPS.value)
    rounded = {
        "weights": [float(f"{value:.{FIGURES}g}") for value in table["weights"]],
        "constant": float(f"{table['constant']:.{FIGURES}g}"),
    }
    path = Path(_OUTPUT.value or faces.TABLE)
    files.write(path, json.dumps(rounded) + "\n")
    print(f"{path}: {len(rounded['weights'])} weights of {_CLIPS.value} talks")


if __name__ == "__main__":
    run_main(main)
