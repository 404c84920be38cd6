"""The oracle of cuts: the times at which a new shot begins, as `film_cuts.py` reads them.

A clip is right if its cuts are those of its take. The corruptions move a cut, join its shots, flash
a frame, and dissolve a cut.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import BLANK, DEGRADATIONS, GROUND_TRUTH, Condition, corrupt_frames
from sora_jax.oracles.examples import VIDEO, Example, disordered
from sora_jax.oracles.film_cuts import read_cuts
from sora_jax.oracles.onsets import match
from sora_jax.worlds.playhouse.families.story import StoryFacts
from sora_jax.worlds.playhouse.staging import visible_cuts

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

HALF = 0.5  # seconds by which the corruption `moved` moves a cut; `dissolve` lasts twice as long


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
