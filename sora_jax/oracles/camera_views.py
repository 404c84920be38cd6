"""The camera's view in every frame of a film (a scene filmed by a moving camera), fitted to the two
posts at the sides of the scene.

The posts are capsules of known position and size (`worlds/playhouse/camera.py`), thin and
darker than anything behind them. With Y the brightness, Y' its median over 2 m sideways (which
excludes a post), and BLACK the paint of a post, a post covers about

    A = clip((Y' - Y) / (Y' - BLACK), -1, 1)                                                     (1)

of a pixel. A view v = (left, top, width) in metres is the square that a frame shows. T(v) is the
picture of the posts in it, with edges one pixel wide, blurred by `soft` pixels, which is constant
over a clip. The view of a frame is

    argmin over v, s of  L = sum over pixels w (A - s T(v))^2                                    (2)

with a strength s >= 0 of the posts and w = (Y' - BLACK)^2, because noise matters less where it is
bright. w = 0 where the picture is coloured (a ball in front of a post) or shows a panel's
paint. A grid over widths and horizontal positions, smoothed over three frames, gives the
initial v; Gauss-Newton steps refine all frames at once. A frame that fits better from its
neighbours' view takes that. The posts count as visible if (2) explains the share SEEN of the
darkness where they are, with s above MIN_STRENGTH in half of the frames.

Then one even motion, v = a + b t, is fitted to all F frames together. With n the mean squared
residual of (2) per pixel of the posts,

    L(together) - L(each by itself)  <  UNEVEN (n + MODEL^2 mean w) (3 F - 6)                    (3)

means that the camera moves evenly or not at all, and the even motion is taken: six numbers for F
frames. Otherwise all frames get the median width, because a camera that shakes or follows a ball
does not zoom. Frames whose view does not differ significantly, as in (3), from the straight line
in time through most frames are placed on that line. Every zoom of this world is even, so a width
that changes by GROWN metres is taken as even.

Limits: films without a cut. In family `occlude`, where a panel may hide a post, the view can only
be chosen among the possible moves (`read_move`). At night in the style anime, noise of 10/255 hides
a shake of one pixel.
"""

import functools

import numpy as np
from scipy import ndimage, special

from sora_jax.oracles.tracker import EXTENT, box_mean, vivid
from sora_jax.worlds.playhouse.camera import POST_HEIGHT, POST_RADIUS, filmed
from sora_jax.worlds.playhouse.camera import views as views_of
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS
from sora_jax.worlds.playhouse.render.styles import graded
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, PAINTS, Scene
from sora_jax.worlds.playhouse.trajectory import Trajectory

BLACK = 0.03  # brightness of a post
LIT = 1.08  # brightness factor inside a shape in the lit styles (`render/styles.py`)
FAINT = 0.06  # brightness above BLACK: in darker surroundings no post can be seen
# metres: widths, and offsets of the view's centre, on the initial grid
WIDTHS, PLACES = np.linspace(4.9, 6.3, 24), np.linspace(-0.5, 0.5, 26)
GROWN = 0.3  # metres: change of width of a zoom
STEPS, DAMPING = 8, 1e-4  # Gauss-Newton: number of steps; damping added to the normal equations
# pixels: blur of the edges in the first fit, and candidates for the blur of the clip
COARSE, SOFT = 1.0, (0.15, 0.4, 0.7, 1.0, 1.4)
EDGE = 0.02  # T exceeds this where a post is
MODEL, UNEVEN = 0.06, 8.0  # of (3): model error of T; factor above what noise explains
SEEN, MIN_STRENGTH = 0.5, 0.35
# Minimum mean of s of a known move. Films with barely visible posts have 0.13, rooms without posts
# 0.02.
MIN_MOVE_STRENGTH = 0.07
RADIUS, TOP = POST_RADIUS * EXTENT, POST_HEIGHT * EXTENT
POSTS = (-RADIUS, EXTENT + RADIUS)  # x of their centres, metres
FREE = np.eye(3), np.zeros(3)  # no constraint: left, top and width are free (`_fitted`)


def painted(style: str | None, size: int) -> np.ndarray:
    """Returns the colour that the panel (the board of family `occlude`) would have in every pixel,
    [size, size, 3], as a style renders its paint.

    Args:
        style: name of the rendering style; None for the flat paint.
        size: side of the picture in pixels.
    """
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
    """Returns (share of each pixel that a post covers, A of (1); weight of the pixel, w of (2)),
    both [F, H, W].

    Args:
        frames: [F, H, W, 3] in [0, 1].
        styles: styles in which a panel may be painted; None for the flat paint, the default.
    """
    bright = frames @ np.array([0.3, 0.59, 0.11], np.float32)
    reach = 2 * max(2, round(frames.shape[2] / 64.0 * 6)) + 1
    around = ndimage.median_filter(bright, size=(1, 1, reach), mode="nearest")
    over = np.maximum(around - BLACK, FAINT)
    cover = np.clip((around - bright) / over, -1.0, 1.0)
    balls = np.asarray(ndimage.maximum_filter(vivid(frames), size=(1, 3, 3)), bool)
    paints = [painted(style, frames.shape[2]) for style in styles]
    smooth = box_mean(frames, 3)
    panel = np.min([np.abs(smooth - paint).max(-1) for paint in paints], axis=0) < 0.04
    panel = ndimage.maximum_filter(box_mean(panel.astype(np.float32), 5) > 0.7, size=(1, 7, 7))
    return cover, np.where(
        balls | np.asarray(panel, bool) | (around < FAINT + BLACK), 0.0, np.square(over)
    )


def _ramp(pixels: np.ndarray, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns (share covered, its derivative by the distance) at signed distances `pixels` from an
    edge that is one pixel wide and blurred by `soft` pixels.
    """
    low, high = (pixels - 0.5) / soft, (pixels + 0.5) / soft
    return soft * (_area(high) - _area(low)), special.ndtr(high) - special.ndtr(low)


def _area(z: np.ndarray) -> np.ndarray:
    """Returns the integral of the normal distribution function up to z."""
    return z * special.ndtr(z) + np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)


def _drawn(views: np.ndarray, size: int, soft: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns (picture of the posts in views [F, 3], T of (2), [F, size, size]; its derivatives by
    left, top and width, [F, size, size, 3]).
    """
    left, top, width = views.T[:, :, None]
    k, pixel, nothing = size / width, np.arange(size)[None] + 0.5, np.zeros((len(views), size))
    # T is an outer product of a profile along columns (x) and one along rows (y). Each edge adds a
    # ramp to a profile; dx and dy are derivatives by a shift and by the width of the view.
    x, dx = nothing, [nothing, nothing]
    for middle in POSTS:
        for sign, edge in ((1.0, middle - RADIUS), (-1.0, middle + RADIUS)):
            over, slope = _ramp(pixel - (edge - left) * k, soft)
            x, dx = (
                x + sign * over,
                [dx[0] + sign * slope * k, dx[1] + sign * slope * (edge - left) * k / width],
            )
    y, dy = nothing, [nothing, nothing]
    # The round ends are drawn as square ends of equal area.
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
    """Returns the outer products [F, H, W] of rows [F, H] and columns [F, W]."""
    return rows[:, :, None] * columns[:, None, :]


@functools.cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (candidates for the initial view [N, 3], picture T of the posts in each [N, H W]). A
    film's camera looks at the scene's centre or slightly beside it.
    """
    width, dx = (g.ravel() for g in np.meshgrid(WIDTHS, PLACES, indexing="ij"))
    views = np.stack(
        [0.5 * EXTENT - 0.5 * width + dx, 0.5 * EXTENT - BELOW_FLOOR + 0.5 * width, width], axis=-1
    )
    return views, _drawn(views, size, COARSE)[0].astype(np.float32).reshape(len(views), -1)


def _fitted(
    cover: np.ndarray,
    weight: np.ndarray,
    views: np.ndarray,
    soft: float,
    basis: np.ndarray | None = None,
    bind: tuple[np.ndarray, np.ndarray] = FREE,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimizes (2) from initial views [F, 3] by damped Gauss-Newton.

    Args:
        cover, weight: A and w, [F, H, W].
        views: initial views [F, 3].
        soft: blur of the edges, pixels.
        basis: [F, n], functions of time of which left, top and width are linear combinations.
            Default: None, every frame is independent.
        bind: (M [m, 3], v0 [3]); views are v0 + p M with m free parameters p. Default: FREE, left,
            top and width are free.

    Returns:
        (views [F, 3], minimum of (2) per frame [F]).
    """
    size, frames = cover.shape[1], len(cover)
    independent = basis is None
    basis = np.eye(frames) if independent else basis
    free, fixed = bind
    p = np.linalg.lstsq(basis, (views - fixed) @ np.linalg.pinv(free), rcond=None)[0]
    best, min_cost, step, m = p, np.full(frames, np.inf), np.zeros_like(p), len(free)
    for _ in range(STEPS):
        p = best + step
        drawn, slopes = _drawn(basis @ p @ free + fixed, size, soft)
        across = np.maximum((weight * drawn * drawn).sum((1, 2)), 1e-6)
        s = np.maximum((weight * cover * drawn).sum((1, 2)) / across, 0.0)
        residual = cover - s[:, None, None] * drawn
        cost = (weight * np.square(residual)).sum((1, 2))
        better = cost < min_cost if independent else np.full(frames, cost.sum() < min_cost.sum())
        best, min_cost = np.where(better[: len(p), None], p, best), np.where(better, cost, min_cost)
        # Derivatives of the drawn posts s T by the free parameters, [F, H, W, m].
        slopes = slopes @ free.T * s[:, None, None, None]
        # s is optimal for every view, so it is eliminated from the normal equations.
        products = np.einsum("fhw,fhwi,fhwj->fij", weight, slopes, slopes, optimize=True)
        shared, down = (
            np.einsum("fhw,fhwi->fi", weight * image, slopes) for image in (drawn, residual)
        )
        products -= shared[:, :, None] * shared[:, None] / across[:, None, None]
        if independent:
            update = np.linalg.solve(products + DAMPING * np.eye(m), down[..., None])[..., 0]
        else:
            # All frames share the n rows of p: one system of n m unknowns, sums over frames.
            n = len(p)
            normal = np.einsum("fa,fb,fij->aibj", basis, basis, products).reshape(m * n, m * n)
            update = np.linalg.solve(
                normal + DAMPING * np.eye(m * n), np.einsum("fa,fi->ai", basis, down).ravel()
            ).reshape(n, m)
        # A step that did not help is tried again at 0.3 of its length, from the best views.
        step = np.where(better[: len(p), None], np.clip(update, -0.1, 0.1), 0.3 * step)
    return basis @ best @ free + fixed, min_cost


def _even(frames: int) -> np.ndarray:
    """Returns the basis [F, 2] of an even motion over F `frames`: a constant and a line in time."""
    return np.stack([np.ones(frames), np.linspace(-1.0, 1.0, frames)], axis=-1)


def _line(views: np.ndarray) -> np.ndarray:
    """Returns views [F, 3] on a straight line in time, fitted to the given views [F, 3] by the
    median of slopes between pairs of frames (Theil-Sen).
    """
    t = np.arange(len(views))
    i, j = np.triu_indices(len(views), max(1, len(views) // 3))
    slope = np.median((views[j] - views[i]) / (t[j] - t[i])[:, None], axis=0)
    return np.median(views - t[:, None] * slope, axis=0) + t[:, None] * slope


def _unexplained(
    cover: np.ndarray, weight: np.ndarray, views: np.ndarray, soft: float
) -> tuple[np.ndarray, float, np.ndarray]:
    """Returns (minimum of (2) over s in each frame [F], mean squared residual per pixel of the
    posts, s [F]) for given views.

    Args:
        cover, weight: A and w, [F, H, W].
        views: [F, 3].
        soft: blur of the edges, pixels.
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
    """Returns the views of the possible camera move that agrees best with the posts; None if there
    are no posts.

    It is for clips of family `occlude`, whose panel may hide a post. Their camera is static, pans
    left or right, or pushes in, so four candidate moves are compared.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.

    Returns:
        (left, top, width) in metres of every frame, [F, 3].
    """
    cover, weight = _coverage(np.asarray(frames, np.float32), (None, "realistic", "cinematic"))
    t, still = (np.arange(len(frames)) + 0.5) / fps, Scene(seed=0, balls=())
    rest = Trajectory((), (), ())  # unused: no candidate follows a ball
    candidates = [("static", "left"), ("pan", "left"), ("pan", "right"), ("push-in", "left")]
    moves = [views_of(filmed(still, rest, *move, CLIP_SECONDS), t) for move in candidates]
    costs = [_unexplained(cover, weight, views, COARSE)[0].sum() for views in moves]
    views = moves[np.argmin(costs)]
    strength = np.mean(_unexplained(cover, weight, views, COARSE)[2])
    return views if strength > MIN_MOVE_STRENGTH else None


def read_views(frames: np.ndarray) -> np.ndarray | None:
    """Returns the camera's view in every frame of a film, fitted to the two posts at the sides of
    the scene.

    Args:
        frames: [F, H, W, 3] in [0, 1].

    Returns:
        (left, top, width) in metres, [F, 3]; None if there are no posts.
    """
    frames = np.asarray(frames, np.float32)
    size = frames.shape[2]
    cover, weight = _coverage(frames)
    grid, templates = _grid(size)
    flat = weight.reshape(len(frames), -1).astype(np.float32)
    explained = np.maximum(
        (flat * cover.reshape(len(frames), -1)) @ templates.T, 0.0
    ) ** 2 / np.maximum(flat @ np.square(templates).T, 1e-3)
    # Cameras move slowly, so averaging over neighbouring frames separates posts from other edges.
    explained = ndimage.uniform_filter1d(explained, 3, axis=0, mode="nearest")
    views, min_cost = _fitted(cover, weight, grid[np.argmax(explained, axis=1)], COARSE)
    # A frame in a wrong local minimum restarts from the median view of its neighbours.
    refit, refit_cost = _fitted(
        cover, weight, ndimage.median_filter(views, size=(5, 1), mode="nearest"), COARSE
    )
    views = np.where((refit_cost < min_cost)[:, None], refit, views)
    costs = [_unexplained(cover, weight, views, soft)[0].sum() for soft in SOFT]
    soft = SOFT[np.argmin(costs)]
    line, line_cost = _fitted(cover, weight, _line(views), soft, _even(len(frames)))
    views, min_cost = _fitted(cover, weight, views, soft)
    noise = _unexplained(cover, weight, views, soft)[1]
    discrepancy = MODEL**2 * float(weight[_drawn(views, size, soft)[0] > EDGE].mean())
    even = line_cost.sum() - min_cost.sum() < UNEVEN * (noise + discrepancy) * (3 * len(frames) - 6)
    # every zoom of this world is even
    if even or abs(line[-1, 2] - line[0, 2]) > GROWN:
        views = line
    else:
        # A shaking or following camera keeps its width. A frame without significant motion of its
        # own stays on the line of most frames.
        views, min_cost = _fitted(
            cover,
            weight,
            views,
            soft,
            bind=(np.eye(3)[:2], np.array([0.0, 0.0, np.median(views[:, 2])])),
        )
        line = _line(views)
        displaced = _unexplained(cover, weight, line, soft)[0] - min_cost > UNEVEN * (
            noise + discrepancy
        )
        views = np.where(displaced[:, None], views, line)
    near = _drawn(views, size, soft)[0] > EDGE
    squares, _, s = _unexplained(cover, weight, views, soft)
    explained_share = 1.0 - (squares.sum() - (weight * np.square(cover))[~near].sum()) / max(
        (weight * np.square(cover))[near].sum(), 1e-6
    )
    return views if explained_share >= SEEN and np.median(s) > MIN_STRENGTH else None


def steady(frames: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Returns frames resampled, bilinearly, to a static camera that shows the whole scene.

    The result is exact for objects in the plane of the balls, but not for the wall behind.

    Args:
        frames: [F, H, W, 3] with H = W.
        views: (left, top, width) in metres that each frame shows, [F, 3].
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
