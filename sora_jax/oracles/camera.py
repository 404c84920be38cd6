"""Where the camera of a film looks in every frame, from the two posts that stand at the sides of its scene.

The posts are capsules of known place and size (`worlds/playhouse/camera.py`), thin and darker than anything behind them. With Y the brightness,
Y' its median over 2 m sideways (so that a post is not in it), and BLACK what a post is painted, a pixel is covered by about

    A = clip((Y' - Y) / (Y' - BLACK), -1, 1)                                                               (1)

by a post. A view v = (left, top, width) in metres draws the posts as the one-pixel ramp T(v) of the world's renderer, and the view of a frame is

    argmin over v, s of  sum over pixels w (A - s T(v))^2                                                  (2)

with s >= 0 by projection, w = (Y' - BLACK)^2, for noise counts less where it is bright, and w = 0 where the picture is coloured (a ball before
a post) or a panel's paint. A grid over widths and sideways places, smoothed over three frames, gives the first v, Gauss-Newton steps with
numerical derivatives the rest, all frames at once; a frame that does better from its neighbours' view takes that. (2) must explain the share
SEEN of what is dark where posts are, with s of LEAST in half of the frames, or there are none.

The move is told from v alone, by how far it goes over the clip (the first of these that holds):

    push-in   the width shrinks by ZOOMED m a second or more, evenly               shake   top is SHAKEN m off its median in two frames
    pan       left goes evenly, by what a pan goes                                follow  left goes by MOVED m or more otherwise
    static    the rest, also a follow of a ball that falls straight, or a shake of nothing

Limits: films, without a cut; on `occlude` a panel that hides a post leaves errors of up to 4 pixels. No calibration row yet: of the first 96
films of `val` the view was within 0.5 pixels rms, and the kind right where it shows, in 0.99 (ground truth and h264), but 0.94 (noise of 10,
by night in the anime style) and 0.92 (blur of 1 pixel: T is sharp, so that a blurred post looks larger). A shake under 3/4 pixel reads static.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

from sora_jax.oracles.tracker import EXTENT, coloured
from sora_jax.worlds.playhouse.camera import POST_HEIGHT, POST_RADIUS, SIDEWAYS
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, PAINTS

BLACK = 0.03
FAINT = 0.06  # of brightness: darker surroundings show no post
WIDTHS, PLACES = np.linspace(4.9, 6.3, 24), np.linspace(-0.5, 0.5, 26)  # metres that the grid tries
STEPS, NUDGE = 10, 0.004  # Gauss-Newton steps; metres
SEEN, LEAST = 0.5, 0.35
ZOOMED, MOVED, SHAKEN, EVEN = 0.25, 0.12, 0.045, 0.02  # m/s; metres
RADIUS, TOP = POST_RADIUS * EXTENT, POST_HEIGHT * EXTENT
POSTS = (-RADIUS, EXTENT + RADIUS)  # x of their middles


@dataclasses.dataclass(frozen=True)
class Camera:
    """kind: static, pan, push-in, follow or shake; direction: "left" or "right" of a pan, else None; views [F, 3]: left, top, width in metres."""

    kind: str
    direction: str | None
    views: np.ndarray

    def rms_pixels(self, true: np.ndarray, size: int) -> float:
        """Root mean square distance in pixels between where the scene's four corners are drawn by these views and by the true ones [F, 3]."""
        corners = np.array([(x, y) for x in (0.0, EXTENT) for y in (0.0, TOP)])
        place = lambda v: np.stack([corners[:, 0] - v[:, :1], v[:, 1:2] - corners[:, 1]], axis=-1) * size / v[:, 2][:, None, None]
        return float(np.sqrt(np.mean(np.sum(np.square(place(self.views) - place(true)), axis=-1))))


def _coverage(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A of (1) and w of (2), [F, H, W]."""
    bright = frames @ np.array([0.3, 0.59, 0.11], np.float32)
    reach = 2 * max(2, round(frames.shape[2] / 64.0 * 6)) + 1
    around = ndimage.median_filter(bright, size=(1, 1, reach), mode="nearest")
    over = np.maximum(around - BLACK, FAINT)
    cover = np.clip((around - bright) / over, -1.0, 1.0)
    vivid = ndimage.maximum_filter(coloured(frames), size=(1, 3, 3))
    panel = np.abs(frames - np.array(PAINTS["panel"], np.float32)).max(-1) < 0.04
    panel = ndimage.maximum_filter(ndimage.uniform_filter(panel.astype(np.float32), (0, 5, 5)) > 0.7, size=(1, 7, 7))
    return cover, np.where(vivid | panel | (around < FAINT + BLACK), 0.0, np.square(over))


def _drawn(views: np.ndarray, size: int) -> np.ndarray:
    """T: the posts as views [N, 3] show them, [N, H, W]."""
    scale = (size / views[:, 2])[:, None, None]
    row, column = np.arange(size)[None, :, None], np.arange(size)[None, None, :]
    y = (row + 0.5) / scale
    y = views[:, 1][:, None, None] - y
    dy = np.maximum(np.maximum(y - TOP, -y), 0.0)
    drawn = 0.0
    for x in POSTS:
        dx = (column + 0.5) / scale + views[:, 0][:, None, None] - x
        drawn = drawn + np.clip((RADIUS - np.sqrt(dx * dx + dy * dy)) * scale + 0.5, 0.0, 1.0)
    return drawn


@functools.cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The views [N, 3] that are tried first, and T of each [N, H W]: a film's camera looks at the scene's middle, or somewhat to its side."""
    width, dx = (g.ravel() for g in np.meshgrid(WIDTHS, PLACES, indexing="ij"))
    views = np.stack([0.5 * EXTENT - 0.5 * width + dx, 0.5 * EXTENT - BELOW_FLOOR + 0.5 * width, width], axis=-1)
    return views, _drawn(views, size).astype(np.float32).reshape(len(views), -1)


def _explained(cover, weight, drawn) -> tuple[np.ndarray, np.ndarray]:
    """s of (2) and the weighted residual, for every frame."""
    s = np.maximum((weight * cover * drawn).sum((1, 2)) / np.maximum((weight * drawn * drawn).sum((1, 2)), 1e-6), 0.0)
    return s, np.sqrt(weight) * (cover - s[:, None, None] * drawn)


def _fitted(cover, weight, views) -> tuple[np.ndarray, np.ndarray]:
    """Equation (2) from first views [F, 3]: the views, and its least values [F]."""
    size = cover.shape[1]
    best, least, step = views, np.full(len(views), np.inf), np.zeros_like(views)
    for _ in range(STEPS):
        views = best + step
        residual = _explained(cover, weight, _drawn(views, size))[1].reshape(len(views), -1)
        cost = np.square(residual).sum(1)
        better = cost < least
        best, least = np.where(better[:, None], views, best), np.where(better, cost, least)
        moved = [_explained(cover, weight, _drawn(views + NUDGE * np.eye(3)[axis], size))[1].reshape(len(views), -1) for axis in range(3)]
        slopes = (np.stack(moved, axis=-1) - residual[..., None]) / NUDGE
        normal = np.einsum("fpi,fpj->fij", slopes, slopes) + 1e-4 * np.eye(3)
        whole = np.clip(np.linalg.solve(normal, -np.einsum("fpi,fp->fi", slopes, residual)[..., None])[..., 0], -0.1, 0.1)
        step = np.where(better[:, None], whole, 0.3 * step)
    return best, least


def read_views(frames: np.ndarray) -> np.ndarray | None:
    """(left, top, width) in metres in every frame [F, H, W, 3] in [0, 1] of a film: [F, 3]; None where there are no posts."""
    frames = np.asarray(frames, np.float32)
    size = frames.shape[2]
    cover, weight = _coverage(frames)
    grid, shown = _grid(size)
    flat = weight.reshape(len(frames), -1).astype(np.float32)
    caught = np.maximum((flat * cover.reshape(len(frames), -1)) @ shown.T, 0.0) ** 2 / np.maximum(flat @ np.square(shown).T, 1e-3)
    caught = ndimage.uniform_filter1d(caught, 3, axis=0, mode="nearest")  # cameras are slow: neighbours help to tell posts from the rest
    views, least = _fitted(cover, weight, grid[np.argmax(caught, axis=1)])
    # A frame that lost its way starts again from where its neighbours look.
    again, other = _fitted(cover, weight, ndimage.median_filter(views, size=(5, 1), mode="nearest"))
    views = np.where((other < least)[:, None], again, views)
    drawn = _drawn(views, size)
    s, residual = _explained(cover, weight, drawn)
    near = drawn > 0.0
    share = 1.0 - np.square(residual)[near].sum() / max((weight * np.square(cover))[near].sum(), 1e-6)
    return views if share >= SEEN and np.median(s) > LEAST else None


def read_camera(frames: np.ndarray, fps: float) -> Camera | None:
    """The camera of a film; None where there are no posts to see it by. frames: [F, H, W, 3] in [0, 1]; fps: frames/s."""
    views = read_views(frames)
    return None if views is None else Camera(*move(views, fps), views)


def move(views: np.ndarray, fps: float) -> tuple[str, str | None]:
    """(kind, direction) of a move, from views [F, 3]."""
    t = (np.arange(len(views)) + 0.5) / fps
    line = np.polyfit(t, views, 1)
    uneven = np.sqrt(np.mean(np.square(views - t[:, None] * line[0] - line[1]), axis=0))
    if line[0, 2] < -ZOOMED and uneven[2] < 2.0 * EVEN:
        return "push-in", None
    jolt = np.sort(np.abs(views[:, 1] - np.median(views[:, 1])))
    # A shake is seen in two frames at least, and in few of many; a single one may be a misreading.
    if jolt[-2] > max(SHAKEN, 4.0 * np.median(jolt)):
        return "shake", None
    whole = 2.0 * SIDEWAYS * EXTENT / CLIP_SECONDS  # m/s of a pan
    if uneven[0] < EVEN and abs(abs(line[0, 0]) / whole - 1.0) < 0.08:
        return "pan", "right" if line[0, 0] > 0 else "left"
    return ("follow" if np.ptp(views[:, 0]) > MOVED else "static"), None
