"""Outcomes of family `court` (throws, shots, jumps) from the exact motion, and their margins.

The functions need scenes whose target is to the right (`furniture.mirrored_scene` mirrors others).

`margins` asks how different the path of a ball with another outcome must be. It changes the
velocity of the launch by dv in eight directions, or the speed of a jump in two. At the time t at
which the outcome is decided, the paths then differ by

    d = |dv| t                                                                                   (1)

The margin is the largest distance d of LADDER up to which no change of the velocity changes the
outcome. It is a lower bound in metres.
"""

import dataclasses
import math

import numpy as np

from sora_jax.worlds.playhouse.events import NoClosedForm
from sora_jax.worlds.playhouse.families.court_captions import CourtFacts
from sora_jax.worlds.playhouse.families.furniture import (
    BOARD,
    EXTENT,
    GOAL,
    HOOP_BACK,
    HOOP_FRONT,
)
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import Scene
from sora_jax.worlds.playhouse.trajectory import Trajectory

# seconds at the start and the end of a clip in which the outcome must not be decided
CLEAR_START, QUIET_END = 0.25, 0.4
PASS = 1e-6  # metres: rounding error of the point where a line is crossed
LADDER = (0.75, 1.5, 2.5, 4.0)  # d of equation (1), in pixels of a 64-pixel frame
# directions of dv, factors on (x, y)
WAYS = (
    (1, 0),
    (-1, 0),
    (0, 1),
    (0, -1),
    (0.7, 0.7),
    (-0.7, 0.7),
    (0.7, -0.7),
    (-0.7, -0.7),
)

Decided = tuple[str, float]  # an outcome, and the time in s from which it is decided


def outcome(scene: Scene, action: str, seconds: float) -> str | None:
    """Returns the outcome of a scene, such as "swish".

    It is None if the motion has no named outcome, or one that is decided too early or too late to
    be visible.

    Args:
        scene: a scene with its target to the right.
        action: "throw", "shot" or "jump".
        seconds: duration of the clip.
    """
    found = judged(scene, action, seconds)
    return found[0] if found and CLEAR_START <= found[1] <= seconds - QUIET_END else None


def judged(scene: Scene, action: str, seconds: float) -> Decided | None:
    """Returns (outcome, time in s at which it is decided) of a scene; None without a named outcome.

    Args:
        scene: a scene with its target to the right.
        action: "throw", "shot" or "jump".
        seconds: duration of the clip.
    """
    try:
        motion = simulate(scene, seconds)
    except (TooManyEvents, NoClosedForm):
        return None
    return {"throw": _throw, "shot": _shot, "jump": _jump}[action](scene, motion, seconds)


def _touched_first(touched: list[str], board: str, rim: str) -> str | None:
    """Returns `board` if the board was touched first, `rim` if only the rim was touched, else None.

    `touched` holds "board" or "rim" for each contact, in order.
    """
    if touched[0] == "board":
        return board
    return rim if set(touched) == {"rim"} else None


def _named(outcome: str | None, time: float) -> Decided | None:
    """Returns (outcome, time), or None if the outcome has no name."""
    return None if outcome is None else (outcome, time)


def _crossings(
    motion: Trajectory, axis: int, level: float, seconds: float
) -> list[tuple[float, float, float]]:
    """Returns where the ball's centre crosses the line x = level (axis 0) or y = level (axis 1).

    Each crossing is (time, the other coordinate, velocity along the axis), in s, metres and m/s.
    """
    found, arcs = [], motion.arcs[0]
    ends = [*arcs[1:, 0].tolist(), seconds]
    slides = motion.turns[0][:, 0].tolist() if motion.turns else [0.0] * len(arcs)
    for (t, x, y, vx, vy, ay), ax, end in zip(arcs.tolist(), slides, ends, strict=True):
        (p, v, a), (q, w, b) = (
            ((x, vx, ax), (y, vy, ay)) if axis == 0 else ((y, vy, ay), (x, vx, ax))
        )
        for dt in _roots(p - level, v, a, end - t):
            found.append((t + dt, q + w * dt + 0.5 * b * dt * dt, v + a * dt))
    return found


def _roots(p: float, v: float, a: float, end: float) -> list[float]:
    """Returns the roots of p + v t + a t^2 / 2 in (0, end), ascending."""
    if a == 0.0:
        return [-p / v] if v != 0.0 and 0.0 < -p / v < end else []
    inside = v * v - 2.0 * a * p
    if inside < 0.0:
        return []
    root = math.sqrt(inside)
    return [t for t in sorted(((-v - root) / a, (-v + root) / a)) if 0.0 < t < end]


def _throw(scene: Scene, motion: Trajectory, seconds: float) -> Decided | None:
    h, r = scene.shapes[0].points[0][1], scene.balls[0].radius
    floor = next((c.time for c in motion.contacts if c.kind == "floor"), seconds)
    touched = [
        (c.time, "board" if c.b == 2 else "rim")
        for c in motion.contacts
        if c.kind == "shape" and c.time < floor
    ]
    passes = [(t, x, v) for t, x, v in _crossings(motion, 1, h, seconds)]
    through = [(t, v) for t, x, v in passes if HOOP_FRONT < x < HOOP_BACK]
    if any(v > 0.0 for _, v in through) and not (
        touched and touched[0][0] < min(t for t, v in through if v > 0.0)
    ):
        return None  # the ball passed the hoop upwards
    down = [t for t, v in through if v < 0.0]
    if down and (down[0] > floor or len(down) > 1):
        return None
    over = [
        t
        for t, y, v in _crossings(motion, 0, BOARD, seconds)
        if v > 0.0 and y > scene.shapes[2].points[1][1] and t < floor
    ]
    if over:  # contacts on the way back from the wall do not count
        touched = [(t, part) for t, part in touched if t < over[0]]
    before = [part for t, part in touched if not down or t < down[0]]
    if down and not before:
        return "swish", down[0]
    if down:
        return _named(_touched_first(before, "bank-in", "rim-in"), touched[0][0])
    if before:
        return _named(_touched_first(before, "board-out", "rim-out"), touched[0][0])
    wall = next((c.time for c in motion.contacts if c.kind == "wall"), seconds)
    if over and over[0] < wall:
        return "airball", over[0]
    reached = [x for t, x, v in passes if v < 0.0 and t < floor]
    x_floor = motion.positions(np.array([floor]))[0, 0, 0]
    if all(x < HOOP_FRONT for x in reached) and x_floor - r < HOOP_BACK and wall > floor:
        return "short", next((t for t, x, v in passes if v < 0.0), floor)
    return None


def _shot(scene: Scene, motion: Trajectory, seconds: float) -> Decided | None:
    h = scene.shapes[0].points[0][1]
    touched = [
        (c.time, ("bar", "keeper", "net", "net")[c.b]) for c in motion.contacts if c.kind == "shape"
    ]
    across = [(t, y, v) for t, y, v in _crossings(motion, 0, GOAL, seconds)]
    first = touched[0] if touched else (seconds, None)
    last = motion.positions(np.array([seconds - 1e-6]))[0, 0, 0]
    if across and across[0][0] < first[0]:
        t, y, _ = across[0]
        return ("in", t) if y < h and len(across) == 1 and last > GOAL else None
    if across or first[1] not in ("keeper", "bar"):
        return None
    return ("saved" if first[1] == "keeper" else "post"), first[0]


def _jump(scene: Scene, motion: Trajectory, seconds: float) -> Decided | None:
    (edge, _), (far, low), r = (
        scene.shapes[0].points[2],
        scene.shapes[1].points[3],
        scene.balls[0].radius,
    )
    if not motion.contacts:
        return None
    first = motion.contacts[0]
    x, y = motion.positions(np.array([first.time]))[0, 0]
    end_x, end_y = motion.positions(np.array([seconds - 1e-6]))[0, 0]
    if first.kind == "shape" and first.b == 1 and x >= far and y > low:
        steady = (
            all(x >= far for _, x, _ in _crossings(motion, 1, low, seconds))
            and end_x >= far
            and end_y > low
        )
        return ("lands", first.time) if steady else None
    on_top = any(
        c.kind == "shape" and c.b == 1 and _top(motion, c.time, far, low + r)
        for c in motion.contacts
    )
    return ("falls", first.time) if not on_top and edge < end_x < far and end_y < low else None


def _top(motion: Trajectory, time: float, far: float, height: float) -> bool:
    x, y = motion.positions(np.array([time]))[0, 0]
    return x >= far - PASS and abs(y - height) < PASS


def margins(scene: Scene, facts: CourtFacts, seconds: float) -> tuple[float, float]:
    """Returns `Take.margin` and `Take.margin_speed` of a scene.

    They are lower bounds of the distance in metres between the ball's path and a path with another
    outcome, equation (1), and of the difference in m/s of the launches of the two.

    Args:
        scene: a scene with its target to the right, which has an outcome.
        facts: facts of the scene.
        seconds: duration of the clip.
    """
    actual = judged(scene, facts.action, seconds)
    assert actual is not None, "the scene has a named outcome"
    _, decided = actual
    ball, ways = scene.balls[0], WAYS[:2] if facts.action == "jump" else WAYS
    safe = 0.0
    for pixels in LADDER:
        distance = pixels * EXTENT / 64.0
        dv = distance / decided
        for x, y in ways:
            velocity = ball.velocity[0] + x * dv, ball.velocity[1] + y * dv
            spin = -velocity[0] / ball.radius if facts.action == "jump" else ball.spin
            other = dataclasses.replace(
                scene, balls=(dataclasses.replace(ball, velocity=velocity, spin=spin),)
            )
            found = judged(other, facts.action, seconds)
            if found is None or found[0] != facts.outcome:
                return safe, safe / decided
        safe = distance
    return safe, safe / decided
