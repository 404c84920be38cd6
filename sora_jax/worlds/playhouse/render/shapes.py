"""Rendering of shapes. A shape is all points within rho pixels of a convex polygon.

Its edge is a ramp that is one pixel wide. The coverage of a pixel is

    alpha = clip(rho - d + 1/2, 0, 1),   d the signed distance to the polygon, negative inside   (1)

Shapes are grouped by their place (`behind` the balls, in `front` of them, or `moving`) and by
their cost: `bars` have one or two corners and need one distance to a segment per pixel, `boxes`
have more corners and need as many distances. Each group keeps the order of the scene. Boxes are
painted before bars.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from sora_jax.typing import AnyArray
from sora_jax.worlds.playhouse.render.styles import Scalar

# {kind: smallest number of slots for corners}, in the order in which the kinds are painted
CORNERS = {"boxes": 4, "bars": 2}
# (colour [3] of the paint, depth inside the edge [H, W], thickness of the shape, both in pixels) ->
# colours [H, W, 3]
Tint = Callable[[jax.Array, jax.Array, Scalar], jax.Array]


def distance(corners: AnyArray, row: AnyArray, column: AnyArray) -> jax.Array:
    """Returns the signed distance of each pixel to a convex polygon in pixels, negative inside,
    [H, W].

    Args:
        corners: (column, row) in pixels, [C, 2]. A corner that is repeated at the end adds no edge.
        row, column: the pixel grid, [H, 1] and [1, W].
    """
    count = corners.shape[0]
    nearest, outside = jnp.inf, -jnp.inf
    for c in range(count if count > 2 else 1):
        (x0, y0), (x1, y1) = corners[c], corners[(c + 1) % count]
        dx, dy, px, py = x1 - x0, y1 - y0, column - x0, row - y0
        length = dx * dx + dy * dy
        t = jnp.clip((px * dx + py * dy) / jnp.maximum(length, 1e-6), 0.0, 1.0)
        nearest = jnp.minimum(nearest, jnp.square(px - t * dx) + jnp.square(py - t * dy))
        if count > 2:
            # rows count downwards, so the inside is negative
            outside = jnp.maximum(outside, jnp.where(length > 1e-6, dx * py - dy * px, -jnp.inf))
    far = jnp.sqrt(nearest + 1e-12)
    return jnp.where(outside < 0.0, -far, far) if count > 2 else far


def paint(
    picture: jax.Array,
    shape: dict[str, jax.Array],
    row: jax.Array,
    column: jax.Array,
    tint: Tint,
    weight: Scalar = 1.0,
) -> jax.Array:
    """Returns an image [H, W, 3], or a layer [H, W, 4] that ends with coverage, with a shape
    painted over it.

    Args:
        picture: the image or the layer.
        shape: `corners` [C, 2] (column, row) and `radius` in pixels, `colour` [3], and `present`, 0
            for an unused slot.
        row, column: the pixel grid, [H, 1] and [1, W].
        tint: (colour, depth, thickness) -> colours [H, W, 3], with depth [H, W] and thickness in
            pixels; the thickness is the radius of a bar, infinite for a box.
        weight: factor on the coverage. Default: 1.
    """
    depth = shape["radius"] - distance(shape["corners"], row, column)
    alpha = jnp.clip(depth + 0.5, 0.0, 1.0) * shape["present"] * weight
    colour = tint(
        shape["colour"], depth, shape["radius"] if shape["corners"].shape[0] < 3 else jnp.inf
    )
    if picture.shape[-1] == 4:
        colour = jnp.concatenate([colour, jnp.ones_like(colour[..., :1])], axis=-1)
    return picture + alpha[..., None] * (colour - picture)


def layer(
    one: dict[str, jax.Array],
    place: str,
    row: jax.Array,
    column: jax.Array,
    tint: Tint,
    zoom: Scalar = 1.0,
    shift: Scalar = 0.0,
) -> jax.Array | None:
    """Returns a layer [H, W, 4] of one place's still shapes: RGB times coverage, then coverage.

    It is None without shapes.

    Args:
        one: the arrays of one take (`inputs.render_inputs`).
        place: "behind" the balls or in "front" of them.
        row, column: the pixel grid, [H, 1] and [1, W].
        tint: (colour, depth, thickness) -> colours [H, W, 3], as in `paint`.
        zoom, shift: those of the camera, which shows pixel q of time 0 at (q + 1/2) zoom + shift -
            1/2. Default: 1, 0.
    """

    def add(painted: jax.Array, shape: dict[str, jax.Array]) -> tuple[jax.Array, None]:
        return paint(painted, shape, row, column, tint), None

    painted = None
    for kind in CORNERS:
        group = {
            name: one[f"{place}_{kind}_{name}"]
            for name in ("corners", "radius", "present", "colour")
        }
        if not group["radius"].shape[0]:
            continue
        group["corners"] = (group["corners"] + 0.5) * zoom + shift - 0.5
        group["radius"] = group["radius"] * zoom
        if painted is None:
            painted = jnp.zeros((row.shape[0], column.shape[1], 4))
        painted, _ = jax.lax.scan(add, painted, group)
    return painted


def over(picture: jax.Array, painted: jax.Array | None) -> jax.Array:
    """Returns an image [H, W, 3] with a layer [H, W, 4] composited over it; without a layer (None)
    the image itself.
    """
    return picture if painted is None else picture * (1.0 - painted[..., 3:]) + painted[..., :3]
