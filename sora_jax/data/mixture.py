"""Mixtures of data sets: each batch comes from one set, and the sets take turns by weight.

After any number of batches, the number that each set has given differs by at most two from its
share. The position of the mixture is one number, so a checkpoint restores it exactly.
"""

from collections.abc import Mapping
from typing import Any

import grain


def mix(
    sets: Mapping[str, grain.MapDataset], weights: Mapping[str, float]
) -> grain.DatasetIterator:
    """Returns an iterator of {name: batch}, where `name` is the set that the batch comes from.

    The batches of different sets may have different shapes. Because the key names the set, a jitted
    step is compiled once for each set.

    Args:
        sets: {name: endless data set of batches}.
        weights: {name: relative frequency of its batches}. They need not add up to 1.
    """
    tagged = [batches.map(lambda batch, name=name: {name: batch}) for name, batches in sets.items()]
    mixed = grain.MapDataset.mix(tagged, [weights[name] for name in sets])
    return iter(mixed.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def part(batch: Mapping[str, Any]) -> tuple[str, Any]:
    """Returns (name of the set, its batch) of an element {name: batch} of `mix`.

    Raises:
        ValueError: the element has not exactly one key.
    """
    ((name, inner),) = batch.items()
    return name, inner
