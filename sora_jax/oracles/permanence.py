"""Is what goes behind a panel still there?

Colour, number and course of a ball before it is hidden and after, from pixels alone.

1. The camera makes one of the moves of family `occlude` (`camera_views.read_move`), and every frame
   is seen again as from one that stands still.
2. The panel is found by its paint (`panel.py`).
3. The ball is followed as a disc (`disc.py`), also where a part of it is hidden. Nothing pushes a
   ball sideways but walls, so its course is

       x(t) = x_0 + u t   or   x(t) = w + u (t - t_w) before t_w, w + u' (t - t_w) after,        (1)

   w where it touches a wall, -PASSIVE <= u' / u <= -DULL. Where it has met another wall in view,
   only its way to or from that one counts.

The ball is the `same` if there is no other one and it has one size, `back` if it is seen again, and
`on_course` if one of (1) goes through all its places, to OFF metres rms, and in every frame but one
in which it is not seen (1) puts it behind the panel while that stands; it is lower than the panel
where it is seen last before, and first after; and it is not seen before the panel where it should
be behind.

Units: metres and seconds. Heights are not followed: how high a ball bounces behind the panel
depends on a restitution that may not have been seen. Its constants were chosen on `train` and on
clips of `val` below 500. Limits: one ball, one panel, two places at least before it is hidden and
after; the camera of the family's films; 64 pixels or more.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.arcs import PASSIVE
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

OFF, TREMBLE = (0.025, 0.06), 2.0  # metres, least and most; times the trembling
PART = 0.1  # weight of a place where the ball is not whole to be seen
SAME_SIZE = 1.3  # times the radius
FALL = 0.5  # metres that a ball may fall between the frame in which it was seen last and the panel
IN_FRONT = 0.6  # of a disc: what nobody behind a panel shows
DULL = 0.2  # least restitution of a ball on a wall, less what noise takes: cloth has 0.38
FEWEST = 4  # places on a side of the gap that make a course without those beyond a wall in view
STEP = 0.004  # seconds between two t_w that are tried
EARLY = 0.6  # metres by which `early` is ahead


@dataclasses.dataclass(frozen=True)
class Permanence:
    """same: one colour and one ball throughout; back: it is there after the panel; on_course:
    (1).
    """

    same: bool
    back: bool
    on_course: bool

    @property
    def kept(self) -> bool:
        """Is the ball the same, back and on its course?"""
        return self.same and self.back and self.on_course


def read_permanence(frames: np.ndarray, fps: float) -> Permanence | None:
    """What becomes of the ball of a clip that goes behind a panel; None without a panel, or where
    no ball goes behind it.

    frames: [F, H, W, 3] in [0, 1]; fps: frames/s. A clip with a panel and no ball to be seen before
    it keeps nothing.
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
    gone = _gone(ball)
    before, after = (
        np.flatnonzero(ball.found[: gone[0]]),
        gone[-1] + 1 + np.flatnonzero(ball.found[gone[-1] + 1 :]),
    )
    back = len(after) >= 2
    if len(before) < 2 or not back:
        return Permanence(False, back and len(before) >= 2, False)
    same = np.sum(ball.others | ball.twice) <= 1 and _one_size(ball, gone)
    t = (np.arange(len(frames)) + 0.5) / fps
    straight, path = _course(t, ball, before, after)
    return Permanence(
        bool(same), True, straight and _behind(path, ball, gone, panel, frames.shape[2])
    )


def _gone(ball: Disc) -> np.ndarray:
    """The longest run of frames in which the ball is not seen."""
    unseen = np.flatnonzero(~ball.found)
    runs = np.split(unseen, np.flatnonzero(np.diff(unseen) > 1) + 1)
    return max(runs, key=len)


def _one_size(ball: Disc, gone: np.ndarray) -> bool:
    """Is the ball as large after as before, where it was whole to be seen on both sides?"""
    sizes = [part[np.isfinite(part)] for part in (ball.size[: gone[0]], ball.size[gone[-1] + 1 :])]
    return (
        not all(map(len, sizes))
        or 1.0 / SAME_SIZE < np.median(sizes[1]) / np.median(sizes[0]) < SAME_SIZE
    )


@dataclasses.dataclass(frozen=True)
class Course:
    """A fitted path, equation (1).

    Attributes:
        rms: distance of the places from it, metres.
        w, t_w: where and when it meets a wall, in metres and s; without a wall x_0 and 0.
        u, v: speed before and after, m/s: u and u' of (1); without a wall the same.
    """

    rms: float
    w: float
    t_w: float
    u: float
    v: float

    def at(self, t: np.ndarray) -> np.ndarray:
        """x in metres at times t in s."""
        return self.w + np.where(t <= self.t_w, self.u, self.v) * (t - self.t_w)


def course(t: np.ndarray, x: np.ndarray, weight: np.ndarray, radius: float) -> Course:
    """The best of (1) for places x [N] at times t [N], of weights [N]."""

    def rms(off: np.ndarray) -> float:
        return float(np.sqrt(np.sum(weight * np.square(off)) / np.sum(weight)))

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
            found = Course(rms(w + np.where(first, u, v) * (t - t_w) - x), w, float(t_w), u, v)
            if (
                found.rms < best.rms
                and (w > 0.5 * EXTENT) == (u > 0.0)
                and -PASSIVE <= v / u <= -DULL
            ):
                best = found
    return best


def _course(
    t: np.ndarray, ball: Disc, before: np.ndarray, after: np.ndarray
) -> tuple[bool, np.ndarray]:
    """Is there a course, to OFF, or to somewhat more if the places tremble on their own side of the
    gap? And where it puts the ball, x [F].
    """
    x = ball.position[:, 0]

    def fit(seen: np.ndarray) -> Course:
        weight = np.where(ball.visible[seen] > WHOLE, 1.0, PART)
        return course(t[seen], x[seen], weight, ball.radius)

    near = before[-_straight(x[before[::-1]]) :], after[: _straight(x[after])]
    # (1) has one wall: without what is beyond others
    near = [part if len(part) >= FEWEST else side for part, side in zip(near, (before, after))]
    ways = [(before, after)] + [near] * (len(near[0]) + len(near[1]) < len(before) + len(after))
    for way in ways:
        alone = [
            fit(side).rms * np.sqrt(len(side) / (len(side) - 2)) for side in way if len(side) > 3
        ]
        found = fit(np.concatenate(way))
        if found.rms <= np.clip(TREMBLE * max(alone, default=0.0), *OFF):
            return True, found.at(t)
    return False, found.at(t)


def _straight(x: np.ndarray) -> int:
    """How many of the places x [N] come before the ball turns, or goes less than half a step
    further and has turned within it.
    """
    steps = np.diff(x) * np.sign(x[1] - x[0])
    turns = np.flatnonzero(steps < 0.5 * np.median(np.abs(steps)))
    return int(turns[0]) + 1 if len(turns) else len(x)


def _behind(path: np.ndarray, ball: Disc, gone: np.ndarray, panel: Panel, size: int) -> bool:
    """Where the ball is not seen, does the standing panel hide it, and only there? path: where it
    should be, x [F].
    """
    rim = (RIM + 1.0) * EXTENT / size
    hidden = (
        (path > panel.left - rim)
        & (path < panel.right + rim)
        & (panel.there | np.append(panel.there[0], panel.there[:-1]))
    )
    low = all(
        ball.position[f, 1] - ball.radius < panel.top + FALL for f in (gone[0] - 1, gone[-1] + 1)
    )
    return bool(low and np.sum(~ball.found & ~hidden) <= 1 and np.sum(ball.before > IN_FRONT) <= 1)


def _while_hidden(c: Example) -> tuple[Trajectory, float, float]:
    """The ball's motion over twice the clip, the middle of the time in which it is hidden, s, and
    its speed sideways when it goes behind the panel, m/s.
    """
    ((_, start, end),) = c.take.hidden
    longer = simulate(c.take.scene, 2.0 * c.format.seconds)
    x = longer.positions(np.array([start - 0.05, start]))[:, 0, 0]
    return longer, 0.5 * (start + end), abs(x[1] - x[0]) / 0.05


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Leaving(Trajectory):
    """A motion that is far away after the time `since`, s."""

    since: float

    def positions(self, times: np.ndarray) -> np.ndarray:
        times = np.asarray(times)
        return super().positions(times) - 1e3 * (times > self.since)[:, None, None]


@corrupt_motion
def lost(c: Example) -> Trajectory:
    """The ball does not come out from behind the panel."""
    motion, since, _ = _while_hidden(c)
    return _Leaving(**vars(motion), since=since)


def _stops(since: float, times: np.ndarray) -> np.ndarray:
    return np.where(times > since, since, times)


@corrupt_motion
def stuck(c: Example) -> Trajectory:
    """The ball stops behind the panel."""
    motion, since, _ = _while_hidden(c)
    return retimed(motion, functools.partial(_stops, since))


def _skips(since: float, seconds: float, times: np.ndarray) -> np.ndarray:
    return np.where(times > since, times + seconds, times)


@corrupt_motion
def early(c: Example) -> Trajectory:
    """The ball comes out EARLY metres ahead."""
    motion, since, speed = _while_hidden(c)
    return retimed(motion, functools.partial(_skips, since, EARLY / speed))


NEXT_COLOUR = dict(zip(COLOURS, (*COLOURS, *COLOURS)[2:]))


def _recoloured(ball: Ball) -> Ball:
    return dataclasses.replace(ball, colour=NEXT_COLOUR[ball.colour])


@corrupt(VIDEO)
def swapped(clips: list[Example]) -> list[Example]:
    """A ball of another colour comes out from behind the panel."""
    return other_ball(clips, _recoloured)


@corrupt(VIDEO)
def in_front(clips: list[Example]) -> list[Example]:
    """The ball goes before the panel, not behind it."""
    takes = []
    for c in clips:
        shapes = tuple(dataclasses.replace(s, front=False) for s in c.take.scene.shapes)
        scene = dataclasses.replace(c.take.scene, shapes=shapes)
        takes.append(dataclasses.replace(c.take, hidden=(), scene=scene))
    return redrawn(clips, takes)


class PermanenceOracle(Oracle):
    """Whether a ball that a panel hides comes out, or is there when the panel lifts, as the same
    ball on its course.
    """

    name = "permanence"
    media = (VIDEO,)
    tolerance = "the same ball, on its course"
    corruptions = (lost, stuck, early, swapped, resized, in_front)
    ceiling = STRICT
    stage = "occlude"

    def read(self, reading: "Reading") -> Permanence | None:
        """What becomes of the hidden ball; None where nothing is hidden."""
        return read_permanence(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Is a ball hidden, and kept?"""
        found = reading.of(self.name)
        return found is not None and found.kept

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """The frames in another order: the oracle does not look at the take."""
        return disordered(clips)
