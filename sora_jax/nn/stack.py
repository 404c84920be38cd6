"""A stack of equal blocks as one module. Its parameters have a leading depth axis, and
`jax.lax.scan` runs it.

Compile time and program size do not grow with depth. A stacked module is an ordinary NNX
module with parameters [depth, ...], but only `scan_stack` can call it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

M = TypeVar("M", bound=nnx.Module)

# name that `jax.ad_checkpoint.checkpoint_name` gives the output of self-attention
KEPT = "attention"
# Rematerialisation policies: which activations a block keeps for the backward pass, which
# recomputes the rest. From first to last, bytes fall and FLOPs rise.
REMAT: Mapping[str, Any] = {
    # keeps all activations
    "none": None,
    # keeps the results of products with weights
    "matmuls": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    # keeps the output of attention
    "attention": jax.checkpoint_policies.save_only_these_names(KEPT),
    # keeps only the input of a block
    "block": jax.checkpoint_policies.nothing_saveable,
}


def init_stack(make: Callable[[nnx.Rngs], M], depth: int, rngs: nnx.Rngs) -> M:
    """Returns `depth` modules as one, each parameter stacked along a new leading axis [depth, ...].

    Args:
        make: rngs -> one module. The modules are initialised independently.
        depth: number of modules.
        rngs: random keys of the initial weights.
    """
    graphdefs = []

    def initial(key: PRNGKeyArray) -> nnx.State:
        graphdef, state = nnx.split(make(nnx.Rngs(key)))
        graphdefs.append(graphdef)
        return state

    state = jax.vmap(initial)(jax.random.split(rngs.params(), depth))
    return nnx.merge(graphdefs[0], state)


def scan_stack(
    stack: M,
    step: Callable[[M, Any, Any], Any],
    carry: Any,
    xs: Any = None,
    *,
    remat: str = "none",
    unroll: int = 1,
    weights: Callable[[Any], Any] | None = None,
) -> Any:
    """Runs a stack: carry <- step(block, carry, x) over the depth axis. Returns the last carry.

    Args:
        stack: a module made by `init_stack`.
        step: (block, carry, x) -> the next carry.
        carry: the first carry, a pytree.
        xs: a pytree of arrays [depth, ...]; x is its part for one block. Default None.
        remat: a name of `REMAT`. Default "none": no recomputation.
        unroll: blocks per iteration of the scan. Default 1. More are faster for small models on CPU
            but take longer to compile.
        weights: parameters of one block -> the parameters that it computes with
            (`layout.Layout.weights`). Called just before the block runs, and again before it is
            recomputed. Default None: identity.
    """
    graphdef, state = nnx.split(stack)

    def body(carry: Any, inputs: tuple[nnx.State, Any]) -> tuple[Any, None]:
        block_state, x = inputs
        block_state = weights(block_state) if weights else block_state
        return step(nnx.merge(graphdef, block_state), carry, x), None

    if remat != "none":
        body = jax.checkpoint(body, prevent_cse=False, policy=REMAT[remat])
    return jax.lax.scan(body, carry, (state, xs), unroll=unroll)[0]
