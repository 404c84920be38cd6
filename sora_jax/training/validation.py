"""Validation: the loss on held-out clips, with the same noise at every call.

    L = 1 / (N D) sum_n sum_d l(theta; batch_n, key_nd),      key_nd from d and n alone          (1)

theta are the weights, N the number of batches, and D the number of draws of noise, noise levels
and training tasks per batch. l is the loss with the default levels and tasks, whatever those of
training are, and without dropout of text, references and coupling (`program.validation_flow`). Two
states, or two runs on the same data with batches of one size, differ in their weights alone, so
the difference of their losses has little noise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from sora_jax.training import metrics
from sora_jax.training.optim import averaged_params
from sora_jax.training.program import Program
from sora_jax.training.run import Run
from sora_jax.training.state import TrainState


def validation(
    run: Run, program: Program, batches: Mapping[str, Sequence[Any]]
) -> Callable[[TrainState], dict[str, float]]:
    """Returns a function that scores the averaged weights of a training state, equation (1).

    Args:
        run: the run.
        program: its program.
        batches: batches of held-out clips by set (`inputs.held_out_batches`).

    Returns:
        A function state -> {metric: value}, the metrics of the loss (`flow.loss.flow_loss`). For
        several sets they are means by the weights of the sets, and the losses of each set are added
        as SET/loss and so on.
    """
    params, batch = program.placement[0].params, program.placement[1]
    loss = jax.jit(program.validation_loss, in_shardings=(params, batch, None))
    weights = {name: run.data.weights[name] for name in batches}

    def of_set(params: Any, several: Sequence[Any]) -> dict[str, float]:
        rows = [
            loss(params, batch, jax.random.fold_in(jax.random.key(draw), n))[1]
            for n, batch in enumerate(several)
            for draw in range(run.validation.draws)
        ]
        return metrics.mean(jax.device_get(rows))

    def scores(state: TrainState) -> dict[str, float]:
        params = averaged_params(state.opt_state, state.params)
        found = {name: of_set(params, several) for name, several in batches.items()}
        total = metrics.mean(list(found.values()), list(weights.values()))
        if len(run.data.mixture) == 1:
            return total
        by_set = {
            f"{name}/{key}": value
            for name, values in found.items()
            for key, value in values.items()
            if key.endswith("loss")
        }
        return total | by_set

    return scores
