"""The velocity error of PhyWorld: the distance between the velocities of the balls in a clip and in
the scene (Kang et al. 2024, arXiv:2411.02385).

With p_t the centre of a ball in frame t, read from pixels, q_t the scene's, and dt the time
between frames,

    v_t = (p_t - p_{t-1}) / dt,      u_t = (q_t - q_{t-1}) / dt                                  (1)
    error = mean over balls and valid frames of |v_t - u_t|          (world units a second)      (2)

The error is along x where balls move along x, and in the plane where they fall. With the
paper's parser at 256 pixels, 24 scenes of `val` of each task have an error of 0.0124
(uniform), 0.0120 (collision) and 0.0195 (parabola); the paper states 0.0099, 0.0117 and
0.0210.

A frame counts for a ball if the ball was to be generated in it (t >= GIVEN) and lies wholly
inside the picture in that frame and the frame before, according to the scene. Where balls
collide, both frames must also follow the impact. A frame is valid if the ball is found exactly
once in both frames. The share of invalid frames is `lost`, reported beside the error.

**Centres.** The balls are red and blue on white, drawn flat, so a pixel is a mixture p = 1 - sum_k
alpha_k (1 - c_k) of white and the colours c_k. Least squares over three channels gives alpha_k. The
centre is the mean pixel position weighted by alpha_k, over the largest region with alpha_k > 1/2
and two pixels around it. If another region is a third as large, the ball is ambiguous and counts as
lost. `paper_centres` is the published parser: the mean position of pixels with R > 127, G < 127, B
< 127. At 64 pixels it rounds to whole pixels, so its floor is far above the errors to be measured.

Every reading is printed beside that of the scenes' own renders, its floor. Source: "How Far Is
Video Generation from World Model: A Physical Law Perspective"; `paper_table` holds its figure
3.
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

GIVEN = 3  # conditioning frames, which the model is given
BALLS = ("red", "blue")
_ABSORBED = 1.0 - np.array([COLOURS[name] for name in BALLS])  # 1 - c_k, [2, 3]
_UNMIX = np.linalg.pinv(_ABSORBED.T)  # [2, 3]
_DISC = np.array([[abs(i) + abs(j) <= 3 for i in range(-2, 3)] for j in range(-2, 3)])
# least pixels that a ball covers; the smallest ball, of radius 0.3 units, covers 11 at 64 pixels
MIN_MASS = 3.0
MAX_ERROR = 0.15  # units/s: tolerance of the oracle


def paper_table() -> list[dict]:
    """Returns figure 3 of the paper as rows {task, model, params_millions, clips, id_error,
    ood_error, floor}. All values but task and model are floats.
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
    """Returns the centres that the parser of the PhyWorld paper finds, in world units [F, 2].

    The arguments are those of `centres`.
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
    """Returns a mask, bool [F - 1, K]: whether the step from frame f to f + 1 enters the velocity
    error of ball k.

    It does if the ball is wholly in the picture in both frames, after the balls have collided and
    after the frames that are given to a model.

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


# (frames [F, H, W, 3], colour, width of the picture) -> centres [F, 2], both in world units
Parser = Callable[[np.ndarray, str, float], np.ndarray]


def read_motion(
    frames: np.ndarray, take: Take, fps: float, parser: Parser = centres
) -> tuple[float | None, float | None]:
    """Returns (velocity error, share of lost steps) of a clip, as `compare_motion` does.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        take: the take that the clip should show, of a family `phyworld_...`.
        fps: frames/s.
        parser: finds the centres of a ball in frames. Default `centres`.
    """
    extent = take.scene.extent
    positions = {b.colour: parser(frames, b.colour, extent) for b in take.scene.balls}
    return compare_motion(positions, take, fps)


def compare_motion(
    positions: dict[str, np.ndarray], take: Take, fps: float
) -> tuple[float | None, float | None]:
    """Compares centres read from a clip with the trajectory of its take.

    Args:
        positions: {colour: centres [F, 2] in world units}.
        take: of a family `phyworld_...`.
        fps: frames/s.

    Returns:
        (mean distance between the velocities read and those of the take, in world units a second;
        share of the counted steps in which a ball is lost). Both are None if no step counts; the
        first is None if the balls are lost in every step.
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
        """Returns whether the balls of a clip move as in the example's take; None if no step
        counts.

        The velocity error must be within the tolerance, and no ball lost.
        """
        error, lost = compare_motion(reading.of(self.name), example.take, reading.fps)
        if lost is None:
            return None
        return error is not None and error <= MAX_ERROR and lost == 0.0
