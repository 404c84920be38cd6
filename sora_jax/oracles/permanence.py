"""Is what goes behind a panel still there? Colour, size and course of a ball before it is hidden and after, from pixels alone.

The camera of a film stands still or goes evenly here; its views are read from the posts (`camera.py`), and every frame is seen again as from
one camera. The panel is found by its paint, a public constant of the world, as the clip's style (`style.py`) shows it: as it is, 1.08 times as
bright where things are lit, and graded in a cinema; frame by frame, for it may lift. Frames in which the disc is smaller than WHOLE
of what it mostly is are not trusted: half hidden it has another centre. From the trusted frames before and after, as many next to the
gap as lie on a line to
STRAIGHT metres,

    x(t) = x_0 + u t   before,      x'(t) = x_0' + u' t   after                                            (1)

since nothing pushes a ball sideways but walls. The ball is `on_course` if both lines are one, or meet at a wall, and it is no faster after:

    |x'(t) - x(t)| <= TOLERANCE + gap (e + e') / 2  in the middle of the gap,   |u' - u| <= CHANGE |u| + e + e',   u u' > 0;  or     (2)
    |x'(t_w) - x(t_w)| likewise where x(t_w) touches the wall,   u u' < 0,   |u'| <= PASSIVE |u| + e + e'                     (3)

with the errors e, e' that SIGMA metres of a position make in u and u'.

Units: metres and seconds. Heights are not asked for: how high a ball bounces behind the panel depends on a restitution that may not have been
seen. Limits: one ball, one panel; two trusted frames at least before it is hidden and after. No calibration row yet, for it is not within the limits:
of the first 32 clips of `occlude` (`val`) it kept 26, in noise of 10 it kept 22, and of those where the ball came out early
(`conditions.corrupted_early`) it kept 1, of those where it stayed behind 0. What it misses is mostly a panel at a wall that hides a post.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.arcs import PASSIVE
from sora_jax.oracles.camera import painted, read_views, steady
from sora_jax.oracles.style import read_style
from sora_jax.oracles.tracker import EXTENT, track
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, PAINTS, from_pixels

PAINT_TOLERANCE = 0.035  # of a channel, after a median over 5 x 5 pixels
LEAST_PANEL = 0.02  # of the picture
TOLERANCE = 0.14  # metres
SEEN = 0.12  # least share of the frames in which a ball is to be seen
SAME_SIZE = 0.15  # relative change of the radius
STRAIGHT = 0.06  # metres
WHOLE = 0.955  # of a ball's radius: a smaller disc is half hidden
SIGMA, CHANGE = 0.03, 0.3  # metres: error of a position; of u: least change that is one


@dataclasses.dataclass(frozen=True)
class Permanence:
    """same: one colour and size throughout; back: it is there after the panel; on_course: (2) or (3)."""

    same: bool
    back: bool
    on_course: bool

    @property
    def kept(self) -> bool:
        return self.same and self.back and self.on_course


def panel_boxes(frames: np.ndarray, paint: np.ndarray | None = None) -> np.ndarray:
    """(left, right, bottom, top) in metres of the panel in each frame, [F, 4]; NaN where there is none.

    frames: [F, H, W, 3] in [0, 1], of a still camera; paint: what it is painted with, of a shape that broadcasts to theirs
    (None: its plain paint). What lies under the floor's line, which may be painted alike, is not looked at: bottom is that line at least.
    """
    smooth = ndimage.median_filter(frames, size=(1, 5, 5, 1))
    here = np.abs(smooth - (np.array(PAINTS["panel"], np.float32) if paint is None else paint)).max(-1) < PAINT_TOLERANCE
    here[:, round(frames.shape[1] * (1.0 - BELOW_FLOOR / EXTENT)) :] = False
    boxes = np.full((len(frames), 4), np.nan)
    for f, spot in enumerate(here):
        parts, _ = ndimage.label(ndimage.binary_opening(spot, np.ones((3, 3))))
        area = np.bincount(parts.ravel())[1:]
        if not len(area) or area.max() < LEAST_PANEL * spot.size:
            continue
        rows, columns = np.nonzero(parts == 1 + np.argmax(area))
        low = from_pixels(np.array([columns.min() - 0.5, rows.max() + 0.5]), EXTENT, frames.shape[2])
        high = from_pixels(np.array([columns.max() + 0.5, rows.min() - 0.5]), EXTENT, frames.shape[2])
        boxes[f] = low[0], high[0], low[1], high[1]
    return boxes


def read_permanence(frames: np.ndarray, fps: float) -> Permanence | None:
    """What becomes of the ball of a clip that goes behind a panel; None without a panel, or where no ball goes behind it.

    frames: [F, H, W, 3] in [0, 1]. A clip with a panel and no ball to be seen before it keeps nothing.
    """
    frames = np.asarray(frames, np.float32)
    views, paint = read_views(frames, even=True), painted(read_style(frames), frames.shape[2])[None]
    if views is not None:
        frames, paint = steady(frames, views), steady(np.broadcast_to(paint, frames.shape), views)
    boxes, tracks = panel_boxes(frames, paint), track(frames, fps, SEEN)
    if np.isnan(boxes).all():
        return None
    if not tracks:
        return Permanence(False, False, False)
    seen = max(tracks, key=lambda t: np.sum(t.copies > 0))
    whole = seen.found & (seen.radius > WHOLE * np.nanquantile(seen.radius, 0.75))
    gone = np.flatnonzero(seen.copies == 0)
    if not len(gone):
        return None
    before, after = np.flatnonzero(whole[: gone[0]]), gone[-1] + 1 + np.flatnonzero(whole[gone[-1] + 1 :])
    if len(before) < 2:
        return Permanence(False, False, False)
    back = len(after) >= 2
    sizes = [np.median(seen.radius[i]) for i in (before, after) if len(i)]
    same = len(tracks) == 1 and back and abs(sizes[1] / sizes[0] - 1.0) < SAME_SIZE
    return Permanence(bool(same), bool(back), back and _on_course(seen.position[:, 0], before, after, sizes[0], fps, boxes[gone]))


def _straight(t, x, frames) -> tuple[float, float, float]:
    """(u, x_0) of (1) from as many of the first of these frames as lie on a line, and the error of u that SIGMA makes, m/s."""
    for n in range(len(frames), 1, -1):
        u, x0 = np.polyfit(t[frames[:n]], x[frames[:n]], 1)
        if np.abs(x0 + u * t[frames[:n]] - x[frames[:n]]).max() < STRAIGHT:
            break
    return u, x0, SIGMA / np.sqrt(np.square(t[frames[:n]] - t[frames[:n]].mean()).sum())


def _on_course(x, before, after, radius, fps, boxes) -> bool:
    """Equations (2) and (3); and where the ball is not seen there is a panel, which it goes to and comes from. boxes: of those frames."""
    t = (np.arange(len(x)) + 0.5) / fps
    (u, x0, e), (v, y0, f) = _straight(t, x, before[::-1]), _straight(t, x, after)
    start, end = t[before[-1]], t[after[0]]
    left, right = np.nanmin(boxes[:, 0], initial=np.inf) - radius, np.nanmax(boxes[:, 1], initial=-np.inf) + radius
    if not all(left - TOLERANCE < place < right + TOLERANCE for place in (x0 + u * (start + 1.0 / fps), y0 + v * (end - 1.0 / fps))):
        return False
    slack = TOLERANCE + 0.5 * (end - start) * (e + f)
    middle = 0.5 * (start + end)
    if u * v > 0:
        return bool(abs(y0 + v * middle - x0 - u * middle) <= slack and abs(v - u) <= CHANGE * abs(u) + e + f)
    wall = EXTENT - radius if u > 0 else radius
    hit = (wall - x0) / u
    return bool(abs(y0 + v * hit - wall) <= slack + (e + f) * abs(hit - middle) and abs(v) <= PASSIVE * abs(u) + e + f and hit < end)
