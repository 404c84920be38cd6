"""The flow between data and noise, and the velocity that a network's output implies.

With data x, noise e ~ N(0, I) and a noise level s in [0, 1] (0 = clean, 1 = noise), one level
per latent frame:

    x_s = (1 - s) x + s e                                                   (1)
    v   = dx_s / ds = e - x = (x_s - x) / s                                 (2)

A network that outputs an estimate y of x (output "x") or of v (output "v") has the velocity

    v^ = (x_s - y) / max(s, s_min)   or   v^ = y                            (3)

A hat (v^) marks an estimate. Sampling integrates the velocity (2) from s = 1 to s = 0. In the loss
s_min = 0.1 (LOSS_FLOOR), so that frames that are nearly clean do not outweigh the rest; the target
is (3) applied to the ground truth x. In the sampler s_min only guards the division
(SAMPLING_FLOOR), because a larger value would leave noise behind. Sources: rectified flow (Liu et
al. 2022, arXiv:2209.03003); x-output with the velocity loss, "Back to Basics: Let Denoising
Generative Models Denoise" (Li and He 2025, arXiv:2511.13720).
"""

import jax.numpy as jnp
from jaxtyping import Float

from sora_jax.typing import AnyArray

OUTPUTS = ("x", "v")
LOSS_FLOOR = 0.1  # s_min of equation (3) in the loss
SAMPLING_FLOOR = 1e-3  # s_min of equation (3) in the samplers


def expand(
    level: Float[AnyArray, "..."], latents: Float[AnyArray, "..."]
) -> Float[AnyArray, "..."]:
    """Returns `level` [B, T] with trailing axes of size 1, so that it broadcasts against `latents`
    [B, T, ...].
    """
    return level.reshape(level.shape + (1,) * (latents.ndim - level.ndim))


def interpolate(
    x: Float[AnyArray, "*shape"], e: Float[AnyArray, "*shape"], level: Float[AnyArray, "..."]
) -> Float[AnyArray, "*shape"]:
    """Adds noise: (1 - level) x + level e.

    A level of 0 returns x exactly.

    Args:
        x: clean latents [B, T, ...].
        e: standard normal noise like x.
        level: noise levels in [0, 1], [B, T].

    Returns:
        Noisy latents like x.
    """
    s = expand(level, x)
    return (1 - s) * x + s * e


def to_velocity(
    output: Float[AnyArray, "*shape"],
    x_s: Float[AnyArray, "*shape"],
    level: Float[AnyArray, "..."],
    kind: str,
    floor: float = LOSS_FLOOR,
) -> Float[AnyArray, "*shape"]:
    """Returns the velocity [B, T, ...] that a network's output implies, equation (3) of this
    module.

    Args:
        output: output of the network [B, T, ...].
        x_s: the noisy latents that the network saw, like `output`.
        level: noise levels s of the latents, [B, T].
        kind: the quantity that the output estimates, "x" (clean latents) or "v" (velocity).
        floor: s_min, the smallest divisor. Default `LOSS_FLOOR`.

    Raises:
        ValueError: `kind` is not in OUTPUTS.
    """
    if kind == "v":
        return output
    if kind == "x":
        return (x_s - output) / jnp.maximum(expand(level, x_s), floor)
    raise ValueError(f"output {kind!r} is not one of {OUTPUTS}")
