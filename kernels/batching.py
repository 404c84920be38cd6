"""`jax.vmap` for kernels: the mapped axis is folded into the batch axis, because a kernel call
cannot be mapped.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap


def fold_vmap(function: Callable, has_batch: tuple[bool, ...], name: str) -> Callable:
    """Give `function` a rule for `jax.vmap`: [N, B, ...] -> [N B, ...], one call, and back.

    has_batch says for each argument whether its leaves lead with the batch axis B; all results
    must. Raises NotImplementedError if an argument without that axis is mapped.
    """
    mapped = custom_vmap(function)

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
