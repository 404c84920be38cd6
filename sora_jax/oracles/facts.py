"""Facts of a clip in the terms of a caption: the balls, their sizes, launches, directions and
numbers of bounces.

All facts come from the tracks (the position of each ball in every frame). Colour and count come
from the colours present, size from the radius. A track is divided into pieces of free flight and
of rolling (`arcs.py`). The first piece gives launch and direction. Bounces are the contacts with
the floor after which the ball rises again. The facts are compared with those of a caption ball by
ball. The balls of a scene have distinct colours, so the colour identifies the ball.
"""

from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles import arcs
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import Condition
from sora_jax.oracles.corruptions import (
    double,
    freeze,
    mirror,
    recolour,
    resized,
    reverse,
    teleport,
    vanish,
    visitor,
)
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.oracles.tracker import SAME_SIZE, Track, lasting
from sora_jax.worlds.playhouse.captions import BallFacts, Facts
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import SIZES

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

SIZE_BOUNDARY = 0.5 * (SIZES["small"][1] + SIZES["large"][0])  # metres: smaller radii are "small"
# m/s, horizontal and vertical, at time 0: a slower ball in the air was dropped
MAX_DROP_SPEED = (0.5, 1.5)
MIN_SIDEWAYS = 0.25  # m/s, horizontal: a slower ball has no direction
ON_FLOOR = 0.15  # metres between ball and floor: a ball that starts lower can be rolled
MIN_PRESENCE = 0.5  # least share of frames in which a colour is visible to count as a ball
# least share of frames in which a coherent ball is found exactly once: 15 of 17
MIN_FOUND = 0.85

KINDS = ("colour", "count", "size", "launch", "direction", "bounces")


def ball_facts(take: Take) -> Facts:
    """Returns the true facts of the balls of a take (ground truth) of family `room`."""
    assert isinstance(take.facts, Facts), f"family {take.family} has other facts"
    return take.facts


def read_ball(track: Track, fps: float) -> BallFacts:
    """Returns the facts of one ball: colour, size, launch, direction and bounces.

    Args:
        track: the positions of the ball.
        fps: frames/s.
    """
    pieces = arcs.fit(track, fps)
    first = pieces[0]
    sideways, up = first.velocity(0.0)
    height = track.position[np.flatnonzero(track.copies > 0)[0], 1] - np.nanmedian(track.radius)
    if first.a == 0.0 and height < ON_FLOOR:
        launch = "rolled"
    else:
        still = abs(sideways) < MAX_DROP_SPEED[0] and abs(up) < MAX_DROP_SPEED[1]
        launch = "dropped" if still else "thrown"
    # A ball slower than MIN_SIDEWAYS gets no direction, so it matches no roll or throw of a
    # caption: those always have one.
    side = "left" if sideways < 0 else "right"
    direction = None if launch == "dropped" or abs(sideways) < MIN_SIDEWAYS else side
    bounces = sum(kink.rebounds for kink in arcs.kinks(pieces, track, fps))
    size = "small" if np.nanmedian(track.radius) < SIZE_BOUNDARY else "large"
    return BallFacts(track.colour, size, launch, direction, bounces)


def read_facts(tracks: list[Track], fps: float) -> Facts:
    """Returns the facts of all balls that are visible in at least half of the frames
    (MIN_PRESENCE).

    Args:
        tracks: the tracks of all colours.
        fps: frames/s.
    """
    return Facts(tuple(read_ball(t, fps) for t in tracks if np.mean(t.copies > 0) >= MIN_PRESENCE))


def coherent(tracks: list[Track], fps: float) -> bool:
    """Returns whether every ball is one persistent object throughout the clip.

    It is if every ball that is visible in a third of the frames is found exactly once in nearly all
    frames (MIN_FOUND), keeps its size, moves, never jumps, and has a path without gaps; and if any
    other colour is visible in at most 1 - MIN_FOUND of the frames.

    Args:
        tracks: the tracks of all colours.
        fps: frames/s.
    """
    balls = lasting(tracks)
    whole = all(
        np.mean(t.found) >= MIN_FOUND and t.swelling <= SAME_SIZE and t.jumps(fps) == 0
        for t in balls
    )
    moved = all(_moves(t) for t in balls)
    joined = all(arcs.tears(arcs.fit(t, fps), t, fps) == 0 for t in balls)
    return (
        whole
        and moved
        and joined
        and all(t.lasting or np.mean(t.copies > 0) <= 1.0 - MIN_FOUND for t in tracks)
    )


def _moves(track: Track) -> bool:
    """Returns whether the ball moves by at least its own radius. Every launch of this world
    does, so a ball that hangs in the air was not dropped.
    """
    return bool(track.motion >= np.nanmedian(track.radius))


def compare(read: Facts, target: Facts, coherent: bool = True) -> dict[str, bool | None]:
    """Returns which kinds of facts match the caption.

    Args:
        read: facts read from the clip.
        target: facts of the caption.
        coherent: whether every ball is one persistent object (`coherent` of this module). Default:
            True.

    Returns:
        A dictionary with the keys of KINDS and "all"; True where the facts match, None where the
        caption has no such fact. `colour`: the set of colours matches. `count`: the number of balls
        matches and the clip is coherent. The other kinds match if they do for every ball of the
        caption; a missing ball fails. `all`: every kind that is not None matches.
    """
    by_colour = {b.colour: b for b in read.balls}
    matches: dict[str, bool | None] = {
        "colour": set(by_colour) == {b.colour for b in target.balls},
        "count": len(read.balls) == len(target.balls) and coherent,
    }
    for kind in ("size", "launch", "direction", "bounces"):
        balls = [b for b in target.balls if kind != "direction" or b.direction is not None]
        correct = [
            b.colour in by_colour and getattr(by_colour[b.colour], kind) == getattr(b, kind)
            for b in balls
        ]
        matches[kind] = all(correct) if balls else None
    matches["all"] = all(v for v in matches.values() if v is not None)
    return matches


def tracked(tracks: list[Track], target: Facts) -> np.ndarray:
    """Returns a mask, bool [F]: frames in which every ball of the caption is found exactly once and
    no ball of another colour is visible.

    All False if a ball of the caption is missing or does not move by its own radius.

    Args:
        tracks: the tracks of all colours.
        target: facts of the caption.
    """
    by_colour = {t.colour: t for t in lasting(tracks)}
    frames = len(tracks[0].copies) if tracks else 1
    if {b.colour for b in target.balls} - set(by_colour):
        return np.zeros(frames, bool)
    balls = [by_colour[b.colour] for b in target.balls]
    if not all(_moves(t) for t in balls):
        return np.zeros(frames, bool)
    others = [t.copies > 0 for t in tracks if t not in balls]
    return np.all([t.found for t in balls], axis=0) & ~np.any(
        [np.zeros(frames, bool), *others], axis=0
    )


class FactsOracle(Oracle):
    """Oracle `facts`: the facts of a room's caption, read from the tracks of the balls.

    They are the number of balls, and the colour, size, launch, direction and bounces of each.
    """

    name = "facts"
    media = (VIDEO,)
    tolerance = "every fact of every ball"
    # A few reversed clips stay correct: a rolled ball that rebounds from a wall starts in the same
    # direction when played backwards.
    corruptions = (
        vanish,
        teleport,
        double,
        visitor,
        recolour,
        mirror,
        reverse,
        freeze,
        resized,
    )

    def read(self, reading: "Reading") -> Facts:
        """Returns the facts of all balls of a clip."""
        return reading.facts

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether every fact read in a clip matches the caption of the example's take."""
        return bool(compare(reading.facts, ball_facts(example.take), reading.coherent)["all"])

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition can change the facts: False for mirroring if no ball has a
        direction, else True.
        """
        return condition is not mirror or any(b.direction for b in ball_facts(example.take).balls)
