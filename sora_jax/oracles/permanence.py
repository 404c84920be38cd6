"""Is what goes behind a panel still there? Colour, size and course of a ball before it is hidden and after, from pixels alone.

The panel is found by its paint, a public constant of the world, frame by frame (it may lift). Frames in which the ball's box touches the
panel's are not trusted, for a half-hidden disc has another centre. From the trusted frames before and after, x is a straight line each,

    x(t) = x_0 + u t   before,      x'(t) = x_0' + u' t   after                                            (1)

since nothing pushes a ball sideways but walls. The ball is `on_course` if both lines are one, or meet at a wall, and it is no faster after:

    |x'(t) - x(t)| <= TOLERANCE + DRIFT * gap  in the middle of the gap,   u u' > 0;  or                          (2)
    |x'(t_w) - x(t_w)| likewise where x(t_w) touches the wall,   u u' < 0,   |u'| <= PASSIVE |u|                    (3)

Heights are not asked for: how high a ball bounces behind the panel depends on a restitution that may not have been seen.
Limits: one ball, one panel, a still camera; two trusted frames at least before it is hidden and after. Held only to the pictures of its own test
so far: it has no calibration row yet, and `Reading` does not use it.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.arcs import PASSIVE
from sora_jax.oracles.tracker import EXTENT, track
from sora_jax.worlds.playhouse.spec import PAINTS, from_pixels

PAINT_TOLERANCE = 0.035  # of a channel, after a median over 5 x 5 pixels
LEAST_PANEL = 0.02  # of the picture
TOLERANCE, DRIFT = 0.14, 0.08  # metres; metres per second of gap
SEEN = 0.12  # least share of the frames in which a ball is to be seen
SAME_SIZE = 0.15  # relative change of the radius


@dataclasses.dataclass(frozen=True)
class Permanence:
    """same: one colour and size throughout; back: it is there after the panel; on_course: (2) or (3)."""

    same: bool
    back: bool
    on_course: bool

    @property
    def kept(self) -> bool:
        return self.same and self.back and self.on_course


def panel_boxes(frames: np.ndarray) -> np.ndarray:
    """(left, right, bottom, top) in metres of the panel in each frame, [F, 4]; NaN where there is none. frames: [F, H, W, 3] in [0, 1]."""
    smooth = ndimage.median_filter(frames, size=(1, 5, 5, 1))
    painted = np.abs(smooth - np.array(PAINTS["panel"], np.float32)).max(-1) < PAINT_TOLERANCE
    boxes = np.full((len(frames), 4), np.nan)
    for f, here in enumerate(painted):
        parts, _ = ndimage.label(here)
        area = np.bincount(parts.ravel())[1:]
        if not len(area) or area.max() < LEAST_PANEL * here.size:
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
    boxes, tracks = panel_boxes(frames), track(frames, fps, SEEN)
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


def _on_course(x, before, after, radius, fps) -> bool:
    """Equations (2) and (3)."""
    t = (np.arange(len(x)) + 0.5) / fps
    (u, x0), (v, y0) = np.polyfit(t[before], x[before], 1), np.polyfit(t[after], x[after], 1)
    start, end = t[before[-1]], t[after[0]]
    slack = TOLERANCE + DRIFT * (end - start)
    middle = 0.5 * (start + end)
    if u * v > 0:
        return bool(abs(y0 + v * middle - x0 - u * middle) <= slack)
    wall = EXTENT - radius if u > 0 else radius
    hit = (wall - x0) / u
    return bool(abs(y0 + v * hit - wall) <= slack and abs(v) <= PASSIVE * abs(u) and hit < end)
