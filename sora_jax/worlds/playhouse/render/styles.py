"""The styles other than `flat` and `shaded`: backgrounds, balls, shapes, effects on whole frames.

realistic   balls are lit as spheres, with gloss and light from the floor; panelled wall, boards,
            soft shadows; sensor noise of 1/255
cinematic   realistic, with a background out of focus, motion blur of half a frame's exposure,
            grading to teal and orange, dark corners, two black bars
anime       two tones, a dark outline, hills and clouds under a pale sky; speed lines at impacts;
            drawn on twos (a drawing lasts two frames) from 16 frames/s on

Lengths in the world are in metres. Lengths of the drawing, such as the width of outlines, are
multiples of `unit`, the side of the frame / 64 in pixels. All backgrounds are pale or grey, so
every coloured pixel belongs to a ball. `depth` is the speed of a point relative to the balls when
the camera moves: 1 for the balls, less for a wall behind them (parallax, `camera.py`).
"""

from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.typing import AnyArray
from sora_jax.worlds.playhouse.camera import BARS

Scalar = float | jax.Array  # a number, also a traced one
# depth -> rows [H, 1] and columns [1, W], in the frame at time 0, of the points that pixels show
Plane = Callable[[float], tuple[jax.Array, jax.Array]]

# unit vectors: x right, y down, z towards the viewer
LIGHT = np.array([-0.42, -0.66, 0.62]) / np.linalg.norm([-0.42, -0.66, 0.62])
VIEWER = np.array([0.0, 0.0, 1.0])
HALF = (LIGHT + VIEWER) / np.linalg.norm(LIGHT + VIEWER)
INK = np.array([0.10, 0.08, 0.13])
# Top of the sky, horizon, far hills, near hills, ground: RGB in [0, 1].
SKIES = (
    (
        (0.62, 0.80, 0.95),
        (0.94, 0.97, 1.00),
        (0.74, 0.83, 0.85),
        (0.62, 0.74, 0.70),
        (0.80, 0.75, 0.66),
    ),
    (
        (0.80, 0.72, 0.84),
        (1.00, 0.92, 0.84),
        (0.76, 0.69, 0.77),
        (0.64, 0.58, 0.66),
        (0.72, 0.65, 0.64),
    ),
    (
        (0.72, 0.89, 0.87),
        (0.98, 0.99, 0.94),
        (0.76, 0.85, 0.87),
        (0.64, 0.73, 0.76),
        (0.79, 0.79, 0.73),
    ),
    (
        (0.23, 0.25, 0.38),
        (0.48, 0.48, 0.60),
        (0.33, 0.34, 0.46),
        (0.26, 0.27, 0.37),
        (0.36, 0.36, 0.43),
    ),
)
WALL, HILLS, CLOUDS = 0.5, (0.4, 0.65), 0.2  # depths for parallax; that of the balls is 1


def _ramp(pixels: AnyArray | float) -> jax.Array:
    return jnp.clip(pixels + 0.5, 0.0, 1.0)


def _wave(x: jax.Array, period: float) -> jax.Array:
    """Returns the distance to the nearest multiple of the period."""
    return jnp.abs(x / period - jnp.round(x / period)) * period


def mix(picture: jax.Array, weight: jax.Array, colour: AnyArray) -> jax.Array:
    """Returns a picture [H, W, 3] blended with a colour [3] or [H, W, 3], by a weight [H, W] in
    [0, 1].
    """
    return picture + weight[..., None] * (colour - picture)


def hall(one: dict[str, jax.Array], plane: Plane, floor_row: Scalar) -> jax.Array:
    """Returns the background of the style `realistic`, out of focus for `cinematic`: RGB [H, W, 3].

    Args:
        one: the arrays of one take (`inputs.render_inputs`).
        plane: depth -> rows and columns, at time 0, of the points that the pixels show.
        floor_row: row of the floor line at time 0, in pixels.
    """
    scale, t, soft = one["scale"], one["texture"], 0.8 + 2.2 * one.get("cinematic", 0.0)
    row, column = plane(WALL)
    x, y = column / scale, (floor_row - row) / scale  # metres; y upwards

    def band(
        distance: jax.Array, half: float
    ) -> jax.Array:  # 1 within `half` metres, with a soft edge
        return jnp.clip((half - distance) * scale / soft + 0.5, 0.0, 1.0)

    light = (
        0.79
        + 0.04 * y
        + 0.04 * jnp.sin(1.7 * x + 6.3 * t[0] + 1.3 * jnp.sin(1.1 * y + 6.3 * t[1]))
        + 0.03 * jnp.sin(3.1 * x - 2.3 * y + 6.3 * t[2])
    )
    light = light * (1.04 - 0.045 * jnp.square(x - 1.2 - 2.0 * t[3]))
    pilaster = _wave(x + 2.0 * t[4], 1.45)
    light = (
        light
        * (1.0 - 0.16 * band(pilaster, 0.05))
        * (1.0 + 0.10 * band(_wave(x + 0.10 + 2.0 * t[4], 1.45), 0.05))
    )
    light = (
        light
        * (1.0 - 0.10 * band(jnp.abs(y - 0.55), 0.55))
        * (1.0 + 0.14 * band(jnp.abs(y - 1.14), 0.05))
        * (1.0 - 0.14 * band(jnp.abs(y - 1.04), 0.04))
    )
    light = light * (1.0 - 0.22 * jnp.exp(-jnp.maximum(y, 0.0) / 0.25))
    wall = jnp.maximum(light, 0.2)[..., None] * one["wall"]

    row, column = plane(1.0)
    x, down = column / scale, jnp.maximum(row - floor_row, 0.0) / scale
    spread = 1.0 + 0.8 * down
    along = (x - 2.0) / spread  # boards recede from the viewer
    seam = _wave(along + t[5], 0.62) * spread
    grain = 0.05 * jnp.sin(9.0 * along + 6.3 * t[6] + 2.0 * jnp.sin(5.0 * down)) + 0.04 * jnp.sin(
        17.0 * along + 3.0 * down
    )
    shade = (0.86 + 0.35 * jnp.minimum(down, 0.5) + grain) * (1.0 - 0.22 * band(seam, 0.02))
    return mix(wall, _ramp(row - floor_row) * jnp.ones_like(shade), shade[..., None] * one["floor"])


def hills(one: dict[str, jax.Array], plane: Plane, floor_row: Scalar, size: int) -> jax.Array:
    """Returns the background of the style `anime`: RGB [H, W, 3].

    Args:
        one: the arrays of one take (`inputs.render_inputs`).
        plane: depth -> rows and columns, at time 0, of the points that the pixels show.
        floor_row: row of the floor line at time 0, in pixels.
        size: side of the frame in pixels.
    """
    sky, scale, t = one["sky"], one["scale"], one["texture"]
    row, column = plane(CLOUDS)
    height = jnp.clip((floor_row - row) / size, 0.0, 1.0)
    picture = sky[1] + (jnp.sqrt(height) * jnp.ones_like(column))[..., None] * (sky[0] - sky[1])
    x, y = column / scale, (floor_row - row) / scale
    for i in range(3):
        cx, cy = -0.2 + 1.9 * i + 1.2 * t[i], 2.5 + 1.3 * t[i + 3]
        puffs = [
            ((x - cx - dx) / 1.25, y - cy - dy, r)
            for dx, dy, r in ((0.0, 0.0, 0.26), (-0.30, -0.06, 0.18), (0.32, -0.05, 0.20))
        ]
        cloud = jnp.maximum(
            jnp.maximum(*[_ramp((r - jnp.hypot(px, py)) * scale) for px, py, r in puffs[:2]]),
            _ramp((puffs[2][2] - jnp.hypot(*puffs[2][:2])) * scale),
        )
        picture = mix(picture, 0.85 * cloud * _ramp((y - cy + 0.16) * scale), sky[1] * 0.3 + 0.7)
    for i, depth in enumerate(HILLS):
        row, column = plane(depth)
        x, y = column / scale, (floor_row - row) / scale
        crest = (
            (1.15, 0.55)[i]
            + 0.28 * jnp.sin((0.9, 1.3)[i] * x + 6.3 * t[6 + i])
            + 0.12 * jnp.sin((2.3, 3.1)[i] * x + 6.3 * t[8 + i])
        )
        picture = mix(picture, _ramp((crest - y) * scale), sky[2 + i])
    row, column = plane(1.0)
    picture = mix(picture, _ramp(row - floor_row) * jnp.ones_like(column), sky[4])
    return mix(picture, 0.55 * _ramp(0.6 - jnp.abs(row - floor_row)) * jnp.ones_like(column), INK)


def lit_ball(
    one: dict[str, jax.Array],
    colour: jax.Array,
    shine: jax.Array,
    nx: jax.Array,
    ny: jax.Array,
    nz: jax.Array,
    diffuse: jax.Array,
    gleam: jax.Array,
) -> jax.Array:
    """Returns a ball lit as a sphere, with light from window and floor, gloss and a darker rim: RGB
    [H, W, 3].

    Args:
        one: arrays of one take; `floor`, the colour of the floor, is used.
        colour: RGB of the ball, [3].
        shine: its specular weight.
        nx, ny, nz: normal of the sphere in each pixel, [H, W]; y down, z towards the viewer.
        diffuse: cosine of normal and light, 0 or more, [H, W].
        gleam: specular highlight in [0, 1], [H, W].
    """
    rim = 1.0 - 0.30 * jnp.square(1.0 - nz)
    light = (0.30 + 0.86 * diffuse) * rim
    bounce = 0.16 * jnp.maximum(ny, 0.0)[..., None] * one["floor"]
    return colour * (light[..., None] + bounce) + (0.14 + 0.62 * shine) * gleam[..., None]


def drawn_ball(
    colour: jax.Array,
    radius: jax.Array,
    diffuse: jax.Array,
    facing: jax.Array,
    depth: jax.Array,
    unit: float,
) -> jax.Array:
    """Returns a ball of the style `anime`, two-toned with highlight and outline: RGB [H, W, 3].

    Args:
        colour: RGB of the ball, [3].
        radius: radius of the ball in pixels.
        diffuse: cosine of the angle between normal and light, [H, W].
        facing: cosine of the angle between the normal and the middle of the highlight, [H, W].
        depth: distance inside the edge of the ball in pixels, [H, W].
        unit: side of the frame / 64, in pixels.
    """
    tone = jnp.clip((diffuse - 0.34) * radius + 0.5, 0.0, 1.0)
    drawn = colour * (0.62 + 0.40 * tone)[..., None]
    drawn = mix(drawn, 0.9 * jnp.clip((facing - 0.955) * 3.0 * radius + 0.5, 0.0, 1.0), jnp.ones(3))
    return mix(drawn, _ramp(0.35 * unit - depth), INK)


def lit_shape(colour: jax.Array, depth: jax.Array, unit: float) -> jax.Array:
    """Returns the colours of a shape in the lit styles, darker at its edge: RGB [H, W, 3].

    Args:
        colour: RGB of its paint, [3].
        depth: distance inside its edge in pixels, [H, W].
        unit: side of the frame / 64, in pixels.
    """
    return colour * (0.80 + 0.28 * jnp.clip(depth / (2.0 * unit), 0.0, 1.0))[..., None]


def drawn_shape(colour: jax.Array, depth: jax.Array, thick: Scalar, unit: float) -> jax.Array:
    """Returns the colours of a shape in the style `anime`, with an outline if it is thick enough:
    RGB [H, W, 3].

    Args:
        colour: RGB of its paint, [3].
        depth: distance inside its edge in pixels, [H, W].
        thick: its thickness in pixels.
        unit: side of the frame / 64, in pixels.
    """
    return mix(
        colour * jnp.ones((*depth.shape, 1)),
        _ramp(0.7 * unit - depth) * _ramp(thick - 1.2 * unit),
        INK,
    )


def lines(
    picture: jax.Array, bursts: jax.Array, row: jax.Array, column: jax.Array, unit: float
) -> jax.Array:
    """Returns a picture [H, W, 3] with speed lines, twelve strokes around each impact.

    Args:
        picture: the picture.
        bursts: the impacts, [I, 4]: column, row, radius of the ball in pixels, and age from 0 to 1;
            those of age 1 are not drawn.
        row, column: the pixel grid, [H, 1] and [1, W].
        unit: side of the frame / 64, in pixels.
    """
    for x, y, radius, age in bursts:
        dx, dy = column - x, row - y
        for angle in np.pi * (np.arange(12) + 0.5) / 6:
            along, across = (
                dx * np.cos(angle) + dy * np.sin(angle),
                jnp.abs(dx * np.sin(angle) - dy * np.cos(angle)),
            )
            start = radius + (1.5 + 3.0 * age) * unit
            stroke = (
                _ramp(0.6 * unit * (1.0 - 0.6 * age) - across)
                * _ramp(along - start)
                * _ramp(start + (2.0 + 3.0 * (1.0 - age)) * unit - along)
            )
            picture = mix(picture, 0.75 * stroke * (age < 1.0), INK)
    return picture


def sensor(
    picture: AnyArray, seed: AnyArray, frame: jax.Array, row: AnyArray, column: AnyArray
) -> jax.Array:
    """Returns a picture [H, W, 3] with the noise of a sensor: uniform, with a standard deviation of
    1/255.

    The noise is a hash of (seed, frame, row, column), so it is the same on any device.

    Args:
        picture: the picture, in [0, 1].
        seed: that of the scene, uint32.
        frame: index of the frame.
        row, column: the pixel grid, [H, 1] and [1, W].
    """
    word = jnp.uint32
    h = (
        row.astype(jnp.int32).astype(word) * word(374761393)
        + column.astype(jnp.int32).astype(word) * word(668265263)
        + frame.astype(word) * word(2246822519)
        + seed * word(3266489917)
    )
    for shift, factor in ((15, 2246822519), (13, 3266489917), (16, 1)):
        h = (h ^ (h >> shift)) * word(factor)
    parts = jnp.stack([h & 1023, (h >> 10) & 1023, (h >> 20) & 1023], axis=-1).astype(jnp.float32)
    return picture + ((parts + 0.5) / 1024.0 - 0.5) * (12.0**0.5 / 255.0)


def graded(picture: AnyArray, row: AnyArray, column: AnyArray, size: int) -> jax.Array:
    """Returns a picture [H, W, 3] in the colours of `cinematic`: teal shadows, orange highlights,
    more contrast, dark corners, black bars.

    `row` and `column` are the pixel grid, [H, 1] and [1, W], and `size` is the side of the frame's
    central square in pixels.
    """
    bright = (picture @ jnp.array([0.3, 0.59, 0.11]))[..., None]
    picture = picture * (
        1.0 + (1.0 - bright) * np.array([-0.10, 0.0, 0.07]) + bright * np.array([0.05, 0.01, -0.09])
    )
    picture = 0.5 + 1.06 * (picture - 0.52)
    corner = (jnp.square(row - 0.5 * size + 0.5) + jnp.square(column - 0.5 * size + 0.5)) / (
        0.5 * size * size
    )
    corner = jnp.minimum(corner, 1.0)  # 1 in the corners of the square; no darker beside it
    open_ = _ramp(row + 0.5 - BARS * size) * _ramp((1.0 - BARS) * size - row - 0.5)
    return cast(jax.Array, picture * ((1.0 - 0.45 * corner) * open_)[..., None])
