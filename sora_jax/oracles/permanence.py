"""Is what goes behind a panel still there?

Colour, number and course of a ball before it is hidden and after, from pixels alone.

1. The camera makes one of the moves of family `occlude` (`camera.read_move`), and every frame is
   seen again as from one that stands still.
2. The panel is the rectangle on the floor's line that holds most of

       sum over its pixels of  clip(1 - |p - paint| / PAINT, -1, 1)                              (1)

   in the first half of the clip, for the panel's paint, a public constant of the world, as one of
   the styles shows it. It is there in a frame as long as (1) is positive in it where no ball is
   before it, for it may lift. Its rim is drawn darker: RIM pixels more are hidden.
3. The ball is followed as a disc (`disc.py`), also where a part of it is hidden. Nothing pushes a
   ball sideways but walls, so its course is

       x(t) = x_0 + u t   or   x(t) = w + u (t - t_w) before t_w, w + u' (t - t_w) after,        (2)

   w where it touches a wall, -PASSIVE <= u' / u <= -DULL. Where it has met another wall in view,
   only its way to or from that one counts.

The ball is the `same` if there is no other one and it has one size, `back` if it is seen again, and
`on_course` if one of (2) goes through all its places, to OFF metres rms, and in every frame but one
in which it is not seen (2) puts it behind the panel while that stands; it is lower than the panel
where it is seen last before, and first after; and it is not seen before the panel where it should
be behind.

Units: metres and seconds. Heights are not followed: how high a ball bounces behind the panel
depends on a restitution that may not have been seen. Its constants were chosen on `train` and on
clips of `val` below 500. Limits: one ball, one panel, two places at least before it is hidden and
after; the camera of the family's films; 64 pixels or more.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from sora_jax.oracles.arcs import PASSIVE
from sora_jax.oracles.camera import painted, read_move, steady
from sora_jax.oracles.disc import WHOLE, Disc, follow, still_picture
from sora_jax.oracles.tracker import EXTENT, vivid
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, from_pixels, pixels_per_metre

PAINT = 0.046  # of a channel; a grey wall may be as near as 0.05
LEAST_PANEL, MOST_PANEL = 0.02, 0.5  # of the picture
RIM = 2.25  # pixels
OFF, TREMBLE = (0.025, 0.06), 2.0  # metres, least and most; times the trembling
PART = 0.1  # weight of a place where the ball is not whole to be seen
SAME_SIZE = 1.3  # times the radius
FALL = 0.5  # metres that a ball may fall between the frame in which it was seen last and the panel
IN_FRONT = 0.6  # of a disc: what nobody behind a panel shows
DULL = 0.2  # least restitution of a ball on a wall, less what noise takes: cloth has 0.38
FEWEST = 4  # places on a side of the gap that make a course without those beyond a wall in view
STEP = 0.004  # seconds between two t_w that are tried


@dataclasses.dataclass(frozen=True)
class Permanence:
    """same: one colour and one ball throughout; back: it is there after the panel; on_course:
    (2).
    """

    same: bool
    back: bool
    on_course: bool

    @property
    def kept(self) -> bool:
        return self.same and self.back and self.on_course


@dataclasses.dataclass(frozen=True)
class Panel:
    """(left, right, top) in metres, of its core; there: bool [F], in which frames it stands."""

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
    most, left, right, height, score = max(found, key=lambda option: option[0])
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
    """One of (2): rms distance of the places in m, w, t_w, u and u'; without a wall w is x_0 at t_w
    = 0, and u' is u.
    """

    rms: float
    w: float
    t_w: float
    u: float
    v: float

    def at(self, t: np.ndarray) -> np.ndarray:
        return self.w + np.where(t <= self.t_w, self.u, self.v) * (t - self.t_w)


def course(t: np.ndarray, x: np.ndarray, weight: np.ndarray, radius: float) -> Course:
    """The best of (2) for places x [N] at times t [N], of weights [N]."""
    rms = lambda off: float(np.sqrt(np.sum(weight * np.square(off)) / np.sum(weight)))
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
    fit = lambda seen: course(
        t[seen], x[seen], np.where(ball.visible[seen] > WHOLE, 1.0, PART), ball.radius
    )
    near = before[-_straight(x[before[::-1]]) :], after[: _straight(x[after])]
    # (2) has one wall: without what is beyond others
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
