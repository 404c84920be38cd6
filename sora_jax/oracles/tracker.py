"""Finds the balls in a clip: where each colour is in every frame, to a fraction of a pixel, from
pixels alone.

The tracker knows the world's palette and its scale, not the scene: neither the backdrop nor which
colours are there.

1. Backdrop b: the temporal median of the pixels that are not strongly coloured; where a ball never
   leaves, the row's median.
2. Unmixing: in the flat and in the shaded style a pixel of a ball of palette colour c, covering a
   share alpha of it, is

       p = alpha s c + (1 - alpha) b                                                             (1)

   with an unknown shading s, so least squares for p = a c + beta b in three channels gives alpha =
   1 - beta whatever the shading, and the residual of (1) says which colour fits. Highlights (white,
   nearly along b) lie inside a ball and are filled.
3. Per colour and frame: the largest component of a > A_MIN, alpha > 1/2; a second one is a
   duplicate. It is grown by two pixels, the local pedestal is subtracted, and

       centre = sum alpha q / sum alpha,      radius = sqrt(sum alpha / pi)                      (2)

A prototype of this design measured 0.003 to 0.03 pixels of error on clean renders.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import double, recolour, resized, teleport, vanish, visitor
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.worlds.playhouse.spec import COLOURS, SIZES, from_pixels, pixels_per_metre

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

EXTENT = 4.0  # metres shown by the width of a picture: a public constant of the world
# a pixel whose channels span more than this, absolute and as a share of the largest, is no backdrop
COLOURED = (0.13, 0.35)
# median change of a channel from frame to frame above which there is noise; pixels of blur that
# lessen it
NOISY, SOFTEN = 0.02, 0.7
NOISE_LEFT = 2.0  # times that change: how much more a pixel's channels must span there
A_MIN = 0.18  # least amount of a palette colour in a pixel of a ball's core
MARGIN = 5  # pixels around a component in which its rim (2) and its surroundings (2) are looked at
# alpha is at most this times a: above 1 / 0.38, the darkest shading, since a codec blurs colour
# more than light
FAINT = 3.0
DUPLICATE = 0.35  # a second component this large beside the first is a second ball
LASTING = 1 / 3  # share of the frames in which a colour must be seen to be a ball of the clip
# times as large as elsewhere in the clip a ball may look: a lawful one, blurred or coded, 1.08 at
# most
SAME_SIZE = 1.15
OFF = 0.3  # pixels rms between a ball's centres as read and the scene's

NAMES = tuple(COLOURS)
PALETTE = np.array([COLOURS[n] for n in NAMES], np.float32)
SMALLEST = min(low for low, _ in SIZES.values())  # metres
PLANE = ndimage.generate_binary_structure(3, 1)
PLANE[0] = PLANE[2] = False  # neighbours within a frame only
_CROSS = PLANE[1]
_DISC = np.array([[abs(i) + abs(j) <= 3 for i in range(-2, 3)] for j in range(-2, 3)])


@dataclasses.dataclass(frozen=True)
class Track:
    """One ball over F frames: position [F, 2] and radius [F] in metres (NaN where lost), copies
    [F]: components of its colour.
    """

    colour: str
    position: np.ndarray
    radius: np.ndarray
    copies: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """bool [F]: the colour is there exactly once."""
        return self.copies == 1

    @property
    def motion(self) -> float:
        """The largest distance in metres between the ball's first seen position and any later
        one.
        """
        seen = self.position[self.copies > 0]
        return float(np.max(np.linalg.norm(seen - seen[0], axis=-1))) if len(seen) else 0.0

    def rms_pixels(self, true: np.ndarray, size: int) -> float:
        """Root mean square distance in pixels to centres [F, 2] in metres, for pictures of `size`
        pixels; NaN if ever lost.
        """
        return float(
            np.sqrt(np.mean(np.sum((self.position - true) ** 2, -1)))
            * pixels_per_metre(EXTENT, size)
        )

    @property
    def lasting(self) -> bool:
        """Is it a ball of the clip, or a thing that is there now and then?"""
        return float(np.mean(self.copies > 0)) >= LASTING

    @property
    def swelling(self) -> float:
        """How many times as large it looks in one third of the clip as in another, by the median
        radius of each; 1 if it keeps its size.
        """
        thirds = [part[np.isfinite(part)] for part in np.array_split(self.radius, 3)]
        medians = [float(np.median(part)) for part in thirds if len(part)]
        return max(medians) / min(medians) if medians else 1.0

    def jumps(self, fps: float) -> int:
        """How many steps between neighbouring frames are longer than a ball of this world makes:
        falling from the top it ends at 7.6 m/s.
        """
        step = np.linalg.norm(np.diff(self.position, axis=0), axis=-1)
        return int(np.sum(step > 7.6 / fps))


def coloured(frames: np.ndarray, more: float = 0.0) -> np.ndarray:
    """bool [F, H, W]: pixels too colourful for this world's pale or grey rooms, also on the dark
    side of a shaded ball, by so much more.
    """
    high = frames.max(-1)
    return high - frames.min(-1) > np.maximum(COLOURED[0], COLOURED[1] * high) + more


def vivid(frames: np.ndarray) -> np.ndarray:
    """`coloured`, but for what noise has coloured, if there is noise, as much of a dark grey room
    may be: bool [F, H, W].
    """
    noise = float(np.median(np.abs(np.diff(frames, axis=0)))) if len(frames) > 1 else 0.0
    return (
        coloured(ndimage.gaussian_filter(frames, (0.0, SOFTEN, SOFTEN, 0.0)), NOISE_LEFT * noise)
        if noise > NOISY
        else coloured(frames)
    )


def backdrop(frames: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """The still picture behind the balls (step 1): frames [F, H, W, 3] and the pixels not to trust
    [F, H, W] -> [H, W, 3].
    """
    shown = np.sort(np.where(ball[..., None], np.float32(9.0), frames), axis=0)
    count = len(frames) - ball.sum(0)
    pick = np.maximum(count - 1, 0) // 2
    still = np.take_along_axis(
        shown, np.broadcast_to(pick[None, ..., None], (1, *pick.shape, 3)), axis=0
    )[0]
    return still if count.all() else _fill(still, count > 0)


def _fill(still, known):
    """Rows are alike in this world's rooms: unknown pixels take their row's median, whole unknown
    rows that of the nearest row.
    """
    rows = np.flatnonzero(known.any(1))
    if not len(rows):
        return np.broadcast_to(np.float32(0.5), still.shape).copy()
    medians = {r: np.median(still[r][known[r]], axis=0) for r in rows}
    for r in np.flatnonzero(~known.all(1)):
        still[r][~known[r]] = medians[rows[np.argmin(np.abs(rows - r))]]
    return still


def unmix(frames: np.ndarray, still: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which palette colour each pixel holds and how much: label int8 [F, H, W] (-1: none), alpha
    [F, H, W, 6], equation (1).

    near: bool [F, H, W], the pixels to look at; elsewhere there is no ball.
    """
    p, b = frames[near], np.maximum(np.broadcast_to(still, frames.shape)[near], 0.02)
    pc, cb, cc = p @ PALETTE.T, b @ PALETTE.T, np.sum(PALETTE**2, -1)
    pb, bb, pp = (np.einsum("nc,nc->n", u, v)[:, None] for u, v in ((p, b), (b, b), (p, p)))
    det = np.maximum(cc * bb - cb * cb, 1e-3)
    a = (bb * pc - cb * pb) / det
    beta = (cc * pb - cb * pc) / det
    residual = np.where(a > A_MIN, pp - a * pc - beta * pb, np.inf)
    best = np.argmin(residual, -1)
    label = np.full(near.shape, -1, np.int8)
    label[near] = np.where(np.isfinite(residual.min(-1)), best, -1)
    alpha = np.zeros((*near.shape, len(NAMES)), np.float32)
    # A shadow darkens the backdrop (beta < 1) but holds no colour: alpha needs both.
    alpha[near] = np.clip(np.minimum(1.0 - beta, FAINT * a), 0.0, 1.0)
    return label, alpha


def track(frames: np.ndarray) -> list[Track]:
    """Tracks of every palette colour that is seen, be it in one frame. frames: [F, H, W, 3] in [0,
    1].
    """
    frames = np.asarray(frames, np.float32)
    strong = coloured(frames)
    still = backdrop(frames, ndimage.maximum_filter(strong, size=(1, 5, 5)))
    label, alpha = unmix(frames, still, ndimage.maximum_filter(strong, size=(1, 9, 9)))
    label[~ndimage.maximum_filter(strong, size=(1, 3, 3))] = -1
    # Half the area of the smallest ball: the rims where two balls or a ball and the backdrop mix
    # are thinner.
    least = 0.4 * np.pi * (SMALLEST * pixels_per_metre(EXTENT, frames.shape[2])) ** 2
    counts = np.bincount(label.ravel() + 1, minlength=len(NAMES) + 1)[1:]
    tracks = [_one(k, label, alpha[..., k], least) for k in np.flatnonzero(counts >= least)]
    return [t for t in tracks if t.copies.any()]


def lasting(tracks: list[Track]) -> list[Track]:
    """Those of the clip's balls."""
    return [t for t in tracks if t.lasting]


def _one(k, label, alpha, least) -> Track:
    """Step 3 for palette colour k."""
    frames, _, width = label.shape
    core = (label == k) & (alpha > 0.5)
    parts, n = ndimage.label(core, PLANE)
    area = np.bincount(parts.ravel(), minlength=n + 1)
    boxes = ndimage.find_objects(parts)
    position, radius, copies = (
        np.full((frames, 2), np.nan),
        np.full(frames, np.nan),
        np.zeros(frames, int),
    )
    largest = np.zeros(frames, int)
    for part in np.argsort(-area[1:]) + 1:
        if area[part] < least:
            break
        box = boxes[part - 1]
        f = box[0].start
        if copies[f]:
            copies[f] += area[part] > DUPLICATE * largest[f]
            continue
        copies[f], largest[f] = 1, area[part]
        top, left = (max(0, box[axis].start - MARGIN) for axis in (1, 2))
        window = (f, slice(top, box[1].stop + MARGIN), slice(left, box[2].stop + MARGIN))
        other = ndimage.binary_opening((label[window] >= 0) & (label[window] != k), _CROSS)
        total, row, column = _centroid(parts[window] == part, other, alpha[window])
        position[f] = from_pixels(np.array([column + left, row + top]), EXTENT, width)
        radius[f] = np.sqrt(total / np.pi) / pixels_per_metre(EXTENT, width)
    return Track(NAMES[k], position, radius, copies)


def filled(core: np.ndarray) -> np.ndarray:
    """A ball's core [h, w] with what a highlight took from it: closing mends the notch in its rim;
    a disc is closed already.
    """
    return ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(core, 3), _DISC)[3:-3, 3:-3])


def inside(whole: np.ndarray) -> np.ndarray:
    """Where coverage is whole whatever the highlight says; only the rim's share is read."""
    return ndimage.binary_erosion(whole, _CROSS)


def _centroid(core, other, alpha) -> tuple[float, float, float]:
    """Sum of alpha, and its centre (row, column): equation (2) in a window [h, w] around one
    component.
    """
    whole = filled(core)
    near = (ndimage.binary_dilation(whole, _DISC) & ~other) | whole
    ring = ndimage.binary_dilation(near, _DISC) & ~near & ~other
    pedestal = float(np.median(alpha[ring])) if ring.any() else 0.0
    weight = (
        np.clip((alpha - pedestal) / (1.0 - pedestal), 0.0, 1.0)
        if pedestal < 0.5
        else whole.astype(float)
    )
    weight[inside(whole)] = 1.0
    weight[~near] = 0.0
    total = weight.sum()
    return (
        total,
        weight.sum(1) @ np.arange(weight.shape[0]) / total,
        weight.sum(0) @ np.arange(weight.shape[1]) / total,
    )


class TrackerOracle(Oracle):
    """Where each ball is."""

    name = "tracker"
    media = (VIDEO,)
    tolerance = f"every ball once in every frame, of one size, rms <= {OFF} px"
    corruptions = (vanish, teleport, double, visitor, recolour, resized)

    def read(self, reading: "Reading") -> list[Track]:
        """A track of every colour seen."""
        return reading.tracks

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Are the tracks those of the scene's balls, and of no other?"""
        tracks = {t.colour: t for t in reading.tracks}
        scene, size = example.take.scene, example.format.size
        if set(tracks) != {ball.colour for ball in scene.balls}:
            return False
        true = example.take.trajectory.positions(example.format.frame_times())
        return all(
            _follows(tracks[ball.colour], true[:, k], size) for k, ball in enumerate(scene.balls)
        )


def _follows(seen: Track, true: np.ndarray, size: int) -> bool:
    """Is a track in every frame, of one size, and near the true centres [F, 2] in metres?"""
    whole = seen.found.all() and seen.swelling <= SAME_SIZE
    return bool(whole and seen.rms_pixels(true, size) <= OFF)
