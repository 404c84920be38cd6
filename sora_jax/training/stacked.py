"""Muon with one batched Newton-Schulz iteration per shape of matrix, not per parameter.

    stack [n, rows, columns] = every matrix of that shape, tall ones transposed                (1)
    update of the parameters = ungroup(muon(group(gradients), group(parameters)))              (2)

The updates equal those of plain Muon, which transposes tall matrices too. Only the batching of
the matrix products differs. The 131 matrices of the model `nano` are stored in 55 kernels and have
13 shapes, and Newton-Schulz takes 15 products, so an update takes 195 batched products instead of
825. This is meant for GPUs, where launching a product of 192 x 192 costs more than computing it. A
CPU is slower with it: the optimizer's part of a step of `nano` took 274.3 ms instead of 208.6 ms on
two cores.

The optimizer state holds the momenta as stacks. Its other leaves have the names and shapes of
their parameters.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from flax.traverse_util import unflatten_dict

from sora_jax.parallel.rules import STACKED
from sora_jax.tree import flatten


def by_shape(
    inner: optax.GradientTransformation, axes: Callable[[Any], Any]
) -> optax.GradientTransformation:
    """Returns a transformation that applies `inner` to matrices stacked by shape, one batched call
    per shape.

    The state is that of `inner` for the grouped tree.

    Args:
        inner: the transformation of the grouped tree {STACKED: {"192x768": {"kernel": [n,192,768]},
            ...}, "rest": ...}. It must treat a matrix and its transpose alike, and each stack as n
            matrices, as `optim.matrices` does.
        axes: maps a tree of parameters to a tree of `MuonDimensionNumbers`, the row and column axes
            of each matrix; None for a parameter that is no matrix (`optim.matrices`). The columns
            must be the last axis and the rows the axes immediately before it.
    """

    def init(params: Any) -> Any:
        return inner.init(_group(params, axes))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        grouped = None if params is None else _group(params, axes)
        stacked, state = inner.update(_group(updates, axes), state, grouped)
        return _ungroup(stacked, updates, axes), state

    return optax.GradientTransformation(init, update)


def _split(
    tree: Any, axes: Callable
) -> tuple[dict[str, dict[str, jax.Array]], dict[str, jax.Array]]:
    """Splits a tree into ({"192x768": {path: matrices [n, 192, 768]}, ...}, {path: array that is
    not a matrix}). Tall matrices are transposed.
    """
    matrices, rest = {}, {}
    for (path, x), numbers in zip(flatten(tree).items(), _leaves(axes(tree)), strict=True):
        if numbers is None:
            rest[path] = x
            continue
        rows = prod(x.shape[i] for i in np.atleast_1d(numbers.reduction_axis))
        x = x.reshape(-1, rows, x.shape[-1])
        if rows > x.shape[-1]:
            x = x.swapaxes(1, 2)
        matrices.setdefault(f"{x.shape[1]}x{x.shape[2]}", {})[path] = x
    return matrices, rest


def _leaves(axes: Any) -> list[optax.contrib.MuonDimensionNumbers | None]:
    kind = optax.contrib.MuonDimensionNumbers
    return jax.tree.leaves(axes, is_leaf=lambda x: x is None or isinstance(x, kind))


def _group(tree: Any, axes: Callable) -> dict[str, Any]:
    """Groups a tree for the inner transformation, equation (1)."""
    matrices, rest = _split(tree, axes)
    stacks = {size: {"kernel": jnp.concatenate(list(of.values()))} for size, of in matrices.items()}
    return {STACKED: stacks, "rest": unflatten_dict(rest, sep="/")}


def _ungroup(grouped: Any, like: Any, axes: Callable) -> Any:
    """Inverts `_group`: returns a tree with the structure and shapes of `like`."""
    found = flatten(grouped["rest"])
    for size, of in _split(like, axes)[0].items():
        ends = np.cumsum([len(x) for x in of.values()])[:-1]
        found |= zip(of, jnp.split(grouped[STACKED][size]["kernel"], ends), strict=True)
    leaves = []
    for path, x in flatten(like).items():
        tall = found[path].shape[-1] != x.shape[-1]
        restored = found[path].swapaxes(1, 2) if tall else found[path]
        leaves.append(restored.reshape(x.shape))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
