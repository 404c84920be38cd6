"""The training state as one pytree: parameters, optimizer state, step and random key.

This state and the position in the data determine the rest of a run. The random key is never split:
each step folds its number into it. Step t therefore draws the same random numbers whether or not
the run was interrupted before it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx

M = TypeVar("M", bound=nnx.Module)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The state of a training run.

    Attributes:
        params: pytree of the parameters.
        opt_state: pytree of the optimizer's state.
        step: batches consumed, int32 scalar.
        key: a typed random key, fixed for the run.
    """

    params: Any
    opt_state: Any
    step: jax.Array
    key: jax.Array


def new_state(
    params: Any, optimizer: optax.GradientTransformation, seed: int, step: int = 0
) -> TrainState:
    """Returns the state of a training run before the first step of its optimizer.

    Args:
        params: pytree of the parameters. They are copied, since a step donates the buffers of its
            state.
        optimizer: the optimizer.
        seed: seed of the random key.
        step: steps that were made before, by an optimizer whose moments are lost. Default: 0.
    """
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params, jax.jit(optimizer.init)(params), jnp.asarray(step, jnp.int32), jax.random.key(seed)
    )


def split_module(module: M) -> tuple[Any, Callable[[Any], M]]:
    """Splits a module into (parameters, merge), where merge(parameters) returns the module with
    these parameters.

    The parameters are its `nnx.Param`s. All its other variables are constants of `merge`.
    """
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)
    return params, lambda p: nnx.merge(graphdef, p, rest, copy=True)
