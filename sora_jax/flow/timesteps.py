"""Noise levels: their distribution in training and their schedule in sampling.

    shift      s' = r s / (1 + (r - 1) s),        r >= 1 moves levels towards noise        (1)
    training   s = sigmoid(m + d z), z ~ N(0, 1), or with probability p  s ~ U(0, 1);  then (1)
    sampling   s_i = shift(1 - i / n),            i = 0 .. n;  s_0 = 1, s_n = 0            (2)
    by size    r = sqrt(tokens / tokens_0),       at least 1                               (3)

s is a noise level in [0, 1], 0 clean and 1 noise; m, d and p are `mean`, `deviation` and `uniform`
of `TimestepConfig`; n is the number of steps of a sampler; tokens_0 is BASE_TOKENS. More tokens are
more redundant, so the same level destroys less information. The shift by size, (3), therefore keeps
the signal-to-noise ratio of the whole clip. The levels of a batch are stratified (one in each 1/B
of probability), which lowers the variance of the loss. Sources: "Scaling Rectified Flow
Transformers" (Esser et al. 2024, arXiv:2403.03206) for logit-normal levels and the square-root
rule; LTX-Video (arXiv:2501.00103) for the 10 % of uniform levels; "Variational Diffusion
Models" (Kingma et al. 2021, arXiv:2107.00630) for stratified levels.
"""

import dataclasses
import math
from typing import overload

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from sora_jax.config import within
from sora_jax.typing import AnyArray

BASE_TOKENS = 80  # video tokens of a clip without shift (r = 1): format `nano`, 2 x 2 patches


@dataclasses.dataclass(frozen=True)
class TimestepConfig:
    """Distribution of the noise levels in training: a shifted logit-normal, with some uniform
    levels.

    Attributes:
        mean: mean of the logit. Default 0.
        deviation: standard deviation of the logit. Default 1.
        uniform: fraction of uniform levels. Default 0.1.
        shift: r of `shift`: above 1 it moves levels towards noise. Default 1: no shift.
    """

    mean: float = 0.0
    deviation: float = 1.0
    uniform: float = 0.1
    shift: float = 1.0

    def __post_init__(self):
        within(self, "(-inf, inf)", "mean")
        within(self, "[0, inf)", "deviation")
        within(self, "[0, 1]", "uniform")
        within(self, "(0, inf)", "shift")


@overload
def shift(s: Float[Array, "*B"], r: float) -> Float[Array, "*B"]: ...
@overload
def shift(s: Float[np.ndarray, "*B"], r: float) -> Float[np.ndarray, "*B"]: ...
def shift(s: Float[AnyArray, "*B"], r: float) -> Float[AnyArray, "*B"]:
    """Returns noise levels moved towards noise, r s / (1 + (r - 1) s), an array like s.

    s is a NumPy or JAX array of levels in [0, 1]. r is positive: 1 is no shift, above 1 moves
    towards noise.
    """
    return r * s / (1 + (r - 1) * s)


def shift_for_tokens(tokens: int, base: int = BASE_TOKENS) -> float:
    """Returns the shift r of noise levels for a clip: sqrt(tokens / base), at least 1.

    Args:
        tokens: video tokens of the clip.
        base: video tokens of a clip without shift. Default BASE_TOKENS.
    """
    return max(1.0, math.sqrt(tokens / base))


def draw_levels(key: PRNGKeyArray, batch: int, config: TimestepConfig) -> Float[Array, " {batch}"]:
    """Draws the noise levels of training, float32 [batch] in (0, 1), stratified and in random
    order.

    Args:
        key: random key.
        batch: number of levels.
        config: their distribution.
    """
    offset_key, order_key, mixture_key = jax.random.split(key, 3)
    u = (jnp.arange(batch) + jax.random.uniform(offset_key, (batch,))) / batch
    u = jnp.clip(jax.random.permutation(order_key, u), 1e-5, 1 - 1e-5)
    normal = jax.nn.sigmoid(config.mean + config.deviation * jax.scipy.special.ndtri(u))
    is_uniform = jax.random.uniform(mixture_key, (batch,)) < config.uniform
    return shift(jnp.where(is_uniform, u, normal), config.shift)


def sampling_levels(steps: int, r: float = 1.0) -> Float[np.ndarray, " {steps+1}"]:
    """Returns the noise levels that a sampler visits, float32 [steps + 1] from exactly 1 to exactly
    0.

    They are evenly spaced, then shifted by `shift` with r. Default r = 1: no shift.

    Raises:
        ValueError: `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: a sampler takes at least one step")
    return shift(1 - np.arange(steps + 1) / steps, r).astype(np.float32)
