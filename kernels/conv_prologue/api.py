"""The public function `conv_prologue`: its implementations, derivative, batching and sharding.

`reference.py` specifies what it computes.
"""

import functools
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from kernels import settings
from kernels.batching import fold_vmap
from kernels.conv_prologue.specs import Spec
from kernels.dispatch import Implementation, select

# In order of preference. "xla" is the reference, differentiated by JAX. The others have `check`,
# `forward` and `backward`.
IMPLEMENTATIONS = {
    "triton": Implementation("kernels.conv_prologue.triton", "gpu"),
    "pallas_tpu": Implementation("kernels.conv_prologue.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.conv_prologue.reference"),
}


def conv_prologue(
    x: Float[Array, "*B T H W C"],
    gain: Float[Array, " C"],
    cache: Float[Array, "*B K H W C"],
    *,
    padding: int = 0,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> tuple[
    Float[Array, "*B K+T H+2*{padding} W+2*{padding} C"],
    Float[Array, "*B K H W C"],
]:
    """Prepares the whole input of a causal convolution: norm, SiLU, cached frames and zero padding.

    Applies RMS norm, gain and SiLU to x, puts the cached frames before it and pads every frame with
    zeros. Source: RMS norm Zhang & Sennrich 2019 (arXiv:1910.07467); the cached causal convolution
    as in Wan's video autoencoder (Wan et al. 2025, arXiv:2503.20314).

    Args:
        x: [..., T, H, W, C] frames, channels last.
        gain: [C] of the RMS norm over channels (epsilon 1e-6); used in float32.
        cache: [..., K, H, W, C] of x's dtype: the K frames before x, after norm and SiLU, as the
            previous call returned them. For the first piece of a video, give zeros. K is at least
            1; a convolution over k frames needs K = k - 1.
        padding: P, rows and columns of zeros on every side of every frame. Default 0, for a
            convolution that pads by itself.
        implementation: "triton", "pallas_tpu" or "xla". Default: the first that this platform
            supports. A named implementation never falls back.
        sharding: the sharding of x on a mesh; default None, one device. The kernel runs inside a
            `shard_map`, on each device's part. The batch may be sharded, and H and W if padding is
            0; T and C may not. The cache is sharded as x, the gain is replicated.

    Returns:
        (past [..., K + T, H + 2 P, W + 2 P, C], cache [..., K, H, W, C]), both of x's dtype. past
        is the convolution's input and needs no padding along time. cache is the argument `cache`
        for the next piece of the video. Kernels can be differentiated once, in reverse mode.

    Raises:
        ValueError: shapes or dtypes do not match, an axis is sharded that may not be, or the
            implementation is unknown.
        kernels.errors.Unsupported: the implementation does not support the call; the message says
            what it supports. A subclass of NotImplementedError.
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
        or (padding and (rows is not None or columns is not None))
    ):
        fixed = "frames, channels and padded rows and columns" if padding else "frames and channels"
        raise ValueError(
            f"conv_prologue: {fixed} must not be sharded, but the sharding is {sharding.spec}"
        )
    of_x = jax.P(*batch, None, rows, columns, None)
    # check_vma is off: kernel calls do not declare the mesh axes over which their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x, jax.P(), of_x),
        out_specs=(of_x, of_x),
        check_vma=False,
    )
    return island(x, gain, cache)


def _check_shapes(x: Array, gain: Array, cache: Array, padding: int) -> None:
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


def _run(
    x: Array, gain: Array, cache: Array, *, padding: int, implementation: str | None
) -> tuple[Array, Array]:
    """Computes `conv_prologue` on one device: folds all leading axes of x and cache into one axis
    B, calls an implementation, and unfolds B in the results.
    """
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
    past, next_cache = (result.reshape(*batch, *result.shape[1:]) for result in results)
    return past, next_cache


def _spec(x: Array, cache: Array, padding: int) -> Spec:
    return Spec(*x.shape, K=cache.shape[1], P=padding, dtype=x.dtype.name)


@functools.cache
def _kernel(
    name: str, module: Any, padding: int, key: Hashable
) -> Callable[..., tuple[Array, Array]]:
    """Returns an implementation's kernels as one function (x, gain, cache) -> (past, next cache)
    that supports differentiation and `jax.vmap`.

    `key` is `settings.key()`. It is an argument so that this function's cache depends on all
    settings that a trace depends on.
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

    def pull_back(residuals, gradients):
        dx, dgain, dcache = backward(*residuals, *gradients)
        return dx, dgain.sum(0), dcache

    prologue.defvjp(save, pull_back)
    return prologue
