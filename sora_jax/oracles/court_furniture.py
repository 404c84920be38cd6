"""Furniture of a clip of family `court` (throws, shots and jumps): a hoop, a goal or two platforms,
its side and height, and the parts in front of the ball.

The dimensions that all scenes share are public (`worlds/playhouse/families/furniture.py`), so
few numbers are fitted. The colour of the wall W(row) is linear in the row, fitted to the upper
rows; the floor is each row's median. Furniture is shaded like the wall. The height of a hoop or
a goal is fitted by least squares of

    S(row, column) - [background, painted over with the furniture]                               (1)

over the still picture S (the clip without balls), on a grid of heights refined by a parabola. The
heights and edges of two platforms are measured directly. With the share

    c = (W - S) . (W - stone) / |W - stone|^2                                                    (2)

of stone in a pixel, their heights are sums of c along columns and their edges sums of c along
rows. A target on the left is read from the mirrored picture. Of the six candidates (three
kinds of furniture, two sides), the one with the least residual (1) is chosen, if that residual
is at most MAX_RESIDUAL of the background's own.
"""

import dataclasses
import functools
from collections.abc import Callable

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

MAX_RESIDUAL = 0.5  # largest share of the background's residual that the furniture may leave
# `missing`: least contrast of a part that is tested (sum of squares) and least visible share of it;
# `read_keeper`: least score, relative to that of a keeper which is visible as a whole
MIN_CONTRAST, MIN_VISIBLE, MIN_KEEPER = 0.15, 0.5, 0.4
STEP = 0.03  # metres between two heights of the grid
MIDDLE = 0.10 / 0.22  # share of the picture's height: the row in which shading changes no colour
SKY = 2.3  # metres: above it only wall, and objects too thin to change a row's median
SOFT = (0.0, 0.7, 1.2)  # pixels: candidates for the blur of the whole picture
EDGES = (1.45, 3.55)  # metres: the facing edges of the platforms lie between these

BUILDS = (
    ("throw", furniture.hoop, HOOP_HEIGHTS),
    ("shot", lambda h: furniture.goal(h, ()), GOAL_HEIGHTS),
)


@dataclasses.dataclass(frozen=True)
class Furniture:
    """The furniture of a clip of family `court`: a hoop, a goal or two platforms.

    Attributes:
        action: "throw" at a hoop, "shot" at a goal or "jump" over a gap between platforms.
        mirrored: True if the target is on the left. All other attributes then describe the mirrored
            video.
        shapes: the furniture's shapes, for a target on the right.
        bare, picture: [H, W, 3] in [0, 1], the background without and with the furniture.
        front: [H, W], share of each pixel that furniture in front of the ball hides.
    """

    action: str
    mirrored: bool
    shapes: tuple[Shape, ...]
    bare: np.ndarray
    picture: np.ndarray
    front: np.ndarray


def read_furniture(still: np.ndarray) -> Furniture | None:
    """Returns the furniture in a picture [H, W, 3] in [0, 1] of the background without balls; None
    without furniture of family `court`.
    """
    size, candidates = still.shape[1], []
    # The keeper moves, so the columns that it can cover do not count in the fit.
    columns = (
        np.abs((np.arange(size) + 0.5) / pixels_per_metre(EXTENT, size) - KEEPER) > PAD_RADIUS + 0.1
    )
    for mirrored in (False, True):
        picture = still[:, ::-1] if mirrored else still
        bare, shade = _background(picture)
        platforms = _platforms(picture, bare, shade)
        for soft in SOFT:
            render = functools.partial(_rendered, bare, shade, soft)
            loss = functools.partial(_loss, picture, columns, render)
            fits = [
                (action, *_best_height(build, heights, loss)) for action, build, heights in BUILDS
            ]
            fits += [("jump", platforms, loss(platforms))] if platforms else []
            candidates += [
                (residual, action, mirrored, shapes, render(()), render(shapes), soft, loss(()))
                for action, shapes, residual in fits
            ]
    residual, action, mirrored, shapes, bare, picture, soft, bare_residual = min(
        candidates, key=lambda option: option[0]
    )
    if not residual <= MAX_RESIDUAL * bare_residual:
        return None
    clear = np.prod(
        [np.ones((size, size)), *(1.0 - _coverage(s, size) for s in shapes if s.front)], axis=0
    )
    return Furniture(
        action, mirrored, shapes, bare, picture, 1.0 - ndimage.gaussian_filter(clear, soft)
    )


def _rendered(
    bare: np.ndarray, shade: np.ndarray, soft: float, shapes: tuple[Shape, ...]
) -> np.ndarray:
    """Returns a picture of the background with shapes in front, blurred by `soft` pixels,
    [H, W, 3]. bare, shade: the result of `_background`.
    """
    return ndimage.gaussian_filter(_painted(bare, shade, shapes), (soft, soft, 0.0))


def _loss(
    picture: np.ndarray,
    columns: np.ndarray,
    render: Callable[[tuple[Shape, ...]], np.ndarray],
    shapes: tuple[Shape, ...],
) -> float:
    """Returns the sum of squares of (1) between a picture and render(shapes), over the columns of
    the mask `columns`, bool [W].
    """
    return float(np.square(picture - render(shapes))[:, columns].sum())


def _background(still: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (colour of wall or floor in every row [H, 1, 3], factor by which furniture is shaded
    in that row [H, 1, 1]).
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
    """Returns the share of each pixel that a shape covers at the start of its path, [size, size].
    The result is cached, so callers must not write to it.
    """
    corners = to_pixels(np.array(shape.points), EXTENT, size)
    row, column = np.mgrid[0:size, 0:size]
    depth = shape.radius * pixels_per_metre(EXTENT, size) - np.asarray(
        distance(corners, row, column)
    )
    return np.clip(depth + 0.5, 0.0, 1.0).astype(np.float32)


def _painted(bare: np.ndarray, shade: np.ndarray, shapes: tuple[Shape, ...]) -> np.ndarray:
    """Returns a picture of the background with the shapes in front, [H, W, 3], without the keeper,
    which moves.
    """
    size = len(bare)
    picture = np.broadcast_to(bare, (size, size, 3))
    for shape in sorted(shapes, key=lambda s: s.front):
        if shape.paint != "pad":
            picture = picture + _coverage(shape, size)[..., None] * (
                shade * np.array(PAINTS[shape.paint]) - picture
            )
    return picture


def _best_height(
    build: Callable[[float], tuple[Shape, ...]],
    heights: tuple[float, float],
    loss: Callable[[tuple[Shape, ...]], float],
) -> tuple[tuple[Shape, ...], float]:
    """Returns (shapes of the furniture with the best height, its loss).

    Args:
        build: function of a height in metres that returns the shapes.
        heights: least and largest height in metres.
        loss: function of shapes that returns the sum of squares of (1).
    """
    grid = np.round(np.arange(heights[0] - STEP, heights[1] + 1.5 * STEP, STEP), 6)
    losses = np.array([loss(build(float(h))) for h in grid])
    k = int(np.clip(np.argmin(losses), 1, len(grid) - 2))
    before, middle, after = losses[k - 1 : k + 2]
    shift = 0.5 * (before - after) / max(before - 2.0 * middle + after, 1e-9)
    best = build(round(float(grid[k] + STEP * np.clip(shift, -1.0, 1.0)), 3))
    return best, loss(best)


def _platforms(still: np.ndarray, bare: np.ndarray, shade: np.ndarray) -> tuple[Shape, ...] | None:
    """Returns the shapes of two platforms, the left one higher, measured by the share of stone in
    each pixel (2); None if there are none.
    """
    size = len(still)
    contrast = bare - shade * np.array(PAINTS["stone"])
    stone = np.sum((bare - still) * contrast, -1) / np.maximum(np.square(contrast).sum(-1), 1e-6)
    scale, floor = pixels_per_metre(EXTENT, size), round(size * (1.0 - BELOW_FLOOR / EXTENT))
    first, last = (round(x * scale) for x in EDGES)
    # The floor's edge lies within a row: its distance in pixels from that row's border.
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
    """Returns the length in pixels of the stone at the start of a row of pixels with these shares
    of stone, [N]. It ends where the share falls below a half; the two pixels at that edge count by
    their share.
    """
    k = int(np.argmax(np.append(share, 0.0) < 0.5))
    return float(max(k - 1, 0) + np.clip(share[max(k - 1, 0) : k + 1], 0.0, 1.0).sum())


def missing(frames: np.ndarray, furniture: Furniture, ball: np.ndarray) -> np.ndarray:
    """Returns a mask, bool [F]: frames in which a solid part of the furniture is absent or
    displaced.

    A part is present if a frame shows at least MIN_VISIBLE of its contrast to the background. Parts
    that barely differ from the background, or that the ball covers, are not tested.

    Args:
        frames: [F, H, W, 3], mirrored as the furniture is.
        furniture: the furniture of the clip.
        ball: mask of the ball, bool [F, H, W].
    """
    size, absent = frames.shape[1], np.zeros(len(frames), bool)
    contrast = furniture.picture - furniture.bare
    for shape in furniture.shapes:
        if shape.material is None or shape.paint == "pad":
            continue
        weight = _coverage(shape, size)[None] * ~ball
        whole = np.sum(weight * np.square(contrast).sum(-1), axis=(1, 2))
        shown = np.sum(weight * np.sum((frames - furniture.bare) * contrast, axis=-1), axis=(1, 2))
        absent |= (whole > MIN_CONTRAST) & (shown < MIN_VISIBLE * whole)
    return absent


def read_keeper(frames: np.ndarray, furniture: Furniture, ball: np.ndarray) -> np.ndarray:
    """Returns the height of the goalkeeper's centre above the floor in every frame, [F] in metres;
    NaN in frames in which no keeper is found.

    Args:
        frames: [F, H, W, 3], mirrored as the furniture is.
        furniture: the furniture of the clip.
        ball: mask of the ball, bool [F, H, W].
    """
    size = frames.shape[1]
    scale, pad = pixels_per_metre(EXTENT, size), np.array(PAINTS["pad"])
    columns = slice(round((KEEPER - PAD_RADIUS) * scale), round((KEEPER + PAD_RADIUS) * scale))
    contrast = furniture.picture[:, columns] - pad
    dark = np.sum(
        (furniture.picture[:, columns] - frames[:, :, columns]) * contrast, -1
    ) / np.maximum(np.square(contrast).sum(-1), 0.02)
    dark = np.where(ball[:, :, columns], 0.0, np.clip(dark, -0.5, 1.0)).mean(-1)  # [F, H]
    half, rows = (PAD_HALF + PAD_RADIUS) * scale, np.arange(size)
    centres = np.arange(half, size - half, 0.25)
    box = np.clip(half + 0.5 - np.abs(rows[None] - centres[:, None]), 0.0, 1.0) - 0.5
    score = dark @ box.T
    height = from_pixels(
        np.stack([np.zeros(len(frames)), centres[np.argmax(score, axis=1)]], axis=-1), EXTENT, size
    )[:, 1]
    # a whole keeper scores `half`
    return np.where(score.max(1) > MIN_KEEPER * half, height, np.nan)
