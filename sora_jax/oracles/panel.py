"""Finds the panel of a clip of family `occlude`, a board in front of the balls: its position, and
the frames in which it stands.

The panel is the rectangle with its lower edge on the floor line that maximizes

    sum over its pixels of  clip(1 - |p - paint| / PAINT, -1, 1)                                 (1)

on average over the first half of the clip. Here p is a pixel, |.| the largest difference of a
channel, and `paint` the colour of the panel, a public constant of the world, as each candidate
style renders it. The panel may be lifted during the clip, so it stands in a frame only if (1) is
not negative there over the pixels without a ball. Its rim is drawn darker and hides RIM more
pixels.
"""

import dataclasses
from operator import itemgetter

import numpy as np
from scipy import ndimage

from sora_jax.oracles.camera_views import painted, steady
from sora_jax.oracles.tracker import EXTENT, box_mean, vivid
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, from_pixels, pixels_per_metre

PAINT = 0.046  # distance per channel, in [0, 1]; a grey wall may be as near as 0.05
# least sum (1), and largest area of the panel, both relative to the pixels of a frame
MIN_PANEL, MAX_PANEL = 0.02, 0.5
RIM = 2.25  # pixels: width of the rim


@dataclasses.dataclass(frozen=True)
class Panel:
    """The panel of a clip, a board that stands on the floor in front of the balls.

    Attributes:
        left, right, top: edges without the rim, metres; the lower edge is on the floor.
        present: bool [F], True in the frames in which it stands.
    """

    left: float
    right: float
    top: float
    present: np.ndarray

    def hides(self, size: int) -> np.ndarray:
        """Returns the share of each pixel that the panel with its rim hides, [F, size, size], for
        frames of `size` x `size` pixels.
        """
        scale, pixel = pixels_per_metre(EXTENT, size), np.arange(size) + 0.5
        across = np.clip(
            np.minimum(pixel - self.left * scale, self.right * scale - pixel) + RIM + 0.5, 0.0, 1.0
        )
        down = np.clip(pixel - (EXTENT - BELOW_FLOOR - self.top) * scale + RIM + 0.5, 0.0, 1.0)
        return self.present[:, None, None] * down[:, None] * across[None]


def read_panel(frames: np.ndarray, views: np.ndarray | None = None) -> Panel | None:
    """Returns the panel of a clip; None without a panel.

    Args:
        frames: [F, H, W, 3] in [0, 1] of a static camera, or resampled to one
            (`camera_views.steady`).
        views: the views that the frames were resampled from, (left, top, width) in metres, [F, 3].
            Default: None, a static camera.
    """
    size, floor = frames.shape[2], round(frames.shape[1] * (1.0 - BELOW_FLOOR / EXTENT))
    # averaged over 3 x 3 pixels, so that noise does not move a pixel away from the paint
    frames, candidates = box_mean(frames, 3), []
    for style in (None, "realistic", "cinematic"):
        # The cinematic grade depends on the position in the picture, not in the scene, so the paint
        # is resampled with the frames.
        paint = np.broadcast_to(painted(style, size), frames.shape)
        paint = paint if views is None else steady(paint, views)
        score = np.clip(1.0 - np.abs(frames - paint).max(-1) / PAINT, -1.0, 1.0)
        # [rows above the floor, W]
        rows = np.cumsum(score[: (len(frames) + 1) // 2].mean(0)[floor - 1 :: -1], axis=0)
        total = np.concatenate([np.zeros((floor, 1)), np.cumsum(rows, axis=1)], axis=1)
        lowest = np.minimum.accumulate(total, axis=1)
        score_sum = total - lowest
        height, right = np.unravel_index(np.argmax(score_sum), score_sum.shape)
        left = int(np.argmax(total[height, : right + 1] <= lowest[height, right]))
        candidates.append((score_sum[height, right], left, int(right), int(height) + 1, score))
    score_sum, left, right, height, score = max(candidates, key=itemgetter(0))
    if score_sum < MIN_PANEL * size * size or (right - left) * height > MAX_PANEL * size * size:
        return None
    inside = (slice(None), slice(floor - height, floor), slice(left, right))
    # pixels of a ball in front, and its rim, are excluded
    bare = np.logical_not(ndimage.maximum_filter(vivid(frames), size=(1, 5, 5)))
    present = (score * bare)[inside].sum((1, 2)) >= 0.0
    low, high = (
        from_pixels(np.array([column - 0.5, floor - height - 0.5]), EXTENT, size)
        for column in (left, right)
    )
    return Panel(float(low[0]), float(high[0]), float(high[1]), present)
