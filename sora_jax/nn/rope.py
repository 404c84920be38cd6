"""Rotary positions on three axes: time in seconds, row and column in tokens.

A head of width d is d/2 planes. Plane i of an axis turns by the angle

    phi_i(p) = p / tau_i,   tau_i = tau_min (tau_max / tau_min)^(i / (n - 1)),  i = 0 .. n-1   (1)

at position p, where n planes belong to the axis, and the dot product of a rotated query and a
rotated key depends on their positions only through differences. Time constants run from 0.05 s, one
audio latent, to 20 s, the longest clip, so the two streams share one clock whatever their rates; in
space from one token to a hundred. Source: RoFormer (Su et al. 2021); seconds as in LTX-2.
"""

import jax
import jax.numpy as jnp
import numpy as np

SECONDS = (0.05, 20.0)  # tau_min, tau_max of the time axis
TOKENS = (1.0, 100.0)  # of the space axes


def angles(positions: jax.Array, planes: int, constants: tuple[float, float]) -> jax.Array:
    """Equation (1): positions [...] -> float32 angles [..., planes]."""
    tau = np.geomspace(*constants, planes) if planes > 1 else np.array(constants[:1])
    return jnp.asarray(positions, jnp.float32)[..., None] * jnp.asarray(1.0 / tau, jnp.float32)


def split_planes(planes: int, axes: str) -> tuple[int, int, int]:
    """How many planes go to (time, row, column) for axes "t", "yx" or "tyx"; time takes what does
    not divide.
    """
    if axes == "t":
        return planes, 0, 0
    if axes == "yx":
        return 0, planes - planes // 2, planes // 2
    if axes == "tyx":
        return planes - 2 * (planes // 3), planes // 3, planes // 3
    raise ValueError(f"axes={axes!r}; use 't', 'yx' or 'tyx'")


def grid_angles(times: jax.Array, rows: int, columns: int, head_width: int, axes: str) -> jax.Array:
    """Angles of a video's tokens: times [T] in seconds -> [T, rows * columns, head_width / 2]."""
    n_t, n_y, n_x = split_planes(head_width // 2, axes)
    shape = (len(times), rows, columns)
    t = jnp.broadcast_to(angles(times, n_t, SECONDS)[:, None, None], (*shape, n_t))
    y = jnp.broadcast_to(angles(jnp.arange(rows), n_y, TOKENS)[None, :, None], (*shape, n_y))
    x = jnp.broadcast_to(angles(jnp.arange(columns), n_x, TOKENS)[None, None, :], (*shape, n_x))
    return jnp.concatenate([t, y, x], -1).reshape(len(times), rows * columns, head_width // 2)


def rotate(x: jax.Array, phi: jax.Array) -> jax.Array:
    """Turn every plane (x_i, x_{i + d/2}) of x [..., L, h, d] by phi [..., L, d/2]."""
    cos, sin = jnp.cos(phi)[..., None, :], jnp.sin(phi)[..., None, :]
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], -1).astype(x.dtype)
