"""What a run carries from step to step, as one pytree: parameters, optimizer, step and random key.

Together with the position of the data this is all a run is: the key is never advanced but folded
with the step, so that step t draws the same numbers whether or not the run was interrupted before
it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """params and opt_state: pytrees; step: int32 scalar, batches consumed; key: a typed random key,
    fixed for the run.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


def new_state(params: Any, optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step.

    The parameters are copied, since a training step gives its input's memory away.
    """
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params, jax.jit(optimizer.init)(params), jnp.zeros((), jnp.int32), jax.random.key(seed)
    )


def split_module(module: nnx.Module) -> tuple[Any, Callable[[Any], nnx.Module]]:
    """(parameters, merge) with merge(parameters) the module again; everything that is not
    `nnx.Param` is held constant.
    """
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    return params, lambda p: nnx.merge(graphdef, p, rest, copy=True)
