"""Staging: makes a scene with its exact motion from a storyboard and a cast.

A storyboard is a story written shot by shot. The acts of a shot follow one another, from LEAD
seconds after the cut on (`playing.py`). All shots show one world, whose motion goes on across cuts.
A shot may begin s seconds later than the last one ended (a time jump); the ball is then where it
would be s seconds later. The trajectory of the ball is in seconds of the clip. A new piece starts
at each cut, so a time jump is a step between two pieces. It has only the contacts that a shot
shows.

Only + - * / and sqrt on floats are used, so scenes are bitwise the same on any machine.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from sora_jax.worlds.playhouse.cast import Actor, Character
from sora_jax.worlds.playhouse.places import EXTENT
from sora_jax.worlds.playhouse.playing import Flight, Player, Stage
from sora_jax.worlds.playhouse.plot import Plot, View
from sora_jax.worlds.playhouse.spec import Ball, Scene
from sora_jax.worlds.playhouse.storyboard import PLACES, Storyboard
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Contact, Trajectory

LEAD, TAIL = 0.15, 0.05  # seconds of a shot before its first act and after its last
# Widths of the views of a wide shot, a two-shot (the least) and a close-up, and heights of their
# lower edges, in metres.
WIDE, TWO, CLOSE = 4.7, 2.85, 1.75
WIDE_BELOW, TWO_BELOW = -0.80, -0.42
FACE = 1.36  # metres: height of the middle of a close-up
PAN, PUSH = 0.06, 0.10  # widths that a camera pans to each side; fraction by which a zoom changes
# Camera moves: (displacement in widths, factor on the width) at their start and end. A camera with
# any other move stands still.
CAMERAS = {
    "pan left": ((PAN, 1.0), (-PAN, 1.0)),
    "pan right": ((-PAN, 1.0), (PAN, 1.0)),
    "push in": ((0.0, 1.0 + PUSH), (0.0, 1.0)),
    "pull out": ((0.0, 1.0), (0.0, 1.0 + PUSH)),
}
STANDING = ((0.0, 1.0), (0.0, 1.0))
BOBS = (1.1, 1.7)  # range of the period of the idle bob of a head, seconds
BLINKS = (1.4, 3.5)  # range of the time between two blinks, seconds

Arc = tuple[float, float, float, float, float, float]  # a row of Trajectory.arcs
# of a shot: start and end in seconds of the clip, seconds that time jumps have skipped by then
_Span = tuple[float, float, float]


def stage(
    board: Storyboard,
    cast: tuple[Character, ...],
    stream: Stream,
    lengths: tuple[float, ...],
) -> tuple[Scene, Trajectory] | None:
    """Returns the scene of a storyboard and the motion of its ball.

    Args:
        board: the storyboard. Its acts must not contradict each other (`continuity.py`).
        cast: the characters that play its cast, in the same order.
        stream: random numbers for all that the storyboard does not say.
        lengths: durations of the shots in seconds, a whole number of frames each.

    Returns:
        The scene and the motion. None if this draw cannot do the acts, or not in time; draw again.

    Raises:
        UserError: acts contradict each other.
    """
    world = Stage(board, cast, stream)
    shots: list[_Span] = []
    for number, (shot, length) in enumerate(zip(board.shots, lengths, strict=True)):
        start = sum(lengths[:number])
        world.skipped += shot.later
        shots.append((start, start + length, world.skipped))
        world.now = start + LEAD
        for act in shot.acts:
            if not world.play(act):
                return None
        if world.now > start + length - TAIL:
            return None
    views = _views(board, shots)
    plot = Plot(views, world.start, tuple(sorted(world.events, key=lambda event: event.time)))
    arcs, contacts = _ball(world, shots, plot)
    bob = [(stream.uniform(*BOBS), stream.uniform()) for _ in cast]
    blinks = [_blinks(stream, sum(lengths)) for _ in cast]
    seed = stream.integer(1 << 31)
    ball = Ball(
        board.ball or "red",
        "small",
        world.material,
        "thrown",
        None,
        world.radius,
        (float(arcs[0][1]), float(arcs[0][2])),
        (0.0, 0.0),
    )
    knots = [
        knot
        for view, span, shot in zip(views, shots, board.shots, strict=True)
        for knot in _camera(view, span, shot.move, world.players)
    ]
    scene = Scene(
        seed=seed,
        balls=(ball,) if board.ball else (),
        style=board.style,
        ambience=board.ambience,
        extent=EXTENT,
        view=tuple(knots),
        cast=tuple(
            Actor(
                character,
                handle[1:],
                0.0,
                speech=tuple(player.speech),
                turn=tuple(player.turn),
                blinks=blinks[i],
                bob=bob[i],
                path=tuple(player.path),
                hands=player.both_hands(),
            )
            for i, (character, handle, player) in enumerate(
                zip(cast, board.cast, world.players, strict=True)
            )
        ),
        plot=plot,
    )
    motion = Trajectory((np.array(arcs),) if board.ball else (), contacts if board.ball else ())
    return scene, motion


def visible_cuts(board: Storyboard) -> tuple[bool, ...]:
    """Returns whether each cut of a storyboard changes the view: one value for each shot after the
    first.

    A cut to another place, frame or subject changes it. A cut without such a change does so only if
    the camera does not start where it stood. A pan to the left, for example, ends where a pan to
    the right begins, so the cut between them is False. A cut that is False may still change the
    picture, such as by a time jump.
    """
    return tuple(
        (a.place, a.frame, a.subject) != (b.place, b.frame, b.subject)
        or CAMERAS.get(a.move, STANDING)[1] != CAMERAS.get(b.move, STANDING)[0]
        for a, b in itertools.pairwise(board.shots)
    )


def _views(board: Storyboard, shots: list[_Span]) -> tuple[View, ...]:
    """Returns a `View` for each shot: its start, place, frame and subject."""
    return tuple(
        View(
            span[0],
            PLACES.index(shot.place),
            shot.frame,
            board.cast.index(shot.subject) if shot.subject else -1,
        )
        for shot, span in zip(board.shots, shots, strict=True)
    )


def _blinks(stream: Stream, seconds: float) -> tuple[float, ...]:
    times, time = [], stream.uniform(0.3, BLINKS[1])
    while time < seconds:
        times.append(time)
        time += stream.uniform(*BLINKS)
    return tuple(times)


def _ball(world: Stage, shots: list[_Span], plot: Plot) -> tuple[list[Arc], tuple[Contact, ...]]:
    """Returns the pieces of the ball's motion, and its visible contacts, in seconds of the clip."""
    holds = [(time, (actor, side)) for time, actor, side in world.held]
    turns: list[tuple[float, tuple[int, int] | Flight]] = sorted(
        [*holds, *((flight.start, flight) for flight in world.flights)], key=_time
    )
    ends = [time for time, _ in turns[1:]] + [shots[-1][1] + 1.0]
    arcs: list[Arc] = []
    contacts: list[Contact] = []
    for (start, state), end in zip(turns, ends, strict=True):
        if end <= start:
            continue
        if isinstance(state, Flight):
            pieces, touched = _flight_pieces(state, end, shots, plot)
            arcs += pieces
            contacts += touched
        else:
            arcs += _held_pieces(world.players[state[0]], state[1], start, end)
    return arcs, tuple(contacts)


def _time(turn: tuple[float, Any]) -> float:
    return turn[0]


def _held_pieces(player: Player, side: int, start: float, end: float) -> list[Arc]:
    """Returns the pieces of a held ball, from `start` to `end` in seconds of the clip.

    side is that of the hand, -1 for the left of the frame, 1 for the right. The motion is linear
    between the knots of the actor's path and those of the hand.
    """
    knots = {knot[0] for knot in (*player.path, *player.hands[side]) if start < knot[0] < end}
    times, arcs = [start, *sorted(knots), end], []
    for a, b in itertools.pairwise(times):
        if b - a < 1e-9:  # knots that differ by rounding
            continue
        middle = 0.5 * (a + b)
        (x, y), (u, v) = player.hand_at(a, side), player.hand_at(middle, side)
        arcs.append((a, x, y, (u - x) / (middle - a), (v - y) / (middle - a), 0.0))
    return arcs


def _flight_pieces(
    flight: Flight, end: float, shots: list[_Span], plot: Plot
) -> tuple[list[Arc], list[Contact]]:
    """Returns the pieces and the visible contacts of a free ball, from its release to `end`, in
    seconds of the clip.
    """
    arcs: list[Arc] = []
    contacts: list[Contact] = []
    for first, last, skipped in shots:
        a, b = max(first, flight.start), min(last, end)
        if a >= b:
            continue
        # seconds from the release = seconds of the clip + offset
        offset = skipped - flight.skipped - flight.start
        at = int(np.searchsorted(flight.arcs[:, 0], a + offset, side="right")) - 1
        arcs.append(_piece(flight.arcs[at], a, a + offset))
        arcs += [_shifted(arc, offset) for arc in flight.arcs[at + 1 :] if arc[0] < b + offset]
        contacts += [
            Contact(c.time - offset, c.kind, c.a, c.b, c.speed, c.rebound)
            for c in flight.contacts
            if a + offset <= c.time < b + offset
        ]
    times = np.array([c.time for c in contacts])
    if not len(times):
        return arcs, contacts
    truth = plot.truth(times)
    visible = truth["ball"][:, 0] == truth["place"]
    return arcs, [c for c, is_visible in zip(contacts, visible, strict=True) if is_visible]


def _shifted(arc: np.ndarray, seconds: float) -> Arc:
    """Returns the same piece with a start that is `seconds` earlier."""
    start, x, y, vx, vy, ay = map(float, arc)
    return start - seconds, x, y, vx, vy, ay


def _piece(arc: np.ndarray, time: float, clock: float) -> Arc:
    """Returns a piece that starts at `time` with the position and velocity of `arc` at `clock`."""
    start, x, y, vx, vy, ay = map(float, arc)
    dt = clock - start
    return time, x + vx * dt, y + vy * dt + 0.5 * ay * dt * dt, vx, vy + ay * dt, ay


def _camera(
    view: View, span: _Span, move: str, players: list[Player]
) -> Iterator[tuple[float, float, float, float]]:
    """Yields the knots (time, left, top, width) of the camera at the start and the end of a shot.

    They are in seconds of the clip and metres. `move` is one of storyboard.MOVES.
    """
    start, end, _ = span
    width, below = WIDE, WIDE_BELOW
    at = [[player.position(time) for player in players] for time in (start, end - 1e-6)]
    centre = [0.5 * EXTENT] * 2
    if view.frame == "two-shot":
        width = max(TWO, *(abs(x[0] - x[1]) + 1.2 for x in at))
        below, centre = TWO_BELOW, [0.5 * (x[0] + x[1]) for x in at]
    elif view.frame == "close-up":
        width, below = CLOSE, FACE - 0.5 * CLOSE
        centre = [x[view.subject] for x in at]
    middle = below + 0.5 * width
    for time, x, (shift, size) in zip(
        (start, end), centre, CAMERAS.get(move, STANDING), strict=True
    ):
        view_width = width * size
        yield (
            float(time),
            float(x + shift * width - 0.5 * view_width),
            middle + 0.5 * view_width,
            view_width,
        )
