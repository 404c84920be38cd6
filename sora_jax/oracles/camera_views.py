"""Where the camera of a film looks in every frame, from the two posts that stand at the sides of
its scene.

The posts are capsules of known place and size (`worlds/playhouse/camera.py`), thin and darker than
anything behind them. With Y the brightness, Y' its median over 2 m sideways (so that a post is not
in it), and BLACK what a post is painted, a pixel is covered by about

    A = clip((Y' - Y) / (Y' - BLACK), -1, 1)                                                     (1)

by a post. A view v = (left, top, width) in metres draws the posts as T(v), the world's edges of one
pixel blurred by `soft` pixels, the same in all frames of a clip, and the view of a frame is

    argmin over v, s of  L = sum over pixels w (A - s T(v))^2                                    (2)

with s >= 0 by projection, w = (Y' - BLACK)^2, for noise counts less where it is bright, and w = 0
where the picture is coloured (a ball before a post) or a panel's paint. A grid over widths and
sideways places, smoothed over three frames, gives the first v, Gauss-Newton steps the rest, all
frames at once; a frame that does better from its neighbours' view takes that. (2) must explain the
share SEEN of what is dark where posts are, with s of LEAST in half of the frames, or there are
none.

Then all frames together get one view that goes evenly, v = a + b t. With n the mean square of a
pixel of the posts that (2) leaves,

    L(together) - L(each by itself)  <  UNEVEN (n + MODEL^2 mean w) (3 F - 6)                    (3)

says that the camera does go evenly, if at all: the even view is taken, six numbers from F frames.
Else all frames get one width, their median, for who shakes or follows does not zoom; and those that
do not differ by as much as (3) from the line of most are on it. What zooms goes evenly in this
world: a width that changes by GROWN metres is taken as even.

Limits: films, without a cut; on `occlude`, where a panel may hide a post, only with the knowledge
of what moves there are (`read_move`). By night in the anime style noise of 10 hides a shake of one
pixel.
"""

import functools

import numpy as np
from scipy import ndimage, special

from sora_jax.oracles.tracker import EXTENT, vivid
from sora_jax.worlds.playhouse.camera import POST_HEIGHT, POST_RADIUS, filmed
from sora_jax.worlds.playhouse.camera import views as views_of
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS
from sora_jax.worlds.playhouse.render.styles import graded
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, PAINTS, Scene

BLACK = 0.03
LIT = 1.08  # how much brighter a shape's inside is where things are lit (`render/styles.py`)
FAINT = 0.06  # of brightness: darker surroundings show no post
WIDTHS, PLACES = np.linspace(4.9, 6.3, 24), np.linspace(-0.5, 0.5, 26)  # metres that the grid tries
GROWN = 0.3  # metres
STEPS, STIFF = 8, 1e-4  # Gauss-Newton steps; what is added to their normal equations
# pixels: softness of the edges at first, and those that are tried
COARSE, SOFT = 1.0, (0.15, 0.4, 0.7, 1.0, 1.4)
EDGE = 0.02  # of T: where a post is
MODEL, UNEVEN = 0.06, 8.0  # (3): what T is wrong by; and how much more than noise would explain
SEEN, LEAST = 0.5, 0.35
SHOWN = 0.07  # mean of s of a known move: of films hardly seen 0.13, of rooms without posts 0.02
RADIUS, TOP = POST_RADIUS * EXTENT, POST_HEIGHT * EXTENT
POSTS = (-RADIUS, EXTENT + RADIUS)  # x of their middles
FREE = np.eye(3), np.zeros(3)  # views are what is sought (`_fitted`)


def painted(style: str | None, size: int) -> np.ndarray:
    """The panel's paint as a style shows it, in every pixel of a picture [size, size, 3]."""
    picture = np.broadcast_to(np.array(PAINTS["panel"], np.float32), (size, size, 3))
    if style not in ("realistic", "cinematic"):
        return picture
    picture = picture * LIT
    row, column = np.arange(size)[:, None], np.arange(size)[None]
    return (
        picture
        if style == "realistic"
        else np.asarray(graded(picture, row, column, size), np.float32)
    )


def _coverage(
    frames: np.ndarray, styles: tuple[str | None, ...] = (None,)
) -> tuple[np.ndarray, np.ndarray]:
    """A of (1) and w of (2), [F, H, W]. styles: those in whose paint a panel is looked for."""
    bright = frames @ np.array([0.3, 0.59, 0.11], np.float32)
    reach = 2 * max(2, round(frames.shape[2] / 64.0 * 6)) + 1
    around = ndimage.median_filter(bright, size=(1, 1, reach), mode="nearest")
    over = np.maximum(around - BLACK, FAINT)
    cover = np.clip((around - bright) / over, -1.0, 1.0)
    balls = ndimage.maximum_filter(vivid(frames), size=(1, 3, 3))
    paints = [painted(style, frames.shape[2]) for style in styles]
    smooth = ndimage.uniform_filter(frames, (0, 3, 3, 0))
    panel = np.min([np.abs(smooth - paint).max(-1) for paint in paints], axis=0) < 0.04
    panel = ndimage.maximum_filter(
        ndimage.uniform_filter(panel.astype(np.float32), (0, 5, 5)) > 0.7, size=(1, 7, 7)
    )
    return cover, np.where(balls | panel | (around < FAINT + BLACK), 0.0, np.square(over))


def _ramp(pixels: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """The renderer's edge, a ramp of one pixel, blurred by `soft` pixels, at a distance from it;
    and its slope.
    """
    low, high = (pixels - 0.5) / soft, (pixels + 0.5) / soft
    return soft * (_area(high) - _area(low)), special.ndtr(high) - special.ndtr(low)


def _area(z: np.ndarray) -> np.ndarray:
    """The integral of the normal distribution function up to z."""
    return z * special.ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)


def _drawn(views: np.ndarray, size: int, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """T of (2) for views [F, 3], [F, H, W], and its derivatives by left, top and width, [F, H, W,
    3].
    """
    left, top, width = views.T[:, :, None]
    k, pixel, nothing = size / width, np.arange(size)[None] + 0.5, np.zeros((len(views), size))
    # What an edge in metres does to the profile along rows or columns, and what the view does to
    # where it is in pixels.
    x, dx = nothing, [nothing, nothing]
    for middle in POSTS:
        for sign, edge in ((1.0, middle - RADIUS), (-1.0, middle + RADIUS)):
            over, slope = _ramp(pixel - (edge - left) * k, soft)
            x, dx = (
                x + sign * over,
                [dx[0] + sign * slope * k, dx[1] + sign * slope * (edge - left) * k / width],
            )
    y, dy = nothing, [nothing, nothing]
    # round ends, as far as square ones of their area
    for sign, edge in ((1.0, TOP + 0.25 * np.pi * RADIUS), (-1.0, -0.25 * np.pi * RADIUS)):
        over, slope = _ramp(pixel - (top - edge) * k, soft)
        y, dy = (
            y + sign * over,
            [dy[0] - sign * slope * k, dy[1] + sign * slope * (top - edge) * k / width],
        )
    return _outer(y, x), np.stack(
        [_outer(y, dx[0]), _outer(dy[0], x), _outer(dy[1], x) + _outer(y, dx[1])], axis=-1
    )


def _outer(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[F, H, W] of [F, H] and [F, W]."""
    return rows[:, :, None] * columns[:, None, :]


@functools.cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The views [N, 3] that are tried first, and T of each [N, H W]: a film's camera looks at the
    scene's middle, or somewhat to its side.
    """
    width, dx = (g.ravel() for g in np.meshgrid(WIDTHS, PLACES, indexing="ij"))
    views = np.stack(
        [0.5 * EXTENT - 0.5 * width + dx, 0.5 * EXTENT - BELOW_FLOOR + 0.5 * width, width], axis=-1
    )
    return views, _drawn(views, size, COARSE)[0].astype(np.float32).reshape(len(views), -1)


def _fitted(
    cover, weight, views, soft: float, basis: np.ndarray | None = None, bind=FREE
) -> tuple[np.ndarray, np.ndarray]:
    """Equation (2) from first views [F, 3]: the views, and its least values [F].

    basis: [F, n] where left, top and width are to be a combination of its columns; None where every
    frame is by itself. bind: M [m, 3] and v0 [3]: views are v0 + p M, with numbers p that are
    sought.
    """
    size, frames = cover.shape[1], len(cover)
    own = basis is None
    basis = np.eye(frames) if own else basis
    free, fixed = bind
    p = np.linalg.lstsq(basis, (views - fixed) @ np.linalg.pinv(free), rcond=None)[0]
    best, least, step, m = p, np.full(frames, np.inf), np.zeros_like(p), len(free)
    for _ in range(STEPS):
        p = best + step
        drawn, slopes = _drawn(basis @ p @ free + fixed, size, soft)
        across = np.maximum((weight * drawn * drawn).sum((1, 2)), 1e-6)
        s = np.maximum((weight * cover * drawn).sum((1, 2)) / across, 0.0)
        residual = cover - s[:, None, None] * drawn
        cost = (weight * np.square(residual)).sum((1, 2))
        better = cost < least if own else np.full(frames, cost.sum() < least.sum())
        best, least = np.where(better[: len(p), None], p, best), np.where(better, cost, least)
        slopes = slopes @ free.T * s[:, None, None, None]
        # s goes along with the view: what it can do is taken out of the normal equations.
        products = np.einsum("fhw,fhwi,fhwj->fij", weight, slopes, slopes, optimize=True)
        shared, down = (
            np.einsum("fhw,fhwi->fi", weight * what, slopes) for what in (drawn, residual)
        )
        products -= shared[:, :, None] * shared[:, None] / across[:, None, None]
        if own:
            whole = np.linalg.solve(products + STIFF * np.eye(m), down[..., None])[..., 0]
        else:
            n = len(p)
            normal = np.einsum("fa,fb,fij->aibj", basis, basis, products).reshape(m * n, m * n)
            whole = np.linalg.solve(
                normal + STIFF * np.eye(m * n), np.einsum("fa,fi->ai", basis, down).ravel()
            ).reshape(n, m)
        step = np.where(better[: len(p), None], np.clip(whole, -0.1, 0.1), 0.3 * step)
    return basis @ best @ free + fixed, least


def _even(frames: int) -> np.ndarray:
    """The basis [F, 2] of a move that goes evenly, and of none."""
    return np.stack([np.ones(frames), np.linspace(-1.0, 1.0, frames)], axis=-1)


def _line(views: np.ndarray) -> np.ndarray:
    """Views [F, 3] on the line that most pairs of frames agree on (Theil and Sen)."""
    t = np.arange(len(views))
    i, j = np.triu_indices(len(views), max(1, len(views) // 3))
    slope = np.median((views[j] - views[i]) / (t[j] - t[i])[:, None], axis=0)
    return np.median(views - t[:, None] * slope, axis=0) + t[:, None] * slope


def _unexplained(cover, weight, views, soft: float) -> tuple[np.ndarray, float, np.ndarray]:
    """Of given views: the least values [F] of (2) over s, the mean square of a pixel of the posts
    in it, and s [F].
    """
    drawn = _drawn(views, cover.shape[1], soft)[0]
    s = np.maximum(
        (weight * cover * drawn).sum((1, 2))
        / np.maximum((weight * drawn * drawn).sum((1, 2)), 1e-6),
        0.0,
    )
    squares, near = (
        weight * np.square(cover - s[:, None, None] * drawn),
        (drawn > EDGE) & (weight > 0.0),
    )
    return squares.sum((1, 2)), float(squares[near].sum() / max(near.sum(), 1)), s


def read_move(frames: np.ndarray, fps: float) -> np.ndarray | None:
    """The views [F, 3] of one of the moves that a film can make without a ball to follow, the one
    that draws the posts best.

    For clips with a panel, which may hide a post, and whose camera is known to stand still, to pan
    or to push in. None where there are no posts. frames: [F, H, W, 3] in [0, 1]; fps: frames/s.
    """
    cover, weight = _coverage(np.asarray(frames, np.float32), (None, "realistic", "cinematic"))
    t, still = (np.arange(len(frames)) + 0.5) / fps, Scene(seed=0, balls=())
    ways = [("static", "left"), ("pan", "left"), ("pan", "right"), ("push-in", "left")]
    moves = [views_of(filmed(still, None, *way, CLIP_SECONDS), t) for way in ways]
    costs = [_unexplained(cover, weight, views, COARSE)[0].sum() for views in moves]
    views = moves[np.argmin(costs)]
    return views if np.mean(_unexplained(cover, weight, views, COARSE)[2]) > SHOWN else None


def read_views(frames: np.ndarray) -> np.ndarray | None:
    """(left, top, width) in metres in every frame [F, H, W, 3] in [0, 1] of a film: [F, 3]; None
    where there are no posts.
    """
    frames = np.asarray(frames, np.float32)
    size = frames.shape[2]
    cover, weight = _coverage(frames)
    grid, shown = _grid(size)
    flat = weight.reshape(len(frames), -1).astype(np.float32)
    caught = np.maximum((flat * cover.reshape(len(frames), -1)) @ shown.T, 0.0) ** 2 / np.maximum(
        flat @ np.square(shown).T, 1e-3
    )
    # cameras are slow: neighbours help to tell posts from the rest
    caught = ndimage.uniform_filter1d(caught, 3, axis=0, mode="nearest")
    views, least = _fitted(cover, weight, grid[np.argmax(caught, axis=1)], COARSE)
    # A frame that lost its way starts again from where its neighbours look.
    again, other = _fitted(
        cover, weight, ndimage.median_filter(views, size=(5, 1), mode="nearest"), COARSE
    )
    views = np.where((other < least)[:, None], again, views)
    costs = [_unexplained(cover, weight, views, soft)[0].sum() for soft in SOFT]
    soft = SOFT[np.argmin(costs)]
    line, together = _fitted(cover, weight, _line(views), soft, _even(len(frames)))
    views, least = _fitted(cover, weight, views, soft)
    noise = _unexplained(cover, weight, views, soft)[1]
    discrepancy = MODEL**2 * float(weight[_drawn(views, size, soft)[0] > EDGE].mean())
    even = together.sum() - least.sum() < UNEVEN * (noise + discrepancy) * (3 * len(frames) - 6)
    # nothing that zooms does it unevenly in this world
    if even or abs(line[-1, 2] - line[0, 2]) > GROWN:
        views = line
    else:
        # Who shakes or follows keeps the width; a frame that shows no move of its own stays on the
        # line of most.
        views, least = _fitted(
            cover,
            weight,
            views,
            soft,
            bind=(np.eye(3)[:2], np.array([0.0, 0.0, np.median(views[:, 2])])),
        )
        rest = _line(views)
        own = _unexplained(cover, weight, rest, soft)[0] - least > UNEVEN * (noise + discrepancy)
        views = np.where(own[:, None], views, rest)
    near = _drawn(views, size, soft)[0] > EDGE
    squares, _, s = _unexplained(cover, weight, views, soft)
    share = 1.0 - (squares.sum() - (weight * np.square(cover))[~near].sum()) / max(
        (weight * np.square(cover))[near].sum(), 1e-6
    )
    return views if share >= SEEN and np.median(s) > LEAST else None


def steady(frames: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Frames [F, H, W, 3] as a camera that stands still and shows the whole scene would see what is
    where the balls are, by bilinear weights.
    """
    size = frames.shape[2]
    rows, columns = np.mgrid[0:size, 0:size] + 0.5
    out = np.empty_like(frames)
    for f, (left, top, width) in enumerate(views):
        y, x = EXTENT - BELOW_FLOOR - rows * EXTENT / size, columns * EXTENT / size
        at = np.stack([(top - y) * size / width - 0.5, (x - left) * size / width - 0.5])
        for c in range(3):
            out[f, :, :, c] = ndimage.map_coordinates(
                frames[f, :, :, c], at, order=1, mode="nearest"
            )
    return out
