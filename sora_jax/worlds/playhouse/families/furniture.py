"""Furniture of family `court`: a hoop, a goal with a keeper, a gap between two platforms.

Lengths are in metres, for a target to the right. Measures that are the same in all scenes are
constants here. The oracle uses them too (`oracles/court_furniture.py`).
"""

import dataclasses

from sora_jax.worlds.playhouse.spec import BELOW_FLOOR, Scene, Shape

EXTENT = 5.0  # side of the view
# x of the front and back of the rim and of the board, their radii
HOOP_FRONT, HOOP_BACK, BOARD, RIM_RADIUS, BOARD_RADIUS = 2.55, 3.70, 4.08, 0.06, 0.06
BOARD_TOP = 1.0  # height of the board's top above the rim
# x of the goal line, radius of the bar, x of the keeper
GOAL, BAR_RADIUS, KEEPER = 3.70, 0.06, 3.25
PAD_HALF, PAD_RADIUS = 0.22, 0.08  # half length and radius of the keeper
# ranges of the heights of the rim and of the bar
HOOP_HEIGHTS, GOAL_HEIGHTS = (1.9, 2.2), (1.7, 2.0)
_MIRRORED: dict[str | None, str] = {"left": "right", "right": "left"}  # directions
Point = tuple[float, float]  # (x, y) in metres; of a velocity, in m/s


def hoop(h: float) -> tuple[Shape, ...]:
    """Returns the shapes of a basketball hoop at height h in metres.

    The first three are front and back of the rim, in cross-section, and the board. Balls touch only
    these. The others are the white face of the board, post, brackets, net and rim.
    """
    front, back = HOOP_FRONT, HOOP_BACK
    board_low, board_high, post = h - 0.10, h + BOARD_TOP, BOARD + 0.32
    inset, low = 0.24, h - 0.62
    left, right, middle = front + inset, back - inset, 0.5 * (front + back)

    def cord(a: Point, b: Point) -> Shape:
        return Shape((a, b), "net", 0.018, front=True)

    mesh = [
        cord((front, h), (left, low)),
        cord((back, h), (right, low)),
        cord((left, low), (right, low)),
    ]
    for x0, x1 in ((front, middle), (middle, right), (back, middle), (middle, left)):
        mesh.append(cord((x0, h), (x1, low)))
    return (
        Shape(((front, h),), "iron", RIM_RADIUS, "iron"),
        Shape(((back, h),), "iron", RIM_RADIUS, "iron"),
        Shape(((BOARD, board_low), (BOARD, board_high)), "iron", BOARD_RADIUS, "board"),
        Shape(((BOARD, board_low + 0.04), (BOARD, board_high - 0.04)), "white", 0.03),
        Shape(((post, 0.0), (post, h + 0.3)), "frame", 0.05),
        Shape(((post, h + 0.3), (BOARD, h + 0.3)), "frame", 0.035),
        Shape(((back, h), (BOARD, h)), "iron", RIM_RADIUS),
        *mesh,
        Shape(((front, h), (back, h)), "iron", RIM_RADIUS, front=True),
    )


def goal(h: float, path: tuple[tuple[float, float, float], ...]) -> tuple[Shape, ...]:
    """Returns the shapes of a goal with a keeper.

    The first four are the bar, in cross-section, the keeper, and the net at the back and above.
    Balls touch only these. The others are the mesh of the net and the near post.

    Args:
        h: height of the bar in metres.
        path: knots (time in s, dx, dy in metres) of the keeper's motion.
    """
    back = GOAL + 0.75
    mesh = [
        Shape(((GOAL, h * k / 4), (back + 0.25 * (1 - k / 4), h * k / 4)), "net", 0.015, front=True)
        for k in (1, 2, 3)
    ]
    mesh += [
        Shape(((GOAL + 0.25 * k, 0.0), (GOAL + 0.25 * k, h)), "net", 0.015, front=True)
        for k in (1, 2, 3)
    ]
    return (
        Shape(((GOAL, h),), "iron", BAR_RADIUS, "iron"),
        Shape(((KEEPER, -PAD_HALF), (KEEPER, PAD_HALF)), "pad", PAD_RADIUS, "pad", path=path),
        Shape(((back, h), (back + 0.25, 0.0)), "net", 0.03, "net"),
        Shape(((GOAL + 0.06, h), (back, h)), "net", 0.03, "net"),
        *mesh,
        Shape(((GOAL, 0.0), (GOAL, h)), "iron", BAR_RADIUS, front=True),
        Shape(((GOAL, 0.0), (GOAL, h)), "white", 0.03, front=True),
    )


def gap(edge: float, top: float, far: float, low: float) -> tuple[Shape, ...]:
    """Returns the shapes of two platforms with a gap between them.

    The left one has height `top` and ends at x = edge. The right one has height `low` and starts at
    x = far. Lengths are in metres.
    """
    deep = -BELOW_FLOOR - 0.1  # below the frame
    return tuple(
        Shape(((x0, deep), (x1, deep), (x1, y), (x0, y)), "stone", material="stone")
        for x0, x1, y in ((-0.6, edge, top), (far, EXTENT + 0.6, low))
    )


def mirrored(shape: Shape) -> Shape:
    """Returns a shape of a court, mirrored left to right about x = EXTENT / 2."""
    return dataclasses.replace(
        shape,
        points=tuple((EXTENT - x, y) for x, y in reversed(shape.points)),
        path=tuple((t, -dx, dy) for t, dx, dy in shape.path),
        velocity=-shape.velocity,
    )


def mirrored_scene(scene: Scene) -> Scene:
    """Returns a scene of a court, mirrored left to right about x = EXTENT / 2."""
    e = scene.extent
    balls = tuple(
        dataclasses.replace(
            b,
            position=(e - b.position[0], b.position[1]),
            velocity=(-b.velocity[0], b.velocity[1]),
            spin=-b.spin,
            direction=_MIRRORED.get(b.direction),
        )
        for b in scene.balls
    )
    return dataclasses.replace(scene, balls=balls, shapes=tuple(mirrored(s) for s in scene.shapes))
