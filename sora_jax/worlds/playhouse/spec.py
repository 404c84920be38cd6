"""What a Playhouse scene is: the vocabulary of the world and the frozen description that everything
else is derived from.

The world is seen from the side, in metres: x to the right, y up. The view is square, x from 0 to
extent, and shows `below` metres under y = 0, where most scenes have their floor:

    column = x / extent * size - 1/2                                                             (1)
    row    = (extent - below - y) / extent * size - 1/2                                          (2)

in pixel centres, for a picture of size x size pixels. What moves freely is a `Ball`; everything
else is a `Shape`: the points within `radius` of a convex polygon of 1 (a rim seen on end), 2 (a
board) or 3 to 6 corners (a platform, a crate). A scene holds no random state: it is drawn once
(`draw.py`) and from then on is plain numbers, written as JSON.
"""

import dataclasses
import json

import numpy as np

CLIP_SECONDS = 2.125  # 17 frames at 8 fps: the shortest clip for which the labels hold
WORLD_VERSION = 1  # enters every random key: change it when the meaning of (split, index) changes

# Saturated and well apart in hue: the facts oracle must tell them after video compression.
COLOURS = {
    "red": (0.86, 0.12, 0.12),
    "orange": (0.97, 0.52, 0.06),
    "yellow": (0.94, 0.86, 0.12),
    "green": (0.13, 0.66, 0.22),
    "blue": (0.12, 0.32, 0.88),
    "purple": (0.60, 0.16, 0.74),
}
SIZES = {"small": (0.22, 0.27), "large": (0.40, 0.46)}  # radius range, metres
LAUNCHES = ("dropped", "thrown", "rolled")
DIRECTIONS = ("left", "right")
STYLES = ("flat", "shaded")  # those that rooms and courts draw from
FILM_STYLES = ("flat", "realistic", "cinematic", "anime")  # those that films draw from
AMBIENCES = ("wind", "hum")  # those that rooms and courts draw from
SOUNDSCAPES = (*AMBIENCES, "rain", "crickets")  # all that there are
SILENCE = "silence"  # the ambience of scenes without a sound track
# m/s^2, downwards
GRAVITIES = {"earth": 9.8, "moon": 1.6, "mars": 3.7, "phyworld": 2.5, "none": 0.0}

# What shapes are painted with: greys and near-whites, so that a coloured pixel is a ball's. RGB in
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

# Background pairs (wall, floor), pale or grey so that every ball colour stands out: RGB in [0, 1].
BACKDROPS = (
    ((0.90, 0.90, 0.90), (0.62, 0.60, 0.58)),
    ((0.80, 0.86, 0.92), (0.50, 0.54, 0.58)),
    ((0.93, 0.89, 0.82), (0.66, 0.59, 0.52)),
    ((0.34, 0.36, 0.40), (0.22, 0.22, 0.25)),
    ((1.00, 1.00, 1.00), (1.00, 1.00, 1.00)),
)
ROOM_BACKDROPS = 4  # the first ones, which rooms draw from; the fifth is a blank sheet

BELOW_FLOOR = 0.3  # metres of the view that lie under the floor line of a room


@dataclasses.dataclass(frozen=True)
class Material:
    """How a thing bounces, weighs, sounds, shines and grips.

    Of a ball: restitution is against a plain wall; density in kg/m^2 (mass = density r^2); struck,
    it rings at base_hz * 0.3 / r * ratios, each mode falling by 1/e in its decay (seconds); shine
    is the specular weight of the shaded style.

    Of a surface: restitution multiplies the ball's (`restitution`); it rings at base_hz * ratios
    whatever its size, and not at all without ratios; friction is Coulomb's coefficient. Density and
    shine are not used.
    """

    restitution: float
    density: float
    base_hz: float
    ratios: tuple[float, ...]
    decays: tuple[float, ...]
    gains: tuple[float, ...]
    shine: float
    friction: float = 0.0


REFERENCE_RADIUS = 0.3  # metres: the radius at which base_hz holds

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
# Not among the materials that rooms draw from: PhyWorld's balls, which lose nothing and are silent.
IDEAL = {"ideal": Material(1.0, 1.0, 400.0, (1.0,), (0.05,), (1.0,), 0.0)}

SURFACES = {
    # floor and walls of a room: the ball's own rebound, no grip, silent
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
    """The material of a ball or a surface, by name."""
    return MATERIALS.get(name) or SURFACES.get(name) or IDEAL[name]


def restitution(ball: str, surface: str) -> float:
    """e of a ball of one material on a surface of another; two balls: sqrt(e_a e_b)
    (`simulate.py`).
    """
    return material(ball).restitution * SURFACES[surface].restitution


@dataclasses.dataclass(frozen=True)
class Ball:
    """One ball at time 0: its names and its state. radius and position in metres, velocity in m/s,
    spin in rad/s (counter-clockwise).
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
        return material(self.material).density * self.radius * self.radius


@dataclasses.dataclass(frozen=True)
class Shape:
    """All points within `radius` metres of a convex polygon.

    points: 1 to 6 corners in metres, counter-clockwise. paint: a name in PAINTS. material: a name
    in SURFACES, or None for what is only seen (a net, a panel that hides). front: painted over the
    balls, not behind them. path: knots (time, dx, dy) of a moving paddle, which is displaced by
    (dx, dy), linearly between knots, and still outside of them. mass > 0 makes the shape a crate,
    an upright box that slides along x on its ground; `velocity` is its first speed in m/s.
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
        return bool(self.path) or self.mass > 0.0


@dataclasses.dataclass(frozen=True)
class Narration:
    """What someone unseen says: words ((start in s, word), ...) in order, and which of the voices
    says them (`voice.py`).
    """

    voice: int
    words: tuple[tuple[float, str], ...]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that a clip shows and sounds like. seed drives only what has no meaning (the noise
    of the ambience).

    bounds: "room" (a floor at y = 0, walls at x = 0 and x = extent), "floor", or "open" (neither);
    ground: what they are made of. rolling: balls that roll are heard rolling (in the first families
    they are silent). view: knots (time, left, top, width) of the camera (`camera.py`); () shows the
    whole scene, equations (1) and (2).
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

    def to_json(self) -> str:
        return json.dumps(_fields(self))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        fields = json.loads(text)
        balls = tuple(Ball(**_tuples(b)) for b in fields.pop("balls"))
        shapes = tuple(Shape(**_tuples(s)) for s in fields.pop("shapes", ()))
        if "narration" in fields:
            fields["narration"] = Narration(**_tuples(fields["narration"]))
        return cls(balls=balls, shapes=shapes, **_tuples(fields))


# Fields that the first scenes did not have: left out of the text where they have their default, so
# that those texts stay what they were.
_LATER = {"below", "bounds", "ground", "narration", "rolling", "shapes", "spin", "view"}


def _fields(part) -> dict:
    fields = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in _LATER and value == field.default:
            continue
        if field.name in ("balls", "shapes"):
            value = [_fields(item) for item in value]
        elif isinstance(value, Narration):
            value = _fields(value)
        fields[field.name] = value
    return fields


def _tuples(fields: dict) -> dict:
    """JSON knows only lists: make them tuples again, at every depth."""

    def convert(value):
        return tuple(convert(v) for v in value) if isinstance(value, list) else value

    return {name: convert(value) for name, value in fields.items()}


def pixels_per_metre(extent: float, size: int) -> float:
    return size / extent


def to_pixels(
    position: np.ndarray, extent: float, size: int, below: float = BELOW_FLOOR
) -> np.ndarray:
    """World points [..., 2] in metres to pixel centres (column, row) [..., 2]: equations (1) and
    (2).
    """
    x, y = position[..., 0], position[..., 1]
    scale = pixels_per_metre(extent, size)
    return np.stack([x * scale - 0.5, (extent - below - y) * scale - 0.5], axis=-1)


def from_pixels(
    point: np.ndarray, extent: float, size: int, below: float = BELOW_FLOOR
) -> np.ndarray:
    """The inverse of `to_pixels`: pixel centres (column, row) [..., 2] to metres [..., 2]."""
    column, row = point[..., 0], point[..., 1]
    scale = pixels_per_metre(extent, size)
    return np.stack([(column + 0.5) / scale, extent - below - (row + 0.5) / scale], axis=-1)
