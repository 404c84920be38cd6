"""Object permanence: whether a ball that goes behind a panel is still there afterwards.

The clips are of family `occlude`: a ball rolls or flies behind a panel, a board that stands in the
room. The oracle compares colour, number and path of the ball before and after it is hidden, from
pixels alone.

1. The camera is static, pans or pushes in (`camera_views.read_move`). Every frame is resampled to
   a static camera.
2. The panel is found by its paint (`panel.py`).
3. The ball is followed as a disc (`disc.py`), also where it is partly hidden. Only walls push a
   ball sideways, so its path is

       x(t) = x_0 + u t   or   x(t) = w + u (t - t_w) before t_w, w + u' (t - t_w) after,        (1)

   with w the ball's position where it touches a wall and
   -MAX_RESTITUTION <= u' / u <= -MIN_RESTITUTION. If the ball hits another wall in view, only the
   part of the path between the panel and that wall counts.

The ball is the `same` if it keeps one size and no other ball appears. It is `back` if it is
visible again. The gap is the longest run of frames in which it is not found. It is `on_course` if
all of the following hold:

- One path (1) passes through all its positions, to RMS_LIMITS metres rms.
- Where the ball is not found, (1) puts it behind the standing panel; one frame may be an exception.
- Just before and just after the gap, the ball is low enough for the panel to hide it.
- The ball does not show in front of the panel where it should be behind it; one frame may be an
  exception.

Units: metres and seconds. Heights are not followed: the height of a bounce behind the panel
depends on a restitution (speed after over speed before) that may not have been visible. The
constants were chosen on clips of the split `train` and on clips 0 to 499 of `val`. Limits: one
ball; one panel; at least two positions before the gap and two after; 64 pixels or more.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.arcs import MAX_RESTITUTION
from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.camera_views import read_move, steady
from sora_jax.oracles.conditions import corrupt, corrupt_motion, redrawn
from sora_jax.oracles.corruptions import other_ball, resized, retimed
from sora_jax.oracles.disc import WHOLE, Disc, follow, still_picture
from sora_jax.oracles.examples import VIDEO, Example, disordered
from sora_jax.oracles.panel import RIM, Panel, read_panel
from sora_jax.oracles.tracker import EXTENT
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import COLOURS, Ball
from sora_jax.worlds.playhouse.trajectory import Trajectory

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

# Tolerance of the rms distance from path (1): its minimum and maximum, in metres; in between it is
# NOISE_FACTOR times the noise of the positions.
RMS_LIMITS, NOISE_FACTOR = (0.025, 0.06), 2.0
PARTIAL_WEIGHT = 0.1  # weight of a position where the ball is partly hidden
SAME_SIZE = 1.3  # largest ratio of the radii before and after
FALL = 0.5  # metres: largest fall of the ball between its last visible frame and the panel
IN_FRONT = 0.6  # share of the disc's area: a ball behind the panel shows less
# minimum restitution of a ball on a wall, with a margin for noise; cloth has 0.38
MIN_RESTITUTION = 0.2
# positions on one side of the gap that suffice for a path; with fewer, all of that side are used
MIN_POSITIONS = 4
STEP = 0.004  # seconds between two candidates for t_w
LEAD = 0.6  # metres by which the ball of the corruption `early` is ahead


@dataclasses.dataclass(frozen=True)
class Permanence:
    """Whether a ball that goes behind a panel persists.

    Attributes:
        same: True if there is one ball of one colour and size throughout.
        back: True if the ball is visible after the gap, the frames in which it is hidden.
        on_course: True if one path, straight or with one wall contact, explains where the ball is
            before and after the gap.
    """

    same: bool
    back: bool
    on_course: bool

    @property
    def persists(self) -> bool:
        """True if the ball is the same, back and on course."""
        return self.same and self.back and self.on_course


def read_permanence(frames: np.ndarray, fps: float) -> Permanence | None:
    """Returns whether the ball that goes behind a panel persists; None without a panel, or if no
    ball goes behind it. All fields are False if the ball is not found in at least two frames before
    and two after it is hidden.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.
    """
    frames = np.asarray(frames, np.float32)
    views = read_move(frames, fps)
    frames = frames if views is None else steady(frames, views)
    panel = read_panel(frames, views)
    if panel is None:
        return None
    ball = follow(frames, still_picture(frames), panel.hides(frames.shape[2]), EXTENT)
    if ball is None:
        return Permanence(False, False, False)
    if ball.found.all():
        return None
    gap = _longest_gap(ball)
    before, after = (
        np.flatnonzero(ball.found[: gap[0]]),
        gap[-1] + 1 + np.flatnonzero(ball.found[gap[-1] + 1 :]),
    )
    back = len(after) >= 2
    if len(before) < 2 or not back:
        return Permanence(False, back and len(before) >= 2, False)
    same = np.sum(ball.others | ball.twice) <= 1 and _one_size(ball, gap)
    t = (np.arange(len(frames)) + 0.5) / fps
    straight, path = _course(t, ball, before, after)
    return Permanence(
        bool(same), True, straight and _behind(path, ball, gap, panel, frames.shape[2])
    )


def _longest_gap(ball: Disc) -> np.ndarray:
    """Returns the indices of the longest run of frames in which the ball is not found."""
    unseen = np.flatnonzero(~ball.found)
    runs = np.split(unseen, np.flatnonzero(np.diff(unseen) > 1) + 1)
    return max(runs, key=len)


def _one_size(ball: Disc, gap: np.ndarray) -> bool:
    """Returns whether the ball has the same size before and after the gap. True if it is never
    wholly visible before it, or never after.
    """
    sizes = [part[np.isfinite(part)] for part in (ball.size[: gap[0]], ball.size[gap[-1] + 1 :])]
    if not all(map(len, sizes)):
        return True
    return bool(1.0 / SAME_SIZE < np.median(sizes[1]) / np.median(sizes[0]) < SAME_SIZE)


@dataclasses.dataclass(frozen=True)
class Course:
    """A fitted horizontal path x(t) of a ball, straight or with one contact with a wall.

    Attributes:
        rms: rms distance of the positions from the path, metres.
        w, t_w: position in metres and time in s of the wall contact; without one, x at t = 0 and 0.
        u, v: velocities before and after the contact, m/s; equal without a wall.
    """

    rms: float
    w: float
    t_w: float
    u: float
    v: float

    def at(self, t: np.ndarray) -> np.ndarray:
        """Returns positions x in metres at times t in s, both [N]."""
        return self.w + np.where(t <= self.t_w, self.u, self.v) * (t - self.t_w)


def course(t: np.ndarray, x: np.ndarray, weight: np.ndarray, radius: float) -> Course:
    """Returns the path, straight or with one wall contact, that is nearest to the positions of a
    ball by weighted least squares.

    Args:
        t: times [N] in s.
        x: horizontal positions [N] in metres.
        weight: weights [N] of the positions.
        radius: of the ball, metres.
    """

    def rms(residual: np.ndarray) -> float:
        return float(np.sqrt(np.sum(weight * np.square(residual)) / np.sum(weight)))

    u, x0 = np.polyfit(t, x, 1, w=np.sqrt(weight))
    best = Course(rms(x0 + u * t - x), float(x0), 0.0, float(u), float(u))
    for w in (radius, EXTENT - radius):
        for t_w in np.arange(t[0] + STEP, t[-1], STEP):
            first = t <= t_w
            u, v = (
                float(d @ (weight[part] * (x[part] - w)) / (d @ (weight[part] * d)))
                for part in (first, ~first)
                for d in [t[part] - t_w]
            )
            candidate = Course(rms(w + np.where(first, u, v) * (t - t_w) - x), w, float(t_w), u, v)
            if (
                candidate.rms < best.rms
                and (w > 0.5 * EXTENT) == (u > 0.0)
                and -MAX_RESTITUTION <= v / u <= -MIN_RESTITUTION
            ):
                best = candidate
    return best


def _course(
    t: np.ndarray, ball: Disc, before: np.ndarray, after: np.ndarray
) -> tuple[bool, np.ndarray]:
    """Fits one path to the positions before and after the gap.

    Args:
        t: times [F] in s.
        ball: the followed ball.
        before, after: indices of the frames on each side of the gap.

    Returns:
        (whether the path fits, to an rms distance within RMS_LIMITS that grows with the noise of
        the fits to each side alone; its positions x [F] in metres).
    """
    x = ball.position[:, 0]

    def fit(index: np.ndarray) -> Course:
        weight = np.where(ball.visible[index] > WHOLE, 1.0, PARTIAL_WEIGHT)
        return course(t[index], x[index], weight, ball.radius)

    near = before[-_straight(x[before[::-1]]) :], after[: _straight(x[after])]
    # (1) has one wall contact, so positions beyond another contact in view are left out.
    near = [
        part if len(part) >= MIN_POSITIONS else side
        for part, side in zip(near, (before, after), strict=True)
    ]
    candidates = [(before, after)] + [near] * (
        len(near[0]) + len(near[1]) < len(before) + len(after)
    )
    for sides in candidates:
        side_rms = [
            fit(side).rms * np.sqrt(len(side) / (len(side) - 2)) for side in sides if len(side) > 3
        ]
        path = fit(np.concatenate(sides))
        if path.rms <= np.clip(NOISE_FACTOR * max(side_rms, default=0.0), *RMS_LIMITS):
            return True, path.at(t)
    return False, path.at(t)


def _straight(x: np.ndarray) -> int:
    """Returns the number of leading positions of x [N] before the ball turns around. A step shorter
    than half the median step counts as a turn, because the ball has turned within it.
    """
    steps = np.diff(x) * np.sign(x[1] - x[0])
    turns = np.flatnonzero(steps < 0.5 * np.median(np.abs(steps)))
    return int(turns[0]) + 1 if len(turns) else len(x)


def _behind(path: np.ndarray, ball: Disc, gap: np.ndarray, panel: Panel, size: int) -> bool:
    """Returns whether the panel explains all frames in which the ball is not found.

    The standing panel must cover the path there. The ball must be low enough at both ends of the
    gap, and must not show in front of the panel. One frame may be an exception.

    Args:
        path: positions x [F] of the fitted path, metres.
        ball: the followed ball.
        gap: indices of the frames of the gap.
        panel: the panel.
        size: width of the picture in pixels.
    """
    rim = (RIM + 1.0) * EXTENT / size
    hidden = (
        (path > panel.left - rim)
        & (path < panel.right + rim)
        & (panel.present | np.append(panel.present[0], panel.present[:-1]))
    )
    low = all(
        ball.position[f, 1] - ball.radius < panel.top + FALL for f in (gap[0] - 1, gap[-1] + 1)
    )
    return bool(low and np.sum(~ball.found & ~hidden) <= 1 and np.sum(ball.before > IN_FRONT) <= 1)


def _while_hidden(c: Example) -> tuple[Trajectory, float, float]:
    """Returns (the ball's trajectory over twice the length of clip `c`, the middle of the interval
    in which a panel hides it in s, its horizontal speed when it goes behind the panel in m/s).
    """
    ((_, start, end),) = c.take.hidden
    longer = simulate(c.take.scene, 2.0 * c.format.seconds)
    assert longer is not None  # every contact is accepted
    x = longer.positions(np.array([start - 0.05, start]))[:, 0, 0]
    return longer, 0.5 * (start + end), abs(x[1] - x[0]) / 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Leaving(Trajectory):
    """A trajectory whose balls are far outside of the frame after the time `since`, in s."""

    since: float

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Returns ball centres in metres, float64 [T, K, 2], at times [T] in seconds."""
        times = np.asarray(times)
        return super().positions(times) - 1e3 * (times > self.since)[:, None, None]


@corrupt_motion
def lost(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with a ball that vanishes behind the panel for good."""
    motion, start, _ = _while_hidden(c)
    return _Leaving(**vars(motion), since=start)


def _stops(since: float, times: np.ndarray) -> np.ndarray:
    return np.where(times > since, since, times)


@corrupt_motion
def stuck(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with a ball that stops behind the panel."""
    motion, since, _ = _while_hidden(c)
    return retimed(motion, functools.partial(_stops, since))


def _skips(since: float, seconds: float, times: np.ndarray) -> np.ndarray:
    return np.where(times > since, times + seconds, times)


@corrupt_motion
def early(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with a ball that comes out from behind the panel LEAD
    metres ahead of its course.
    """
    motion, since, speed = _while_hidden(c)
    return retimed(motion, functools.partial(_skips, since, LEAD / speed))


# each colour and the one two places after it in COLOURS, cyclically
NEXT_COLOUR = dict(zip(COLOURS, (*COLOURS, *COLOURS)[2:], strict=False))


def _recoloured(ball: Ball) -> Ball:
    return dataclasses.replace(ball, colour=NEXT_COLOUR[ball.colour])


@corrupt(VIDEO)
def swapped(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with a ball of another colour that comes out from behind the panel."""
    return other_ball(clips, _recoloured)


@corrupt(VIDEO)
def in_front(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with the ball in front of the panel instead of behind it."""
    takes = []
    for c in clips:
        shapes = tuple(dataclasses.replace(s, front=False) for s in c.take.scene.shapes)
        scene = dataclasses.replace(c.take.scene, shapes=shapes)
        takes.append(dataclasses.replace(c.take, hidden=(), scene=scene))
    return redrawn(clips, takes)


class PermanenceOracle(Oracle):
    """Oracle `permanence`: whether a ball hidden by a panel reappears as the same ball on its
    course, or is there when the panel is lifted.
    """

    name = "permanence"
    media = (VIDEO,)
    tolerance = "the same ball, on its course"
    corruptions = (lost, stuck, early, swapped, resized, in_front)
    ceiling = STRICT
    stage = "occlude"

    def read(self, reading: "Reading") -> Permanence | None:
        """Returns whether the ball that a panel hides persists; None if no ball is hidden."""
        return read_permanence(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether a ball of the clip is hidden by a panel and persists."""
        permanence = reading.of(self.name)
        return permanence is not None and permanence.persists

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns the clips with their frames permuted.

        Exchanging takes would change no reading, because the oracle does not compare with the take.
        """
        return disordered(clips)
