"""The vocabulary of Playhouse scenes and `Scene`, the frozen description of one scene.

A scene is drawn once (`draw.py`). Its motion, its frames and its sound are computed from it.
It holds plain numbers and no random state, so it can be written as JSON.

The world is seen from the side, in metres: x points right, y points up. The view is square. It
shows x from 0 to extent, and `below` metres under y = 0, where most scenes have their floor:

    column = x / extent * size - 1/2                                                             (1)
    row    = (extent - below - y) / extent * size - 1/2                                          (2)

for a frame of size x size pixels, whose centres have whole coordinates. A `Ball` moves freely.
Everything else is a `Shape`: the points within `radius` of a convex polygon with 1 corner (a rim
seen end-on), 2 corners (a board) or 3 to 6 corners (a platform, a crate).
"""

import dataclasses
import json
from typing import Any

import numpy as np

from sora_jax.worlds.playhouse.cast import Actor
from sora_jax.worlds.playhouse.plot import Plot

CLIP_SECONDS = 2.125  # 17 frames at 8 fps: the shortest clip for which the labels hold
WORLD_VERSION = 1  # part of every random key; raise it if (split, index) means another scene

# Saturated and well separated in hue: the facts oracle must distinguish them after video
# compression. RGB in [0, 1].
COLOURS = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.97, 0.52, 0.06),
    "yellow": (0.94, 0.86, 0.12),
    "green": (0.13, 0.66, 0.22),
    "blue": (0.12, 0.32, 0.88),
    "purple": (0.60, 0.16, 0.74),
}
MORE_COLOURS: dict[str, tuple[float, float, float]] = {}  # of families that a user registered


def palette() -> dict[str, tuple[float, float, float]]:
    """Returns {name: RGB} of the colours of balls: COLOURS, and those of `add_colour`."""
    return COLOURS | MORE_COLOURS


def add_colour(name: str, rgb: tuple[float, float, float]) -> None:
    """Adds a colour to `palette()`, for a family of scenes that a user registers.

    Renderers, captions and the oracles of balls then know it. COLOURS does not change.

    Args:
        name: one lower-case word.
        rgb: red, green and blue in [0, 1].

    Raises:
        ValueError: the name is taken by another colour.
    """
    if palette().get(name, rgb) != rgb:
        raise ValueError(f"the colour {name!r} is {palette()[name]}; give another name")
    if name not in COLOURS:
        MORE_COLOURS[name] = rgb


SIZES = {"small": (0.22, 0.27), "large": (0.40, 0.46)}  # radius range, metres
LAUNCHES = ("dropped", "thrown", "rolled")
DIRECTIONS = ("left", "right")
STYLES = ("flat", "shaded")  # styles of rooms and courts
FILM_STYLES = ("flat", "realistic", "cinematic", "anime")  # styles of the families film and occlude
AMBIENCES = ("wind", "hum")  # ambiences that families draw from
SOUNDSCAPES = (*AMBIENCES, "rain", "crickets")  # every audible ambience
SILENCE = "silence"  # the ambience of scenes without a soundtrack
# m/s^2, downwards
GRAVITIES = {"earth": 9.8, "moon": 1.6, "mars": 3.7, "phyworld": 2.5, "none": 0.0}

# Colours of shapes: greys and near-whites, so every coloured pixel belongs to a ball. RGB in
# [0, 1].
PAINTS = {
    "iron": (0.16, 0.16, 0.18),
    "white": (0.97, 0.97, 0.97),
    "frame": (0.30, 0.31, 0.34),
    "stone": (0.47, 0.46, 0.45),
    "net": (0.74, 0.75, 0.77),
    "pad": (0.08, 0.08, 0.09),
    "crate": (0.40, 0.38, 0.36),
    "post": (0.05, 0.05, 0.06),
    "panel": (0.46, 0.47, 0.52),
}

# Background pairs (wall, floor), pale or grey, so every ball colour stands out. RGB in [0, 1].
BACKDROPS = (
    ((0.90, 0.90, 0.90), (0.62, 0.60, 0.58)),
    ((0.80, 0.86, 0.92), (0.50, 0.54, 0.58)),
    ((0.93, 0.89, 0.82), (0.66, 0.59, 0.52)),
    ((0.34, 0.36, 0.40), (0.22, 0.22, 0.25)),
    ((1.00, 1.00, 1.00), (1.00, 1.00, 1.00)),
)
ROOM_BACKDROPS = 4  # rooms draw from the first four; the fifth is plain white

BELOW_FLOOR = 0.3  # metres shown below the floor line of a room


@dataclasses.dataclass(frozen=True)
class Material:
    """The physical, acoustic and optical properties of a ball or of a surface.

    Attributes:
        restitution: of a ball, the coefficient of restitution against a plain wall; of a surface,
            the factor by which it multiplies that of the ball.
        density: kg/m^2. A ball of radius r has mass density r^2. Unused for surfaces.
        base_hz: frequency in Hz of the sound when struck. A ball of radius r rings at base_hz * 0.3
            / r * ratios, a surface at base_hz * ratios whatever its size.
        ratios: frequency of each mode of vibration over base_hz. A surface with () is silent.
        decays: seconds in which the amplitude of each mode falls to 1/e.
        gains: relative amplitude of each mode.
        shine: specular weight of a ball, in the styles that light it. Unused for surfaces.
        friction: Coulomb coefficient of a surface. Default: 0.
    """

    restitution: float
    density: float
    base_hz: float
    ratios: tuple[float, ...]
    decays: tuple[float, ...]
    gains: tuple[float, ...]
    shine: float
    friction: float = 0.0


REFERENCE_RADIUS = 0.3  # metres: the ball radius at which base_hz holds

MATERIALS = {
    "cloth": Material(0.38, 0.5, 75.0, (1.0, 1.9), (0.030, 0.020), (1.0, 0.4), 0.0),
    "rubber": Material(
        0.82, 1.0, 190.0, (1.0, 1.62, 2.41), (0.060, 0.045, 0.030), (1.0, 0.5, 0.25), 0.15
    ),
    "wood": Material(
        0.62, 0.7, 430.0, (1.0, 2.57, 4.95), (0.045, 0.030, 0.020), (1.0, 0.6, 0.35), 0.05
    ),
    "metal": Material(
        0.70,
        4.0,
        800.0,
        (1.0, 1.47, 2.09, 2.56),
        (0.16, 0.14, 0.11, 0.08),
        (1.0, 0.7, 0.5, 0.4),
        0.9,
    ),
    "glass": Material(
        0.75, 2.0, 1250.0, (1.0, 2.32, 3.65), (0.10, 0.07, 0.05), (1.0, 0.6, 0.4), 0.5
    ),
}
# PhyWorld's balls: perfectly elastic, in scenes without sound. Rooms do not draw this material.
IDEAL = {"ideal": Material(1.0, 1.0, 400.0, (1.0,), (0.05,), (1.0,), 0.0)}

SURFACES = {
    # floor and walls of a room: the ball's own restitution, no friction, silent
    "plain": Material(1.0, 1.0, 0.0, (), (), (), 0.0),
    "ground": Material(1.0, 1.0, 0.0, (), (), (), 0.0, 0.4),
    "iron": Material(
        0.85,
        1.0,
        540.0,
        (1.0, 1.53, 2.76, 3.9),
        (0.14, 0.11, 0.07, 0.05),
        (1.0, 0.8, 0.5, 0.3),
        0.0,
        0.2,
    ),
    "board": Material(
        0.85, 1.0, 165.0, (1.0, 2.1, 3.4), (0.07, 0.045, 0.03), (1.0, 0.6, 0.3), 0.0, 0.3
    ),
    "stone": Material(0.95, 1.0, 105.0, (1.0, 2.7), (0.035, 0.02), (1.0, 0.4), 0.0, 0.5),
    "pad": Material(0.70, 1.0, 140.0, (1.0, 1.8), (0.04, 0.025), (1.0, 0.5), 0.0, 0.3),
    "net": Material(0.15, 1.0, 0.0, (), (), (), 0.0, 0.4),
    "crate": Material(
        0.60, 0.6, 210.0, (1.0, 1.9, 3.1), (0.05, 0.035, 0.02), (1.0, 0.7, 0.4), 0.0, 0.4
    ),
}


def material(name: str) -> Material:
    """Returns the `Material` with a name in MATERIALS, SURFACES or IDEAL."""
    return MATERIALS.get(name) or SURFACES.get(name) or IDEAL[name]


def restitution(ball: str, surface: str) -> float:
    """Returns the coefficient of restitution e of a ball of one material on a surface of another.

    `ball` is a name in MATERIALS or "ideal", `surface` one in SURFACES. Two balls have the
    geometric mean of their materials' coefficients instead.
    """
    return material(ball).restitution * SURFACES[surface].restitution


@dataclasses.dataclass(frozen=True)
class Ball:
    """One ball at time 0: its labels and its state.

    Attributes:
        colour: a name in `palette()`.
        size: a name in SIZES.
        material: a name in MATERIALS, or "ideal".
        launch: "dropped", "thrown" or "rolled".
        direction: "left" or "right"; None for a dropped ball.
        radius: in metres.
        position: (x, y) in metres.
        velocity: (x, y) in m/s.
        spin: in rad/s, counter-clockwise. Default 0.
    """

    colour: str
    size: str
    material: str
    launch: str
    direction: str | None
    radius: float
    position: tuple[float, float]
    velocity: tuple[float, float]
    spin: float = 0.0

    @property
    def mass(self) -> float:
        """The mass in kg: density times radius squared."""
        return material(self.material).density * self.radius * self.radius


@dataclasses.dataclass(frozen=True)
class Shape:
    """An obstacle or a visible part of the scenery: all points within `radius` of a convex polygon.

    Attributes:
        points: 1 to 6 corners in metres, counter-clockwise.
        paint: a name in PAINTS.
        radius: metres around the polygon. Default: 0.
        material: a name in SURFACES. Default: None, a shape that is visible but touches nothing
            (the cords of a net, an occluding panel).
        front: True if it is painted over the balls. Default: False, behind them.
        path: knots (time in s, dx, dy in metres) of a moving shape (a "paddle"). Its displacement
            (dx, dy) is linear between knots, constant outside of them. Default: (), no path.
        mass: > 0 makes the shape a crate, an upright box that slides along x on its ground; in the
            unit of `Ball.mass`. Default: 0.
        velocity: initial speed of a crate along x, m/s. Default: 0.
    """

    points: tuple[tuple[float, float], ...]
    paint: str
    radius: float = 0.0
    material: str | None = None
    front: bool = False
    path: tuple[tuple[float, float, float], ...] = ()
    mass: float = 0.0
    velocity: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether the shape moves: it has a path or slides."""
        return bool(self.path) or self.mass > 0.0


@dataclasses.dataclass(frozen=True)
class Narration:
    """The words of an off-screen voice.

    Attributes:
        voice: index in `voice.VOICES`.
        words: ((start in s, word), ...) in order.
    """

    voice: int
    words: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True)
class Scene:
    """The full description of everything visible and audible in a clip, at time 0.

    Attributes:
        seed: seed of details that no fact states, such as the noise of the ambience.
        balls: the balls, painted in this order.
        style: a name in STYLES or FILM_STYLES. Default: "flat".
        ambience: a name in SOUNDSCAPES, or SILENCE. Default: "wind".
        backdrop: index in BACKDROPS. Default: 0.
        extent: side of the square view in metres. Default: 4.
        gravity: m/s^2, downwards. Default: 9.8.
        below: metres shown under y = 0. Default: BELOW_FLOOR.
        bounds: "room" (a floor at y = 0, walls at x = 0 and x = extent), "floor", or "open"
            (neither). Default: "room".
        ground: a name in SURFACES for floor and walls. Default: "plain".
        shapes: the shapes, painted in this order. Default: ().
        rolling: True if rolling balls are audible. Default: False.
        narration: the words of an off-screen voice. Default: None.
        view: knots (time, left, top, width) of the camera in s and metres (`camera.py`). Default:
            (), which shows the whole scene.
        cast: the actors, painted in this order, behind the balls. Default: ().
        plot: the shots of a story (a clip with cuts) and its state. Default: None, one shot.
    """

    seed: int
    balls: tuple[Ball, ...]
    style: str = "flat"
    ambience: str = "wind"
    backdrop: int = 0
    extent: float = 4.0
    gravity: float = 9.8
    below: float = BELOW_FLOOR
    bounds: str = "room"
    ground: str = "plain"
    shapes: tuple[Shape, ...] = ()
    rolling: bool = False
    narration: Narration | None = None
    view: tuple[tuple[float, float, float, float], ...] = ()
    cast: tuple[Actor, ...] = ()
    plot: Plot | None = None

    def to_json(self) -> str:
        """Returns the scene as JSON, without the fields of _LATER that have their defaults."""
        return json.dumps(_fields(self))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """Returns the scene of a JSON text, the result of `to_json`."""
        fields = json.loads(text)
        balls = tuple(Ball(**_tuples(b)) for b in fields.pop("balls"))
        shapes = tuple(Shape(**_tuples(s)) for s in fields.pop("shapes", ()))
        if "narration" in fields:
            fields["narration"] = Narration(**_tuples(fields["narration"]))
        cast = tuple(Actor.from_dict(a) for a in fields.pop("cast", ()))
        if "plot" in fields:
            fields["plot"] = Plot.from_dict(fields["plot"])
        return cls(balls=balls, shapes=shapes, cast=cast, **_tuples(fields))


# Left out of the JSON at their defaults, so that the JSON of a scene, and its hash, do not depend
# on features that the scene does not use.
_LATER = {"below", "bounds", "cast", "ground", "narration", "plot", "rolling", "shapes", "spin"}
_LATER |= {"view"}


def _fields(part: Any) -> dict:
    fields = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in _LATER and value == field.default:
            continue
        if field.name in ("balls", "shapes"):
            value = [_fields(item) for item in value]
        elif field.name == "cast":
            value = [actor.to_dict() for actor in value]
        elif isinstance(value, Narration):
            value = _fields(value)
        elif isinstance(value, Plot):
            value = value.to_dict()
        fields[field.name] = value
    return fields


def _tuples(fields: dict) -> dict:
    """Converts the lists of decoded JSON to tuples, at every depth."""

    def convert(value: Any) -> Any:
        return tuple(convert(v) for v in value) if isinstance(value, list) else value

    return {name: convert(value) for name, value in fields.items()}


def pixels_per_metre(extent: float, size: int) -> float:
    """Returns pixels per metre of a frame of `size` pixels that shows `extent` metres."""
    return size / extent


def to_pixels(
    position: np.ndarray, extent: float, size: int, below: float = BELOW_FLOOR
) -> np.ndarray:
    """Converts points in metres to pixels of a frame without a camera, equations (1) and (2).

    Args:
        position: (x, y) in metres, [..., 2].
        extent: side of the view in metres.
        size: side of the frame in pixels.
        below: metres shown under y = 0. Default: BELOW_FLOOR.

    Returns:
        (column, row) in pixels, [..., 2]; pixel centres have whole coordinates.
    """
    x, y = position[..., 0], position[..., 1]
    scale = pixels_per_metre(extent, size)
    return np.stack([x * scale - 0.5, (extent - below - y) * scale - 0.5], axis=-1)


def from_pixels(
    point: np.ndarray, extent: float, size: int, below: float = BELOW_FLOOR
) -> np.ndarray:
    """Converts pixels (column, row) [..., 2] to points (x, y) [..., 2] in metres: inverts
    `to_pixels`, with its arguments.
    """
    column, row = point[..., 0], point[..., 1]
    scale = pixels_per_metre(extent, size)
    return np.stack([(column + 0.5) / scale, extent - below - (row + 0.5) / scale], axis=-1)
