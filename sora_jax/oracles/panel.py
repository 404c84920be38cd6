"""Finds the panel of a clip of family `occlude`: where it stands, and in which frames.

The panel is the rectangle on the floor's line that holds most of

    sum over its pixels of  clip(1 - |p - paint| / PAINT, -1, 1)                                 (1)

in the first half of the clip, for the panel's paint, a public constant of the world, as one of the
styles shows it. It is there in a frame as long as (1) is positive in it where no ball is before it,
for it may lift. Its rim is drawn darker: RIM pixels more are hidden.
"""

import dataclasses
from operator import itemgetter

import numpy as np
from scipy import ndimage

from sora_jax.oracles.camera_views import painted, steady
from sora_jax.oracles.tracker import EXTENT, vivid
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, from_pixels, pixels_per_metre

PAINT = 0.046  # of a channel; a grey wall may be as near as 0.05
LEAST_PANEL, MOST_PANEL = 0.02, 0.5  # of the picture
RIM = 2.25  # pixels


@dataclasses.dataclass(frozen=True)
class Panel:
    """A panel in a clip.

    Attributes:
        left, right, top: of its core, metres.
        there: bool [F], the frames in which it stands.
    """

    left: float
    right: float
    top: float
    there: np.ndarray

    def hides(self, size: int) -> np.ndarray:
        """How much of each pixel [F, H, W] it hides."""
        scale, pixel = pixels_per_metre(EXTENT, size), np.arange(size) + 0.5
        across = np.clip(
            np.minimum(pixel - self.left * scale, self.right * scale - pixel) + RIM + 0.5, 0.0, 1.0
        )
        down = np.clip(pixel - (EXTENT - BELOW_FLOOR - self.top) * scale + RIM + 0.5, 0.0, 1.0)
        return self.there[:, None, None] * down[:, None] * across[None]


def read_panel(frames: np.ndarray, views: np.ndarray | None = None) -> Panel | None:
    """The panel in frames [F, H, W, 3] of a still camera, or of one that was held still (`steady`)
    from these views; None where there is none.
    """
    size, floor = frames.shape[2], round(frames.shape[1] * (1.0 - BELOW_FLOOR / EXTENT))
    frames, found = ndimage.uniform_filter(frames, (0, 3, 3, 0)), []  # noise is no other paint
    for style in (None, "realistic", "cinematic"):
        # a cinema's grade is of the picture, not of the scene
        paint = np.broadcast_to(painted(style, size), frames.shape)
        paint = paint if views is None else steady(paint, views)
        score = np.clip(1.0 - np.abs(frames - paint).max(-1) / PAINT, -1.0, 1.0)
        # [rows above the floor, W]
        up = np.cumsum(score[: (len(frames) + 1) // 2].mean(0)[floor - 1 :: -1], axis=0)
        total = np.concatenate([np.zeros((floor, 1)), np.cumsum(up, axis=1)], axis=1)
        lowest = np.minimum.accumulate(total, axis=1)
        most = total - lowest
        height, right = np.unravel_index(np.argmax(most), most.shape)
        left = int(np.argmax(total[height, : right + 1] <= lowest[height, right]))
        found.append((most[height, right], left, int(right), int(height) + 1, score))
    most, left, right, height, score = max(found, key=itemgetter(0))
    if most < LEAST_PANEL * size * size or (right - left) * height > MOST_PANEL * size * size:
        return None
    inside = (slice(None), slice(floor - height, floor), slice(left, right))
    # what a ball before it covers, and its rim, says nothing
    bare = ~ndimage.maximum_filter(vivid(frames), size=(1, 5, 5))
    there = (score * bare)[inside].sum((1, 2)) >= 0.0
    low, high = (
        from_pixels(np.array([column - 0.5, floor - height - 0.5]), EXTENT, size)
        for column in (left, right)
    )
    return Panel(float(low[0]), float(high[0]), float(high[1]), there)
