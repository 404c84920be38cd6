"""What a function costs, read from its jaxpr without running it: floating-point operations, and
memory kept for its gradient.

    dot_general        2 * batch * rows * columns * contracted                                   (1)
    convolution        2 * outputs * (kernel size / output features)                             (2)
    scan               length * body                                                             (3)
    cond               the dearest branch                                                        (4)
    a kernel           what it states (the `cost_estimate` of a `pallas_call`)                   (5)

Only products count, as in every published model's FLOPs: elementwise work is left out.
Recomputation under `jax.checkpoint` shows in the jaxpr of a gradient and is counted, so take a
model's own FLOPs from the function without it. A `while_loop` has no known length and a kernel may
state nothing: both raise, because a silent zero would be believed.

`stored_bytes` adds up what the forward pass keeps for the backward pass: an upper bound, since a
compiler may recompute cheap parts.
"""

from collections.abc import Callable, Iterator
from math import prod

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from sora_jax.compat import shard_map_axes


def count_flops(function: Callable, *args, **kwargs) -> int:
    """FLOPs of `function(*args)`; arguments may be `jax.ShapeDtypeStruct`s, nothing is computed.

    Raises NotImplementedError at a while loop with products inside, or at a kernel that states no
    cost.
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def jaxpr_flops(jaxpr: Jaxpr) -> int:
    """Equations (1) to (5), summed over the equations of a jaxpr and of the jaxprs inside them."""
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2 * prod(equation.outvars[0].aval.shape) * prod(left[i] for i in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = kernel[params["dimension_numbers"].rhs_spec[0]]
        return 2 * prod(equation.outvars[0].aval.shape) * prod(kernel) // features
    if name == "pallas_call":
        estimate = params.get("cost_estimate")
        if estimate is None:
            raise NotImplementedError("a pallas_call without cost_estimate: state its FLOPs there")
        return int(estimate.flops)
    if name == "scan":
        return params["length"] * jaxpr_flops(params["jaxpr"].jaxpr)
    if name == "cond":
        return max(jaxpr_flops(branch.jaxpr) for branch in params["branches"])
    inner = sum(jaxpr_flops(inner) for inner in _inner_jaxprs(params))
    if name == "while" and inner:
        raise NotImplementedError(
            "a while loop with products inside has no known length: use jax.lax.scan"
        )
    if name == "shard_map":
        return inner * prod(params["mesh"].shape[axis] for axis in shard_map_axes(params))
    return inner


def _inner_jaxprs(params: dict) -> Iterator[Jaxpr]:
    """The jaxprs among an equation's parameters: of a jit, a checkpoint, a custom derivative (its
    forward part) and the like.
    """
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def stored_bytes(function: Callable, params, *args) -> int:
    """Bytes that `function(params, *args)` computes and keeps for its gradient by `params`,
    arguments not counted.
    """

    def residuals(params, *args):
        return jax.tree.leaves(jax.vjp(lambda p: function(p, *args), params)[1])

    jaxpr = jax.make_jaxpr(residuals)(params, *args).jaxpr
    kept = {id(v): v.aval for v in jaxpr.outvars if not isinstance(v, Literal)}
    for given in (*jaxpr.invars, *jaxpr.constvars):
        kept.pop(id(given), None)
    return sum(aval.size * aval.dtype.itemsize for aval in kept.values())
