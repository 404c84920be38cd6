"""Occlusion: the exact times at which a ball is hidden behind a panel.

A panel is an upright box that is painted over the balls and may move along a path. A ball of
radius r with its centre at (x, y) is fully behind it while

    x - r >= left,   x + r <= right,   y - r >= bottom,   y + r <= top                           (1)

With -r in place of r, the four inequalities hold while a part of the ball's bounding box is behind
the panel. Between events the difference of the two sides of each is a polynomial of degree two in
time, so the ends of the intervals are roots. Only + - * / and sqrt are used, so they are bitwise
the same on any machine.
"""

import itertools

from sora_jax.worlds.playhouse.spec import Scene, Shape
from sora_jax.worlds.playhouse.touch import roots
from sora_jax.worlds.playhouse.trajectory import Trajectory, path_pieces


def panels(scene: Scene) -> list[Shape]:
    """Returns the panels of a scene: boxes in front of the balls that no ball touches."""
    return [
        shape
        for shape in scene.shapes
        if shape.front and shape.material is None and len(shape.points) == 4
    ]


def hidden(
    scene: Scene, motion: Trajectory, seconds: float, fully: bool = True
) -> tuple[tuple[int, float, float], ...]:
    """Returns (ball, start, end) in s of every interval of [0, seconds] in which a panel hides a
    ball.

    Args:
        scene: the scene.
        motion: its trajectory.
        seconds: end of the search.
        fully: True, the default, if the whole ball must be hidden; False if a part of its bounding
            box is enough.
    """
    found = []
    for k, ball in enumerate(scene.balls):
        sign = ball.radius if fully else -ball.radius
        for panel in panels(scene):
            found += [(k, start, end) for start, end in _behind(panel, motion, k, sign, seconds)]
    return tuple(sorted(found))


def _behind(
    panel: Shape, motion: Trajectory, k: int, r: float, seconds: float
) -> list[tuple[float, float]]:
    xs, ys = [p[0] for p in panel.points], [p[1] for p in panel.points]
    arcs = motion.arcs[k].tolist()
    slides = motion.turns[k][:, 0].tolist() if motion.turns else [0.0] * len(arcs)
    pushes = path_pieces(panel) or [(0.0,) * 6]
    starts = sorted(
        {t for t in (*(arc[0] for arc in arcs), *(push[0] for push in pushes)) if t < seconds}
    )
    spans = []
    for start, end in itertools.pairwise([*starts, seconds]):
        if end <= start:
            continue
        i = max(i for i, arc in enumerate(arcs) if arc[0] <= start)
        t0, x, y, vx, vy, ay = arcs[i]
        push = [push for push in pushes if push[0] <= start][-1]
        dt, push_dt = start - t0, start - push[0]
        # Position relative to the panel at `start`, and its derivatives.
        px, py = (
            x + vx * dt + 0.5 * slides[i] * dt * dt - push[1] - push[3] * push_dt,
            y + vy * dt + 0.5 * ay * dt * dt - push[2] - push[4] * push_dt,
        )
        ux, uy = vx + slides[i] * dt - push[3], vy + ay * dt - push[4]
        hx, hy = 0.5 * slides[i], 0.5 * ay
        sides = (
            (px - r - min(xs), ux, hx),
            (max(xs) - px - r, -ux, -hx),
            (py - r - min(ys), uy, hy),
            (max(ys) - py - r, -uy, -hy),
        )
        cuts = sorted({0.0, end - start, *(t for side in sides for t in roots(side, end - start))})
        for a, b in itertools.pairwise(cuts):
            middle = 0.5 * (a + b)
            if all(c + (v + h * middle) * middle >= 0.0 for c, v, h in sides):
                spans.append((start + a, start + b))
    joined = []
    for a, b in spans:
        if joined and joined[-1][1] == a:
            joined[-1] = (joined[-1][0], b)
        else:
            joined.append((a, b))
    return joined
