"""Finds the faces of characters in a clip, and how far their mouths are open in every frame.

1. Faces. The frames are averaged to SIZE pixels. The CHANNELS of a pixel are its least channel of
   RGB, its saturation, the differences of brightness to its neighbours across and down, and how
   much it is a small bright spot, a small dark spot, and dark red. The width that a frame shows in
   metres is unknown. For each candidate in WIDTHS, the channels are averaged to CELLS cells a
   metre. The score of a cell is a linear function of the channels x in the ROWS x COLUMNS cells
   around it,

       s = w . x + w_0,      fitted by ridge regression to  exp(-d^2 / (2 SPREAD^2))             (1)

   with d the distance in cells to the nearest centre of a head of that size. The scores are
   averaged over LOOKS frames of the clip. A face is a local maximum of at least SHARE of the
   highest score, which must be at least LEAST. No higher maximum may be within APART of it, and it
   must be INSIDE metres away from the sides of the frame.
2. Mouths. The inside of an open mouth is DARK_RED in every style. With S the median colour of the
   cheeks over the clip and D = DARK_RED - S, the mouth covers of a pixel c of the lower face

       a = (c - S) . D / |D|^2 in [0, 1.2],      r = |c - S - a D|                              (2)

   where r is what neither skin nor mouth explains. The opening of the mouth is the area

       o = sum over the pixels of the lower face of  max(0, a min(1, max(0, 1.5 - r / RESIDUE))
           - COVERED) times the area of a pixel in square metres                                (3)

   minus its QUIET percentile over the clip, since what is always dark is no open mouth.

The weights w are stored beside this file, in the table made by

    python -m experiments.fit_faces

from training characters alone. A changed look of the characters requires fitting again.

Limits: heads that stay in place for the clip, in frames that show about a width of WIDTHS.
"""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
from scipy import ndimage

TABLE = Path(__file__).parent / "faces.json"
SIZE = 64  # pixels
WIDTHS = (2.35, 1.5)  # metres
CELLS = 13.6  # cells per metre
ROWS, COLUMNS = 17, 15  # cells
CHANNELS = 7
LOOKS = 9  # frames
LEAST = 0.25  # least score of the best face, equation (1)
SPREAD = 0.8  # cells
# pixels: side of the square that a channel is normalized over; added to its mean contrast there
NEARBY, FAINT = 25, 0.02
SOFT = 0.8  # pixels: blur before the channels, so that blurred clips differ less from sharp ones
SHARE = 0.42  # of the highest score: least score of a face
INSIDE = 0.3  # metres from the centre of a head to the sides of the frame, at least
# Metres across and down within which only the best face counts: no other head is so near, but parts
# of bodies resemble heads.
APART = (0.5, 1.3)
DARK_RED = np.array([0.44, 0.04, 0.09], np.float32)
RESIDUE, COVERED = 0.2, 0.35  # of equation (3): distance of colours in [0, 1]; share of a pixel
QUIET = 20  # percent
# (half width, from, to): regions of the face in metres, from and to so far below the centre of the
# head. LOWER can show the mouth.
CHEEKS, LOWER = (0.25, 0.12, 0.22), (0.45, 0.04, 0.46)


@dataclasses.dataclass(frozen=True)
class Face:
    """A face in a clip.

    Attributes:
        x, y: centre of the head, as shares of the frame's width from its left and its upper side.
        shown: metres that the width of the frame shows: the entry of WIDTHS in which the face was
            found, so that the head has its usual size.
        score: certainty, s of equation (1); about 1 for a clear face.
    """

    x: float
    y: float
    shown: float
    score: float


def _averaging(count: int, size: int) -> np.ndarray:
    """Returns weights [count, size] that average a row of `size` pixels to `count` cells of equal
    width.
    """
    edges = np.linspace(0.0, size, count + 1)
    first, pixel = edges[:-1, None], np.arange(size)
    overlap = np.minimum(pixel + 1, edges[1:, None]) - np.maximum(pixel, first)
    weights = np.clip(overlap, 0.0, 1.0)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _averaged(images: np.ndarray, count: int) -> np.ndarray:
    """Returns square images [F, H, H, C] averaged to cells, [F, count, count, C]."""
    across = _averaging(count, images.shape[1])
    return np.einsum("ih,fhwc,jw->fijc", across, images, across, optimize=True)


def small(frames: np.ndarray) -> np.ndarray:
    """Returns square frames [F, H, H, 3] averaged to SIZE pixels, float32 [F, SIZE, SIZE, 3]."""
    frames = np.asarray(frames, np.float32)
    return frames if frames.shape[1] == SIZE else _averaged(frames, SIZE)


def _dark_red(frames: np.ndarray) -> np.ndarray:
    """Returns how dark red pixels [..., 3] are, R - 2 max(G, B), [...]."""
    return frames[..., 0] - 2.0 * np.maximum(frames[..., 1], frames[..., 2])


def cells(frames: np.ndarray, shown: float) -> np.ndarray:
    """Returns the channels of frames (step 1), averaged to CELLS cells per metre: float32
    [F, N, N, CHANNELS] for N cells across.

    Args:
        frames: [F, SIZE, SIZE, 3] in [0, 1].
        shown: metres that the width of a frame is assumed to show.
    """
    frames = ndimage.gaussian_filter(frames, (0, SOFT, SOFT, 0))
    dark, high = frames.min(-1), frames.max(-1)
    bright = frames @ np.array([0.3, 0.59, 0.11], np.float32)
    along = np.abs(np.diff(bright, axis=2, prepend=bright[:, :, :1]))
    down = np.abs(np.diff(bright, axis=1, prepend=bright[:, :1]))
    spots = dark - ndimage.grey_opening(dark, (1, 9, 9))
    holes = ndimage.grey_closing(bright, (1, 7, 7)) - bright
    red = np.clip(_dark_red(frames), 0.0, 1.0)
    plain = [_normalized(one) for one in (dark, high - dark)]
    steps = [one / (_local(one) + FAINT) for one in (along, down, spots, holes)]
    return _averaged(np.stack([*plain, *steps, red], axis=-1), round(CELLS * shown))


def _local(images: np.ndarray) -> np.ndarray:
    """Returns the means of images [F, H, W] over NEARBY x NEARBY pixels, [F, H, W]."""
    along = ndimage.uniform_filter1d(images, NEARBY, axis=1, mode="nearest")
    return ndimage.uniform_filter1d(along, NEARBY, axis=2, mode="nearest")


def _normalized(images: np.ndarray) -> np.ndarray:
    """Returns images [F, H, W] less their local mean, divided by their local deviation."""
    less = images - _local(images)
    return less / (np.sqrt(np.maximum(_local(np.square(less)), 0.0)) + FAINT)


def surroundings(grid: np.ndarray) -> np.ndarray:
    """Returns the ROWS x COLUMNS cells around each cell of a grid [F, N, N, C] (of `cells`), as
    [F, N, N, C, ROWS, COLUMNS]. Beyond its sides, a grid repeats its outermost cells.
    """
    reach = ((0, 0), (ROWS // 2, ROWS // 2), (COLUMNS // 2, COLUMNS // 2), (0, 0))
    padded = np.pad(grid, reach, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (ROWS, COLUMNS), axis=(1, 2))


@functools.cache
def _table() -> tuple[np.ndarray, float]:
    """Returns the weights w [C, ROWS, COLUMNS] and w_0 of equation (1)."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    weights = np.array(table["weights"], np.float32).reshape(CHANNELS, ROWS, COLUMNS)
    return weights, table["constant"]


def find_faces(frames: np.ndarray) -> list[Face]:
    """Returns the faces in square frames [F, H, H, 3] in [0, 1], from left to right."""
    weights, constant = _table()
    looks = np.unique(np.linspace(0, len(frames) - 1, LOOKS).round().astype(int))
    looked, found = small(np.asarray(frames)[looks]), []
    for shown in WIDTHS:
        around = surroundings(cells(looked, shown))
        scores = np.einsum("fijcyx,cyx->ij", around, weights, optimize=True) / len(looks) + constant
        scores = ndimage.gaussian_filter(scores, 0.7)
        highest = (scores == ndimage.maximum_filter(scores, 5)) & (scores > SHARE * LEAST)
        for row, column in zip(*np.nonzero(highest), strict=True):
            x, y = (column + 0.5) / len(scores), (row + 0.5) / len(scores)
            if shown * min(x, y, 1.0 - x, 1.0 - y) > INSIDE:
                found.append(Face(float(x), float(y), shown, float(scores[row, column])))
    kept: list[Face] = []
    for face in sorted(found, key=_score, reverse=True):
        alone = not any(_near(face, other) for other in kept)
        if alone and face.score > (SHARE * kept[0].score if kept else LEAST):
            kept.append(face)
    return sorted(kept, key=_place)


def _score(face: Face) -> float:
    return face.score


def _place(face: Face) -> float:
    return face.x


def _near(face: Face, other: Face) -> bool:
    """Returns whether a face is so near to `other`, which has a higher score, that it is no face of
    its own.
    """
    across, down = other.shown * abs(face.x - other.x), other.shown * abs(face.y - other.y)
    return across < APART[0] and down < APART[1]


def openings(frames: np.ndarray, faces: list[Face]) -> np.ndarray:
    """Returns how far the mouths of N faces are open in every frame: their area in square metres,
    equation (3), float64 [N, F]. 0 for a face whose cheeks are outside of the frame.

    Args:
        frames: square, [F, H, H, 3] in [0, 1].
        faces: the result of `find_faces`.
    """
    frames, rows = small(frames), np.zeros((len(faces), len(frames)))
    for i, face in enumerate(faces):
        cheeks, lower = (_part(frames, face, *part) for part in (CHEEKS, LOWER))
        if not cheeks.size:  # the face is cut off by the frame
            continue
        skin = np.median(cheeks.reshape(-1, 3), axis=0)
        red = DARK_RED - skin
        share = np.clip((lower - skin) @ red / max(float(red @ red), 1e-6), 0.0, 1.2)
        rest = np.linalg.norm(lower - skin - share[..., None] * red, axis=-1)
        covered = share * np.clip(1.5 - rest / RESIDUE, 0.0, 1.0)
        area = np.clip(covered - COVERED, 0.0, None).sum((1, 2)) * (face.shown / SIZE) ** 2
        rows[i] = area - np.percentile(area, QUIET)
    return rows


def _part(frames: np.ndarray, face: Face, across: float, above: float, below: float) -> np.ndarray:
    """Returns a region of the face in all frames, [F, h, w, 3]: up to `across` metres to either
    side of its centre, and from `above` to `below` metres below it.
    """
    middle = (np.arange(SIZE) + 0.5) / SIZE
    down = face.shown * (middle - face.y)
    columns = np.abs(face.shown * (middle - face.x)) < across
    return frames[:, (down > above) & (down < below)][:, :, columns]
