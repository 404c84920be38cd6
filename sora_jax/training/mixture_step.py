"""Training steps that take batches of a mixture of sets, {set: batch} (`data.mixture`)."""

from collections.abc import Mapping
from typing import Any

from sora_jax.data.mixture import part
from sora_jax.training.step import StepFn


def on_parts(step: StepFn) -> StepFn:
    """Returns a training step that takes batches {set: batch}, from one that takes the batch."""
    return lambda state, tagged: step(state, part(tagged)[1])


def with_set_losses(step: StepFn, several: bool = True) -> StepFn:
    """Returns a training step for batches {set: batch} that adds metrics to those of `step`.

    It adds `clips`, the number of clips of the batch, and perhaps the losses of its set.

    Args:
        step: a training step for batches {set: batch}.
        several: True, the default, adds each loss under the name of the batch's set too, such as
            SET/loss. A row of metrics then holds its mean over the batches of that set.
    """

    def measured(state: Any, tagged: Mapping[str, Any]) -> tuple[Any, dict]:
        name, batch = part(tagged)
        state, metrics = step(state, tagged)
        losses = {key: value for key, value in metrics.items() if key.endswith("loss")}
        by_set = {f"{name}/{key}": value for key, value in losses.items()} if several else {}
        return state, {**metrics, **by_set, "clips": len(next(iter(batch.values())))}

    return measured
