"""Random weights of a module, for tests."""

import math

import jax
import numpy as np
from flax import nnx


def random_state(make, seed):
    """The stored state of the module that `make` constructs, with random parameters (none zero) and
    every statistic 1.7.
    """
    params, rest = nnx.split(nnx.eval_shape(make), nnx.Param, ...)[1:]
    rng = np.random.default_rng(seed)
    draw = lambda x: rng.normal(0, math.prod(x.shape[-2:-1]) ** -0.5, x.shape).astype(np.float32)
    return nnx.merge_state(
        jax.tree.map(draw, params), jax.tree.map(lambda x: np.full(x.shape, 1.7, np.float32), rest)
    )
