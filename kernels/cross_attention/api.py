"""The public function `cross_attention`: its implementations, derivative, batching and sharding.

`reference.py` specifies what it computes.
"""

import functools
import math
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import NamedSharding
from jaxtyping import Bool, Float

from kernels import settings
from kernels.batching import fold_vmap
from kernels.cross_attention.specs import Spec
from kernels.dispatch import Implementation, select

# In order of preference. "xla" is the reference, differentiated by JAX. The others have `check`,
# `forward` and `backward`.
IMPLEMENTATIONS = {
    "triton": Implementation("kernels.cross_attention.triton", "gpu"),
    "pallas_tpu": Implementation("kernels.cross_attention.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.cross_attention.reference"),
}


def cross_attention(
    q: Float[Array, "*B T S H D"],
    k: Float[Array, "*B M H D"],
    v: Float[Array, "*B M H D"],
    q_scale: Float[Array, " D"],
    *,
    angles: Float[Array, "T D//2"] | None = None,
    visible: Bool[Array, "..."] | None = None,
    implementation: str | None = None,
    sharding: NamedSharding | None = None,
) -> Float[Array, "*B T S H D"]:
    """Attention from every token of a video to the same few keys, such as the words of a prompt.

    Queries are normalised per head and rotated inside. Source: QK-norm as in ViT-22B (Dehghani et
    al. 2023, arXiv:2302.05442), rotary embedding RoFormer (Su et al. 2021, arXiv:2104.09864).

    Every number must be finite, including keys and values that `visible` hides.

    Args:
        q: [..., T, S, H, D] over frames, sites and heads, straight from the projection (neither
            normalised nor rotated).
        k, v: [..., M, H, D] of q's dtype, the same for all frames and sites. The keys must be
            normalised and rotated already (`temporal_attention.reference.normalise_and_rotate`).
        q_scale: [D] gain of the RMS norm of q (epsilon 1e-6); used in float32.
        angles: [T, D/2] rotation angle of each plane (x_i, x_{i + D/2}) at each frame, in radians.
            No gradient flows into it. Default None: no rotation.
        visible: bool [..., M], the keys that may be attended to, or [..., T, M], by which frame.
            Default None: all. A query without any visible key gives 0.
        implementation: "triton", "pallas_tpu" or "xla". Default: the first that this platform
            supports. A named implementation never falls back.
        sharding: the sharding of q on a mesh; default None. The kernel runs in a `shard_map`
            island. All axes except D may be sharded. k and v are sharded as the batch and the heads
            of q, visible and angles as the batch and the frames.

    Returns:
        [..., T, S, H, D] of q's dtype. A kernel can be differentiated once, in reverse mode; "xla"
        any number of times and in both modes.

    Raises:
        ValueError: shapes or dtypes do not match, D is sharded, or the implementation is unknown.
        kernels.errors.Unsupported: the implementation does not support the call; the message says
            what it supports. A subclass of NotImplementedError.
    """
    angles = None if angles is None else jax.lax.stop_gradient(angles)
    arrays = (q, k, v, q_scale, angles, visible)
    _check_shapes(*arrays)
    run = functools.partial(_run, implementation=implementation)
    if sharding is None:
        return run(*arrays)
    *batch, frames, sites, heads, width = (*sharding.spec, *(None,) * (q.ndim - len(sharding.spec)))
    if width is not None:
        raise ValueError(
            f"cross_attention: head width must not be sharded, but the sharding is {sharding.spec}"
        )
    of_x, of_keys = jax.P(*batch, frames, sites, heads, None), jax.P(*batch, None, heads, None)
    one_mask = visible is not None and visible.ndim == q.ndim - 3
    of_mask = jax.P(*batch, None) if one_mask else jax.P(*batch, frames, None)
    # An array that is None takes no spec.
    specs = (of_x, of_keys, of_keys, jax.P(), jax.P(frames, None), of_mask)
    # check_vma is off: kernel calls do not declare the mesh axes over which their results vary.
    island = jax.shard_map(run, mesh=sharding.mesh, in_specs=specs, out_specs=of_x, check_vma=False)
    return island(*arrays)


def _check_shapes(
    q: Array, k: Array, v: Array, q_scale: Array, angles: Array | None, visible: Array | None
) -> None:
    if q.ndim < 4:
        raise ValueError(f"cross_attention: q is {q.shape}; give [..., T, S, H, D]")
    *batch, T, _, H, D = q.shape
    M = k.shape[-3] if k.ndim > 2 else 0
    expected = {
        "k": (k, (*batch, M, H, D)),
        "v": (v, (*batch, M, H, D)),
        "q_scale": (q_scale, (D,)),
    }
    if angles is not None:
        if D % 2:
            raise ValueError(
                f"cross_attention: heads of {D} numbers cannot be rotated; give an even width"
            )
        expected["angles"] = (angles, (T, D // 2))
    if visible is not None:
        frames = () if visible.ndim == q.ndim - 3 else (T,)
        expected["visible"] = (visible, (*batch, *frames, M))
    for name, (array, shape) in expected.items():
        if array.shape != tuple(shape):
            raise ValueError(
                f"cross_attention: {name} is {array.shape}; beside q {q.shape} it must be "
                f"{tuple(shape)}"
            )
    if 0 in q.shape or 0 in k.shape:
        raise ValueError(f"cross_attention: nothing to attend to in q {q.shape}, k {k.shape}")
    for name, array in {"k": k, "v": v}.items():
        if array.dtype != q.dtype:
            raise ValueError(
                f"cross_attention: q is {q.dtype} and {name} {array.dtype}; give one dtype"
            )
    if visible is not None and visible.dtype != bool:
        raise ValueError(f"cross_attention: visible is {visible.dtype}; give bool")


def _spec(
    q: Array, k: Array, _v: Array, _scale: Array, angles: Array | None, visible: Array | None
) -> Spec:
    masks = 0
    if visible is not None:
        masks = 1 if visible.ndim == q.ndim - 3 else q.shape[-4]
    return Spec(
        math.prod(q.shape[:-4]),
        *q.shape[-4:],
        M=k.shape[-3],
        dtype=q.dtype.name,
        masks=masks,
        turned=angles is not None,
    )


def _run(
    q: Array,
    k: Array,
    v: Array,
    q_scale: Array,
    angles: Array | None,
    visible: Array | None,
    *,
    implementation: str | None,
) -> Array:
    """Runs on one device: selects an implementation and calls it.

    Leading axes are folded into B for a kernel only: folding would make XLA move sharded arrays.
    """
    q_scale = q_scale.astype(jnp.float32)
    angles = None if angles is None else angles.astype(jnp.float32)
    spec = _spec(q, k, v, q_scale, angles, visible)
    name, module = select("cross_attention", IMPLEMENTATIONS, spec, implementation)
    if name == "xla":
        return module.attend(q, k, v, q_scale, angles, visible)
    batch = q.ndim - 4
    q_, k, v = (x.reshape(-1, *x.shape[batch:]) for x in (q, k, v))
    if visible is not None:
        visible = visible.reshape(-1, *visible.shape[batch:])
    attend = _kernel(name, module, settings.key())
    return attend(q_, k, v, q_scale, angles, visible).reshape(q.shape)


@functools.cache
def _kernel(name: str, module: Any, key: Hashable) -> Callable[..., Array]:
    """Returns an implementation's kernels as one function that supports differentiation and vmap.

    `key` is `settings.key()`: it makes the cache depend on the settings that a trace depends on.
    """
    # For q, k, v, q_scale, angles, visible: whether the array leads with B. vmap folds its axis
    # into that B.
    has_batch = (True, True, True, False, False, True)

    def forward(*arrays):
        return module.forward(_spec(*arrays), *arrays)

    def backward(o, saved, do, *arrays):
        return module.backward(_spec(*arrays), o, saved, do, *arrays)

    forward = fold_vmap(forward, has_batch, f"cross_attention, {name}")
    backward = fold_vmap(backward, (True, True, True, *has_batch), f"cross_attention, {name}")

    def attend_once(*arrays):
        return forward(*arrays)[0]

    attend = jax.custom_vjp(attend_once)

    def save(*arrays):
        o, saved = forward(*arrays)
        return o, (o, saved, arrays)

    def pull_back(residuals, do):
        o, saved, arrays = residuals
        dq, dk, dv, dq_scale = backward(o, saved, do, *arrays)
        # None for angles, which are constants, and for visible, which has no derivative.
        return dq, dk, dv, dq_scale.sum(0), None, None

    attend.defvjp(save, pull_back)
    return attend
