"""The public function `gated_norm`: its implementations, derivative, batching and sharding.

`reference.py` specifies what it computes.
"""

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
from jax import Array
from jaxtyping import Float

from kernels import settings
from kernels.batching import fold_vmap
from kernels.dispatch import Implementation, select
from kernels.gated_norm.specs import Spec

# In order of preference. "xla" is the reference, differentiated by JAX. The others have `check`,
# `forward` and `backward`.
IMPLEMENTATIONS = {
    "triton": Implementation("kernels.gated_norm.triton", "gpu"),
    "xla": Implementation("kernels.gated_norm.reference"),
}


def gated_norm(
    x: Float[Array, "*N S D"],
    f: Float[Array, "*N S D"],
    gate: Float[Array, "*N D"],
    shift: Float[Array, "*N D"],
    scale: Float[Array, "*N D"],
    *,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> tuple[Float[Array, "*N S D"], Float[Array, "*N S D"]]:
    """Gated residual and modulated norm: y = x + gate f and z = (1 + scale) rms(y) + shift.

    Here rms(y) is y divided by its root mean square over D. The operation joins the end of one
    residual branch of a transformer block to the beginning of the next: the gate belongs to the
    branch that ends, shift and scale to the branch that begins. Source: adaptive norm and gate as
    in DiT (Peebles & Xie 2022, arXiv:2212.09748), RMS norm Zhang & Sennrich 2019
    (arXiv:1910.07467).

    Args:
        x: [..., S, D] the residual stream.
        f: [..., S, D] the output of the branch, of x's dtype.
        gate, shift, scale: [..., D] of x's dtype or float32; the same for all S sites (tokens) of a
            frame.
        implementation: "triton" or "xla". Default: the first that this platform supports. A named
            implementation never falls back.
        sharding: the sharding of x on a mesh; default None, one device. The operation runs inside a
            `shard_map`, on each device's part. All axes except D may be sharded. f is sharded as x;
            gate, shift and scale as the axes before S.

    Returns:
        (y, z), each [..., S, D] of x's dtype. Kernels can be differentiated once, in reverse mode.

    Raises:
        ValueError: shapes or dtypes do not match, D is sharded, or the implementation is unknown.
        kernels.errors.Unsupported: the implementation does not support the call; the message says
            what it supports. A subclass of NotImplementedError.
    """
    _check_shapes(x, f, gate, shift, scale)
    run = functools.partial(_run, implementation=implementation)
    if sharding is None:
        return run(x, f, gate, shift, scale)
    *frames, sites, width = (*sharding.spec, *(None,) * (x.ndim - len(sharding.spec)))
    if width is not None:
        raise ValueError(
            f"gated_norm: the width must not be sharded, but the sharding is {sharding.spec}"
        )
    of_x, of_row = jax.P(*frames, sites, None), jax.P(*frames, None)
    # check_vma is off: kernel calls do not declare the mesh axes over which their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x, of_x, of_row, of_row, of_row),
        out_specs=(of_x, of_x),
        check_vma=False,
    )
    return island(x, f, gate, shift, scale)


def _check_shapes(x: Array, f: Array, gate: Array, shift: Array, scale: Array) -> None:
    if x.ndim < 2:
        raise ValueError(f"gated_norm: x is {x.shape}; give [..., S, D]")
    row = (*x.shape[:-2], x.shape[-1])
    for name, array, shape in (
        ("f", f, x.shape),
        ("gate", gate, row),
        ("shift", shift, row),
        ("scale", scale, row),
    ):
        if array.shape != shape:
            raise ValueError(
                f"gated_norm: {name} is {array.shape}; beside x {x.shape} it must be {shape}"
            )
        if array.dtype != x.dtype and (name == "f" or array.dtype != "float32"):
            allowed = "one dtype" if name == "f" else "that dtype or float32"
            raise ValueError(f"gated_norm: x is {x.dtype} and {name} {array.dtype}; give {allowed}")
    if 0 in x.shape:
        raise ValueError(f"gated_norm: nothing to normalise in x {x.shape}")


def _run(
    x: Array,
    f: Array,
    gate: Array,
    shift: Array,
    scale: Array,
    *,
    implementation: str | None,
) -> tuple[Array, Array]:
    """Computes `gated_norm` on one device: selects an implementation and calls it.

    For a kernel, leading axes are folded into one axis N. For "xla" they are not, because folding
    would make XLA move sharded arrays.
    """
    shape = x.shape
    spec = Spec(math.prod(shape[:-2]), *shape[-2:], dtype=x.dtype.name)
    name, module = select("gated_norm", IMPLEMENTATIONS, spec, implementation)
    if name == "xla":
        return module.gated_norm(x, f, gate, shift, scale)
    x, f = (array.reshape(-1, *shape[-2:]) for array in (x, f))
    rows = [row.reshape(-1, shape[-1]).astype("float32") for row in (gate, shift, scale)]
    y, z = _kernel(name, module, settings.key())(x, f, *rows)
    return y.reshape(shape), z.reshape(shape)


@functools.cache
def _kernel(name: str, module: Any, key: Hashable) -> Callable[..., tuple[Array, Array]]:
    """Returns a function (x, f, gate, shift, scale) -> (y, z): the kernels of an implementation, as
    one function that supports reverse mode and vmap.

    `key` is `settings.key()`. It is an argument so that this function's cache depends on all
    settings that a trace depends on.
    """

    def forward(x, *arrays):
        return module.forward(Spec(*x.shape, dtype=x.dtype.name), x, *arrays)

    def backward(y, *arrays):
        return module.backward(Spec(*y.shape, dtype=y.dtype.name), y, *arrays)

    forward = fold_vmap(forward, (True,) * 5, f"gated_norm, {name}")
    backward = fold_vmap(backward, (True,) * 6, f"gated_norm, {name}")
    function = jax.custom_vjp(forward)

    def save(x, f, gate, shift, scale):
        y, z = forward(x, f, gate, shift, scale)
        return (y, z), (y, f, gate, scale)

    def pull_back(residuals, gradients):
        return backward(*residuals, *gradients)

    function.defvjp(save, pull_back)
    return function
