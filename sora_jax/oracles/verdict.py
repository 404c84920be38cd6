"""What the oracles read in a clip, for people, and whether it is what the prompt asked: every fact
of a caption, asked, seen and met.

The facts are those of `worlds.playhouse.captions`; a clip meets its prompt when every line below is
met, which is when `oracles.facts.compare` says "all". A ball is known by its colour.
"""

import dataclasses
from typing import Any

from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import match
from sora_jax.worlds.playhouse.captions import Facts

OF_A_BALL = ("size", "launch", "direction", "bounces")


@dataclasses.dataclass(frozen=True)
class Line:
    """One fact. ball: its colour, or None for what is said of the clip; asked None: the prompt has
    no such ball; seen None: the clip.
    """

    ball: str | None
    fact: str
    asked: Any
    seen: Any
    met: bool


def verdict(told: Facts, reading: Reading) -> list[Line]:
    """The facts of a caption, then the balls that it does not have."""
    seen = {ball.colour: ball for ball in reading.facts.balls}
    lines = [
        _line(None, "balls", len(told.balls), len(seen)),
        _line(None, "in one piece", True, reading.coherent if seen else None),
    ]
    for ball in told.balls:
        own = seen.get(ball.colour)
        lines.append(_line(ball.colour, "colour", ball.colour, own and own.colour))
        for fact in OF_A_BALL:
            asked = getattr(ball, fact)
            # nothing is asked of the direction of a dropped ball
            if fact != "direction" or asked is not None:
                lines.append(
                    _line(ball.colour, fact, asked, None if own is None else getattr(own, fact))
                )
    unasked = seen.keys() - {ball.colour for ball in told.balls}
    return lines + [_line(colour, "colour", None, colour) for colour in sorted(unasked)]


def _line(ball, fact, asked, seen) -> Line:
    return Line(ball, fact, asked, seen, asked == seen)


def say_balls(reading: Reading) -> str:
    """The balls found, in a line."""
    found = {track.colour: track.found.mean() for track in reading.tracks}
    said = []
    for ball in reading.facts.balls:
        look = " ".join(
            word
            for word in (ball.size, ball.colour, ball.launch, ball.direction)
            if word is not None
        )
        bounces = {0: "no bounce seen", 1: "1 bounce"}.get(ball.bounces, f"{ball.bounces} bounces")
        said.append(f"{look}, {bounces} (found once in {found[ball.colour]:.0%} of frames)")
    return "; ".join(said) or "no ball"


def say_impacts(reading: Reading) -> str:
    """The impacts found, in a line; whether they agree is said only where there is something to
    agree about.
    """
    parts = []
    for name, times in (("seen", reading.seen), ("heard", reading.heard)):
        parts.append(
            f"impacts {name} at {' '.join(f'{t:.2f}' for t in times)} s"
            if times
            else f"no impact {name}"
        )
    if reading.unsynced:
        if reading.seen or reading.heard or reading.samples is None:
            parts.append(f"their agreement is not scored: {reading.unsynced}")
        return "; ".join(parts)
    pairs = len(match(reading.heard, reading.seen, 0.1))
    alone = [
        f"{len(times) - pairs} {name}"
        for name, times in (("seen", reading.seen), ("heard", reading.heard))
        if len(times) > pairs
    ]
    if not pairs:
        parts.append(f"unmatched: {' and '.join(alone)}")
    else:
        rest = f", unmatched: {' and '.join(alone)}" if alone else ""
        parts.append(f"{pairs} agree to 100 ms (F1 {reading.sync.f1_100ms:.2f}){rest}")
    return "; ".join(parts)
