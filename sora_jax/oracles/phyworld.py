"""The velocity error of PhyWorld: the distance between the velocities of the balls in a clip and in
the simulated scene (Kang et al. 2024, arXiv:2411.02385).

With p_t the centre of a ball in frame t, read from pixels, q_t its centre in the scene, and dt the
time between frames,

    v_t = (p_t - p_{t-1}) / dt,      u_t = (q_t - q_{t-1}) / dt                                  (1)
    error = mean over balls and valid frames of |v_t - u_t|          (world units a second)      (2)

The error is taken along x in the tasks `uniform` and `collision`, and in the plane where balls fall
(`parabola`). With the paper's method of finding balls at 256 pixels, renders of 24 scenes of the
split `val` of each task have an error of 0.0124 (uniform), 0.0120 (collision) and 0.0195
(parabola); the paper states 0.0099, 0.0117 and 0.0210.

A frame counts for a ball if a model has to generate it (t >= GIVEN) and if in the scene the ball
lies wholly inside the frame, in this frame and in the one before. Where balls collide, both frames
must also follow the impact. A frame that counts is valid if the ball is found exactly once in both
frames. The share of frames that count but are not valid is `lost`, reported beside the error.

**Centres.** The balls are red and blue on white, drawn flat, so a pixel is a mixture p = 1 - sum_k
alpha_k (1 - c_k) of white and the colours c_k. Least squares over three channels gives alpha_k. The
centre is the mean pixel position weighted by alpha_k, over the largest region with alpha_k > 1/2
and two pixels around it. If another region is a third as large, the ball is ambiguous and counts as
lost. `paper_centres` finds balls as the paper does: the mean position of the pixels with R > 127,
G < 127, B < 127 (red). At 64 pixels it rounds to whole pixels, so its error on unchanged renders is
far above the errors to be measured.

Reports print each error beside that of the scenes' own renders. Source: "How Far Is Video
Generation from World Model: A Physical Law Perspective"; `paper_table` holds its figure 3.
"""

import csv
import importlib.resources
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import (
    double,
    freeze,
    recolour,
    reverse,
    slow,
    teleport,
    vanish,
)
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.oracles.tracker import DUPLICATE, components
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.phyworld import EXTENT
from sora_jax.worlds.playhouse.spec import COLOURS, from_pixels

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

GIVEN = 3  # conditioning frames: the first frames of a clip, which a model is given
BALLS = ("red", "blue")
_ABSORBED = 1.0 - np.array([COLOURS[name] for name in BALLS])  # 1 - c_k, [2, 3]
_UNMIX = np.linalg.pinv(_ABSORBED.T)  # [2, 3]
_DISC = np.array([[abs(i) + abs(j) <= 3 for i in range(-2, 3)] for j in range(-2, 3)])
# least pixels that a ball covers; the smallest ball, of radius 0.3 units, covers 11 at 64 pixels
MIN_MASS = 3.0
MAX_ERROR = 0.15  # units/s: tolerance of the oracle


def paper_table() -> list[dict]:
    """Returns figure 3 of the paper, one row for each model and training set.

    A row has task, model (texts), params_millions, clips (of the training set), id_error, ood_error
    (velocity errors in and out of distribution) and floor (that of the renders), all floats.
    """
    text = (
        importlib.resources.files("sora_jax") / "worlds/playhouse/phyworld_figure3.csv"
    ).read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return [{k: v if k in ("task", "model") else float(v) for k, v in row.items()} for row in rows]


def centres(frames: np.ndarray, colour: str, extent: float) -> np.ndarray:
    """Returns the centre of the ball of a colour in each frame, in world units [F, 2]; NaN in
    frames with no such ball or more than one.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        colour: "red" or "blue".
        extent: width of the frames in world units.
    """
    alpha = np.clip((1.0 - frames.astype(np.float64)) @ _UNMIX[BALLS.index(colour)], 0.0, 1.0)
    out = np.full((len(frames), 2), np.nan)
    for f, a in enumerate(alpha):
        parts, count = components(a > 0.5)
        if not count:
            continue
        areas = np.bincount(parts.ravel())[1:]
        weight = a * ndimage.binary_dilation(parts == 1 + np.argmax(areas), _DISC)
        if weight.sum() < MIN_MASS or np.sum(areas > DUPLICATE * areas.max()) > 1:
            continue
        row, column = ndimage.center_of_mass(weight)
        out[f] = from_pixels(np.array([column, row]), extent, frames.shape[2], 0.0)
    return out


def paper_centres(frames: np.ndarray, colour: str, extent: float) -> np.ndarray:
    """Returns the centre of the ball of a colour in each frame as the PhyWorld paper finds it: the
    mean position of the pixels of that colour, in world units [F, 2]; NaN without such pixels.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        colour: "red" or "blue".
        extent: width of the frames in world units.
    """
    bright = frames * 255.0 > 127.0
    channels = np.array([name == colour for name in BALLS])
    mask = (bright[..., 0] == channels[0]) & ~bright[..., 1] & (bright[..., 2] == channels[1])
    out = np.full((len(frames), 2), np.nan)
    for f, pixels in enumerate(mask):
        if pixels.any():
            rows, columns = np.nonzero(pixels)
            out[f] = from_pixels(
                np.array([columns.mean(), rows.mean()]), extent, frames.shape[2], 0.0
            )
    return out


def scored_steps(take: Take, times: np.ndarray) -> np.ndarray:
    """Returns a mask, bool [F - 1, K]: True where the step from frame f to f + 1 counts for the
    velocity error of ball k.

    It does if the ball is wholly in the picture in both frames, both follow the collision of the
    balls (if they collide), and frame f + 1 is not among the GIVEN that a model is given.

    Args:
        take: of a family `phyworld_...`.
        times: of the frames, in s, [F].
    """
    q = take.trajectory.positions(times)
    r = np.array([ball.radius for ball in take.scene.balls])[:, None]
    inside = ((q > r) & (q < take.scene.extent - r)).all(-1)
    impact = max((c.time for c in take.trajectory.contacts if c.kind == "ball"), default=-1.0)
    counts = inside & (times > impact)[:, None]
    return counts[1:] & counts[:-1] & (np.arange(1, len(times)) >= GIVEN)[:, None]


# (frames [F, H, W, 3], colour, width of a frame) -> centres [F, 2]; width and centres in world
# units
Parser = Callable[[np.ndarray, str, float], np.ndarray]


def read_motion(
    frames: np.ndarray, take: Take, fps: float, parser: Parser = centres
) -> tuple[float | None, float | None]:
    """Returns (velocity error in world units a second, share of lost steps) of a clip, each None
    where `compare_motion` says so.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        take: the take that the clip should show, of a family `phyworld_...`.
        fps: frames/s.
        parser: function (frames, colour, width of a frame in world units) that returns the centres
            of a ball, [F, 2]. Default `centres`.
    """
    extent = take.scene.extent
    positions = {b.colour: parser(frames, b.colour, extent) for b in take.scene.balls}
    return compare_motion(positions, take, fps)


def compare_motion(
    positions: dict[str, np.ndarray], take: Take, fps: float
) -> tuple[float | None, float | None]:
    """Compares centres read from a clip with the trajectory of its take.

    Args:
        positions: {colour of the ball: its centres [F, 2] in world units, NaN where it is lost}.
        take: the take that the clip should show, of a family `phyworld_...`.
        fps: frames/s.

    Returns:
        (mean distance between the velocities read and those of the take, in world units a second;
        share of the steps that count in which a ball is lost). Both are None if no step counts
        (`scored_steps`); the first is None if the balls are lost in every such step.
    """
    p = np.stack([positions[ball.colour] for ball in take.scene.balls], axis=1)
    times = (np.arange(len(p)) + 0.5) / fps
    u = np.diff(take.trajectory.positions(times), axis=0) * fps
    counts = scored_steps(take, times)
    axes = 2 if take.scene.gravity else 1
    error = np.linalg.norm((np.diff(p, axis=0) * fps - u)[..., :axes], axis=-1)[counts]
    if not len(error):
        return None, None
    valid = np.isfinite(error)
    return float(error[valid].mean()) if valid.any() else None, float(1.0 - valid.mean())


class MotionOracle(Oracle):
    """Oracle `motion`: positions and velocities of the balls of the PhyWorld tasks.

    Source: Kang et al. 2024 (arXiv:2411.02385).
    """

    name = "motion"
    media = (VIDEO,)
    tolerance = f"velocities within {MAX_ERROR} units/s, no ball lost"
    corruptions = (vanish, teleport, double, recolour, reverse, freeze, slow)
    stage = "phyworld"

    def read(self, reading: "Reading") -> dict[str, np.ndarray]:
        """Returns the centres of the balls of a clip by colour, {colour: [F, 2] in world units}."""
        return {colour: centres(reading.frames, colour, EXTENT) for colour in BALLS}

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether the balls of a clip move as in the example's take: the velocity error is
        at most MAX_ERROR and no ball is lost. None if no step between two frames counts.
        """
        error, lost = compare_motion(reading.of(self.name), example.take, reading.fps)
        if lost is None:
            return None
        return error is not None and error <= MAX_ERROR and lost == 0.0
