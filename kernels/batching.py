"""`jax.vmap` for kernels: folds the mapped axis into the batch axis.

JAX has no batching rule for the call of a kernel, and no derivative. A second derivative would need
one, because it differentiates the passes of a `jax.custom_vjp`. It is refused in one line.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from kernels.errors import Unsupported


def fold_vmap(function: Callable, has_batch: tuple[bool, ...], name: str) -> Callable:
    """Returns `function` with a rule for `jax.vmap`. With N the size of the mapped axis, arrays
    [N, B, ...] are reshaped to [N B, ...], and `function` is called once.

    Args:
        function: a function of arrays or pytrees. The first axis of every result is the batch, B.
        has_batch: for each argument, whether the first axis of its leaves is the batch, B.
        name: the operation's name, for error messages.

    Raises:
        NotImplementedError: under `jax.vmap`, an argument without a batch axis is mapped.
        Unsupported: the result is differentiated.
    """
    once = jax.custom_jvp(function)
    mapped = custom_vmap(once)

    @once.defjvp
    def derivative(primals, tangents):
        raise Unsupported(
            f"{name}: differentiates once; implementation='xla' differentiates any number of times"
        )

    @mapped.def_vmap
    def rule(size, is_mapped, *arguments):
        check_mapped([any(jax.tree.leaves(m)) for m in is_mapped], has_batch, name)
        folded = [
            jax.tree.map(functools.partial(fold, size=size), a, m) if has else a
            for a, m, has in zip(arguments, is_mapped, has_batch, strict=True)
        ]
        unfolded = jax.tree.map(functools.partial(unfold, size=size), mapped(*folded))
        return unfolded, jax.tree.map(lambda _: True, unfolded)

    return mapped


def check_mapped(mapped: Sequence[bool], has_batch: Sequence[bool], name: str) -> None:
    """Raises `NotImplementedError` if an argument of `name` is mapped that has no batch axis.

    `mapped` and `has_batch` have an entry for each argument.
    """
    if any(m and not has for m, has in zip(mapped, has_batch, strict=True)):
        raise NotImplementedError(
            f"{name} under jax.vmap maps what has a batch axis only; use jax.lax.map for its "
            "scales and angles"
        )


def fold(x: jax.Array, mapped: bool, size: int) -> jax.Array:
    """Returns x [N, B, ...] as [N B, ...], with N = `size`. An x that is not mapped has no axis N,
    and is repeated.
    """
    x = x if mapped else jnp.broadcast_to(x, (size, *x.shape))
    return x.reshape(size * x.shape[1], *x.shape[2:])


def unfold(x: jax.Array, size: int) -> jax.Array:
    """Inverts `fold`: x [N B, ...] -> [N, B, ...]."""
    return x.reshape(size, x.shape[0] // size, *x.shape[1:])
