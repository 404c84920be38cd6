"""The flow between data and noise, and what a network's output says about it.

With data x, noise e ~ N(0, I) and a noise level s in [0, 1] (0 = clean, 1 = noise), one level to
every latent frame:

    x_s = (1 - s) x + s e                                                   (1)
    v   = dx_s / ds = e - x = (x_s - x) / s                                 (2)

A network that outputs an estimate y of x (output "x") or of v (output "v") has the velocity

    v^ = (x_s - y) / max(s, s_min)   or   v^ = y                            (3)

Sampling integrates (2) from s = 1 to s = 0. In the loss s_min = 0.1, so that (3) applied to the
right answer, x, is the target and clean frames do not outweigh the rest; the sampler's s_min only
guards the division, since any larger one leaves noise behind. "Rectified flow" (Liu 2022); x-output
with the velocity's loss: "Back to Basics: Let Denoising Generative Models Denoise" (Li 2025).
"""

import jax
import jax.numpy as jnp

OUTPUTS = ("x", "v")
LOSS_FLOOR = 0.1  # s_min of (3) in the loss
SAMPLING_FLOOR = 1e-3  # s_min of (3) in the samplers


def expand(level: jax.Array, latents: jax.Array) -> jax.Array:
    """Levels with axes appended until they broadcast against latents [B, T, ...]."""
    return level.reshape(level.shape + (1,) * (latents.ndim - level.ndim))


def interpolate(x: jax.Array, e: jax.Array, level: jax.Array) -> jax.Array:
    """Equation (1): x, e [B, T, ...] and level [B, T] -> x_s like x.

    A level of 0 returns x exactly.
    """
    s = expand(level, x)
    return (1 - s) * x + s * e


def to_velocity(
    output: jax.Array, x_s: jax.Array, level: jax.Array, kind: str, floor: float = LOSS_FLOOR
) -> jax.Array:
    """Equation (3): the velocity [B, T, ...] that a network's output stands for; kind is "x" or
    "v".
    """
    if kind == "v":
        return output
    if kind == "x":
        return (x_s - output) / jnp.maximum(expand(level, x_s), floor)
    raise ValueError(f"output {kind!r} is not one of {OUTPUTS}")
