"""Noise levels: how training draws them and which ones a sampler visits.

    shift      s' = r s / (1 + (r - 1) s),        r >= 1 moves levels towards noise        (1)
    training   s = sigmoid(m + d z), z ~ N(0, 1), or with probability p  s ~ U(0, 1);  then (1)
    sampling   s_i = shift(1 - i / n),            i = 0 .. n;  s_0 = 1, s_n = 0            (2)
    by size    r = sqrt(tokens / tokens_0),       at least 1                               (3)

More tokens say the same thing more often, so the same level destroys less: (3) keeps the
signal-to-noise ratio of the whole. Logit-normal levels and the square-root rule: "Scaling Rectified
Flow Transformers" (Esser 2024); 10 % uniform: LTX-Video. The levels of a batch are stratified (one
in each 1/B of probability), which lowers the variance of the loss: "Variational Diffusion Models"
(Kingma 2021).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

BASE_TOKENS = 80  # video tokens of a `nano` clip with patch (1, 2, 2): r = 1


@dataclasses.dataclass(frozen=True)
class TimestepConfig:
    """mean m and deviation d of the logit, uniform share p, shift r: see the module's equations."""

    mean: float = 0.0
    deviation: float = 1.0
    uniform: float = 0.1
    shift: float = 1.0


def shift(s, r: float):
    """Equation (1), for arrays of NumPy or JAX."""
    return r * s / (1 + (r - 1) * s)


def shift_for_tokens(tokens: int, base: int = BASE_TOKENS) -> float:
    """Equation (3): the shift r for a clip of so many video tokens."""
    return max(1.0, math.sqrt(tokens / base))


def draw_levels(key: jax.Array, batch: int, config: TimestepConfig) -> jax.Array:
    """Training levels, float32 [batch] in (0, 1), stratified over the batch in random order."""
    offset_key, order_key, mixture_key = jax.random.split(key, 3)
    u = (jnp.arange(batch) + jax.random.uniform(offset_key, (batch,))) / batch
    u = jnp.clip(jax.random.permutation(order_key, u), 1e-5, 1 - 1e-5)
    normal = jax.nn.sigmoid(config.mean + config.deviation * jax.scipy.special.ndtri(u))
    is_uniform = jax.random.uniform(mixture_key, (batch,)) < config.uniform
    return shift(jnp.where(is_uniform, u, normal), config.shift)


def sampling_levels(steps: int, r: float = 1.0) -> np.ndarray:
    """Equation (2): the levels a sampler visits, float32 [steps + 1] from exactly 1 to exactly
    0.
    """
    if steps < 1:
        raise ValueError(f"steps={steps}: a sampler takes at least one step")
    return shift(1 - np.arange(steps + 1) / steps, r).astype(np.float32)
