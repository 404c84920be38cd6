"""Ball tracker: the position of the ball of each colour in every frame, to a fraction of a pixel,
from pixels alone.

The tracker knows the colours that balls can have (`spec.palette`) and the scale of the world. It
does not know the scene: neither its backdrop nor which colours are present.

1. Backdrop b: per pixel, the median over time of its values that are not strongly coloured. Where
   a ball never leaves a pixel, the row's median.
2. Unmixing: a pixel of which a ball of palette colour c covers a share alpha is, in the styles flat
   and shaded,

       p = alpha s c + (1 - alpha) b                                                             (1)

   with an unknown shading s. Least squares for p = a c + beta b in three channels gives alpha = 1 -
   beta for any shading, and the residual of (1) identifies the colour. Highlights (white, nearly
   along b) lie inside a ball and are filled.
3. Per colour and frame: the largest connected region of a > A_MIN, alpha > 1/2. A second region is
   a duplicate. The largest is grown by two pixels, the median alpha around it is subtracted, and
   with q the positions of its pixels

       centre = sum alpha q / sum alpha,      radius = sqrt(sum alpha / pi)                      (2)

A prototype of this design measured 0.003 to 0.03 pixels of error on clean renders.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from scipy import ndimage

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import double, recolour, resized, teleport, vanish, visitor
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.worlds.playhouse.spec import SIZES, from_pixels, palette, pixels_per_metre

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

EXTENT = 4.0  # metres: width that a frame shows, a public constant of the world
# A pixel is coloured if the range of its channels exceeds both: absolute, and relative to the
# largest channel.
COLOURED = (0.13, 0.35)
# A median change of a channel between frames above NOISY means noise, which a blur of SOFTEN pixels
# reduces.
NOISY, SOFTEN = 0.02, 0.7
NOISE_LEFT = 2.0  # times that change: by how much noise raises the thresholds of COLOURED
A_MIN = 0.18  # least amount a of a palette colour in a pixel of a ball's core
MARGIN = 5  # pixels: window around a component, for its rim (2) and its surroundings (2)
# Largest ratio alpha / a. It exceeds 1 / 0.38, the darkest shading, because codecs blur colour more
# than brightness.
FAINT = 3.0
DUPLICATE = 0.35  # a second component of at least this share of the first's area is a second ball
LASTING = 1 / 3  # least share of frames in which a ball of the clip is visible
# largest ratio of a ball's sizes within a clip; balls of unchanged size, blurred or compressed,
# reach 1.08
SAME_SIZE = 1.15
MAX_RMS = 0.3  # pixels rms: tolerance between the tracked and the true centres

SMALLEST = min(low for low, _ in SIZES.values())  # metres
MOST_PIXELS = 1 << 20  # unmixed at once: 256 frames of 64 x 64, in some 300 MB
PLANE = np.array(ndimage.generate_binary_structure(3, 1))
PLANE[0] = PLANE[2] = False  # neighbours within a frame only
_CROSS = PLANE[1]
_DISC = np.array([[abs(i) + abs(j) <= 3 for i in range(-2, 3)] for j in range(-2, 3)])


@dataclasses.dataclass(frozen=True)
class Track:
    """The track of one ball over F frames.

    Attributes:
        colour: name of its palette colour.
        position: centre [F, 2] in metres; NaN where lost.
        radius: [F] in metres; NaN where lost.
        copies: int [F], number of balls of its colour: 0 where it is lost, 1 where it is found,
            more where it is duplicated.
    """

    colour: str
    position: np.ndarray
    radius: np.ndarray
    copies: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """A mask, bool [F]: frames in which the colour is present exactly once."""
        return self.copies == 1

    @property
    def motion(self) -> float:
        """The largest distance in metres from the ball's first visible position."""
        visible = self.position[self.copies > 0]
        return float(np.max(np.linalg.norm(visible - visible[0], axis=-1))) if len(visible) else 0.0

    def rms_pixels(self, target: np.ndarray, size: int) -> float:
        """Returns the root mean square distance of the positions to the centres `target` [F, 2] in
        metres, in pixels of frames of `size` x `size`; NaN if the ball is lost in any frame.
        """
        return float(
            np.sqrt(np.mean(np.sum((self.position - target) ** 2, -1)))
            * pixels_per_metre(EXTENT, size)
        )

    @property
    def lasting(self) -> bool:
        """Whether the colour is visible in at least LASTING of the frames, enough to be a ball of
        the clip and not a disturbance.
        """
        return float(np.mean(self.copies > 0)) >= LASTING

    @property
    def swelling(self) -> float:
        """The ratio of the largest to the smallest of the three median radii over the thirds of the
        clip; 1 if the ball keeps its size.
        """
        thirds = [part[np.isfinite(part)] for part in np.array_split(self.radius, 3)]
        medians = [float(np.median(part)) for part in thirds if len(part)]
        return max(medians) / min(medians) if medians else 1.0

    def jumps(self, fps: float) -> int:
        """Returns the number of steps between neighbouring frames, at `fps` frames/s, that are
        longer than any ball makes: faster than 7.6 m/s, the speed after a fall from the top.
        """
        step = np.linalg.norm(np.diff(self.position, axis=0), axis=-1)
        return int(np.sum(step > 7.6 / fps))


def components(mask: np.ndarray, structure: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Returns the connected regions of a mask: (labels from 1, 0 outside; their number).

    Args:
        mask: bool [H, W], or [F, H, W] with the structure PLANE for regions within a frame.
        structure: which neighbours connect, as `scipy.ndimage.label` takes it. Default: None, those
            that share a side.
    """
    return cast(tuple[np.ndarray, int], ndimage.label(mask, structure))


def box_mean(frames: np.ndarray, pixels: int, mode: str = "reflect") -> np.ndarray:
    """Returns frames [F, H, W, ...] with each pixel replaced by the mean over the square of
    `pixels` x `pixels` around it, and frames continued beyond their edges by `mode` of
    `scipy.ndimage` (default "reflect").
    """
    size: Any = (0, pixels, pixels, *(0,) * (frames.ndim - 3))
    return np.asarray(ndimage.uniform_filter(frames, size, mode=mode))


def coloured(frames: np.ndarray, margin: float = 0.0) -> np.ndarray:
    """Returns a mask, bool [F, H, W]: pixels too colourful for the world's pale or grey rooms.

    The threshold also finds the dark side of a shaded ball.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        margin: added to the threshold on the range of the three channels. Default 0.
    """
    high = frames.max(-1)
    return high - frames.min(-1) > np.maximum(COLOURED[0], COLOURED[1] * high) + margin


def vivid(frames: np.ndarray) -> np.ndarray:
    """Returns a mask, bool [F, H, W]: colourful pixels of frames [F, H, W, 3] as in `coloured`,
    with a higher threshold in noisy clips, because noise can colour much of a dark grey room.
    """
    noise = float(np.median(np.abs(np.diff(frames, axis=0)))) if len(frames) > 1 else 0.0
    return (
        coloured(ndimage.gaussian_filter(frames, (0.0, SOFTEN, SOFTEN, 0.0)), NOISE_LEFT * noise)
        if noise > NOISY
        else coloured(frames)
    )


def backdrop(frames: np.ndarray, ball: np.ndarray) -> np.ndarray:
    """Returns the background behind the balls, [H, W, 3]: per pixel, the median over the frames in
    which no ball covers it; where one always does, the row's median.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        ball: mask of pixels that a ball covers, bool [F, H, W].
    """
    # masked pixels become 9, above any value, so they sort last; the median is over the others
    shown = np.sort(np.where(ball[..., None], np.float32(9.0), frames), axis=0)
    count = len(frames) - ball.sum(0)
    pick = np.maximum(count - 1, 0) // 2
    still = np.take_along_axis(
        shown, np.broadcast_to(pick[None, ..., None], (1, *pick.shape, 3)), axis=0
    )[0]
    return still if count.all() else _fill(still, count > 0)


def _fill(still: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fills unknown pixels of a background [H, W, 3] with the median of their row, or of the
    nearest row with a known pixel. The pixels of a row are alike in this world's rooms.

    known is a mask, bool [H, W].
    """
    rows = np.flatnonzero(known.any(1))
    if not len(rows):
        return np.broadcast_to(np.float32(0.5), still.shape).copy()
    medians = {r: np.median(still[r][known[r]], axis=0) for r in rows}
    for r in np.flatnonzero(~known.all(1)):
        still[r][~known[r]] = medians[rows[np.argmin(np.abs(rows - r))]]
    return still


def unmix(
    frames: np.ndarray, still: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the palette colour that covers each pixel, and the share alpha of the pixel that it
    covers.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        still: background without balls, [H, W, 3].
        candidates: mask, bool [F, H, W], of pixels that may belong to a ball.

    Returns:
        (label int8 [F, H, W], index of the colour in the palette, -1 for none;
        alpha [F, H, W, colours], the share for each colour of the palette).
    """
    colours = np.array(list(palette().values()), np.float32)
    p, b = frames[candidates], np.maximum(np.broadcast_to(still, frames.shape)[candidates], 0.02)
    pc, cb, cc = p @ colours.T, b @ colours.T, np.sum(colours**2, -1)
    pb, bb, pp = (np.einsum("nc,nc->n", u, v)[:, None] for u, v in ((p, b), (b, b), (p, p)))
    det = np.maximum(cc * bb - cb * cb, 1e-3)
    a = (bb * pc - cb * pb) / det
    beta = (cc * pb - cb * pc) / det
    residual = np.where(a > A_MIN, pp - a * pc - beta * pb, np.inf)
    best = np.argmin(residual, -1)
    label = np.full(candidates.shape, -1, np.int8)
    label[candidates] = np.where(np.isfinite(residual.min(-1)), best, -1)
    alpha = np.zeros((*candidates.shape, len(colours)), np.float32)
    # A shadow also has beta < 1 but no colour, so alpha is limited by both.
    alpha[candidates] = np.clip(np.minimum(1.0 - beta, FAINT * a), 0.0, 1.0)
    return label, alpha


def track(frames: np.ndarray) -> list[Track]:
    """Returns a track of every palette colour that is visible in at least one frame: the position
    and radius of its ball in every frame, in metres.

    Args:
        frames: [F, H, W, 3] in [0, 1], a clip with a static camera and H = W.
    """
    frames = np.asarray(frames, np.float32)
    strong = coloured(frames)
    still = backdrop(frames, ndimage.maximum_filter(strong, size=(1, 5, 5)))
    near = ndimage.maximum_filter(strong, size=(1, 9, 9))
    block = max(1, MOST_PIXELS // (frames.shape[1] * frames.shape[2]))
    label = np.empty(strong.shape, np.int8)
    count = len(palette())
    alpha = np.empty((*strong.shape, count), np.float32)
    for i in range(0, len(frames), block):
        some = slice(i, i + block)
        label[some], alpha[some] = unmix(frames[some], still, near[some])
    label[np.logical_not(ndimage.maximum_filter(strong, size=(1, 3, 3)))] = -1
    # 0.4 of the area of the smallest ball. The rims where two balls, or a ball and the backdrop,
    # mix are smaller.
    min_area = 0.4 * np.pi * (SMALLEST * pixels_per_metre(EXTENT, frames.shape[2])) ** 2
    counts = np.bincount(label.ravel() + 1, minlength=count + 1)[1:]
    tracks = [
        _track_colour(k, label, alpha[..., k], min_area)
        for k in np.flatnonzero(counts >= min_area).tolist()
    ]
    return [t for t in tracks if t.copies.any()]


def lasting(tracks: list[Track]) -> list[Track]:
    """Returns the tracks that are visible in at least LASTING of the frames, so that they are balls
    of the clip and not disturbances.
    """
    return [t for t in tracks if t.lasting]


def _track_colour(k: int, label: np.ndarray, alpha: np.ndarray, min_area: float) -> Track:
    """Returns the track of palette colour k (step 3), from labels and its alpha [F, H, W]; regions
    below `min_area` pixels are ignored.
    """
    frames, _, width = label.shape
    core = (label == k) & (alpha > 0.5)
    parts, n = components(core, PLANE)
    area = np.bincount(parts.ravel(), minlength=n + 1)
    boxes = ndimage.find_objects(parts)
    position, radius, copies = (
        np.full((frames, 2), np.nan),
        np.full(frames, np.nan),
        np.zeros(frames, int),
    )
    largest = np.zeros(frames, int)
    for part in np.argsort(-area[1:]) + 1:
        if area[part] < min_area:
            break
        box = boxes[part - 1]
        f = box[0].start
        if copies[f]:
            copies[f] += area[part] > DUPLICATE * largest[f]
            continue
        copies[f], largest[f] = 1, area[part]
        top, left = (max(0, box[axis].start - MARGIN) for axis in (1, 2))
        window = (f, slice(top, box[1].stop + MARGIN), slice(left, box[2].stop + MARGIN))
        other = np.asarray(
            ndimage.binary_opening((label[window] >= 0) & (label[window] != k), _CROSS), bool
        )
        total, row, column = _centroid(parts[window] == part, other, alpha[window])
        position[f] = from_pixels(np.array([column + left, row + top]), EXTENT, width)
        radius[f] = np.sqrt(total / np.pi) / pixels_per_metre(EXTENT, width)
    return Track(tuple(palette())[k], position, radius, copies)


def filled(core: np.ndarray) -> np.ndarray:
    """Returns the mask of a ball, bool [h, w], with holes and notches filled, where a highlight has
    no colour. A disc stays unchanged.
    """
    closed = np.asarray(ndimage.binary_closing(np.pad(core, 3), _DISC))
    return np.asarray(ndimage.binary_fill_holes(closed[3:-3, 3:-3]), bool)


def inside(whole: np.ndarray) -> np.ndarray:
    """Returns the mask of a ball, bool [h, w], without its rim: pixels that the ball covers
    wholly.
    """
    return np.asarray(ndimage.binary_erosion(whole, _CROSS), bool)


def _centroid(core: np.ndarray, other: np.ndarray, alpha: np.ndarray) -> tuple[float, float, float]:
    """Returns (sum of alpha, row of the centre, its column) of one ball: equation (2) in a window
    [h, w] around it. `core` is its mask and `other` that of balls of other colours.
    """
    whole = filled(core)
    near = (np.asarray(ndimage.binary_dilation(whole, _DISC), bool) & ~other) | whole
    ring = np.asarray(ndimage.binary_dilation(near, _DISC), bool) & ~near & ~other
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
    """Oracle `tracker`: the positions of the balls in every frame."""

    name = "tracker"
    media = (VIDEO,)
    tolerance = f"every ball found once in every frame, of one size, within {MAX_RMS} px rms"
    corruptions = (vanish, teleport, double, visitor, recolour, resized)

    def read(self, reading: "Reading") -> list[Track]:
        """Returns a track of every visible colour of a clip."""
        return reading.tracks

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether every ball of the example's scene has a track that is complete and within
        MAX_RMS pixels of the true centres, and no other colour has a track.
        """
        tracks = {t.colour: t for t in reading.tracks}
        scene, size = example.take.scene, example.format.size
        if set(tracks) != {ball.colour for ball in scene.balls}:
            return False
        target = example.take.trajectory.positions(example.format.frame_times())
        return all(
            _follows(tracks[ball.colour], target[:, k], size) for k, ball in enumerate(scene.balls)
        )


def _follows(track: Track, target: np.ndarray, size: int) -> bool:
    """Returns whether a track is complete, of one size, and near the true centres `target` [F, 2]
    in metres, in frames of `size` pixels.
    """
    whole = track.found.all() and track.swelling <= SAME_SIZE
    return bool(whole and track.rms_pixels(target, size) <= MAX_RMS)
