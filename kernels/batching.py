"""`jax.vmap` for kernels: folds the mapped axis into the batch axis.

A kernel call itself has no batching rule. It has no derivative either, which is refused in one
line: the passes of a `jax.custom_vjp` are differentiated only for a second derivative.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from kernels.errors import Unsupported


def fold_vmap(function: Callable, has_batch: tuple[bool, ...], name: str) -> Callable:
    """Gives a kernel's pass a `jax.vmap` rule: [N, B, ...] is folded to [N B, ...] for one call.

    Args:
        function: the pass, of arrays or pytrees. Every result leads with the batch axis B.
        has_batch: for each argument, whether its leaves lead with the batch axis B.
        name: the operation's name, for the error message.

    Returns:
        `function` with the rule. Its rule raises NotImplementedError if an argument without a batch
        axis is mapped, and its derivative raises `Unsupported`.
    """
    once = jax.custom_jvp(function)
    mapped = custom_vmap(once)

    @once.defjvp
    def derivative(primals, tangents):
        raise Unsupported(
            f"{name}: differentiates once, in reverse mode; implementation='xla' differentiates "
            "any number of times, in both modes"
        )

    @mapped.def_vmap
    def rule(size, is_mapped, *arguments):
        if any(
            any(jax.tree.leaves(m)) for m, has in zip(is_mapped, has_batch, strict=True) if not has
        ):
            raise NotImplementedError(
                f"{name} under jax.vmap maps what has a batch axis only; use jax.lax.map for "
                "its scales and angles"
            )

        def fold(x, m):
            x = x if m else jnp.broadcast_to(x, (size, *x.shape))
            return x.reshape(size * x.shape[1], *x.shape[2:])

        folded = [
            jax.tree.map(fold, a, m) if has else a
            for a, m, has in zip(arguments, is_mapped, has_batch, strict=True)
        ]
        results = mapped(*folded)
        unfolded = jax.tree.map(
            lambda x: x.reshape(size, x.shape[0] // size, *x.shape[1:]), results
        )
        return unfolded, jax.tree.map(lambda _: True, unfolded)

    return mapped
