"""The compiled renderer of stories (clips with cuts): makes frames from `story_inputs.py`.

The edges of boxes and discs are ramps that are one pixel wide. The coverage of a pixel by a box
with the edges left, right, upper and lower, and by a disc of radius r whose centre is at distance d
from the pixel, is

    box    alpha = ramp(column - left) ramp(right - column) ramp(row - upper) ramp(lower - row)  (1)
    disc   alpha = ramp(r - d),          ramp(x) = clip(x + 1/2, 0, 1)                           (2)

The ramps of a box are computed for rows and columns separately, so a box costs few operations. The
order from back to front is: wall and floor, boxes, discs, the shadow of the ball, actors with their
hats, the ball. The lamp of the place then scales the light of the picture. Discs that shine by
themselves and the effects of the style come last. All styles share one program with the weights
`lit` (realistic, cinematic) and `inked` (anime), except for the effects of sensor and film.

The parameter `one` of the functions holds the input arrays of one take, or of one frame of it.
"""

import functools
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.modality import ClipFormat
from sora_jax.worlds.playhouse.places import LAMP_HEIGHT
from sora_jax.worlds.playhouse.render import characters, styles
from sora_jax.worlds.playhouse.render.looks import BRIMS, TOPS
from sora_jax.worlds.playhouse.render.pixels import columns_before, pixel_grid
from sora_jax.worlds.playhouse.render.styles import HALF, LIGHT, mix
from sora_jax.worlds.playhouse.spec import FILM_STYLES

NIGHT = np.array([0.50, 0.53, 0.66], np.float32)  # light of a place whose lamp is off
# by style: strength in [0, 1] of the dark edges of boxes and discs, and of the shadow of the ball
EDGES = {"flat": 0.0, "realistic": 0.16, "cinematic": 0.16, "anime": 0.80}
SHADOWS = {"flat": 0.12, "realistic": 0.5, "cinematic": 0.5, "anime": 0.3}
# inputs without an axis of frames
OF_CAST = tuple(f"cast_{name}" for name in characters.PARTS if name != "present")
STILL = ("style", "seed", "texture", "colour", "shine", *OF_CAST)
# the piece on top and the brim of a hat that an actor has put on: `looks.TOPS`, `looks.BRIMS`
TOP_HAT = np.array(TOPS["top hat"], np.float32), np.array(BRIMS["top hat"], np.float32)


@functools.partial(jax.jit, static_argnames="format")
def render_story(inputs: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    """Returns rendered frames of stories, float32 [B, F, H, W, 3] in [0, 1].

    Args:
        inputs: the arrays of `story_inputs`.
        format: the clip format.
    """
    return jax.lax.map(functools.partial(_clip, format=format), inputs)


def _clip(one: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    number = {style: one["style"] == i for i, style in enumerate(FILM_STYLES)}
    constant = {name: one[name] for name in STILL} | {
        "lit": (number["realistic"] | number["cinematic"]).astype(jnp.float32),
        "soft": 1.0 + 2.0 * number["cinematic"],
        "inked": number["anime"].astype(jnp.float32),
        "edge": jnp.array([EDGES[style] for style in FILM_STYLES])[one["style"]],
        "shadow": jnp.array([SHADOWS[style] for style in FILM_STYLES])[one["style"]],
    }
    moments = {name: value for name, value in one.items() if name not in STILL}
    frames = jax.vmap(lambda moment: _frame(constant | moment, format))(moments)

    row, column = pixel_grid(format)

    def exposed(frames: jax.Array) -> jax.Array:
        def noisy(picture: jax.Array, frame: jax.Array) -> jax.Array:
            return styles.sensor(picture, one["seed"], frame, row, column)

        return jax.vmap(noisy)(frames, jnp.arange(format.frames))

    def graded(frames: jax.Array) -> jax.Array:
        return jax.vmap(lambda picture: styles.graded(picture, row, column, format.size))(
            exposed(frames)
        )

    effects = {"flat": _same, "realistic": exposed, "cinematic": graded, "anime": _same}
    frames = jax.lax.switch(one["style"], [effects[style] for style in FILM_STYLES], frames)
    return jnp.clip(frames, 0.0, 1.0)


def _same(frames: jax.Array) -> jax.Array:
    return frames


def _frame(one: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    """Paints one frame without the effects of sensor and film, RGB [H, W, 3]."""
    size, (row, column) = format.size, pixel_grid(format)
    picture = _boxes(_room(one, row, column, size), one["boxes"], one, row, column, size)
    picture = _discs(picture, one["discs"], one, row, column, size)
    picture = _shadow(picture, one, row, column, size)
    picture = _cast(picture, one, format)
    picture = _ball(picture, one, row, column, size)
    light = one["light"]
    picture = picture * (light + (1.0 - light) * NIGHT)
    picture = _discs(picture, one["glow"], None, row, column, size)
    return _lamplight(picture, one, row, column, size)


def _ramp(pixels: jax.Array) -> jax.Array:
    return jnp.clip(pixels + 0.5, 0.0, 1.0)


def _metres(
    one: dict[str, jax.Array], row: jax.Array, column: jax.Array, size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns x [1, W] and y [H, 1] in metres of the pixels, and pixels per metre."""
    left, top, width = one["view"][0], one["view"][1], one["view"][2]
    scale = size / width
    return left + (column + 0.5) / scale, top - (row + 0.5) / scale, scale


def _room(one: dict[str, jax.Array], row: jax.Array, column: jax.Array, size: int) -> jax.Array:
    """Paints wall and floor with the wallpaper of the place."""
    x, y, scale = _metres(one, row, column, size)
    lit, inked, t = one["lit"], one["inked"], one["texture"]

    def stripes(
        at: jax.Array, period: jax.Array
    ) -> jax.Array:  # 1 in every second stripe; none for a period of 0
        part = at / jnp.maximum(period, 1e-3)
        wave = jnp.abs(part - jnp.floor(part) - 0.5) * period
        return _ramp((0.25 * period - wave) * scale / one["soft"]) * (period > 0.0)

    shade = 0.10 * jnp.clip((y - 1.6) / 2.0, -1.0, 0.6) * inked + 1.0
    shade = shade * (1.0 + lit * (0.05 * y - 0.12 - 0.20 * jnp.exp(-jnp.maximum(y, 0.0) / 0.2)))
    shade = shade * (1.0 - 0.18 * _ramp((0.07 - jnp.abs(y - 0.07)) * scale))  # skirting
    across = 1.0 + 0.03 * lit * jnp.sin(1.3 * x + 6.3 * t[0])
    paper = jnp.maximum(stripes(x, one["paper"][0]), stripes(y, one["paper"][1]))
    hue = one["wall"] + 0.4 * inked * (one["wall"] - one["wall"].mean())
    wall = (shade * across * (1.0 - one["paper"][2] * paper))[..., None] * hue
    spread = 1.0 - 0.6 * jnp.minimum(y, 0.0)  # boards recede from the viewer
    boards = jnp.abs((x - 2.0) / spread + t[1] - jnp.round((x - 2.0) / spread + t[1]))
    seam = _ramp((0.02 - boards) * scale) * (lit + 0.5 * inked)
    floor = (1.0 - 0.25 * seam + lit * 0.25 * jnp.minimum(y, 0.0))[..., None] * one["floor"]
    picture = mix(wall, _ramp(-y * scale) * jnp.ones_like(x), floor)
    line = 0.7 * inked * jnp.clip(1.1 - jnp.abs(y * scale), 0.0, 1.0)
    return picture * (1.0 - line * jnp.ones_like(x))[..., None]


def _boxes(
    picture: jax.Array,
    boxes: jax.Array,
    one: dict[str, jax.Array],
    row: jax.Array,
    column: jax.Array,
    size: int,
) -> jax.Array:
    """Paints boxes [N, 8]: equation (1), with the dark edges of the style."""
    inset = 0.9 * size / 64.0
    for box in boxes:
        (left, right, upper, lower), colour, alpha = box[:4], box[4:7], box[7]
        across = _ramp(column - left) * _ramp(right - column) * (right > left)
        down = _ramp(row - upper) * _ramp(lower - row)
        within = _ramp(column - left - inset) * _ramp(right - column - inset)
        within = within * (_ramp(row - upper - inset) * _ramp(lower - row - inset))
        shade = 1.0 - one["edge"] * (1.0 - within) * (right - left > 3.0 * inset)
        covered = (across * alpha) * down
        picture = picture + covered[..., None] * (shade[..., None] * colour - picture)
    return picture


def _discs(
    picture: jax.Array,
    discs: jax.Array,
    one: dict[str, jax.Array] | None,
    row: jax.Array,
    column: jax.Array,
    size: int,
) -> jax.Array:
    """Paints discs [N, 7]: equation (2), with dark edges unless `one` is None."""
    inset = 0.9 * size / 64.0
    for disc in discs:
        (x, y, radius), colour, alpha = disc[:3], disc[3:6], disc[6]
        depth = radius - jnp.sqrt(jnp.square(column - x) + jnp.square(row - y) + 1e-12)
        covered = _ramp(depth) * alpha * (radius > 0.0)
        shade = jnp.ones(())
        if one is not None:
            edge = one["edge"] * (radius > 2.5 * inset)
            shade = (1.0 - edge * (1.0 - _ramp(depth - inset)))[..., None]
        picture = picture + covered[..., None] * (shade * colour - picture)
    return picture


def _shadow(
    picture: jax.Array, one: dict[str, jax.Array], row: jax.Array, column: jax.Array, size: int
) -> jax.Array:
    """Darkens the floor under the ball by a soft ellipse that fades with height."""
    _, y, scale = _metres(one, row, column, size)
    centre, radius = one["ball"].mean(0), one["ball_radius"]
    floor_row = one["view"][1] * scale - 0.5
    height = jnp.maximum(floor_row - centre[1] - radius, 0.0) / scale
    reach = radius * (1.0 + 0.4 * height) + 1e-3
    far = jnp.square((column - centre[0]) / reach) + jnp.square(
        (row - floor_row - 1.0) / (0.35 * reach)
    )
    weight = one["shadow"] * jnp.exp(-1.2 * height) * jnp.clip(1.25 - far, 0.0, 1.0)
    return picture * (1.0 - weight * (y < 0.0) * (radius > 0.0))[..., None]


def _cast(picture: jax.Array, one: dict[str, jax.Array], format: ClipFormat) -> jax.Array:
    """Paints the actors on canvases of half the width of the square (`story_inputs.py`)."""
    size, half = format.size, format.size // 2
    row, _ = pixel_grid(format)
    before = half + columns_before(format)  # from the padded picture's edge to column 0
    metre, unit = size / one["view"][2], size / 64.0
    wide = jnp.pad(picture, ((0, 0), (half, half), (0, 0)))

    def paint(wide: jax.Array, canvas: jax.Array) -> tuple[jax.Array, None]:
        n, first = canvas[0].astype(jnp.int32), canvas[1].astype(jnp.int32)
        character = {name: one[f"cast_{name}"][n] for name in characters.PARTS if name != "present"}
        a, b, _ = character["head"]
        top = TOP_HAT[0] + b * np.array([0.0, 1.0, 0.0, 0.0, 0.0], np.float32)
        brim = TOP_HAT[1] * jnp.array([1.0, b, a, 1.0, a])
        character["top"] = character["top"] + one["hat"][n] * (top - character["top"])
        character["brim"] = character["brim"] + one["hat"][n] * (brim - character["brim"])
        part = jax.lax.dynamic_slice(wide, (0, first + before, 0), (format.height, half, 3))
        column = (first + jnp.arange(half)).astype(jnp.float32)[None, :]
        painted = characters.paint(
            part,
            character,
            one["pose"][n],
            row,
            column,
            metre,
            metre,
            unit,
            one["lit"],
            one["inked"],
        )
        part = part + canvas[2] * (painted - part)
        return jax.lax.dynamic_update_slice(wide, part, (0, first + before, 0)), None

    wide, _ = jax.lax.scan(paint, wide, one["canvas"])
    return wide[:, half : half + format.width]


def _ball(
    picture: jax.Array, one: dict[str, jax.Array], row: jax.Array, column: jax.Array, size: int
) -> jax.Array:
    """Paints the ball. Its coverage is the mean over the sample times of an exposure."""
    radius, unit, plain = one["ball_radius"], size / 64.0, one["colour"]
    outer = radius + 0.55 * unit * one["inked"]

    def coverage(centre: jax.Array) -> jax.Array:
        far = jnp.sqrt(jnp.square(column - centre[0]) + jnp.square(row - centre[1]) + 1e-12)
        return _ramp(outer - far) * (radius > 0.0)

    total = cast(jax.Array, sum(coverage(centre) for centre in one["ball"]))
    alpha = total / len(one["ball"])
    centre = one["ball"].mean(0)
    dx, dy = column - centre[0], row - centre[1]
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-12)
    inverse = 1.0 / jnp.maximum(jnp.maximum(radius, distance), 1e-3)
    nx, ny = dx * inverse, dy * inverse
    nz = jnp.sqrt(jnp.maximum(1.0 - nx * nx - ny * ny, 0.0))
    diffuse = jnp.maximum(nx * LIGHT[0] + ny * LIGHT[1] + nz * LIGHT[2], 0.0)
    facing = jnp.maximum(nx * HALF[0] + ny * HALF[1] + nz * HALF[2], 0.0)
    gleam = jnp.square(jnp.square(jnp.square(jnp.square(facing))))
    lit = styles.lit_ball(one, plain, one["shine"], nx, ny, nz, diffuse, gleam)
    drawn = styles.drawn_ball(plain, radius, diffuse, facing, radius - distance, unit)
    colour = plain + one["lit"] * (lit - plain) + one["inked"] * (drawn - plain)
    return picture + alpha[..., None] * (colour - picture)


def _lamplight(
    picture: jax.Array, one: dict[str, jax.Array], row: jax.Array, column: jax.Array, size: int
) -> jax.Array:
    """Adds the glow of the air around a lamp that is on. The flat style has none."""
    x, y, _ = _metres(one, row, column, size)
    strength = 0.16 * one["light"] * jnp.maximum(one["lit"], one["inked"])
    across, down = jnp.square(x - one["lamp"]), jnp.square(y - LAMP_HEIGHT)
    glow = strength * jnp.exp(-across / 0.35) * jnp.exp(-down / 0.35)
    return picture + glow[..., None] * np.array([1.0, 0.95, 0.75], np.float32)
