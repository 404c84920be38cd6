"""Training steps that take batches of a mixture of sets, {set: batch} (`data.mixture`)."""

from collections.abc import Mapping
from typing import Any

from sora_jax.data.mixture import part
from sora_jax.training.step import StepFn


def on_parts(step: StepFn) -> StepFn:
    """Returns a training step for batches {name: batch} of `mix`, made of a step for a batch of one
    set.
    """
    return lambda state, tagged: step(state, part(tagged)[1])


def with_set_losses(step: StepFn, several: bool = True) -> StepFn:
    """Returns a training step for batches of `mix` with more metrics than the given one.

    The metric `clips` is the number of clips of the batch.

    Args:
        step: a step for batches of `mix`.
        several: True, the default, adds the losses of the batch's set, such as SET/loss. Rows of
            metrics hold their means over the batches of that set.
    """

    def measured(state: Any, tagged: Mapping[str, Any]) -> tuple[Any, dict]:
        name, batch = part(tagged)
        state, metrics = step(state, tagged)
        losses = {key: value for key, value in metrics.items() if key.endswith("loss")}
        by_set = {f"{name}/{key}": value for key, value in losses.items()} if several else {}
        return state, {**metrics, **by_set, "clips": len(next(iter(batch.values())))}

    return measured
