"""Is what goes behind a panel still there? Colour, size and course of a ball before it is hidden and after, from pixels alone.

The camera of a film stands still or goes evenly here; its views are read from the posts (`camera.py`), and every frame is seen again as from
one camera. The panel is found by its paint, a public constant of the world, as the clip's style (`style.py`) shows it: as it is, 1.08 times as
bright where things are lit, and graded in a cinema; frame by frame, for it may lift. Frames in which the ball's box touches the panel's are not
trusted, for a half-hidden disc has another centre. From the trusted frames before and after, as many next to the gap as lie on a line to
STRAIGHT metres,

    x(t) = x_0 + u t   before,      x'(t) = x_0' + u' t   after                                            (1)

since nothing pushes a ball sideways but walls. The ball is `on_course` if both lines are one, or meet at a wall, and it is no faster after:

    |x'(t) - x(t)| <= TOLERANCE + DRIFT * gap  in the middle of the gap,   u u' > 0;  or                          (2)
    |x'(t_w) - x(t_w)| likewise where x(t_w) touches the wall,   u u' < 0,   |u'| <= PASSIVE |u|                    (3)

Units: metres and seconds. Heights are not asked for: how high a ball bounces behind the panel depends on a restitution that may not have been
seen. Limits: one ball, one panel; two trusted frames at least before it is hidden and after.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.arcs import PASSIVE
from sora_jax.oracles.camera import read_views, steady
from sora_jax.oracles.style import read_style
from sora_jax.oracles.tracker import EXTENT, track
from sora_jax.worlds.playhouse.render.styles import graded
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, PAINTS, from_pixels

PAINT_TOLERANCE = 0.035  # of a channel, after a median over 5 x 5 pixels
LEAST_PANEL = 0.02  # of the picture
TOLERANCE, DRIFT = 0.14, 0.08  # metres; metres per second of gap
SEEN = 0.12  # least share of the frames in which a ball is to be seen
SAME_SIZE = 0.15  # relative change of the radius
STRAIGHT = 0.06  # metres
LIT = 1.08  # how much brighter a shape's inside is where things are lit (`render/styles.py`)


@dataclasses.dataclass(frozen=True)
class Permanence:
    """same: one colour and size throughout; back: it is there after the panel; on_course: (2) or (3)."""

    same: bool
    back: bool
    on_course: bool

    @property
    def kept(self) -> bool:
        return self.same and self.back and self.on_course


def painted(style: str | None, size: int) -> np.ndarray:
    """The panel's paint as a style shows it, in every pixel of a picture [size, size, 3]."""
    picture = np.broadcast_to(np.array(PAINTS["panel"], np.float32), (size, size, 3))
    if style not in ("realistic", "cinematic"):
        return picture
    picture = picture * LIT
    row, column = np.arange(size)[:, None], np.arange(size)[None]
    return picture if style == "realistic" else np.asarray(graded(picture, row, column, size), np.float32)


def panel_boxes(frames: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """(left, right, bottom, top) in metres of the panel in each frame, [F, 4]; NaN where there is none.

    frames: [F, H, W, 3] in [0, 1], of a still camera; paint: what it is painted with, of a shape that broadcasts to theirs. What lies under
    the floor's line, which may be painted alike, is not looked at: bottom is that line at least.
    """
    smooth = ndimage.median_filter(frames, size=(1, 5, 5, 1))
    here = np.abs(smooth - paint).max(-1) < PAINT_TOLERANCE
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
    radius = np.nanmedian(seen.radius)
    x, y = seen.position.T
    left, right, bottom, top = boxes.T
    # A pixel of margin: the median filter rounds the panel's corners off.
    reach = radius + EXTENT / frames.shape[2]
    touched = (x + reach > left) & (x - reach < right) & (y + reach > bottom) & (y - reach < top)
    free = seen.found & ~touched
    gone = np.flatnonzero(~seen.found | touched)
    if not len(gone):
        return None
    before = np.flatnonzero(free[: gone[0]])
    if len(before) < 2:
        return Permanence(False, False, False)
    after = gone[-1] + 1 + np.flatnonzero(free[gone[-1] + 1 :])
    back = len(after) >= 2
    sizes = [np.median(seen.radius[i]) for i in (before, after) if len(i)]
    same = len(tracks) == 1 and back and abs(sizes[1] / sizes[0] - 1.0) < SAME_SIZE
    return Permanence(bool(same), bool(back), back and _on_course(x, before, after, radius, fps))


def _straight(t, x, frames) -> tuple[float, float]:
    """(u, x_0) of (1) from as many of the first of these frames as lie on a line."""
    for n in range(len(frames), 1, -1):
        u, x0 = np.polyfit(t[frames[:n]], x[frames[:n]], 1)
        if np.abs(x0 + u * t[frames[:n]] - x[frames[:n]]).max() < STRAIGHT:
            break
    return u, x0


def _on_course(x, before, after, radius, fps) -> bool:
    """Equations (2) and (3)."""
    t = (np.arange(len(x)) + 0.5) / fps
    (u, x0), (v, y0) = _straight(t, x, before[::-1]), _straight(t, x, after)
    start, end = t[before[-1]], t[after[0]]
    slack = TOLERANCE + DRIFT * (end - start)
    middle = 0.5 * (start + end)
    if u * v > 0:
        return bool(abs(y0 + v * middle - x0 - u * middle) <= slack)
    wall = EXTENT - radius if u > 0 else radius
    hit = (wall - x0) / u
    return bool(abs(y0 + v * hit - wall) <= slack and abs(v) <= PASSIVE * abs(u) and hit < end)
