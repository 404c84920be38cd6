"""Rotary position embedding on three axes: time in seconds, row and column in tokens.

A head of width d consists of d/2 planes. At position p, plane i of an axis is rotated by the
angle

    phi_i(p) = p / tau_i,   tau_i = tau_min (tau_max / tau_min)^(i / (n - 1)),  i = 0 .. n-1   (1)

where n is the number of planes of the axis. The dot product of a rotated query and a rotated
key depends on their positions only through differences. In time the constants tau range from
0.05 s, about one audio latent, to 20 s, the longest clip (SECONDS). Because they are in seconds,
video and audio share one clock whatever their rates. In space they range from 1 to 100 tokens
(TOKENS). Sources: RoFormer (Su et al. 2021, arXiv:2104.09864); time in seconds as in LTX-2
(HaCohen et al. 2026, arXiv:2601.03233).
"""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Num

SECONDS = (0.05, 20.0)  # tau_min, tau_max of the time axis, in seconds
TOKENS = (1.0, 100.0)  # tau_min, tau_max of the space axes, in tokens


def angles(
    positions: Num[Array | np.ndarray, "*B"], planes: int, constants: tuple[float, float]
) -> Float[Array, "*B {planes}"]:
    """Returns rotation angles p / tau_i, equation (1) of this module: float32 [..., planes].

    Args:
        positions: positions p [...].
        planes: number of planes n, one angle each.
        constants: (tau_min, tau_max), the smallest and the largest constant, in the unit of the
            positions.
    """
    tau = np.geomspace(*constants, planes) if planes > 1 else np.array(constants[:planes])
    return jnp.asarray(positions, jnp.float32)[..., None] * jnp.asarray(1.0 / tau, jnp.float32)


def split_planes(planes: int, axes: str) -> tuple[int, int, int]:
    """Returns how many planes of a head rotate with (time, row, column).

    The axes share the planes equally. A remainder goes to time, or with "yx" to the row.

    Args:
        planes: number of planes, half of the head's width.
        axes: the axes whose positions rotate planes: "t" (time), "yx" (row, column) or "tyx".

    Raises:
        ValueError: `axes` is another text.
    """
    if axes == "t":
        return planes, 0, 0
    if axes == "yx":
        return 0, planes - planes // 2, planes // 2
    if axes == "tyx":
        return planes - 2 * (planes // 3), planes // 3, planes // 3
    raise ValueError(f"axes={axes!r}; use 't', 'yx' or 'tyx'")


def grid_angles(
    times: Num[Array | np.ndarray, " T"], rows: int, columns: int, head_width: int, axes: str
) -> Float[Array, "T {rows*columns} {head_width//2}"]:
    """Returns the rotation angles of a video's tokens, [T, rows * columns, head_width / 2].

    Args:
        times: midpoints of the latent frames in seconds, [T].
        rows, columns: size of the token grid of a frame.
        head_width: width of a head, d.
        axes: the axes whose positions rotate planes, "t", "yx" or "tyx" (`split_planes`).
    """
    n_t, n_y, n_x = split_planes(head_width // 2, axes)
    shape = (len(times), rows, columns)
    t = jnp.broadcast_to(angles(times, n_t, SECONDS)[:, None, None], (*shape, n_t))
    y = jnp.broadcast_to(angles(jnp.arange(rows), n_y, TOKENS)[None, :, None], (*shape, n_y))
    x = jnp.broadcast_to(angles(jnp.arange(columns), n_x, TOKENS)[None, None, :], (*shape, n_x))
    return jnp.concatenate([t, y, x], -1).reshape(len(times), rows * columns, head_width // 2)


def rotate(
    x: Float[Array, "*B L h d"], phi: Float[Array, "... #L d//2"]
) -> Float[Array, "*B L h d"]:
    """Rotates the planes of queries or keys x [..., L, h, d] by the angles phi [..., L, d/2].

    Plane i is the pair of features (i, i + d/2), and its angle phi[..., i]. The result has the
    shape and dtype of x.
    """
    cos, sin = jnp.cos(phi)[..., None, :], jnp.sin(phi)[..., None, :]
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1).astype(x.dtype)
