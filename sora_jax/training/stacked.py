"""Muon with one Newton-Schulz iteration for each shape of matrix instead of each parameter.

    stack [n, rows, columns] = every matrix of that shape, tall ones transposed                (1)
    update of the parameters = ungroup(muon(group(gradients), group(parameters)))              (2)

The updates are those of plain Muon, which transposes tall matrices too. What differs is how the
products are cut: the 131 matrices of `nano` lie in 55 kernels and have 13 shapes, so an update is
195 batched products instead of 825. That is meant for GPUs, where starting a product of 192 x 192
costs more than computing it. A CPU is slower with it: the optimizer's part of a step of `nano`
took 274.3 ms instead of 208.6 on two cores.

The state holds the momenta as stacks. Its other leaves are named and shaped as their parameters.
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
    """Equation (2). The state is that of `inner`, for the grouped tree.

    Args:
        inner: acts on {STACKED: {"192x768": {"kernel": [n,192,768]}, ...}, "rest": ...}. It treats
            a matrix and its transpose alike. Its rule for which parameters are matrices must take
            each stack as n of them, as `optim.matrices` does.
        axes: of a tree, which axes make the matrix of each parameter: a tree of
            `MuonDimensionNumbers`, None for the rest. The columns are the last axis, the rows
            those right before it.
    """

    def init(params):
        return inner.init(_group(params, axes))

    def update(updates, state, params=None):
        grouped = None if params is None else _group(params, axes)
        stacked, state = inner.update(_group(updates, axes), state, grouped)
        return _ungroup(stacked, updates, axes), state

    return optax.GradientTransformation(init, update)


def _split(
    tree: Any, axes: Callable
) -> tuple[dict[str, dict[str, jax.Array]], dict[str, jax.Array]]:
    """({"192x768": {path: [n, 192, 768]}}, {path: array that is no matrix})."""
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
    """The tree that the inner transformation acts on, equation (1)."""
    matrices, rest = _split(tree, axes)
    stacks = {size: {"kernel": jnp.concatenate(list(of.values()))} for size, of in matrices.items()}
    return {STACKED: stacks, "rest": unflatten_dict(rest, sep="/")}


def _ungroup(grouped: dict[str, Any], like: Any, axes: Callable) -> Any:
    """The inverse of `_group`: a tree as `like`."""
    found = flatten(grouped["rest"])
    for size, of in _split(like, axes)[0].items():
        ends = np.cumsum([len(x) for x in of.values()])[:-1]
        found |= zip(of, jnp.split(grouped[STACKED][size]["kernel"], ends))
    leaves = []
    for path, x in flatten(like).items():
        tall = found[path].shape[-1] != x.shape[-1]
        restored = found[path].swapaxes(1, 2) if tall else found[path]
        leaves.append(restored.reshape(x.shape))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
