"""What stands in a clip of family `court`: a hoop, a goal or two platforms, on which side, how
high, and what of it is in front of the ball.

What does not change from scene to scene is public (`worlds/playhouse/families/furniture.py`), so
few numbers are sought. The wall W(row) is a straight line in brightness through the upper rows, the
floor each row's median; paints are shaded as the wall is. Of a hoop and of a goal the height is
sought, by least squares of

    S(row, column) - [background, painted over with the furniture]                               (1)

over the still picture S, on a grid of heights and then between them by a parabola. Two platforms
are measured: with the share

    c = (W - S) . (W - stone) / |W - stone|^2                                                    (2)

of stone in a pixel their heights are sums of c along columns, their edges sums along rows. The
target is on the right, or the picture is mirrored; of all six that which leaves least of (1) is
there, if it leaves less than REST of what the background alone leaves.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

from sora_jax.worlds.playhouse.families import furniture
from sora_jax.worlds.playhouse.families.furniture import (
    EXTENT,
    GOAL_HEIGHTS,
    HOOP_HEIGHTS,
    KEEPER,
    PAD_HALF,
    PAD_RADIUS,
)
from sora_jax.worlds.playhouse.render.shapes import distance
from sora_jax.worlds.playhouse.spec import (
    BELOW_FLOOR,
    PAINTS,
    Shape,
    from_pixels,
    pixels_per_metre,
    to_pixels,
)

REST = 0.5
# of a part: least sum of squares that shows it, least share of it; share of a keeper's darkness
CONTRAST, THERE, KEPT = 0.15, 0.5, 0.4
STEP = 0.03  # metres between two heights that are tried
MIDDLE = 0.10 / 0.22  # of the picture: where shaded paints have their own brightness
SKY = 2.3  # metres: above it there is wall, and things too slim to change a row's median
SOFT = (0.0, 0.7, 1.2)  # pixels that everything may be blurred by
EDGES = (1.45, 3.55)  # metres: edges of platforms lie between

BUILDS = (
    ("throw", furniture.hoop, HOOP_HEIGHTS),
    ("shot", lambda h: furniture.goal(h, ()), GOAL_HEIGHTS),
)


@dataclasses.dataclass(frozen=True)
class Furniture:
    """action: throw, shot or jump; shapes: for a target to the right; bare, picture [H, W, 3]: what
    the still picture should be without them and with them; front [H, W]: how much of a ball is
    hidden there. mirrored: the target is on the left, and all of this is of the mirrored picture.
    """

    action: str
    mirrored: bool
    shapes: tuple[Shape, ...]
    bare: np.ndarray
    picture: np.ndarray
    front: np.ndarray


def read_furniture(still: np.ndarray) -> Furniture | None:
    """What stands in a still picture [H, W, 3] without balls; None where nothing of `court`
    does.
    """
    size, best = still.shape[1], []
    # a keeper moves
    asked = (
        np.abs((np.arange(size) + 0.5) / pixels_per_metre(EXTENT, size) - KEEPER) > PAD_RADIUS + 0.1
    )
    for mirrored in (False, True):
        picture = still[:, ::-1] if mirrored else still
        bare, shade = _background(picture)
        platforms = _platforms(picture, bare, shade)
        for soft in SOFT:

            def seen(shapes):
                painted = _painted(bare, shade, shapes)
                return ndimage.gaussian_filter(painted, (soft, soft, 0.0))

            def loss(shapes):
                return float(np.square(picture - seen(shapes))[:, asked].sum())

            found = [(action, *_highest(build, heights, loss)) for action, build, heights in BUILDS]
            found += [("jump", platforms, loss(platforms))] if platforms else []
            best += [
                (rest, action, mirrored, shapes, seen(()), seen(shapes), soft, loss(()))
                for action, shapes, rest in found
            ]
    rest, action, mirrored, shapes, bare, picture, soft, whole = min(
        best, key=lambda option: option[0]
    )
    if not rest <= REST * whole:
        return None
    clear = np.prod(
        [np.ones((size, size)), *(1.0 - _coverage(s, size) for s in shapes if s.front)], axis=0
    )
    return Furniture(
        action, mirrored, shapes, bare, picture, 1.0 - ndimage.gaussian_filter(clear, soft)
    )


def _background(still: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wall and floor of every row [H, 1, 3], and by how much paints are brighter there [H, 1,
    1].
    """
    size = still.shape[0]
    rows, median = np.arange(size), np.median(still, axis=1)
    high, floor = (
        int(to_pixels(np.array([0.0, SKY]), EXTENT, size)[1]),
        round(size * (1.0 - BELOW_FLOOR / EXTENT)),
    )
    slope, wall = np.polyfit(rows[:high], median[:high], 1)
    bare = wall + slope * rows[:, None]
    shade = (bare / np.maximum(wall + slope * (size * MIDDLE), 1e-3)).mean(-1)
    bare[floor:] = median[floor:]
    return bare[:, None], shade[:, None, None]


@functools.lru_cache(maxsize=512)
def _coverage(shape: Shape, size: int) -> np.ndarray:
    """How much of each pixel [H, W] a shape covers, where its path begins. Not to be written to."""
    corners = to_pixels(np.array(shape.points), EXTENT, size)
    row, column = np.mgrid[0:size, 0:size]
    depth = shape.radius * pixels_per_metre(EXTENT, size) - np.asarray(
        distance(corners, row, column)
    )
    return np.clip(depth + 0.5, 0.0, 1.0).astype(np.float32)


def _painted(bare: np.ndarray, shade: np.ndarray, shapes: tuple[Shape, ...]) -> np.ndarray:
    """The background with the furniture before it, [H, W, 3]; what moves is left out."""
    size = len(bare)
    picture = np.broadcast_to(bare, (size, size, 3))
    for shape in sorted(shapes, key=lambda s: s.front):
        if shape.paint != "pad":
            picture = picture + _coverage(shape, size)[..., None] * (
                shade * np.array(PAINTS[shape.paint]) - picture
            )
    return picture


def _highest(build, heights, loss) -> tuple[tuple[Shape, ...], float]:
    """The furniture whose height fits best, and what it leaves of (1)."""
    grid = np.round(np.arange(heights[0] - STEP, heights[1] + 1.5 * STEP, STEP), 6)
    losses = np.array([loss(build(float(h))) for h in grid])
    k = int(np.clip(np.argmin(losses), 1, len(grid) - 2))
    before, at, after = losses[k - 1 : k + 2]
    shift = 0.5 * (before - after) / max(before - 2.0 * at + after, 1e-9)
    best = build(round(float(grid[k] + STEP * np.clip(shift, -1.0, 1.0)), 3))
    return best, loss(best)


def _platforms(still: np.ndarray, bare: np.ndarray, shade: np.ndarray) -> tuple[Shape, ...] | None:
    """Two platforms of which the left is the higher, by (2); None where there is nothing of the
    kind.
    """
    size = len(still)
    away = bare - shade * np.array(PAINTS["stone"])
    stone = np.sum((bare - still) * away, -1) / np.maximum(np.square(away).sum(-1), 1e-6)
    scale, floor = pixels_per_metre(EXTENT, size), round(size * (1.0 - BELOW_FLOOR / EXTENT))
    first, last = (round(x * scale) for x in EDGES)
    # the floor's line is not quite where a row begins
    line = (EXTENT - BELOW_FLOOR) * scale - floor
    up = stone[:floor][::-1]
    top, low = (
        (_end(np.median(up[:, columns], axis=1)) + line) / scale
        for columns in (slice(0, first), slice(last, size))
    )
    if not (top > low + 0.1 and low > 0.3):
        return None
    rows = slice(int(to_pixels(np.array([0.0, low - 0.1]), EXTENT, size)[1]), floor - 1)
    across = np.median(stone[rows], axis=0)
    edge, far = _end(across) / scale, EXTENT - _end(across[::-1]) / scale
    return (
        furniture.gap(round(edge, 3), round(top, 3), round(far, 3), round(low, 3))
        if edge < far
        else None
    )


def _end(share: np.ndarray) -> float:
    """How many of a row's pixels, from the first on, are stone: those before its share [N] falls
    below a half, and the two there in part.
    """
    k = int(np.argmax(np.append(share, 0.0) < 0.5))
    return float(max(k - 1, 0) + np.clip(share[max(k - 1, 0) : k + 1], 0.0, 1.0).sum())


def missing(frames: np.ndarray, there: Furniture, ball: np.ndarray) -> np.ndarray:
    """bool [F]: is some solid part of the furniture not there in a frame, or not where it is in
    most?

    A part is there with the share of its contrast, as in (2), that a frame shows; parts that hardly
    differ from what is behind them, or that the ball covers, are not asked for. frames [F, H, W,
    3], mirrored as the furniture is; ball: bool [F, H, W].
    """
    size, gone = frames.shape[1], np.zeros(len(frames), bool)
    away = there.picture - there.bare
    for shape in there.shapes:
        if shape.material is None or shape.paint == "pad":
            continue
        weight = _coverage(shape, size)[None] * ~ball
        whole = np.sum(weight * np.square(away).sum(-1), axis=(1, 2))
        shown = np.sum(weight * np.sum((frames - there.bare) * away, axis=-1), axis=(1, 2))
        gone |= (whole > CONTRAST) & (shown < THERE * whole)
    return gone


def read_keeper(frames: np.ndarray, there: Furniture, ball: np.ndarray) -> np.ndarray:
    """The height in metres of the keeper's middle in every frame [F], NaN where there is none.

    frames [F, H, W, 3], mirrored as the furniture is; ball: bool [F, H, W].
    """
    size = frames.shape[1]
    scale, pad = pixels_per_metre(EXTENT, size), np.array(PAINTS["pad"])
    columns = slice(round((KEEPER - PAD_RADIUS) * scale), round((KEEPER + PAD_RADIUS) * scale))
    away = there.picture[:, columns] - pad
    dark = np.sum((there.picture[:, columns] - frames[:, :, columns]) * away, -1) / np.maximum(
        np.square(away).sum(-1), 0.02
    )
    dark = np.where(ball[:, :, columns], 0.0, np.clip(dark, -0.5, 1.0)).mean(-1)  # [F, H]
    half, rows = (PAD_HALF + PAD_RADIUS) * scale, np.arange(size)
    places = np.arange(half, size - half, 0.25)
    box = np.clip(half + 0.5 - np.abs(rows[None] - places[:, None]), 0.0, 1.0) - 0.5
    score = dark @ box.T
    height = from_pixels(
        np.stack([np.zeros(len(frames)), places[np.argmax(score, axis=1)]], axis=-1), EXTENT, size
    )[:, 1]
    return np.where(score.max(1) > KEPT * half, height, np.nan)  # a whole keeper scores `half`
