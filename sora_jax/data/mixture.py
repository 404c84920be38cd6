"""Mixtures of sets: each batch comes from one set, and sets take turns by weight.

After any number of batches, each set has given its share of them to within two batches. Its
position is one number, so a checkpoint restores it exactly.
"""

from collections.abc import Mapping
from typing import Any

import grain


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


def part(batch: Mapping[str, Any]) -> tuple[str, Any]:
    """Returns (name of the set, batch) of a batch {name: batch} of `mix`.

    Raises:
        ValueError: it has not exactly one key.
    """
    ((name, inner),) = batch.items()
    return name, inner
