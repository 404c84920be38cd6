"""The camera: the part of the world that a frame shows at any time, and the camera moves of films.

A view is (left, top, width) in metres, a square of the world. `Scene.view` holds knots of the view
(time, left, top, width). It is linear between knots and constant outside of them. A scene without
knots is shown whole: left 0, top extent - below, width extent. For a frame of size x size pixels

    column = (x - left) / width * size - 1/2,      row = (top - y) / width * size - 1/2          (1)

so the pixels q of the view at time 0 map to the pixels p at time t by an exact affine map,

    p + 1/2 = zoom (q + 1/2) + shift,      zoom = width_0 / width,
    shift   = ((left_0 - left), (top - top_0)) size / width                                      (2)

Parallax: an object has a relative speed `depth` (1 for the balls, less for a wall behind them).
Its zoom - 1 and its shift are `depth` times those of (2).

All views of a film show the whole scene within the middle four fifths of the frame's height,
between the black bars of the cinematic style. They also show a thin post at either side of the
scene. An oracle recovers (2) from the two posts. Only + - * / on float64 are used, so views are
bitwise the same on any machine.
"""

import dataclasses

import numpy as np

from sora_jax.worlds.playhouse.spec import Scene, Shape
from sora_jax.worlds.playhouse.trajectory import Trajectory

MOVES = ("static", "pan", "push-in", "follow", "shake")
BARS = 0.1  # height of each black bar of the cinematic style, in frame heights
# Lengths in extents are multiples of `Scene.extent`, the side of the whole scene.
POST_HEIGHT, POST_RADIUS = 0.6, 0.012  # extents
WIDTH = 1.25  # extents: width of a static view, the least that shows the scene between the bars
SIDEWAYS = 0.11  # extents: largest displacement of a camera that pans or follows
WIDE = 1.36  # extents: width of a view that moves sideways, so that the posts stay in it
FOLLOWING = 0.4  # metres that a following camera moves per metre of the ball
SHAKEN = 1.32  # extents: width of a view that shakes
JOLT = 0.025  # extents: amplitude of a shake, which decays over its swings
SWINGS, SWING = 6, 0.05  # swings of a shake, and their duration in seconds


def views(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Returns the camera's view of a scene, (left, top, width) in metres, float64 [T, 3], at times
    [T] in seconds.
    """
    knots = np.array(scene.view or ((0.0, 0.0, scene.extent - scene.below, scene.extent),))
    after = np.searchsorted(knots[:, 0], times, side="right")
    a, b = knots[np.maximum(after - 1, 0)], knots[np.minimum(after, len(knots) - 1)]
    span = b[:, 0] - a[:, 0]
    part = np.where(span > 0.0, (times - a[:, 0]) / np.where(span > 0.0, span, 1.0), 0.0)
    return a[:, 1:] + (b[:, 1:] - a[:, 1:]) * part[:, None]


def project(view: np.ndarray, points: np.ndarray, size: int) -> np.ndarray:
    """Converts points in metres to pixels, equation (1).

    Args:
        view: (left, top, width) in metres, [..., 3], which broadcasts against the points.
        points: (x, y) in metres, [..., 2].
        size: side of the frame in pixels.

    Returns:
        (column, row), [..., 2]; pixel centres have whole coordinates.
    """
    scale = size / view[..., 2]
    return np.stack(
        [
            (points[..., 0] - view[..., 0]) * scale - 0.5,
            (view[..., 1] - points[..., 1]) * scale - 0.5,
        ],
        axis=-1,
    )


def unproject(view: np.ndarray, pixels: np.ndarray, size: int) -> np.ndarray:
    """Converts pixels (column, row) [..., 2] to points (x, y) [..., 2] in metres: inverts
    `project`.

    view is (left, top, width) in metres, [..., 3], and `size` the side of the frame in pixels.
    """
    scale = size / view[..., 2]
    return np.stack(
        [
            view[..., 0] + (pixels[..., 0] + 0.5) / scale,
            view[..., 1] - (pixels[..., 1] + 0.5) / scale,
        ],
        axis=-1,
    )


def affine(scene: Scene, times: np.ndarray, size: int) -> np.ndarray:
    """Returns the affine map (2) from the pixels of time 0 to those of each time.

    It is (zoom, column shift, row shift in pixels), float64 [T, 3]. A pixel q of time 0 is at
    (q + 1/2) zoom + shift - 1/2 later.

    Args:
        scene: the scene.
        times: in seconds, [T].
        size: side of the frame in pixels.
    """
    (left, top, width), now = views(scene, np.zeros(1))[0], views(scene, times)
    scale = size / now[:, 2]
    return np.stack(
        [width / now[:, 2], (left - now[:, 0]) * scale, (now[:, 1] - top) * scale], axis=-1
    )


def posts(scene: Scene) -> tuple[Shape, Shape]:
    """Returns the left and right post of a film: thin upright shapes at x = 0 and x = extent."""
    e = scene.extent
    radius = POST_RADIUS * e
    left, right = (
        Shape(((x, 0.0), (x, POST_HEIGHT * e)), "post", radius) for x in (0.0 - radius, e + radius)
    )
    return left, right


def filmed(
    scene: Scene, motion: Trajectory, move: str, direction: str | None, seconds: float
) -> Scene:
    """Returns a scene with a camera and the two posts added.

    Args:
        scene: the scene.
        motion: its trajectory. The move "follow" follows the first ball, "shake" shakes at impacts
            of at least 1 m/s.
        move: one of MOVES.
        direction: "left" or "right", used by a pan only; None for other moves.
        seconds: duration of the clip.

    Returns:
        The scene with its view. The posts are its last shapes, so the shape indices of contacts
        stay valid.

    Raises:
        ValueError: move is not one of MOVES.
    """
    e = scene.extent

    def knot(
        time: float, width: float, dx: float = 0.0, dy: float = 0.0
    ) -> tuple[float, float, float, float]:
        middle = e * 0.5 - scene.below
        return (
            float(time),
            float(e * 0.5 - 0.5 * width * e + dx),
            float(middle + 0.5 * width * e + dy),
            float(width * e),
        )

    if move == "static":
        view = [knot(0.0, WIDTH)]
    elif move == "pan":
        reach = SIDEWAYS * e if direction == "right" else -SIDEWAYS * e
        view = [knot(0.0, WIDE, -reach), knot(seconds, WIDE, reach)]
    elif move == "push-in":
        view = [knot(0.0, WIDTH + 0.3), knot(seconds, WIDTH)]
    elif move == "follow":
        times = np.arange(int(seconds * 8.0) + 2) / 8.0
        # Mean of the ball's positions within 0.2 s: a camera is slower than a bounce.
        x = (
            sum(
                motion.positions(np.clip(times + offset, 0.0, seconds))[:, 0, 0]
                for offset in (-0.2, -0.1, 0.0, 0.1, 0.2)
            )
            / 5.0
        )
        view = [
            knot(t, WIDE, dx)
            for t, dx in zip(
                times, np.clip(FOLLOWING * (x - e * 0.5), -SIDEWAYS * e, SIDEWAYS * e), strict=True
            )
        ]
    elif move == "shake":
        view, free = [knot(0.0, SHAKEN)], 0.0
        for contact in motion.contacts:
            if contact.time < free or contact.speed < 1.0:
                continue
            view.append(knot(contact.time, SHAKEN))
            for i in range(1, SWINGS):
                swing = JOLT * e * (1.0 - i / SWINGS) * (1.0 if i % 2 else -1.0)
                view.append(knot(contact.time + i * SWING, SHAKEN, 0.6 * swing, swing))
            free = contact.time + SWINGS * SWING
            view.append(knot(free, SHAKEN))
    else:
        raise ValueError(f"no camera {move!r}; there are {', '.join(MOVES)}")
    return dataclasses.replace(scene, view=tuple(view), shapes=(*scene.shapes, *posts(scene)))
