"""A counter-based random stream whose numbers are the same on any machine and with any NumPy.

NumPy guarantees that the raw words of a bit generator never change from version to version, but
not the numbers that `numpy.random.Generator` computes from them. So only raw words of the generator
Philox are used, and exact arithmetic turns them into numbers.
"""

from collections.abc import Collection, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Stream:
    """Random numbers addressed by a key: the same key gives the same numbers on any machine, in
    any process or order.

    Streams of different keys behave as independent. Every call of a method takes one word of the
    stream, so a number depends on the key, the count of calls before it and the arguments.

    Args:
        key: any number of integers.
    """

    def __init__(self, *key: int) -> None:
        words = np.zeros(2, np.uint64)
        for part in key:  # FNV-1a over the key's parts, in two lanes
            for lane in range(2):
                words[lane] = (
                    (int(words[lane]) ^ (part + 0x9E3779B97F4A7C15 * (lane + 1))) * 0x100000001B3
                    + part
                ) & (2**64 - 1)
        self._source = np.random.Philox(key=words)
        self._buffer: list[int] = []

    def word(self) -> int:
        """Returns the next word: an integer, uniform in [0, 2^64)."""
        if not self._buffer:
            self._buffer = self._source.random_raw(32).tolist()[::-1]
        return self._buffer.pop()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Returns a number that is uniform in [low, high), in the unit of its bounds.

        It is low + (high - low) u in float64, with u a multiple of 2^-53 in [0, 1). Rounding may
        give `high` itself, unless the bounds are 0 and 1.
        """
        return low + (high - low) * ((self.word() >> 11) * 2.0**-53)

    def integer(self, n: int) -> int:
        """Returns an integer, uniform in 0 .. n - 1."""
        return self.word() % n  # n is tiny against 2^64: the bias is below 1e-17

    def choice(self, items: Sequence[T], weights: Collection[float] | None = None) -> T:
        """Returns one of `items`, drawn uniformly or in proportion to `weights`.

        Args:
            items: at least one item.
            weights: one for each item, none negative, with a sum above 0. Default: None, uniform.
        """
        if weights is None:
            return items[self.integer(len(items))]
        u = self.uniform(0.0, sum(weights))
        for item, weight in zip(items, weights, strict=True):
            u -= weight
            if u < 0.0:
                return item
        return items[-1]


def noise(n: int, *key: int) -> np.ndarray:
    """Returns white noise, float64 [n], uniform in [-1, 1) and without a unit.

    The values are 2 u - 1 for the first n numbers u = uniform() of `Stream(*key)`, computed in one
    call.
    """
    words = Stream(*key)._source.random_raw(n)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
