"""Noise-level conditioning by adaLN-single: one network for all blocks and a small table per block.

With the noise level s of a latent frame, the pooled text p and a block's table E [6 D],

    e = W2 silu(W1 features(s)) + W_p p,      m = W_m silu(e)                                    (1)
    e <- e + W_d (features(d) - features(0))                      with step sizes d             (1')
    (shift, scale, gate)_attention, (shift, scale, gate)_mlp = m + E                             (2)
    x <- x + gate * f((1 + scale) * rms(x) + shift)                                              (3)

f is a branch of a block, attention or MLP, and x the tokens of the frame. features are Fourier
features. Each latent frame has its own level, so e, m and the arrays of (2) have the stream's time
axis. W_m and E start at zero, so every gate is closed at initialisation. W_d starts at zero too.
Whatever W_d is, (1') adds nothing at a step size of 0: there the network is the flow. Sources:
PixArt-alpha (Chen et al. 2023, arXiv:2310.00426) for (2), DiT (Peebles & Xie 2022,
arXiv:2212.09748) for the zero initialisation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

from sora_jax.nn.mlp import linear
from sora_jax.nn.norm import rms_norm
from sora_jax.typing import AnyArray

LEVEL_FEATURES = 128  # Fourier features of a noise level


def fourier_features(
    x: Float[Array, "*B"], low: float, high: float, count: int
) -> Float[Array, "*B {count}"]:
    """Encodes numbers x [...] as features [..., count]: cosines and sines of w x.

    Args:
        x: the numbers.
        low, high: the smallest and the largest angular frequency w, in radians per unit of x. The
            count/2 frequencies from low to high are spaced geometrically.
        count: number of features, even.
    """
    phase = x[..., None] * jnp.asarray(np.geomspace(low, high, count // 2), jnp.float32)
    return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)], -1)


class LevelEmbedding(nnx.Module):
    """The network that embeds noise level and pooled text, equation (1) of this module, in float32.

    Levels [B, T] in [0, 1] and pooled text [B, Dt] -> the embedding e [B, T, D] and the modulation
    m [B, T, 6 D], which all blocks share.

    Args:
        width: D.
        text_width: Dt.
        rngs: random keys of the initial values.
    """

    def __init__(self, width: int, text_width: int, rngs: nnx.Rngs, step_sizes: bool = False):
        self.up = linear(LEVEL_FEATURES, width, rngs, bias=True)
        self.down = linear(width, width, rngs, bias=True)
        self.text = linear(text_width, width, rngs)
        self.rows = linear(width, 6 * width, rngs, bias=True, zero=True)
        self.step = linear(LEVEL_FEATURES, width, rngs, zero=True) if step_sizes else None

    def __call__(
        self,
        levels: Float[Array, "B T"],
        pooled: Float[Array, "B Dt"],
        sizes: Float[AnyArray, "B T"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B T 6*D"]]:
        """Embeds levels and pooled text: e [B, T, D] and m [B, T, 6 D].

        Args:
            levels: noise levels in [0, 1].
            pooled: pooled text.
            sizes: by how much the sampler lowers the levels, for a network with `step_sizes`.
                Default None: 0.
        """

        def features(x: Float[AnyArray, "*B"]) -> Float[Array, "*B n"]:
            return fourier_features(jnp.asarray(x, jnp.float32), 1.0, 1000.0, LEVEL_FEATURES)

        e = (
            self.down(jax.nn.silu(self.up(features(levels))))
            + self.text(pooled.astype(jnp.float32))[:, None]
        )
        if self.step is not None and sizes is not None:
            e = e + self.step(features(sizes) - features(jnp.zeros(())))
        return e, self.rows(jax.nn.silu(e))


def modulate(
    x: Float[Array, "*B D"], shift: Float[Array, "... D"], scale: Float[Array, "... D"]
) -> Float[Array, "*B D"]:
    """Normalises, scales and shifts: (1 + scale) * rms(x) + shift, [..., D] in x's dtype.

    x is [..., D]; shift and scale broadcast against it.
    """
    return (rms_norm(x) * (1 + scale) + shift).astype(x.dtype)
