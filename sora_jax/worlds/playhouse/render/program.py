"""The compiled renderer: makes frames from the arrays of `inputs.py`.

A ball of radius r (pixels) whose centre has the distance d from a pixel centre covers that pixel by

    alpha = clip(r - d + 1/2, 0, 1)                                                              (1)

Balls keep the order of the scene. The order from back to front is: background, shadows, shapes,
actors (`characters.py`), balls, shapes in front (`shapes.py`). Effects of a style on the whole
frame come last (`styles.py`).

The `flat` style has one colour per ball, on two plain surfaces. The `shaded` style lights the ball
as a sphere. With normal n, light l, and h half way between l and the viewer,

    colour' = colour (0.38 + 0.80 max(n.l, 0)) + 0.6 shine max(n.h, 0)^16                        (2)

Wall and floor have a vertical gradient. A soft ellipse darkens the floor below the ball and fades
with its height.

A moving camera shows the pixels q of time 0 at (q + 1/2) zoom + shift - 1/2 (`camera.py`). The
parameter `one` of the functions holds the input arrays of one take, `moment` those of one frame.
Pixels are float32 RGB in [0, 1]. They agree within 1/255 across batch sizes and devices.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from sora_jax.modality import ClipFormat
from sora_jax.typing import AnyArray
from sora_jax.worlds.playhouse.render import characters, shapes, styles
from sora_jax.worlds.playhouse.render.pixels import pixel_grid
from sora_jax.worlds.playhouse.render.styles import HALF, LIGHT, Scalar
from sora_jax.worlds.playhouse.spec import BELOW_FLOOR

T = TypeVar("T")


def render(inputs: Mapping[str, AnyArray], format: ClipFormat) -> jax.Array:
    """Returns rendered frames of scenes other than stories, float32 [B, F, H, W, 3] in [0, 1].

    Args:
        inputs: the arrays of `inputs.render_inputs`.
        format: the clip format.
    """
    shaped = any(
        inputs[f"{place}_{kind}_radius"].shape[1]
        for place in ("behind", "front")
        for kind in shapes.CORNERS
    )
    if "view" not in inputs and (shaped or "texture" in inputs):
        inputs = {**inputs, **_still(inputs, format)}
    return _render(inputs, format)


@functools.partial(jax.jit, static_argnames="format")
def _still(inputs: dict[str, jax.Array], format: ClipFormat) -> dict[str, jax.Array]:
    """Renders the layers that do not move, {"behind_layer", "front_layer": [B, H, W, 4] of shapes,
    "back": background}; without those that no take has.

    It is a separate program, because XLA would otherwise draw them again for every frame.
    """

    def clip(one: dict[str, jax.Array]) -> dict[str, jax.Array]:
        screen = _screen(format)
        parts = {f"{place}_layer": _layer(one, place, screen) for place in ("behind", "front")}
        if "texture" in one:
            parts["back"] = _background(one, screen)
        return {name: part for name, part in parts.items() if part is not None}

    return _clip_by_clip(clip, inputs)


@functools.partial(jax.jit, static_argnames="format")
def _render(inputs: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    return _clip_by_clip(functools.partial(_render_clip, format=format), inputs)


def _clip_by_clip(paint: Callable[[dict[str, jax.Array]], T], inputs: dict[str, jax.Array]) -> T:
    """Applies `paint` to every clip.

    With film styles or actors, clips are rendered one after the other, so that each clip computes
    only its own style (`_in_style`) and actors.
    """
    alone = "texture" in inputs or "cast_pose" in inputs
    return jax.lax.map(paint, inputs) if alone else jax.vmap(paint)(inputs)


def _in_style(
    one: dict[str, jax.Array],
    style: str,
    default: jax.Array,
    paint: Callable[..., jax.Array],
    *arguments: Any,
) -> jax.Array:
    """Returns `paint(*arguments)` if the clip has the style ("lit", "anime"), else `default`."""
    if style not in one:
        return default
    painted = functools.partial(paint, *arguments)
    return jax.lax.cond(one[style] > 0.0, painted, lambda: default)


@dataclasses.dataclass(frozen=True)
class _Screen:
    """The pixel grid of a frame, and the camera's map from the pixels of time 0 to this frame.

    `row` is [H, 1], `column` [1, W], and `size` the side of the central square (`pixels.py`).
    `zoom` and `shift`, (column, row), are those of the camera; None if it does not move.
    """

    row: jax.Array
    column: jax.Array
    size: int
    zoom: jax.Array | None = None
    shift: jax.Array | None = None

    def plane(self, depth: float) -> tuple[jax.Array, jax.Array]:
        """Returns rows and columns, at time 0, of the points that these pixels show.

        `depth` is that of the points in `camera.py`: 1 for the balls, less for things behind them.
        """
        if self.zoom is None or self.shift is None:
            return self.row, self.column
        zoom = 1.0 + depth * (self.zoom - 1.0)
        return (self.row + 0.5 - depth * self.shift[1]) / zoom - 0.5, (
            self.column + 0.5 - depth * self.shift[0]
        ) / zoom - 0.5


def _screen(format: ClipFormat, view: jax.Array | None = None) -> _Screen:
    row, column = pixel_grid(format)
    if view is None:
        return _Screen(row, column, format.size)
    return _Screen(row, column, format.size, view[0], view[1:])


def _floor_row(one: dict[str, jax.Array], size: int) -> Scalar:
    return one.get("floor_row", size * (1.0 - BELOW_FLOOR / 4.0) - 0.5)


def _gradient(one: dict[str, jax.Array], screen: _Screen) -> jax.Array:
    return 1.0 + one["shaded"] * (0.10 - 0.22 * screen.row / screen.size)


def _background(one: dict[str, jax.Array], screen: _Screen) -> jax.Array:
    """Paints the background, RGB [H, W, 3]."""
    size, floor_row, shaded, gradient = (
        screen.size,
        _floor_row(one, screen.size),
        one["shaded"],
        _gradient(one, screen),
    )
    row, _ = screen.plane(1.0)
    on_floor = jnp.clip(row - floor_row + 0.5, 0.0, 1.0)
    floor_shade = 1.0 + shaded * 0.22 * jnp.clip((row - floor_row) / (size - floor_row), 0.0, 1.0)
    back = (1 - on_floor)[..., None] * one["wall"] * gradient[..., None] + (on_floor * floor_shade)[
        ..., None
    ] * one["floor"]
    back = jnp.broadcast_to(back, (screen.row.shape[0], screen.column.shape[1], 3))
    back = _in_style(one, "lit", back, styles.hall, one, screen.plane, floor_row)
    return _in_style(one, "anime", back, styles.hills, one, screen.plane, floor_row, size)


def _layer(one: dict[str, jax.Array], place: str, screen: _Screen) -> jax.Array | None:
    zoom: Scalar = 1.0
    shift: Scalar = 0.0
    if screen.zoom is not None and screen.shift is not None:
        zoom, shift = screen.zoom, screen.shift
    return shapes.layer(one, place, screen.row, screen.column, _tint(one, screen), zoom, shift)


def _tint(one: dict[str, jax.Array], screen: _Screen) -> shapes.Tint:
    """Returns a function of (colour [3], depth, thick) that gives the colours [H, W, 3] of a shape.

    `colour` is that of its paint, `depth` [H, W] the distance inside its edge in pixels, and
    `thick` its thickness in pixels.
    """
    gradient, unit = _gradient(one, screen), screen.size / 64.0

    def tint(colour: jax.Array, depth: jax.Array, thick: Scalar) -> jax.Array:
        tinted = colour * jnp.broadcast_to(gradient, depth.shape)[..., None]
        tinted = _in_style(one, "lit", tinted, styles.lit_shape, colour, depth, unit)
        return _in_style(one, "anime", tinted, styles.drawn_shape, colour, depth, thick, unit)

    return tint


def _render_clip(one: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    size, balls, shaded = format.size, one["radius"].shape[0], one["shaded"]
    still = _screen(format)
    still_back = one.get("back")
    if still_back is None and "view" not in one:
        still_back = _background(one, still)

    def frame(moment: dict[str, jax.Array]) -> jax.Array:
        screen = _screen(format, moment.get("view"))
        row, column, floor_row = screen.row, screen.column, _floor_row(one, size)
        on_floor = jnp.clip(screen.plane(1.0)[0] - floor_row + 0.5, 0.0, 1.0)
        radii = [one["radius"][k] for k in range(balls)]
        if screen.zoom is not None and screen.shift is not None:
            floor_row = (floor_row + 0.5) * screen.zoom + screen.shift[1] - 0.5
            radii = [radius * screen.zoom for radius in radii]
        picture = still_back
        if "view" in moment or picture is None:
            picture = _background(one, screen)
        for k in range(balls):  # shadows lie under shapes and balls
            radius, (x, y) = radii[k], moment["centre"][k]
            height = jnp.maximum(floor_row - (y + radius), 0.0) / size
            reach = radius * (1.0 + 2.0 * height) + 1e-3
            distance = jnp.square((column - x) / reach) + jnp.square(
                (row - floor_row - 1.0) / (0.30 * reach)
            )
            weight = (
                _shadow(one, shaded)
                * jnp.exp(-6.0 * height)
                * jnp.clip(1.2 - distance, 0.0, 1.0)
                * (radius > 0)
            )
            picture = picture * (1.0 - weight * on_floor)[..., None]
        behind, front = (
            _layer(one, p, screen) if "view" in moment else one.get(f"{p}_layer")
            for p in ("behind", "front")
        )
        picture = shapes.over(picture, behind)
        picture = _moving(picture, one, moment, 0.0, screen)
        if "cast_pose" in moment:
            picture = _actors(picture, one, moment, screen)
        picture = _in_style(one, "anime", picture, _lines, picture, moment, screen)
        sharp = functools.partial(_balls, picture, one, moment["centre"], radii, screen)
        if "cinematic" in one:
            picture = jax.lax.cond(
                one["cinematic"] > 0.0,
                functools.partial(_blurred, picture, one, moment["shutter"], radii, screen),
                sharp,
            )
        else:
            picture = sharp()
        picture = shapes.over(picture, front)
        picture = _moving(picture, one, moment, 1.0, screen)
        if "lit" in one:
            picture = _in_style(
                one, "lit", picture, _exposed, picture, one, moment["frame"], screen
            )
        return jnp.clip(picture, 0.0, 1.0)

    per_frame = (
        "centre",
        "view",
        "shutter",
        "burst",
        "cast_pose",
        *(f"moving_{kind}_offset" for kind in shapes.CORNERS),
    )
    moments = {name: one[name] for name in per_frame if name in one}
    if "lit" in one:
        moments["frame"] = jnp.arange(format.frames)
    return jax.vmap(frame)(moments)


def _actors(
    picture: jax.Array, one: dict[str, jax.Array], moment: dict[str, jax.Array], screen: _Screen
) -> jax.Array:
    """Paints the actors behind the balls, in the order of the scene."""
    row, column = screen.plane(1.0)
    scale = one["cast_scale"] * (1.0 if screen.zoom is None else screen.zoom)
    style = {name: one[name] for name in ("lit", "anime") if name in one}
    for n in range(moment["cast_pose"].shape[0]):
        character = {name: one[f"cast_{name}"][n] for name in characters.PARTS}
        geometry = (row, column, one["cast_scale"], scale, screen.size / 64.0)
        paint = functools.partial(
            characters.paint, picture, character, moment["cast_pose"][n], *geometry, **style
        )
        # A branch of its own: clips pay for their own actors only, and the compiler does not fuse
        # all actors into one program, which takes minutes.
        picture = jax.lax.cond(
            character["present"] > 0.0, paint, lambda unpainted=picture: unpainted
        )
    return picture


def _shadow(one: dict[str, jax.Array], shaded: jax.Array) -> jax.Array:
    strength = shaded * 0.45
    if "lit" in one:
        strength = strength + one["lit"] * 0.62
    if "anime" in one:
        strength = strength + one["anime"] * 0.40
    return strength


def _ball(
    one: dict[str, jax.Array], k: int, centre: jax.Array, radius: jax.Array, screen: _Screen
) -> tuple[jax.Array, jax.Array]:
    """Returns colour [H, W, 3] and coverage [H, W] of ball k: equations (1) and (2), or a style."""
    shaded, unit = one["shaded"], screen.size / 64.0
    dx, dy = screen.column - centre[0], screen.row - centre[1]
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-12)
    alpha = jnp.clip(radius - distance + 0.5, 0.0, 1.0) * (radius > 0)
    # outside the ball, pixels of the ramp have the normals of the rim
    inverse = 1.0 / jnp.maximum(jnp.maximum(radius, distance), 1e-3)
    nx, ny = dx * inverse, dy * inverse
    nz = jnp.sqrt(jnp.maximum(1.0 - nx * nx - ny * ny, 0.0))
    diffuse = jnp.maximum(nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2], 0.0)
    facing = gleam = jnp.maximum(nx * HALF[0] + ny * HALF[1] + nz * HALF[2], 0.0)
    for _ in range(4):  # the power 16 of equation (2)
        gleam = gleam * gleam
    lit = (
        one["colour"][k] * (0.38 + 0.80 * diffuse)[..., None]
        + 0.6 * one["shine"][k] * gleam[..., None]
    )
    colour = one["colour"][k] * (1.0 - shaded) + lit * shaded

    def lit_ball() -> jax.Array:
        return styles.lit_ball(one, one["colour"][k], one["shine"][k], nx, ny, nz, diffuse, gleam)

    def drawn_ball() -> jax.Array:
        inside = radius - distance
        return styles.drawn_ball(one["colour"][k], radius, diffuse, facing, inside, unit)

    colour = _in_style(one, "lit", colour, lit_ball)
    if "anime" in one:  # half of the outline lies outside the ball
        outer = radius + 0.55 * unit * one["anime"]
        alpha = jnp.clip(outer - distance + 0.5, 0.0, 1.0) * (radius > 0)
        colour = _in_style(one, "anime", colour, drawn_ball)
    return colour, alpha


def _balls(
    picture: jax.Array,
    one: dict[str, jax.Array],
    centres: jax.Array,
    radii: list[jax.Array],
    screen: _Screen,
) -> jax.Array:
    for k, radius in enumerate(radii):
        colour, alpha = _ball(one, k, centres[k], radius, screen)
        picture = picture + alpha[..., None] * (colour - picture)
    return picture


def _blurred(
    picture: jax.Array,
    one: dict[str, jax.Array],
    shutter: jax.Array,
    radii: list[jax.Array],
    screen: _Screen,
) -> jax.Array:
    """Paints the balls with motion blur: the mean over M sample times of `shutter` [M, K, 2]."""
    for k, radius in enumerate(radii):
        colours, alphas = jax.vmap(functools.partial(_ball, one, k, radius=radius, screen=screen))(
            shutter[:, k]
        )
        picture = picture * (1.0 - alphas.mean(0))[..., None] + (alphas[..., None] * colours).mean(
            0
        )
    return picture


def _lines(picture: jax.Array, moment: dict[str, jax.Array], screen: _Screen) -> jax.Array:
    return styles.lines(picture, moment["burst"], screen.row, screen.column, screen.size / 64.0)


def _exposed(
    picture: jax.Array, one: dict[str, jax.Array], frame: jax.Array, screen: _Screen
) -> jax.Array:
    """Applies the effects of sensor and film.

    They are noise in the lit styles, and grading and black bars in the cinematic style.
    """
    noisy = styles.sensor(picture, one["seed"], frame, screen.row, screen.column)
    arguments = (noisy, screen.row, screen.column, screen.size)
    return _in_style(one, "cinematic", noisy, styles.graded, *arguments)


def _moving(
    picture: jax.Array,
    one: dict[str, jax.Array],
    moment: dict[str, jax.Array],
    front: float,
    screen: _Screen,
) -> jax.Array:
    """Paints the moving shapes: those in front of the balls if `front` is 1, behind them if 0."""
    for kind in shapes.CORNERS:
        for s in range(one[f"moving_{kind}_radius"].shape[0]):
            shape = {
                name: one[f"moving_{kind}_{name}"][s] for name in ("radius", "present", "colour")
            }
            shape["corners"] = one[f"moving_{kind}_corners"][s] + moment[f"moving_{kind}_offset"][s]
            if screen.zoom is not None and screen.shift is not None:
                shape["corners"] = (shape["corners"] + 0.5) * screen.zoom + screen.shift - 0.5
                shape["radius"] = shape["radius"] * screen.zoom
            weight = 1.0 - jnp.abs(one[f"moving_{kind}_front"][s] - front)
            picture = shapes.paint(
                picture, shape, screen.row, screen.column, _tint(one, screen), weight
            )
    return picture
