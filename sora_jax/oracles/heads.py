"""The embedding of a head: a vector by which two pictures of one character are near, and pictures
of different characters are far apart.

1. Crop. A head is averaged to ROWS x COLUMNS cells of CELL metres around the centre of its face
   (`faces.find_faces`), in each of LOOKS frames. x is the median over the frames, which shows the
   face from the front with open eyes unless it looks away for half of the clip.
2. Alignment. The face detector is accurate to about 2 cm. A linear function of x predicts the shift
   from the found centre c to the true centre of the head, and the crop is taken again at

       c' = c + (x - m_k) B_k + b_k      for k = 1, ..., ALIGNMENTS                              (1)

3. Embedding. Ridge regression with weights W predicts the features of a character's look
   (`cast.Character.features`) from x, for all styles and lights at once. Its errors differ by
   feature, and are correlated. With S the covariance of the part of the predictions that the true
   features explain, and N that of the rest, the columns of V are the DIMENSIONS directions v with
   the highest s in S v = s N v, v N v = 1 (Fisher's discriminant):

       e = (x - m) W V                                                                           (2)

4. Distance. Two heads are at d = |e - e'|, in standard deviations of the errors. They are one
   character if d < SAME, where false acceptance is about as frequent as false rejection.

The stills of a character (reference pictures, `references.py`) have a style and a light of their
own. Their framing is known. The one from the front is compared.

B, b, m and W V are stored beside this file, in the table made by

    python -m experiments.fit_identity

from random characters, none of them held out. A changed look of the characters, or a changed table
of faces, requires fitting again.

Limits: persons, seen from the front for half of the clip. Stills do not show how tall a character
is, and a bald one shows the hue of its hair in its brows alone.
"""

import dataclasses
import functools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import linalg

from sora_jax.oracles.faces import SIZE, Face, small
from sora_jax.worlds.playhouse.references import WIDTH

TABLE = Path(__file__).parent / "identity.json"
CELL, ROWS, COLUMNS = 0.06, 28, 20  # metres; cells
ABOVE = 0.95  # metres from the centre of the head up to the top of the crop, which includes hats
LOOKS = 9  # frames
ALIGNMENTS, DIMENSIONS = 2, 20
# added to the covariance of x, for the regressions of steps 2 and 3
RIDGE = {"shift": 1e-2, "look": 3e-4}
SAME = 12.0  # distance below which two heads are one character (step 4)
STILL = Face(0.5, 0.55, WIDTH, 1.0)  # place of the face in a still


@dataclasses.dataclass(frozen=True)
class Table:
    """The fitted constants of equations (1) and (2), for crops of K = 3 ROWS COLUMNS numbers.

    Attributes:
        centre: m_k, [ALIGNMENTS, K].
        shift: B_k, [ALIGNMENTS, K, 2].
        offset: b_k in metres, [ALIGNMENTS, 2].
        mean: m, [K].
        weights: W V, [K, DIMENSIONS].
    """

    centre: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    mean: np.ndarray
    weights: np.ndarray


@functools.cache
def _table() -> Table:
    values = json.loads(TABLE.read_text(encoding="utf-8"))
    return Table(**{name: np.array(value, np.float32) for name, value in values.items()})


def _averaging(first: float, cell: float, count: int) -> np.ndarray:
    """Returns weights [count, SIZE] that average a row of pixels to `count` cells, each `cell`
    pixels wide, from pixel `first` on. A cell outside of the frame repeats the nearest pixel.
    """
    edges = np.clip(first + cell * np.arange(count + 1), 0.0, SIZE)
    pixel = np.arange(SIZE)
    overlap = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, edges[:-1, None])
    overlap = np.clip(overlap, 0.0, 1.0)
    nearest = np.eye(SIZE)[np.clip(edges[:-1].astype(int), 0, SIZE - 1)]
    covered = overlap.sum(1, keepdims=True)
    weights = np.where(covered > 0.25 * cell, overlap / np.maximum(covered, 1e-9), nearest)
    return weights.astype(np.float32)


def crop(frames: np.ndarray, face: Face) -> np.ndarray:
    """Returns the cells around a face, the median over the frames: x of step 1, float32
    [3 ROWS COLUMNS].

    Args:
        frames: [F, SIZE, SIZE, 3] in [0, 1] (`looks`).
        face: where the face is.
    """
    scale = SIZE / face.shown
    left = SIZE * face.x - 0.5 * COLUMNS * CELL * scale
    top = SIZE * face.y - ABOVE * scale
    down = _averaging(top, CELL * scale, ROWS)
    across = _averaging(left, CELL * scale, COLUMNS)
    cells = np.einsum("ih,fhwc,jw->fijc", down, frames, across, optimize=True)
    return np.median(cells, axis=0).ravel()


def moved(face: Face, shift: np.ndarray) -> Face:
    """Returns a face with its centre moved by `shift`, [2] in metres."""
    return dataclasses.replace(
        face,
        x=float(face.x + shift[0] / face.shown),
        y=float(face.y + shift[1] / face.shown),
    )


def looks(frames: np.ndarray, count: int = LOOKS) -> np.ndarray:
    """Returns `count` frames (default LOOKS) of a clip [F, H, H, 3], evenly spread in time, or all
    if it has fewer: float32 [count, SIZE, SIZE, 3].
    """
    chosen = np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))
    return small(np.asarray(frames)[chosen])


def embed(frames: np.ndarray, face: Face, table: Table | None = None) -> np.ndarray:
    """Returns the embedding of a head, equation (2), float32 [DIMENSIONS].

    Args:
        frames: of the clip, square, [F, H, H, 3] in [0, 1].
        face: where the face is, as `faces.find_faces` returns it.
        table: the fitted constants. Default: those stored beside this file.
    """
    table, seen = table or _table(), looks(frames)
    for centre, shift, offset in zip(table.centre, table.shift, table.offset, strict=True):
        face = moved(face, (crop(seen, face) - centre) @ shift + offset)
    return (crop(seen, face) - table.mean) @ table.weights


def embed_stills(stills: np.ndarray, table: Table | None = None) -> np.ndarray:
    """Returns the embedding of a character from its stills, float32 [DIMENSIONS]. Only the still
    from the front is read.

    Args:
        stills: [4, H, H, 3] in [0, 1], in the order of `references.VIEWS`.
        table: the fitted constants. Default: those stored beside this file.
    """
    return embed(stills[:1], STILL, table)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the Euclidean distance of embeddings a and b [..., DIMENSIONS] (which broadcast), in
    standard deviations of the errors, [...].
    """
    return np.linalg.norm(a - b, axis=-1)


def ridge(x: np.ndarray, y: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (mean [K], weights [K, D], constant [D]) of a ridge regression of y on x, which
    predicts y = (x - mean) weights + constant.

    Args:
        x: N inputs, [N, K].
        y: N targets, [N, D].
        least: regularization, added to the diagonal of the covariance of x.
    """
    mean, z = x.mean(0), x - x.mean(0)
    square = z.T @ z / len(z) + least * np.eye(z.shape[1], dtype=z.dtype)
    return mean, np.linalg.solve(square, z.T @ (y - y.mean(0)) / len(z)), y.mean(0)


def _crossed(x: np.ndarray, y: np.ndarray, least: float) -> np.ndarray:
    """Returns predictions of y [N, D] from x [N, K] by two-fold cross-validation: those of each
    half by the ridge regression (`ridge`) on the other half.
    """
    even, predicted = np.arange(len(x)) % 2 == 0, np.zeros_like(y)
    for half in (even, ~even):
        mean, weights, constant = ridge(x[half], y[half], least)
        predicted[~half] = (x[~half] - mean) @ weights + constant
    return predicted


def fit(
    frames: Sequence[np.ndarray], found: Sequence[Face], shifts: np.ndarray, factors: np.ndarray
) -> Table:
    """Returns the table of equations (1) and (2), fitted on N heads.

    Args:
        frames: for each head, the frames of its clip, [F, SIZE, SIZE, 3] (`looks`).
        found: the face of each head as it is found.
        shifts: shift from the found to the true centre of each head, [N, 2] in metres.
        factors: features of the look of each character (`Character.features`), [N, D].
    """
    placed, left, aligned = list(found), np.array(shifts, np.float32), []
    for _ in range(ALIGNMENTS):
        x = np.stack([crop(*one) for one in zip(frames, placed, strict=True)])
        aligned.append(ridge(x, left, RIDGE["shift"]))
        predicted = _crossed(x, left, RIDGE["shift"])
        placed = [moved(*one) for one in zip(placed, predicted, strict=True)]
        left = left - predicted
    x = np.stack([crop(*one) for one in zip(frames, placed, strict=True)])
    y = np.asarray(factors, np.float32) / 1000.0
    mean, weights, _ = ridge(x, y, RIDGE["look"])
    predicted, y = _crossed(x, y, RIDGE["look"]), y - y.mean(0)
    predicted = predicted - predicted.mean(0)
    explained = y @ np.linalg.lstsq(y, predicted, rcond=None)[0]
    errors = np.cov((predicted - explained).T) + 1e-6 * np.eye(y.shape[1])
    _, directions = linalg.eigh(np.cov(explained.T), errors)  # in rising order
    centre, shift, offset = (np.stack(parts) for parts in zip(*aligned, strict=True))
    return Table(centre, shift, offset, mean, weights @ directions[:, ::-1][:, :DIMENSIONS])
