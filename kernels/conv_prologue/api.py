"""The public function: which implementation runs, its derivative, its batching and its sharding.

Skip to `conv_prologue`; what it computes is in `reference.py`.
"""

import functools

import jax
import jax.numpy as jnp

from kernels import settings
from kernels.batching import fold_vmap
from kernels.conv_prologue.specs import Spec
from kernels.dispatch import Implementation, select

# Best first. "xla" is the reference, differentiated by JAX; every other has `check`, `forward` and
# `backward`.
IMPLEMENTATIONS = {
    "triton": Implementation("kernels.conv_prologue.triton", "gpu"),
    "pallas_tpu": Implementation("kernels.conv_prologue.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.conv_prologue.reference"),
}


def conv_prologue(
    x: jax.Array,
    gain: jax.Array,
    cache: jax.Array,
    *,
    padding: int = 0,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> tuple[jax.Array, jax.Array]:
    """RMS norm, gain and SiLU of x, behind the frames that a causal convolution still needs, with
    zeros around: its whole input.

    x                [..., T, H, W, C] frames, channels last
    gain             [C] of the RMS norm over channels (epsilon 1e-6); used in float32
    cache            [..., K, H, W, C] of x's dtype: what this function made of the K frames before,
                     normalised and activated; zeros before the first. For a convolution over k
                     frames K = k - 1, at least 1
    padding          P rows and columns of zeros on every side of every frame. A convolution that
                     pads by itself needs none
    implementation   "triton", "pallas_tpu" or "xla"; default the first for this platform that can.
                     One that is named never falls back
    sharding         how x lies on a mesh. The kernel then runs in a `shard_map` island: the batch
                     may be sharded, H and W too where padding is 0, T and C not. The cache is split
                     alike, the gain is on every device

    Returns (past [..., K + T, H + 2 P, W + 2 P, C], cache [..., K, H, W, C]) of x's dtype: the
    convolution's input, which needs no padding along time, and the cache for the next piece. Raises
    ValueError for shapes that do not fit together, or an unknown implementation;
    `kernels.errors.Unsupported`, a NotImplementedError, for what the implementation cannot do, with
    what it can. A kernel can be differentiated once, in reverse. Source: RMS norm Zhang & Sennrich
    2019; the cached causal convolution as in Wan's video autoencoder (Wan et al. 2025).
    """
    _check_shapes(x, gain, cache, padding)
    run = functools.partial(_run, padding=padding, implementation=implementation)
    if sharding is None:
        return run(x, gain, cache)
    *batch, frames, rows, columns, channels = (
        *sharding.spec,
        *(None,) * (x.ndim - len(sharding.spec)),
    )
    if (
        frames is not None
        or channels is not None
        or padding
        and (rows is not None or columns is not None)
    ):
        fixed = "frames, channels and padded rows and columns" if padding else "frames and channels"
        raise ValueError(
            f"conv_prologue: {fixed} must not be sharded, but the sharding is {sharding.spec}"
        )
    of_x = jax.P(*batch, None, rows, columns, None)
    # check_vma: kernel calls do not say over which axes their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x, jax.P(), of_x),
        out_specs=(of_x, of_x),
        check_vma=False,
    )
    return island(x, gain, cache)


def _check_shapes(x, gain, cache, padding) -> None:
    if x.ndim < 4:
        raise ValueError(f"conv_prologue: x is {x.shape}; give [..., T, H, W, C]")
    *batch, _, H, W, C = x.shape
    K = cache.shape[-4] if cache.ndim > 3 else 1
    for name, array, shape in (("gain", gain, (C,)), ("cache", cache, (*batch, K, H, W, C))):
        if array.shape != shape:
            raise ValueError(
                f"conv_prologue: {name} is {array.shape}; beside x {x.shape} it must be {shape}"
            )
    if cache.dtype != x.dtype:
        raise ValueError(f"conv_prologue: x is {x.dtype} and cache {cache.dtype}; give one dtype")
    if 0 in x.shape or K == 0:
        raise ValueError(
            f"conv_prologue: x is {x.shape} and cache {cache.shape}; give one frame or more of both"
        )
    if padding < 0:
        raise ValueError(f"conv_prologue: padding is {padding}; give 0 or more")


def _run(x, gain, cache, *, padding, implementation):
    """On one device: leading axes folded into B, an implementation chosen, its results unfolded."""
    batch = x.shape[:-4]
    x, cache = x.reshape(-1, *x.shape[-4:]), cache.reshape(-1, *cache.shape[-4:])
    name, module = select(
        "conv_prologue", IMPLEMENTATIONS, _spec(x, cache, padding), implementation
    )
    gain = gain.astype(jnp.float32)
    results = (
        module.prologue(x, gain, cache, padding=padding)
        if name == "xla"
        else _kernel(name, module, padding, settings.key())(x, gain, cache)
    )
    return tuple(result.reshape(*batch, *result.shape[1:]) for result in results)


def _spec(x, cache, padding):
    return Spec(*x.shape, K=cache.shape[1], P=padding, dtype=x.dtype.name)


@functools.cache
def _kernel(name, module, padding, key):
    """An implementation's kernels as one function that can be differentiated and mapped.

    key: of the settings under which the function will be traced.
    """

    def forward(x, gain, cache):
        return module.forward(_spec(x, cache, padding), x, gain, cache)

    def backward(x, gain, dpast, dnext):
        return module.backward(_spec(x, dnext, padding), x, gain, dpast, dnext)

    forward = fold_vmap(forward, (True, False, True), f"conv_prologue, {name}")
    backward = fold_vmap(backward, (True, False, True, True), f"conv_prologue, {name}")
    prologue = jax.custom_vjp(forward)

    def save(x, gain, cache):
        return forward(x, gain, cache), (x, gain)

    def pull_back(kept, gradients):
        dx, dgain, dcache = backward(*kept, *gradients)
        return dx, dgain.sum(0), dcache

    prologue.defvjp(save, pull_back)
    return prologue
