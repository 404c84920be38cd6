"""Painting of characters, in layers from back to front.

A layer is a region of the plane. With d the signed distance of a pixel centre to the region in
metres, negative inside, the region covers the pixel by a ramp that is one pixel wide,

    alpha = clip(1/2 - s d, 0, 1),      s pixels per metre                                       (1)

The head is a superellipse. With f(x, y) = (|x/a|^n + |y/b|^n)^(1/n), the first distance below is
the one from the point p = (x, y) to the head along the ray from its centre. The second one is the
distance to an ellipse of half axes (w, h), at first order:

    d = |p| (f - 1) / f,            d = k (k - 1) / |(x/w^2, y/h^2)|,   k = |(x/w, y/h)|         (2)

A head that turns by the angle psi shows the face as if painted on a cylinder of radius a: the
pixel at x shows the point

    x' = x cos psi - sqrt(a^2 - x^2) sin psi                                                     (3)

of the face, so features move, and the far side narrows. Parts that come in pairs, such as eyes, are
painted at once, as functions of |x|. The mouth is an ellipse of dark red with a half height of
MOUTH times its openness. The order is: locks of hair, ears, legs, trunk, head, face, hair, arms.

Images are [3, H, W] inside of this module. Lengths are in metres; the sizes of the parts are in
`looks.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.typing import AnyArray
from sora_jax.worlds.playhouse.render.styles import INK, LIGHT, Scalar

MOUTH = 0.110  # metres: half height of the mouth at openness 1
DARK_RED = np.array([0.44, 0.04, 0.09], np.float32)
LASH = np.array([0.12, 0.09, 0.12], np.float32)
WHITE = np.array([0.98, 0.98, 0.98], np.float32)
BLUSH = np.array([0.93, 0.42, 0.40], np.float32)
# names of the arrays of a character: those of `looks.look`, and `present`, 0 for an unused slot
PARTS = (
    *("head", "skin", "iris", "hair_colour", "cloth", "face", "ears", "hair", "top", "brim"),
    *("height", "present"),
)
TROUSERS = np.array([0.27, 0.27, 0.33], np.float32)


def _plane(colour: AnyArray) -> jax.Array:
    """Reshapes RGB [3] to [3, 1, 1]."""
    return jnp.asarray(colour, jnp.float32)[:, None, None]


def _length(x: Scalar, y: Scalar) -> jax.Array:
    # cheaper than jnp.hypot, which guards against overflow
    return jnp.sqrt(x * x + y * y + 1e-12)


def _power(x: jax.Array, n: Scalar) -> jax.Array:
    # exp and log are vectorised on CPUs, pow is not
    return jnp.exp(n * jnp.log(x))


def ellipse(x: jax.Array, y: jax.Array, w: Scalar, h: Scalar) -> jax.Array:
    """Returns the signed distance to an ellipse at the origin, negative inside, [H, W].

    (x, y) are points, [H, W], and w and h the half axes, all in metres. The distance is that of
    equation (2), correct to first order near the ellipse.
    """
    k, slope = _length(x / w, y / h), _length(x / (w * w), y / (h * h))
    return k * (k - 1.0) / jnp.maximum(slope, 1e-4)


def box(x: jax.Array, y: jax.Array, w: Scalar, h: Scalar, r: Scalar) -> jax.Array:
    """Returns the signed distance to a box at the origin with round corners, negative inside,
    [H, W].

    (x, y) are points, [H, W], w and h the half sides, and r the radius of the corners, all in
    metres.
    """
    qx, qy = jnp.abs(x) - (w - r), jnp.abs(y) - (h - r)
    outside = _length(jnp.maximum(qx, 0.0), jnp.maximum(qy, 0.0))
    return outside + jnp.minimum(jnp.maximum(qx, qy), 0.0) - r


def segment(
    x: jax.Array, y: jax.Array, x0: Scalar, y0: Scalar, x1: Scalar, y1: Scalar, r: float
) -> jax.Array:
    """Returns the signed distance to the points within r of a segment, negative inside, [H, W].

    (x, y) are points, [H, W]. The segment goes from (x0, y0) to (x1, y1). All lengths, and the
    radius r, are in metres.
    """
    dx, dy = x1 - x0, y1 - y0
    t = jnp.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy + 1e-9), 0.0, 1.0)
    return _length(x - x0 - t * dx, y - y0 - t * dy) - r


def _wave(x: jax.Array) -> jax.Array:
    """Returns a triangular wave in [0, 1] with period 1, of the same shape as x."""
    return jnp.abs(x - jnp.floor(x) - 0.5) * 2.0


class _Brush:
    """Paints layers over an image, `picture` [3, H, W].

    Args:
        picture: the image.
        scale: pixels per metre.
        unit: side of the frame / 64, the width in pixels of thin lines such as outlines.
        lit, anime: 1 in the lit styles (realistic, cinematic) and in anime, else 0. A Python float
            says that no clip of the batch has the style.
    """

    def __init__(
        self, picture: jax.Array, scale: Scalar, unit: float, lit: Scalar, anime: Scalar
    ) -> None:
        self.picture, self.scale, self.unit = picture, scale, unit
        self.lit, self.anime = lit, anime

    def fill(
        self, d: jax.Array, colour: AnyArray, weight: Scalar = 1.0, sharp: Scalar = 1.0
    ) -> None:
        """Paints a region without an outline: equation (1).

        d is the signed distance in metres, [H, W], `colour` RGB, `weight` a factor on the coverage,
        and `sharp` a factor on the distance.
        """
        alpha = jnp.clip(0.5 - d * self.scale * sharp, 0.0, 1.0) * weight
        self.picture = self.picture + alpha * (colour - self.picture)

    def part(self, d: jax.Array, colour: AnyArray, weight: Scalar = 1.0) -> None:
        """Paints a region that has an outline in the style anime; arguments as in `fill`."""
        pixels = d * self.scale
        if not isinstance(self.anime, float):
            line = jnp.clip(0.5 + 0.45 * self.unit + pixels, 0.0, 1.0) * self.anime
            colour = colour + line * (_plane(INK) - colour)
            pixels = pixels - 0.45 * self.unit * self.anime
        alpha = jnp.clip(0.5 - pixels, 0.0, 1.0) * weight
        self.picture = self.picture + alpha * (colour - self.picture)

    def shade(self, nx: Scalar, ny: Scalar) -> Scalar:
        """Returns the factor on colours where the surface has the normal (nx, ny), x to the right
        and y upwards, in the light of the style.
        """
        if isinstance(self.lit, float) and isinstance(self.anime, float):
            return 1.0
        nx, ny = jnp.clip(nx, -1.0, 1.0), jnp.clip(ny, -1.0, 1.0)
        nz = jnp.sqrt(jnp.maximum(1.0 - nx * nx - ny * ny, 0.0))
        diffuse = jnp.maximum(nx * LIGHT[0] - ny * LIGHT[1] + nz * LIGHT[2], 0.0)
        tone = jnp.clip((diffuse - 0.28) * 12.0 + 0.5, 0.0, 1.0)
        return 1.0 + self.lit * (0.46 * diffuse - 0.34) + self.anime * 0.20 * (tone - 1.0)


def paint(
    picture: jax.Array,
    character: dict[str, jax.Array],
    pose: jax.Array,
    row: jax.Array,
    column: jax.Array,
    metre: Scalar,
    scale: Scalar,
    unit: float,
    lit: Scalar = 0.0,
    anime: Scalar = 0.0,
) -> jax.Array:
    """Returns an image [H, W, 3] with a character painted over it.

    Args:
        picture: the image, [H, W, 3].
        character: the arrays of `looks.look`.
        pose: float [14]: the middle of the feet in pixels (column, row), then head (2), turn, look
            (2), blink, mouth (2) and hands (4) as `acting.pose` gives them.
        row, column: the rows and columns, in the frame at time 0, of the points that the pixels
            show, [H, 1] and [1, W]. They differ from the pixel grid if the camera moves.
        metre: pixels per metre at time 0.
        scale: pixels per metre in this frame.
        unit: side of the frame / 64, the width in pixels of thin lines such as outlines.
        lit, anime: 1 in the lit styles (realistic, cinematic) and in anime. Default: 0, flat
            colours.
    """
    brush = _Brush(jnp.moveaxis(picture, -1, 0), scale, unit, lit, anime)
    gx, gy = (column - pose[0]) / metre, (pose[1] - row) / metre
    x, y = gx - pose[2], gy - pose[3]
    turn, mouth = pose[4], pose[8:10]
    head = _head(character, x, y)
    _behind(brush, character, x, y, turn)
    _body(brush, character, gx, gy)
    skin = _plane(character["skin"]) * brush.shade(
        x / character["head"][0], y / character["head"][1]
    )
    brush.part(head, skin)
    # nothing of the face lies outside the head
    bare, inside = brush.picture, jnp.clip(0.5 - head * scale - 0.5 * unit, 0.0, 1.0)
    _face(brush, character, x, y, turn, pose[5:7], pose[7], mouth)
    brush.picture = bare + inside * (brush.picture - bare)
    _hair(brush, character, x, y, head, turn)
    _arms(brush, character, gx, gy, pose[10:14])
    return jnp.moveaxis(brush.picture, 0, -1)


def _head(character: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    """Returns the signed distance to the head in metres, [H, W]: equation (2)."""
    a, b, n = character["head"]
    f = _power(jnp.abs(x / a) + 1e-6, n) + _power(jnp.abs(y / b) + 1e-6, n)
    f = _power(f, 1.0 / n)
    return _length(x, y) * (f - 1.0) / f


def _behind(
    brush: _Brush, character: dict[str, jax.Array], x: jax.Array, y: jax.Array, turn: jax.Array
) -> None:
    """Paints the locks of hair and the ears, which are behind the head."""
    a = character["head"][0]
    _, _, _, _, _, _, locks, end, wide = character["hair"]
    hair = _plane(character["hair_colour"]) * 0.86
    brush.part(box(x, y - 0.5 * (0.15 - end), wide, 0.5 * (0.15 + end), 0.16), hair, locks)
    ear_x, ear_y, w, h, tilt, pointed, presence = character["ears"]
    shift = -0.25 * a * jnp.sin(turn)
    px, py = jnp.abs(x - shift) - ear_x, y - ear_y
    across = px * jnp.cos(tilt) - py * jnp.sin(tilt)
    along = px * jnp.sin(tilt) + py * jnp.cos(tilt)

    def ear(w: jax.Array, h: jax.Array, low: Scalar) -> jax.Array:
        u = along - low
        slope = _length(2.0 * h, w)
        side = (jnp.abs(across) * 2.0 * h + (u - h) * w) / slope
        triangle = jnp.maximum(side, -(u + h))
        return ellipse(across, u, w, h) + pointed * (triangle - ellipse(across, u, w, h))

    skin = _plane(character["skin"])
    brush.part(ear(w, h, 0.0), skin * 0.96, presence)
    brush.fill(ear(0.55 * w, 0.62 * h, -0.2 * h), skin * 0.78 + 0.12 * _plane(BLUSH), presence)


def _body(brush: _Brush, character: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> None:
    """Paints legs, trunk and neck. x and y are in metres from the middle of the feet."""
    b = character["head"][1]
    neck = character["height"] - 2.0 * b  # height of the chin
    hip = neck - 0.60
    mirrored = jnp.abs(x)
    brush.part(segment(mirrored, y, 0.15, hip + 0.1, 0.16, 0.08, 0.10), _plane(TROUSERS))
    brush.part(ellipse(mirrored - 0.19, y - 0.05, 0.15, 0.06), _plane(LASH) * 1.6)
    along = jnp.clip((neck - y) / 0.6, 0.0, 1.0)
    wide = 0.27 + 0.07 * along
    trunk = box(x, y - 0.5 * (neck + 0.02 + hip), wide, 0.5 * (neck + 0.02 - hip), 0.13)
    cloth = _plane(character["cloth"]) * brush.shade(x / 0.36, 0.25 * (1.0 - 2.0 * along))
    shadow = 1.0 - 0.30 * brush.lit * jnp.clip(1.0 - (neck - y) / 0.16, 0.0, 1.0)
    animal = character["face"][4]
    cloth = cloth * (1.0 - animal) + animal * _plane(character["skin"]) * brush.shade(x / 0.36, 0.0)
    brush.part(trunk, cloth * shadow)
    collar = _plane(character["skin"]) * 0.88
    brush.fill(ellipse(x, y - neck - 0.01, 0.15, 0.085), collar * shadow)
    belly = 0.5 + 0.5 * _plane(character["skin"])
    brush.fill(ellipse(x, y - neck + 0.36, 0.19, 0.22), belly, animal)


def _face(
    brush: _Brush,
    character: dict[str, jax.Array],
    x: jax.Array,
    y: jax.Array,
    turn: jax.Array,
    look: jax.Array,
    blink: jax.Array,
    mouth: jax.Array,
) -> None:
    """Paints the face of a head that is turned: equation (3).

    x and y are in metres from the centre of the head, [H, W]; turn, look [2], blink and mouth [2]
    are those of `acting.pose`.
    """
    a, b, _ = character["head"]
    high, apart, slope, freckles, animal = character["face"]
    skin = _plane(character["skin"])
    depth = jnp.sqrt(jnp.maximum(a * a - x * x, 0.04 * a * a))
    fx = x * jnp.cos(turn) - depth * jnp.sin(turn)
    # the distance in pixels is that of the face over the stretch of (3)
    sharp = 1.0 / jnp.maximum(jnp.cos(turn) + x * jnp.sin(turn) / depth, 1.0)
    side, m = jnp.sign(fx), jnp.abs(fx)
    cheek = jnp.clip(1.0 - _length((m - 0.27) / 0.10, (y + 0.42 * b) / 0.075), 0.0, 1.0)
    brush.picture = brush.picture + 0.45 * cheek * (
        skin * 0.35 + 0.62 * _plane(BLUSH) - brush.picture
    )
    dots = jnp.minimum(_length(m - 0.21, y + 0.30 * b), _length(m - 0.30, y + 0.30 * b))
    dots = jnp.minimum(dots, _length(m - 0.255, y + 0.44 * b)) - 0.024
    brush.fill(
        dots, skin * np.array([0.62, 0.50, 0.42], np.float32)[:, None, None], freckles, sharp
    )
    muzzle = ellipse(fx, y + 0.56 * b, 0.23, 0.17)
    brush.fill(muzzle, 0.45 + 0.55 * skin, animal, sharp)
    nose = skin * 0.80 * (1.0 - animal) + animal * _plane(LASH)
    size = 0.036 + 0.024 * animal
    brush.fill(ellipse(fx, y + 0.29 * b, 1.2 * size, size), nose, 1.0, sharp)
    _eyes(brush, character, m, side, y, look, blink, sharp)
    brow = jnp.abs(y - high - 0.075 + slope * (m - apart)) - 0.019
    brow = jnp.maximum(brow, jnp.abs(m - apart) - 0.085)
    dark = _plane(character["hair_colour"]) * 0.55 * (1.0 - animal) + animal * skin * 0.5
    brush.fill(brow, dark, 1.0, sharp)
    _mouth(brush, character, fx, y + 0.60 * b, mouth, sharp)


def _eyes(
    brush: _Brush,
    character: dict[str, jax.Array],
    m: jax.Array,
    side: jax.Array,
    y: jax.Array,
    look: jax.Array,
    blink: jax.Array,
    sharp: Scalar,
) -> None:
    """Paints both eyes at once; `m` is |x'| of equation (3), and `side` the sign of x'."""
    high, apart, _, _, _ = character["face"]
    wide, open_ = 0.84 * high, jnp.maximum(high * (1.0 - blink), 1e-3)
    ex = m - apart
    rim = ellipse(ex, y, wide + 0.018, open_ + 0.018)
    white = ellipse(ex, y, wide, open_)
    brush.fill(rim, _plane(LASH), 1.0, sharp)
    visible = jnp.clip(4.0 * (1.0 - blink) - 0.4, 0.0, 1.0)
    brush.fill(white, _plane(WHITE), visible, sharp)
    # the gaze moves both irises to the same side
    ix, iy = ex - 0.34 * wide * look[0] * side, y - 0.30 * high * look[1]
    far = _length(ix, iy)
    brush.fill(jnp.maximum(far - 0.66 * high, white), _plane(character["iris"]), visible, sharp)
    brush.fill(jnp.maximum(far - 0.36 * high, white), _plane(LASH) * 0.6, visible, sharp)
    gleam = _length(ix + 0.22 * high * side, iy - 0.28 * high) - 0.20 * high
    brush.fill(jnp.maximum(gleam, white), _plane(WHITE), visible, sharp)


def _mouth(
    brush: _Brush,
    character: dict[str, jax.Array],
    x: jax.Array,
    y: jax.Array,
    mouth: jax.Array,
    sharp: Scalar,
) -> None:
    """Paints a smile if the mouth is closed, else its dark red inside with a rim."""
    openness, width = mouth
    w, h = 0.065 + 0.10 * width, jnp.maximum(MOUTH * openness, 1e-3)
    opened = jnp.clip(8.0 * openness, 0.0, 1.0)
    lip = _plane(character["skin"]) * np.array([0.56, 0.36, 0.34], np.float32)[:, None, None]
    smile = jnp.maximum(jnp.abs(y - 2.2 * x * x + 0.012) - 0.014, jnp.abs(x) - w)
    brush.fill(smile, lip, 1.0 - opened, sharp)
    brush.fill(ellipse(x, y + 0.15 * h, w + 0.018, h + 0.018), lip, opened, sharp)
    brush.fill(ellipse(x, y + 0.15 * h, w, h), _plane(DARK_RED), opened, sharp)


def _hair(
    brush: _Brush,
    character: dict[str, jax.Array],
    x: jax.Array,
    y: jax.Array,
    head: jax.Array,
    turn: jax.Array,
) -> None:
    """Paints the crown of hair or of a hat, its brim and the piece on top."""
    a, b, _ = character["head"]
    weight, thick, line, drop, zigzag, spikes, _, _, _ = character["hair"]
    fx = x - 0.55 * a * jnp.sin(turn)
    upper = jnp.clip(8.0 * y + 0.5, 0.0, 1.0)
    rim = thick + upper * spikes * _wave(3.8 * x / (jnp.abs(x) + jnp.abs(y + 0.3) + 0.1) + 0.5)
    side = jnp.square(jnp.square(fx / a))
    edge = line - drop * jnp.minimum(side, 1.0) - zigzag * _wave(fx / 0.19)
    crown = jnp.maximum(head - rim, edge - y)
    hair = _plane(character["hair_colour"]) * brush.shade(x / (a + 0.1), y / (b + 0.1))
    brush.part(crown, hair, weight)
    presence, top_y, w, h, r = character["top"]
    brush.part(box(x, y - top_y, w, h, r), hair, presence)
    presence, low, w, h, shift = character["brim"]
    peak = box(x - shift * jnp.sin(turn) * 2.0, y - low, w, h, 0.04)
    brush.part(peak, hair * 0.72, presence)


def _arms(
    brush: _Brush, character: dict[str, jax.Array], x: jax.Array, y: jax.Array, hands: jax.Array
) -> None:
    """Paints both arms and hands; `hands` [4] is that of `acting.pose`."""
    b, animal = character["head"][1], character["face"][4]
    neck = character["height"] - 2.0 * b
    skin = _plane(character["skin"])
    sleeve = (_plane(character["cloth"]) * (1.0 - animal) + animal * skin) * 0.88
    for i, side in enumerate((-1.0, 1.0)):
        hx, hy = hands[2 * i], hands[2 * i + 1]
        brush.part(segment(x, y, side * 0.27, neck - 0.15, hx, hy, 0.075), sleeve)
        brush.part(_length(x - hx, y - hy) - 0.085, skin)
