"""Cost of a function, read from its jaxpr without running it: FLOPs, and bytes kept for the
backward pass.

    dot_general        2 * batch * rows * columns * contracted                                   (1)
    convolution        2 * outputs * (kernel size / output features)                             (2)
    scan               length * body                                                             (3)
    cond               the most expensive branch                                                 (4)
    a kernel           the cost it declares (the `cost_estimate` of a `pallas_call`)             (5)

Only products count, as in published FLOP counts; elementwise work is excluded. Recomputation
under `jax.checkpoint` appears in the jaxpr of a gradient and is counted, so count a model's
own FLOPs without it. A `while_loop` has no known length, and some kernels declare no cost, for
example those of Triton and cuDNN. Both raise, because a silent zero would go unnoticed.

`stored_bytes` sums what the forward pass keeps for the backward pass. It is an upper bound,
since a compiler may recompute cheap parts.
"""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from sora_jax.compat import shard_map_axes


def count_flops(function: Callable, *args: Any, **kwargs: Any) -> int:
    """Returns the FLOPs of `function(*args, **kwargs)`, those of its matrix products and
    convolutions, without computing anything.

    Args:
        function: any traceable function.
        *args: arrays or `jax.ShapeDtypeStruct`s.
        **kwargs: the same, by name.

    Raises:
        NotImplementedError: a while loop contains such products, or a kernel declares no cost.
    """
    return jaxpr_flops(jax.make_jaxpr(function)(*args, **kwargs).jaxpr)


def jaxpr_flops(jaxpr: Jaxpr) -> int:
    """Returns the FLOPs of a jaxpr: those of its matrix products and convolutions, inner jaxprs
    included.

    The body of a scan counts once for each of its steps, a conditional as its most expensive
    branch, and a kernel as the cost that it declares. The body of a `shard_map` counts for all
    devices of the mesh. Raises NotImplementedError as `count_flops` does.
    """
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: Any) -> int:
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
    if name == "ffi_call" or name.startswith("dot_product_attention"):  # Triton's and cuDNN's
        raise NotImplementedError(
            f"{name} hides its FLOPs: count inside kernels.target.assume(kernels.target.CPU)"
        )
    if name == "scan":
        return params["length"] * jaxpr_flops(params["jaxpr"].jaxpr)
    if name == "cond":
        return max(jaxpr_flops(branch.jaxpr) for branch in params["branches"])
    inner = sum(jaxpr_flops(inner) for inner in _inner_jaxprs(params))
    if name == "while" and inner:
        raise NotImplementedError(
            "a while loop with products inside has no known length: use jax.lax.scan"
        )
    if name == "shard_map":  # the inner jaxpr is the work of one device
        return inner * prod(params["mesh"].shape[axis] for axis in shard_map_axes(params))
    return inner


def _inner_jaxprs(params: dict) -> Iterator[Jaxpr]:
    """Yields the jaxprs among an equation's parameters `params`: the bodies of a jit, a checkpoint,
    a custom derivative (its forward part) and so on.
    """
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, Jaxpr):
                yield item


def stored_bytes(function: Callable, params: Any, *args: Any) -> int:
    """Returns the bytes of the arrays that `function(params, *args)` computes and keeps for its
    gradient with respect to `params`. The arguments themselves are not counted.

    `params` and `args` may be arrays or `jax.ShapeDtypeStruct`s: nothing is computed.
    """

    def residuals(params: Any, *args: Any) -> Any:
        return jax.tree.leaves(jax.vjp(lambda p: function(p, *args), params)[1])

    jaxpr = jax.make_jaxpr(residuals)(params, *args).jaxpr
    kept = {id(v): v.aval for v in jaxpr.outvars if not isinstance(v, Literal)}
    for given in (*jaxpr.invars, *jaxpr.constvars):
        kept.pop(id(given), None)
    return sum(aval.size * aval.dtype.itemsize for aval in kept.values())
