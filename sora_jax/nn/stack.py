"""A stack of equal blocks as one module whose parameters have a leading depth axis, run by
`jax.lax.scan`.

Compile time and program size do not grow with depth. A stacked module is an ordinary NNX module
(its parameters are arrays [depth, ...]), but only `scan_stack` can call it.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from flax import nnx

M = TypeVar("M", bound=nnx.Module)

# what self-attention puts out is given this name (`jax.ad_checkpoint.checkpoint_name`)
KEPT = "attention"
# What is kept of a block for the backward pass, which recomputes the rest; after each, bytes and
# FLOPs fall between its neighbours'.
REMAT: Mapping[str, Any] = {
    "none": None,  # everything is kept
    # the results of products with weights
    "matmuls": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "attention": jax.checkpoint_policies.save_only_these_names(KEPT),  # what attention puts out
    "block": jax.checkpoint_policies.nothing_saveable,  # only what goes into a block
}


def init_stack(make: Callable[[nnx.Rngs], M], depth: int, rngs: nnx.Rngs) -> M:
    """`depth` independently initialised modules from `make`, stacked along a new leading axis of
    every parameter.
    """
    keys = jax.random.split(rngs.params(), depth)
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))

    def initial(key):
        return nnx.state(make(nnx.Rngs(key)))

    return nnx.merge(graphdef, jax.vmap(initial)(keys))


def scan_stack(
    stack: M,
    step: Callable,
    carry,
    xs=None,
    *,
    remat: str = "none",
    unroll: int = 1,
    weights: Callable | None = None,
):
    """carry <- step(block, carry, x) over the depth axis; returns the last carry.

    xs is a pytree with a leading depth axis, or None. remat is a name of `REMAT`. unroll blocks are
    laid out per iteration: faster on small CPU models, at the price of compile time. weights maps
    the parameters of one block just before it runs, and again before it is recomputed
    (`layout.Layout.weights`).
    """
    graphdef, state = nnx.split(stack)

    def body(carry, inputs):
        block_state, x = inputs
        block_state = weights(block_state) if weights else block_state
        return step(nnx.merge(graphdef, block_state), carry, x), None

    if remat != "none":
        body = jax.checkpoint(body, prevent_cse=False, policy=REMAT[remat])
    return jax.lax.scan(body, carry, (state, xs), unroll=unroll)[0]
