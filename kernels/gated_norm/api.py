"""The public function: which implementation runs, its derivative, its batching and its sharding.

Skip to `gated_norm`; what it computes is in `reference.py`.
"""

import functools
import math

import jax

from kernels import settings
from kernels.batching import fold_vmap
from kernels.dispatch import Implementation, select
from kernels.gated_norm import reference
from kernels.gated_norm.specs import Spec

# Best first. "xla" is the reference, differentiated by JAX; every other has `check` and `backward`,
# and shares its forward pass.
IMPLEMENTATIONS = {
    "triton": Implementation("kernels.gated_norm.triton", "gpu"),
    "xla": Implementation("kernels.gated_norm.reference"),
}


def gated_norm(
    x: jax.Array,
    f: jax.Array,
    gate: jax.Array,
    shift: jax.Array,
    scale: jax.Array,
    *,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> tuple[jax.Array, jax.Array]:
    """y = x + gate f and z = (1 + scale) rms(y) + shift: the end of one branch of a block and the
    beginning of the next.

    x, f                [..., S, D] the stream and what a branch adds to it
    gate, shift, scale  [..., D] of x's dtype or float32, one row for all S sites of a frame. The
                        gate is of the branch that ends, shift and scale of the one that begins
    implementation      "triton" or "xla"; default the first for this platform that can. One that is
                        named never falls back
    sharding            how x lies on a mesh. The kernel then runs in a `shard_map` island: all axes
                        but D may be sharded. f is split alike, the rows as the axes before S

    Returns (y, z) [..., S, D] of x's dtype. Implementations differ in the gradient only. Raises
    ValueError for shapes that do not fit together, or an unknown implementation;
    `kernels.errors.Unsupported`, a NotImplementedError, for what the implementation cannot do, with
    what it can. A kernel can be differentiated once, in reverse. Source: adaptive norm and gate as
    in DiT (Peebles & Xie 2022), RMS norm Zhang & Sennrich 2019.
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
    # check_vma: kernel calls do not say over which axes their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x, of_x, of_row, of_row, of_row),
        out_specs=(of_x, of_x),
        check_vma=False,
    )
    return island(x, f, gate, shift, scale)


def _check_shapes(x, f, gate, shift, scale) -> None:
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


def _run(x, f, gate, shift, scale, *, implementation):
    """On one device: an implementation chosen, and leading axes folded into N for a kernel; XLA
    would have to move what is sharded.
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
def _kernel(name, module, key):
    """The reference's forward pass with an implementation's gradient.

    key: of the settings under which the function will be traced.
    """

    def backward(y, *arrays):
        return module.backward(Spec(*y.shape, dtype=y.dtype.name), y, *arrays)

    backward = fold_vmap(backward, (True,) * 6, f"gated_norm, {name}")
    function = jax.custom_vjp(reference.gated_norm)

    def save(x, f, gate, shift, scale):
        y, z = reference.gated_norm(x, f, gate, shift, scale)
        return (y, z), (y, f, gate, scale)

    def pull_back(kept, gradients):
        return backward(*kept, *gradients)

    function.defvjp(save, pull_back)
    return function
