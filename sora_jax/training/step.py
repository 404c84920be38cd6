"""One training step, a pure function of (state, batch). Start reading at the inner `step`."""

from collections.abc import Callable
from typing import Any

import jax
import optax

from sora_jax.training.state import TrainState

LossFn = Callable[[Any, Any, jax.Array], tuple[jax.Array, dict[str, jax.Array]]]
StepFn = Callable[[TrainState, Any], tuple[TrainState, dict[str, jax.Array]]]


def make_step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    placement: tuple[Any, Any] = (None, None),
) -> StepFn:
    """Returns the jitted training step (state, batch) -> (state, metrics).

    The old state's buffers are donated: do not use it again. The step adds two metrics to those of
    `loss_fn`: `loss`, and `grad_norm`, the global norm of the gradients before clipping. The
    training loop stops the run when either is not finite.

    Args:
        loss_fn: (params, batch, key) -> (loss, metrics), all scalars; metrics by name.
        optimizer: the optimizer.
        placement: (shardings of the state, shardings of a batch), see `sora_jax.parallel.rules`.
            Default (None, None): both stay where they are.
    """

    def step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, jax.Array]]:
        key = jax.random.fold_in(state.key, state.step)
        (loss, metrics), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, batch, key
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {**metrics, "loss": loss, "grad_norm": optax.tree.norm(gradients)}
        return TrainState(params, opt_state, state.step + 1, state.key), metrics

    state, batch = placement
    return jax.jit(step, in_shardings=(state, batch), out_shardings=(state, None), donate_argnums=0)
