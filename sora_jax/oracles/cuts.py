"""Cuts: the times at which a new shot begins. (A shot is the part of a clip between two cuts.)

A cut replaces the picture, or moves the camera in an instant. It is read from the background,
which fills most of a frame and moves evenly within a shot. Frames are resampled to 64 x 64 pixels,
and the gradients of their three colour channels are compared, because gradients keep their
directions when a lamp is switched. Black bars at the top and bottom are left out.

1. Content. With a, b the gradients of two frames, a shifted by d, and <> sums over a window,

       alike = max over |d| <= NEAR of  <a b> / sqrt(<a a> <b b>)                                (1)

   A pixel has changed if its window has texture in one of the frames and (1) is below ALIKE. The
   content differs if a share of more than CHANGED of the frame has changed.
2. Registration. Over the whole frame, the correlation

       C(d, z) = sum a b / sqrt(sum a a  sum b b),   a shifted by d and enlarged by z            (2)

   has its maximum C at the motion of the background between two frames. Expected are all motions
   between no motion and those of the frames just before and just after, to JUMP pixels. C' is the
   maximum over them. The registration breaks if C lies elsewhere, exceeds LOCKED, and

       C - C' > EXPLAINED (1 - C')                                                               (3)

A frame t begins a shot if, for each of the last two frames before t and each of the first two from
t on, the content differs or the registration breaks between the two. So a flash of one frame, a
shake and a cross-fade are no cuts.

The noise is subtracted from the sums; its variance is estimated from second differences of pixels.
The constants were chosen on scenes 0 to 499 of the split `val`. Limits: frames with texture in less
than a share COVERED, such as a plain room, give no cut; a shot has at least two frames; a cut
between two equal views of one place cannot be seen.
"""

import functools
import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import BLANK, DEGRADATIONS, GROUND_TRUTH, Condition, corrupt_frames
from sora_jax.oracles.examples import VIDEO, Example, disordered
from sora_jax.oracles.onsets import match
from sora_jax.oracles.style import SIZE, resampled
from sora_jax.worlds.playhouse.families.story import StoryFacts
from sora_jax.worlds.playhouse.staging import visible_cuts

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

SMOOTH, BARS = 1.0, 8  # pixels: deviation of the blur; rows left out at the top and the bottom
WINDOW = 5  # pixels: side of the windows of (1)
ALIKE, CHANGED, COVERED = 0.6, 0.28, 0.5  # correlation; share of the picture; share with texture
TEXTURE, NOISE = 0.0015, 0.6  # least <a a> of texture; <a a> of noise, relative to its variance
NEAR, FAR = 2, 5  # pixels: largest shifts d of (1) and of (2), in each direction
ZOOMS = (0.9, 0.95, 1.0, 1.05, 1.1)  # z of (2)
# pixels; least correlation at an unexpected motion; share of the mismatch 1 - C' that it explains
JUMP, LOCKED, EXPLAINED = 1.5, 0.75, 0.48
STILL = 0.95  # correlation of two frames above which the registration cannot break
KNOWN = 0.5  # least correlation of a known motion
HALF = 0.5  # seconds by which the corruption `moved` moves a cut; `dissolve` lasts twice as long

Shifts = tuple[tuple[int, ...], ...]  # (down, right) in pixels
_NEAR: Shifts = tuple(itertools.product(range(-NEAR, NEAR + 1), repeat=2))
_FAR: Shifts = tuple(itertools.product(range(-FAR, FAR + 1), repeat=2))


def read_cuts(frames: np.ndarray, fps: float) -> list[float]:
    """Returns the times in s at which a new shot begins, without the start of the first.

    Args:
        frames: [F, H, W, 3] in [0, 1].
        fps: frames/s.
    """
    film = _Film(resampled(frames))
    return [t / fps for t in range(2, len(frames) - 1) if film.cut(t)]


def _gradients(frame: np.ndarray) -> np.ndarray:
    """Returns the gradients of a frame [SIZE, SIZE, 3] without the bars, [rows, columns, 6]:
    differences across, then down, of each colour channel.
    """
    soft = ndimage.gaussian_filter(frame, (SMOOTH, SMOOTH, 0))
    across, down = soft[1:-1, 2:] - soft[1:-1, :-2], soft[2:, 1:-1] - soft[:-2, 1:-1]
    return np.concatenate([across, down], axis=-1)[BARS - 1 : 1 - BARS]


def _windowed(x: np.ndarray) -> np.ndarray:
    return ndimage.uniform_filter(x, WINDOW, mode="nearest")


def _overlap(a: np.ndarray, b: np.ndarray, down: int, right: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the parts of pictures a and b [H, W, ...] that coincide after `a` is shifted by
    (down, right) pixels.
    """
    h, w = a.shape[:2]
    return (
        a[max(0, -down) : h - max(0, down), max(0, -right) : w - max(0, right)],
        b[max(0, down) : h - max(0, -down), max(0, right) : w - max(0, -right)],
    )


class _Film:
    """The frames of a clip, compared in pairs.

    Args:
        frames: float32 [F, SIZE, SIZE, 3].
    """

    def __init__(self, frames: np.ndarray) -> None:
        self.frames = frames
        # the second differences of white noise have six times its variance
        second = 2.0 * frames[:, :, 1:-1] - frames[:, :, 2:] - frames[:, :, :-2]
        deviation = float(np.median(np.abs(second))) / 0.6745
        self.noise = NOISE * deviation * deviation / 6.0
        self.gradients = functools.lru_cache(maxsize=32)(self._gradients_of)
        self.motion = functools.lru_cache(maxsize=32)(self._motion)

    def _gradients_of(self, number: int, zoom: float = 1.0) -> np.ndarray:
        frame = self.frames[number]
        if zoom != 1.0:
            inverse = np.diag([1.0 / zoom, 1.0 / zoom, 1.0, 1.0])
            inverse[:2, 3] = (1.0 - 1.0 / zoom) * 0.5 * (SIZE - 1)
            frame = ndimage.affine_transform(frame, inverse, order=1, mode="nearest")
        return _gradients(frame)

    def cut(self, t: int) -> bool:
        """Returns whether the frame of index t begins a shot."""
        changed, covered = self._changed(t - 1, t, ((0, 0),))
        if covered < COVERED:
            return False
        if changed < CHANGED and self._correlation(t - 1, t) > STILL:
            return False
        pairs = [(a, b) for a in (t - 1, t - 2) for b in (t, t + 1)]
        return all(self._differs(a, b) or self._breaks(a, b, t) for a, b in pairs)

    def _differs(self, a: int, b: int) -> bool:
        return self._changed(a, b, _NEAR)[0] > CHANGED

    def _changed(self, a: int, b: int, shifts: Shifts) -> tuple[float, float]:
        """Returns (share of the pixels that changed between frames a and b, share that have
        texture), by (1) over these shifts.
        """
        first, second = self.gradients(a), self.gradients(b)
        powers = [np.maximum(_windowed(np.square(x).sum(-1)), 0.0) for x in (first, second)]
        alike = np.full(powers[0].shape, -1.0, np.float32)
        for shift in shifts:
            moved, power = (np.roll(x, shift, (0, 1)) for x in (first, powers[0]))
            scale = np.sqrt(power * powers[1]) + 0.5 * self.noise + 1e-9
            alike = np.maximum(alike, _windowed((moved * second).sum(-1)) / scale)
        texture = np.maximum(*powers) > max(TEXTURE, 4.0 * self.noise)
        return float((texture & (alike < ALIKE)).mean()), float(texture.mean())

    def _correlations(self, a: int, b: int, shifts: Shifts, zoom: float = 1.0) -> np.ndarray:
        """Returns the correlation (2) of frames a and b for each shift, with `a` enlarged by
        `zoom`.
        """
        first, second = self.gradients(a, zoom), self.gradients(b)
        values = []
        for shift in shifts:
            x, y = _overlap(first, second, *shift)
            noise = self.noise * x.shape[0] * x.shape[1]
            power = [float(np.vdot(part, part)) for part in (x, y)]
            power = [max(p - noise, 0.3 * p) for p in power]
            values.append(float(np.vdot(x, y)) / np.sqrt(power[0] * power[1] + 1e-12))
        return np.array(values)

    def _correlation(self, a: int, b: int) -> float:
        return float(self._correlations(a, b, _NEAR).max())

    def _motion(self, a: int) -> np.ndarray:
        """Returns the motion of the background from frame a to the next, (down, right) in pixels.

        Zero beyond the ends of the clip, and where no shift has a correlation of KNOWN.
        """
        if not 0 <= a < len(self.frames) - 1:
            return np.zeros(2)
        values = self._correlations(a, a + 1, _FAR)
        best = int(np.argmax(values))
        return np.array(_FAR[best], float) if values[best] > KNOWN else np.zeros(2)

    def _breaks(self, a: int, b: int, t: int) -> bool:
        """Returns whether the registration (3) of frames a and b breaks at frame t, with a < t <=
        b: the background moves between them as no continuous motion does.
        """
        before, after = self.motion(t - 2), self.motion(t)
        # all motion but that of the one step from t - 1 to t
        known = (t - 1 - a) * before + (b - t) * after
        steps = np.stack([before, after, np.zeros(2)])
        # no motion at all is expected too: a camera that shakes comes back
        low = np.minimum(known + steps.min(0), 0.0)
        high = np.maximum(known + steps.max(0), 0.0)
        shifts = np.array(_FAR, float)
        beyond = np.maximum(np.maximum(low - shifts, shifts - high), 0.0)
        values = np.stack([self._correlations(a, b, _FAR, zoom) for zoom in ZOOMS])
        # a zoom moves the middle of an edge by half the side times what it exceeds 1
        zoomed = 0.5 * SIZE * np.abs(np.array(ZOOMS) - 1.0)
        expected = np.hypot(beyond[:, 0], beyond[:, 1])[None] + zoomed[:, None] <= JUMP
        near = values[expected].max(initial=-1.0)
        far = min(values[~expected].max(initial=-1.0), 1.0)
        return bool(far > LOCKED and far - near > EXPLAINED * (1.0 - near))


def shot_starts(example: Example) -> tuple[list[int], list[int]]:
    """Returns (frames at which visible cuts lie, frames at which all cuts lie) of an example, by
    its take: the indices of the first frames of its shots after the first shot.

    A cut is visible if it changes the view.
    """
    starts = [int(s) for s in np.cumsum(example.format.shots[:-1])]
    facts = example.take.facts
    if not isinstance(facts, StoryFacts):
        return starts, starts
    visible = visible_cuts(facts.board)
    return [s for s, shows in zip(starts, visible, strict=True) if shows], starts


def _replaced_cut(c: Example) -> tuple[int, int, int] | None:
    """Returns (first frame of the shot before, first frame of the shot after, last frame + 1 of the
    shot after) of a random visible cut of clip `c`; None without one.
    """
    visible, starts = shot_starts(c)
    if not visible:
        return None
    cut = int(c.rng.choice(visible))
    bounds = [0, *starts, c.format.frames]
    number = bounds.index(cut)
    return bounds[number - 1], cut, bounds[number + 1]


def _bounced(numbers: np.ndarray, first: int, end: int) -> np.ndarray:
    """Returns frame numbers reflected into first ... end - 1, so that a clip runs to and fro."""
    period = max(2 * (end - first) - 1, 1)
    inside = (numbers - first) % period
    return first + np.minimum(inside, period - inside)


def _joined_frames(c: Example) -> tuple[np.ndarray, int]:
    """Returns (frames of a clip without one of its cuts, index of the frame where the cut was, 0
    for a clip without a visible cut).
    """
    place = _replaced_cut(c)
    if place is None:
        return c.frames, 0
    first, cut, end = place
    number = np.arange(c.format.frames)
    over = _bounced(number, first, cut)
    return c.frames[np.where((number >= cut) & (number < end), over, number)], cut


@corrupt_frames
def moved(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with one cut half a second later (HALF).

    The shot before it is slower, and the shot after it begins later.
    """
    place = _replaced_cut(c)
    if place is None:
        return c.frames
    first, cut, end = place
    number = np.arange(c.format.frames)
    late = min(cut + round(HALF * c.format.fps), end - 2)
    slow = first + (number - first) * (cut - first) // (late - first)
    return c.frames[np.where((number >= first) & (number < late), slow, number)]


@corrupt_frames
def joined(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` without one cut. The shot before it runs to and fro for as
    long as both lasted.
    """
    return _joined_frames(c)[0]


@corrupt_frames
def flash(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with a white frame in place of one cut."""
    frames, cut = _joined_frames(c)
    frames = frames.copy()
    if cut:
        frames[cut] = 0.1 * frames[cut] + 0.9
    return frames


@corrupt_frames
def dissolve(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with a cross-fade of a second in place of one cut."""
    place = _replaced_cut(c)
    if place is None:
        return c.frames
    first, cut, end = place
    half = round(HALF * c.format.fps)
    number = np.arange(cut - half, cut + half)
    weight = ((np.arange(2 * half) + 0.5) / (2 * half))[:, None, None, None]
    before = c.frames[np.where(number < cut, number, np.maximum(2 * cut - 1 - number, first))]
    after = c.frames[np.where(number < cut, np.minimum(2 * cut - 1 - number, end - 1), number)]
    frames = c.frames.copy()
    frames[number] = (1.0 - weight) * before + weight * after
    return frames


def _within(times: list[float], others: list[int], fps: float) -> int:
    """Returns how many of the times in s match one of the frames `others` to within one frame, each
    at most once.
    """
    return len(match(times, [o / fps for o in others], 1.01 / fps))


class CutsOracle(Oracle):
    """Oracle `cuts`: the times at which a new shot begins.

    A cut between two equal views of one place need not be read, but may be. A clip of one shot has
    no cut.
    """

    name = "cuts"
    media = (VIDEO,)
    tolerance = "every visible cut within one frame, no other"
    corruptions = (moved, joined, flash, dissolve)
    stage = "scenes"
    empty = BLANK

    def read(self, reading: "Reading") -> list[float]:
        """Returns the times in s at which a new shot begins, without the start of the first."""
        return read_cuts(reading.frames, reading.fps)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether every visible cut is read and none where no shot begins; None for a take
        of several shots without a visible cut.
        """
        visible, starts = shot_starts(example)
        if starts and not visible:
            return None
        cuts: list[float] = reading.of(self.name)
        found = _within(cuts, visible, reading.fps)
        return found == len(visible) and _within(cuts, starts, reading.fps) == len(cuts)

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition may be judged on the example: a corruption needs a visible
        cut to change; ground truth and degradations always may.
        """
        return condition in (GROUND_TRUTH, *DEGRADATIONS) or bool(shot_starts(example)[0])

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns the clips with their frames permuted.

        All stories of a format have their cuts at the same times, so exchanged takes would agree.
        """
        return disordered(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns the rows clips of one shot in which a cut is read, precision and recall of the
        cuts of stories, and clips in which a cross-fade or a flash adds a cut.
        """
        several = [(e, r.of(self.name)) for e, r in zip(examples, readings, strict=True)]
        single = [cuts for e, cuts in several if not e.format.shots]
        stories = [(e, cuts) for e, cuts in several if e.format.shots]
        rows = [
            ("clips of one shot in which a cut is read", _count(map(bool, single)), len(single))
        ]
        if not stories:
            return rows
        counts = np.array([_counts(e, cuts) for e, cuts in stories]).sum(0)
        read, right, visible, found = counts
        rows += [
            ("precision of cuts", f"{right / max(read, 1):.3f}", int(read)),
            ("recall of visible cuts", f"{found / max(visible, 1):.3f}", int(visible)),
        ]
        tested = [e for e, _ in stories if shot_starts(e)[0]]
        for condition in (dissolve, flash):
            made = condition(tested)
            extra = [_extra(e, read_cuts(e.frames, float(e.fps))) for e in made]
            title = condition.name.removeprefix("corrupted_")
            rows.append((f"clips in which a {title} adds a cut", _count(extra), len(extra)))
        return rows


def _count(flags: Iterable[bool]) -> str:
    return str(sum(flags))


def _counts(example: Example, cuts: list[float]) -> tuple[int, int, int, int]:
    """Returns the numbers of (cuts read, those of them that are correct, visible cuts of the
    example, those of them that are found).
    """
    visible, starts = shot_starts(example)
    fps = float(example.fps)
    return len(cuts), _within(cuts, starts, fps), len(visible), _within(cuts, visible, fps)


def _extra(example: Example, cuts: list[float]) -> bool:
    """Returns whether a cut is read where no shot begins."""
    return _within(cuts, shot_starts(example)[1], float(example.fps)) < len(cuts)
