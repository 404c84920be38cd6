"""What a clip shows, in the terms of a caption: which balls, how large, how launched, where to, how
often they bounce.

Everything is read from the tracks: colour and count from which colours are there, size from the
radius, launch and direction from the first fitted piece, bounces from the kinks at the floor after
which the ball rises again. The result is compared with the facts of a caption ball by ball; the
balls of a scene have distinct colours, so the colour says which is which.
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
from sora_jax.worlds.playhouse.spec import SIZES

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

SIZE_EDGE = 0.5 * (SIZES["small"][1] + SIZES["large"][0])  # metres: smaller radii are small
# m/s sideways and up or down at time 0, below which a ball in the air was let go from rest
STILL = (0.5, 1.5)
CREEP = 0.25  # m/s sideways, below which there is no direction
ON_FLOOR = 0.15  # metres between ball and floor, below which it rolls
PRESENT = 0.5  # share of the frames in which a colour must be seen to be a ball
# share of the frames in which a ball must be found exactly once to be one ball: all but two of 17
WHOLE = 0.85

KINDS = ("colour", "count", "size", "launch", "direction", "bounces")


def read_ball(seen: Track, fps: float) -> BallFacts:
    """The facts of one track."""
    pieces = arcs.fit(seen, fps)
    first = pieces[0]
    sideways, up = first.velocity(0.0)
    height = seen.position[np.flatnonzero(seen.copies > 0)[0], 1] - np.nanmedian(seen.radius)
    if first.a == 0.0 and height < ON_FLOOR:
        launch = "rolled"
    else:
        launch = "dropped" if abs(sideways) < STILL[0] and abs(up) < STILL[1] else "thrown"
    # A thing that hardly moves goes nowhere: no direction, and so no roll or throw that a caption
    # could name.
    side = "left" if sideways < 0 else "right"
    direction = None if launch == "dropped" or abs(sideways) < CREEP else side
    bounces = sum(kink.rebounds for kink in arcs.kinks(pieces, seen, fps))
    size = "small" if np.nanmedian(seen.radius) < SIZE_EDGE else "large"
    return BallFacts(seen.colour, size, launch, direction, bounces)


def read_facts(tracks: list[Track], fps: float) -> Facts:
    """The facts of all balls seen in at least half of the frames."""
    return Facts(tuple(read_ball(t, fps) for t in tracks if np.mean(t.copies > 0) >= PRESENT))


def coherent(tracks: list[Track], fps: float) -> bool:
    """Every ball is one thing throughout: found exactly once in nearly all frames, of one size, it
    moves, and nowhere does it jump or its path tear. What is there now and then is hardly ever
    there.
    """
    balls = lasting(tracks)
    whole = all(
        np.mean(t.found) >= WHOLE and t.swelling <= SAME_SIZE and t.jumps(fps) == 0 for t in balls
    )
    moved = all(_moves(t) for t in balls)
    joined = all(arcs.tears(arcs.fit(t, fps), t, fps) == 0 for t in balls)
    return (
        whole
        and moved
        and joined
        and all(t.lasting or np.mean(t.copies > 0) <= 1.0 - WHOLE for t in tracks)
    )


def _moves(seen: Track) -> bool:
    """By its own radius at least, as every launch of this world does: what hangs in the air was not
    dropped.
    """
    return seen.motion >= np.nanmedian(seen.radius)


def compare(read: Facts, target: Facts, coherent: bool = True) -> dict[str, bool | None]:
    """Which kinds of fact hold: {colour, count, size, launch, direction, bounces, all: bool}; None
    where the caption has no such fact.

    colour: the set of colours is the caption's. count: as many balls as in the caption, each
    `coherent`. The others hold if they do for every captioned ball; a missing ball fails.
    """
    by_colour = {b.colour: b for b in read.balls}
    held: dict[str, bool | None] = {
        "colour": set(by_colour) == {b.colour for b in target.balls},
        "count": len(read.balls) == len(target.balls) and coherent,
    }
    for kind in ("size", "launch", "direction", "bounces"):
        asked = [b for b in target.balls if kind != "direction" or b.direction is not None]
        correct = [
            b.colour in by_colour and getattr(by_colour[b.colour], kind) == getattr(b, kind)
            for b in asked
        ]
        held[kind] = all(correct) if asked else None
    held["all"] = all(v for v in held.values() if v is not None)
    return held


def tracked(tracks: list[Track], target: Facts) -> np.ndarray:
    """bool [F]: every captioned ball is found exactly once in the frame and no ball of another
    colour is there.

    All false if a captioned ball does not move.
    """
    by_colour = {t.colour: t for t in lasting(tracks)}
    frames = len(tracks[0].copies) if tracks else 1
    if {b.colour for b in target.balls} - set(by_colour):
        return np.zeros(frames, bool)
    asked = [by_colour[b.colour] for b in target.balls]
    if not all(_moves(t) for t in asked):
        return np.zeros(frames, bool)
    others = [t.copies > 0 for t in tracks if t not in asked]
    return np.all([t.found for t in asked], axis=0) & ~np.any(
        [np.zeros(frames, bool), *others], axis=0
    )


class FactsOracle(Oracle):
    """What a caption would say of a clip."""

    name = "facts"
    media = (VIDEO,)
    tolerance = "every fact of every ball"
    # A few reversed clips stay correct: a rolled ball that a wall sends back rolls the same way
    # when played backwards.
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
        """The facts of all balls."""
        return reading.facts

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Does every fact of the caption hold?"""
        return compare(reading.facts, example.take.facts, reading.coherent)["all"]

    def asked(self, condition: Condition, example: Example) -> bool:
        """A mirror needs a ball with a direction."""
        return condition is not mirror or any(b.direction for b in example.take.facts.balls)
