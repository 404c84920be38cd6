"""Mixtures of sets: each batch comes from one set, and sets take turns by weight.

After any number of batches, each set has given its share of them to within two batches. Its
position is one number, so a checkpoint restores it exactly.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grain

Step = Callable[[Any, Any], tuple[Any, dict[str, Any]]]  # (state, batch) -> (state, metrics)


def mix(
    sets: Mapping[str, grain.MapDataset], weights: Mapping[str, float]
) -> grain.DatasetIterator:
    """Returns an iterator of {name: batch}, where `name` is the set that the batch comes from.

    A dictionary of one key lets a jitted step compile once for each set, whatever its shapes.

    Args:
        sets: endless sets of batches by name.
        weights: the share of batches of each set, up to a factor.
    """
    tagged = [batches.map(lambda batch, name=name: {name: batch}) for name, batches in sets.items()]
    mixed = grain.MapDataset.mix(tagged, [weights[name] for name in sets])
    return iter(mixed.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def on_parts(step: Step) -> Step:
    """Returns a training step for batches {name: batch} of `mix`, made of a step for a batch of one
    set.
    """
    return lambda state, tagged: step(state, part(tagged)[1])


def with_set_losses(step: Step, several: bool = True) -> Step:
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


def part(batch: Mapping[str, Any]) -> tuple[str, Any]:
    """Returns (name of the set, batch) of a batch {name: batch} of `mix`.

    Raises:
        ValueError: it has not exactly one key.
    """
    ((name, inner),) = batch.items()
    return name, inner
