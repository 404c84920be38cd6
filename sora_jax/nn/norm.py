"""Root-mean-square normalisation (RMSNorm), with and without a learned scale.

    rms(x) = x / sqrt(mean_i x_i^2 + eps)                                                        (1)

The streams of video and audio tokens have no learned scale, because adaptive modulation supplies
scale and shift. Queries, keys and the text encoder's features have one. The mean is computed in
float32 for any dtype of x. eps is EPSILON. Sources: Zhang & Sennrich 2019 (arXiv:1910.07467); per
head on queries and keys (QK-norm) as in Dehghani et al. 2023 (ViT-22B, arXiv:2302.05442).
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

EPSILON = 1e-6


def rms_norm(
    x: Float[Array, "*B D"], scale: Float[Array, " D"] | None = None
) -> Float[Array, "*B D"]:
    """Normalises the last axis: x / sqrt(mean(x^2) + eps), times `scale` if given.

    Args:
        x: [..., D].
        scale: [D]. Default None: no scale.

    Returns:
        [..., D], in x's dtype. The mean is computed in float32.
    """
    x32 = x.astype(jnp.float32)
    y = x32 * jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + EPSILON)
    if scale is not None:
        y = y * scale
    return y.astype(x.dtype)


class RMSNorm(nnx.Module):
    """RMS normalisation x / sqrt(mean(x^2) + eps) over the last axis, with a learned scale [D] that
    starts at one: [..., D] -> [..., D].
    """

    def __init__(self, width: int):
        self.scale = nnx.Param(jnp.ones((width,)))

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """Normalises x [..., D] -> [..., D], in x's dtype."""
        return rms_norm(x, self.scale[...])
