"""Oracle `state`: whether what a story shows stays as it was left when it is shown again.

A story is a clip with cuts; a shot is the part between two cuts. The oracle compares the end of a
shot that shows a fact, such as a lamp that is on, with the start of the next shot that shows it:
a pair (`story_pairs.py`, which lists the kinds of state). A corruption changes one kind of state at
one cut: from there on the clip shows a render of a changed take.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.conditions import BLANK, Condition, corrupt, redrawn
from sora_jax.oracles.examples import VIDEO, Example, shuffled
from sora_jax.oracles.place_pictures import Look, paint
from sora_jax.oracles.shots import shots_of
from sora_jax.oracles.story_pairs import (
    BALL,
    KINDS,
    LIT,
    POSITION,
    Pair,
    ball_pairs,
    keeps,
    pairs_of,
)
from sora_jax.oracles.story_shots import Shot
from sora_jax.oracles.style import SIZE
from sora_jax.worlds.playhouse.acting import pose
from sora_jax.worlds.playhouse.camera import BARS, views
from sora_jax.worlds.playhouse.cast import HAIR_HUES, HEIGHTS
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.story import StoryFacts
from sora_jax.worlds.playhouse.places import DOOR_HALF, EXTENT, ROOMS, SCORE
from sora_jax.worlds.playhouse.render.story_program import NIGHT
from sora_jax.worlds.playhouse.spec import COLOURS
from sora_jax.worlds.playhouse.storyboard import DOOR, HAT, LAMP, Storyboard

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

# A hat is seen if the frame shows this range of heights above the crown (metres), and if its colour
# differs by at least CONTRAST (distance of RGB in [0, 1]) from what is behind it.
OVER, CONTRAST = (0.03, 0.25), 0.25
BEFORE = 0.6  # metres: an actor so near to a door hides it
# metres: by which the corruption `position` moves the cast; least distance of an actor from a wall
ASIDE, WALL = 0.6, 0.5


def _board(example: Example) -> Storyboard | None:
    """Returns the storyboard of an example; None if it is no story of several shots."""
    facts = example.take.facts
    story = isinstance(facts, StoryFacts) and len(facts.board.shots) > 1
    return facts.board if story else None


def kept(board: Storyboard, shots: Sequence[Shot]) -> list[tuple[Pair, bool]]:
    """Returns (pair, whether the clip keeps its fact) of every pair of shots that should agree and
    whose values are seen.

    Args:
        board: the storyboard that the clip should show.
        shots: what the shots of the clip show, as read.
    """
    pairs = pairs_of(board) + (ball_pairs(shots) if board.ball else [])
    judged = [(pair, keeps(board, shots, pair)) for pair in pairs]
    return [(pair, keeps_it) for pair, keeps_it in judged if keeps_it is not None]


def _shows_ball(example: Example) -> list[bool]:
    """Returns for each shot whether it shows the whole ball in most of its frames, by the take."""
    take, times = example.take, example.format.frame_times()
    assert take.scene.plot is not None, "a story has a plot"
    truth, view = take.scene.plot.truth(times), views(take.scene, times)
    position, radius = take.trajectory.positions(times)[:, 0], take.scene.balls[0].radius
    low = view[:, 1] - (1.0 - BARS) * view[:, 2]
    inside = (position[:, 0] - radius > view[:, 0]) & (truth["ball"][:, 0] == truth["place"])
    inside &= position[:, 0] + radius < view[:, 0] + view[:, 2]
    inside &= (position[:, 1] - radius > low) & (position[:, 1] < view[:, 1] - BARS * view[:, 2])
    shot = example.format.frame_shots()
    return [bool(inside[shot == number].mean() > 0.5) for number in range(shot.max() + 1)]


def _ends(pair: Pair) -> tuple[int, int]:
    return pair.first, pair.second


def _shows_hat(example: Example, number: int, shot: int) -> bool:
    """Returns whether a hat on an actor would be seen at the start and at the end of a shot, by the
    take.

    It is if the frame shows what is above the actor's head, the actor is not before an open door,
    and a hat would differ in colour from what is behind it. In a wide shot, the actor must have no
    long ears, which look like a hat.

    Args:
        example: a story.
        number: index of the actor.
        shot: index of the shot.
    """
    take = example.take
    plot, actor = take.scene.plot, take.scene.cast[number]
    assert plot is not None, "a story has a plot"
    place, frame = plot.views[shot].place, plot.views[shot].frame
    if frame == "wide" and actor.character.ears == "long":
        return False
    seconds = example.format.shots[shot] / float(example.format.fps)
    times = plot.views[shot].start + np.array([1e-3, seconds - 1e-3])
    state, view = plot.state(times), views(take.scene, times)
    crown = HEIGHTS[actor.character.height]
    ground, lamps, doors = pose(actor, times)["ground"][:, 0], state["lamp"], state["door"]
    for i, (left, top, width) in enumerate(view):
        x, lamp, door = ground[i], lamps[i, place], doors[i, place]
        look = Look(place, take.scene.style, float(lamp), float(door))
        picture = paint(look, np.array([(left, top, width)]), SIZE)[0]
        pixel = (np.arange(SIZE) + 0.5) / SIZE * width
        rows = (top - pixel > crown + OVER[0]) & (top - pixel < crown + OVER[1])
        behind = picture[rows][:, np.abs(left + pixel - x) < 0.25]
        hidden = BARS * width if take.scene.style == "cinematic" else 0.0
        light = NIGHT if lamp == 0 else np.ones(3)
        hue = np.array(HAIR_HUES[actor.character.hair_hue]) * light
        contrast = np.linalg.norm(behind - hue, axis=-1).mean() if behind.size else 0.0
        dark = door and abs(x - ROOMS[place].door) < 2.0 * DOOR_HALF
        if dark or contrast < CONTRAST * light.mean() or crown + OVER[1] > top - hidden:
            return False
    return True


def _shows_door(example: Example, shot: int) -> bool:
    """Returns whether no actor hides the door of the place at the start or at the end of a shot,
    given by its index.
    """
    take, format = example.take, example.format
    plot = take.scene.plot
    assert plot is not None, "a story has a plot"
    view, seconds = plot.views[shot], format.shots[shot] / float(format.fps)
    times = view.start + np.array([1e-3, seconds - 1e-3])
    rooms, door = plot.state(times)["room"], ROOMS[view.place].door
    return not any(
        ((np.abs(pose(actor, times)["ground"][:, 0] - door) < BEFORE) & (room == view.place)).any()
        for actor, room in zip(take.scene.cast, rooms.T, strict=True)
    )


def _testable(example: Example, kind: str) -> list[Pair]:
    """Returns the pairs of shots of an example in which a change of a kind of state, one of
    `story_pairs.KINDS`, would be seen.
    """
    board = _board(example)
    if board is None:
        return []
    if kind == BALL:
        if not board.ball:
            return []
        shows = [number for number, seen in enumerate(_shows_ball(example)) if seen]
        return [Pair(BALL, 0, a, b) for a, b in itertools.pairwise(shows)]
    pairs = [pair for pair in pairs_of(board) if pair.kind == kind]
    if kind == HAT:
        pairs = [p for p in pairs if all(_shows_hat(example, p.number, s) for s in _ends(p))]
    if kind == DOOR:
        pairs = [p for p in pairs if all(_shows_door(example, s) for s in _ends(p))]
    if kind == POSITION:  # close-ups may fix no position
        frames = [shot.frame for shot in board.shots]
        pairs = [p for p in pairs if "close-up" not in (frames[p.first], frames[p.second])]
    return pairs


def _with_state(take: Take, kind: str, number: int, time: float) -> Take:
    """Returns a take with another value of one state until the next event after `time` changes it.

    Args:
        take: of family `story`.
        kind: kind of state: lamp, door, hat or score.
        number: index of the place or actor; 0 for the score.
        time: in s.
    """
    plot = take.scene.plot
    assert plot is not None, "a story has a plot"
    value = int(plot.state(np.array([time]))[kind][0, number])
    other = (value + 1) % (SCORE + 1) if kind == LIT else 1 - value
    initial = {name: list(values) for name, values in plot.initial}
    initial[kind][number] = other
    events = tuple(e for e in plot.events if (e.kind, e.index) != (kind, number) or e.time >= time)
    changed = dataclasses.replace(
        plot,
        initial=tuple((name, tuple(values)) for name, values in initial.items()),
        events=events,
    )
    return dataclasses.replace(take, scene=dataclasses.replace(take.scene, plot=changed))


def _beside(take: Take) -> Take:
    """Returns a take whose cast and ball are ASIDE metres farther to one side: to the right, or to
    the left where the right wall is too near. The camera follows them, except in wide shots.
    """
    scene, plot = take.scene, take.scene.plot
    assert plot is not None, "a story has a plot"
    places = [knot[1] for actor in scene.cast for knot in actor.path]
    shift = ASIDE if max(places) + ASIDE < EXTENT - WALL else -ASIDE
    cast = tuple(
        dataclasses.replace(actor, path=tuple((t, x + shift, y) for t, x, y in actor.path))
        for actor in scene.cast
    )
    starts = [v.start for v in plot.views]
    # two knots of the camera for each shot
    frames = [plot.views[i // 2].frame for i in range(2 * len(starts))]
    view = tuple(
        (t, left + (shift if frame != "wide" else 0.0), top, width)
        for (t, left, top, width), frame in zip(scene.view, frames, strict=True)
    )
    arcs = tuple(arc + np.array([0.0, shift, 0.0, 0.0, 0.0, 0.0]) for arc in take.trajectory.arcs)
    return dataclasses.replace(
        take,
        scene=dataclasses.replace(scene, cast=cast, view=view),
        trajectory=dataclasses.replace(take.trajectory, arcs=arcs),
    )


def _recoloured(take: Take) -> Take:
    """Returns a take whose ball has the next colour in COLOURS."""
    names = list(COLOURS)
    balls = tuple(
        dataclasses.replace(ball, colour=names[(names.index(ball.colour) + 1) % len(names)])
        for ball in take.scene.balls
    )
    return dataclasses.replace(take, scene=dataclasses.replace(take.scene, balls=balls))


def _changed(clips: list[Example], kind: str, change: Callable[[Take, Pair, float], Take]):
    """Returns the clips, each with the frames of a changed take from one cut on: the start of the
    second shot of a pair that shows this kind of state.

    Args:
        clips: stories; one without such a pair is rendered unchanged.
        kind: kind of state, one of `story_pairs.KINDS`.
        change: function (take, pair, time of the cut in s) that returns the changed take.
    """
    takes, cuts = [], []
    for c in clips:
        pairs = _testable(c, kind)
        if not pairs:
            takes.append(c.take)
            cuts.append(c.format.frames)
            continue
        pair = pairs[int(c.rng.integers(len(pairs)))]
        first = int(np.sum(c.format.shots[: pair.second]))
        takes.append(change(c.take, pair, first / float(c.format.fps)))
        cuts.append(first)
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:cut], other.frames[cut:]]))
        for c, other, cut in zip(clips, redrawn(clips, takes), cuts, strict=True)
    ]


def _flipped(clips: list[Example], kind: str) -> list[Example]:
    """Returns the clips with a lamp, door, hat or score (`kind`) of another value from a cut on."""

    def change(take: Take, pair: Pair, time: float) -> Take:
        return _with_state(take, kind, pair.number, time)

    return _changed(clips, kind, change)


@corrupt(VIDEO)
def lamp(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with a lamp of a place switched at a cut."""
    return _flipped(clips, LAMP)


@corrupt(VIDEO)
def door(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with a door opened or closed at a cut."""
    return _flipped(clips, DOOR)


@corrupt(VIDEO)
def score(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with one lit lamp more on the score board from a cut on, or with none
    if all were lit.
    """
    return _flipped(clips, LIT)


@corrupt(VIDEO)
def hat(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with a hat put on or taken off at a cut."""
    return _flipped(clips, HAT)


@corrupt(VIDEO)
def position(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with actors and ball ASIDE metres farther to one side from a cut on."""

    def change(take: Take, pair: Pair, time: float) -> Take:
        return _beside(take)

    return _changed(clips, POSITION, change)


@corrupt(VIDEO)
def ball(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with a ball of another colour from a cut on."""

    def change(take: Take, pair: Pair, time: float) -> Take:
        return _recoloured(take)

    return _changed(clips, BALL, change)


_FLIPS = dict(zip(KINDS, (lamp, door, score, hat, position, ball), strict=True))


class StateOracle(Oracle):
    """Oracle `state`: whether lamp, door, score, hats, positions and the ball's colour in a story
    persist from the shot that shows them last to the one that shows them again.
    """

    name = "state"
    media = (VIDEO,)
    tolerance = "every fact that two shots show persists; positions within 0.3 m"
    corruptions = tuple(_FLIPS.values())
    ceiling = STRICT
    stage = "story"
    empty = BLANK

    def read(self, reading: "Reading") -> list[Shot]:
        """Returns what each shot of a clip shows: the reading of the oracle `shots`."""
        return reading.of("shots")

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether every fact that two shots show persists; None if no two shots of the
        take's storyboard show the same fact.
        """
        board = _board(example)
        if board is None or not pairs_of(board):
            return None
        return all(keeps_it for _, keeps_it in kept(board, shots_of(example, reading)))

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a change of the clip would be seen: two shots of the example must show
        the state that a corruption changes. True for all other conditions.
        """
        kinds = [kind for kind, flip in _FLIPS.items() if flip is condition]
        return all(_testable(example, kind) for kind in kinds)

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of another clip whose shots show other places."""
        return shuffled(clips, _places)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns rows (name, share of pairs of shots that persist, number of pairs), by kind of
        state and by gap, the number of shots between the two.
        """
        rows: dict[str, list[bool]] = {}
        for example, reading in zip(examples, readings, strict=True):
            board = _board(example)
            for pair, keeps_it in kept(board, shots_of(example, reading)) if board else []:
                for name in (pair.kind, f"gap {pair.gap}"):
                    rows.setdefault(name, []).append(keeps_it)
        return [
            (f"state persists, {name}", f"{np.mean(values):.3f}", len(values))
            for name, values in sorted(rows.items())
        ]


def _places(take: Take) -> tuple[str, ...]:
    return tuple(shot.place for shot in take.facts.board.shots)
