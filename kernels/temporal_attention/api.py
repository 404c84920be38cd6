"""The public function `temporal_attention`: its implementations, derivative, batching and sharding.

`reference.py` specifies what it computes.
"""

import functools
import importlib
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
from kernels.both_modes import Operation
from kernels.dispatch import Implementation, select
from kernels.temporal_attention.specs import Spec, Windows

# In order of preference. "xla" is the reference, differentiated by JAX. The others have `check`,
# `forward` and `backward`.
IMPLEMENTATIONS = {
    "triton": Implementation(
        "kernels.temporal_attention.triton", "gpu", jvp="kernels.temporal_attention.triton_jvp"
    ),
    "pallas_tpu": Implementation("kernels.temporal_attention.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.temporal_attention.reference"),
}


def temporal_attention(
    q: Float[Array, "*B T S H D"],
    k: Float[Array, "*B T S H D"],
    v: Float[Array, "*B T S H D"],
    q_scale: Float[Array, " D"],
    k_scale: Float[Array, " D"],
    angles: Float[Array, "... D//2"],
    *,
    visible: Bool[Array, "*B T"] | None = None,
    shared_k: Float[Array, "*B A H D"] | None = None,
    shared_v: Float[Array, "*B A H D"] | None = None,
    causal: bool = False,
    windows: Windows | None = None,
    shifted: Bool[Array, ""] | None = None,
    implementation: str | None = None,
    sharding: NamedSharding | None = None,
) -> Float[Array, "*B T S H D"]:
    """Attention along time, separately at every site of a video, or within windows of its tokens.

    Queries and keys are normalised per head and rotated inside. Source: QK-norm as in ViT-22B
    (Dehghani et al. 2023, arXiv:2302.05442), rotary embedding RoFormer (Su et al. 2021,
    arXiv:2104.09864).

    Every number must be finite, including those of frames that `visible` hides. A kernel handles
    several sites in one matrix product, so a NaN or Inf in v, or in the gradient of the result,
    spreads to the other sites of its tile (0 x NaN). In the reference it stays in its own site.

    Args:
        q, k, v: [..., T, S, H, D] over frames, sites and heads, of one dtype, straight from the
            projections (neither normalised nor rotated).
        q_scale, k_scale: [D] gains of the RMS norms of q and k (epsilon 1e-6); used in float32.
        angles: [T, D/2] rotation angle of each plane (x_i, x_{i + D/2}) at each frame, in radians.
            With windows [T, S, D/2], or [1, S, D/2] if all frames have the same angles. No gradient
            flows into it.
        visible: bool [..., T], the frames that may be attended to. Default None: all. A query
            without any visible key gives 0.
        shared_k, shared_v: [..., A, H, D], A additional keys and values that every site attends to,
            whatever the masks. The keys must be normalised and rotated already
            (`reference.normalise_and_rotate`). Default None.
        causal: whether a frame attends only to itself and earlier frames. Default False.
        windows: the windows. Tokens of the same window attend to each other. Default None:
            attention along time.
        shifted: bool array [], whether windows begin half a side earlier along each axis that has
            several windows. Default None: they do not.
        implementation: "triton", "pallas_tpu" or "xla". Default: the first that this platform
            supports. A named implementation never falls back.
        sharding: the sharding of q, k and v on a mesh; default None. The kernel runs in a
            `shard_map` island. The batch, S and H may be sharded; T and D may not, nor S with
            windows. visible and the shared keys and values are sharded likewise, the other
            arguments are replicated.

    Returns:
        [..., T, S, H, D] of q's dtype. A kernel can be differentiated once: "triton" in both modes,
        also in reverse mode past a tangent behind `jax.lax.stop_gradient`, "pallas_tpu" in reverse
        mode. "xla" can be differentiated any number of times.

    Raises:
        ValueError: shapes or dtypes do not match, windows do not fit the grid, an axis is sharded
            that may not be, or the implementation is unknown.
        kernels.errors.Unsupported: the implementation does not support the call; the message says
            what it supports. A subclass of NotImplementedError.
    """
    angles = jax.lax.stop_gradient(angles)
    arrays = (q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v, shifted)
    _check_shapes(*arrays, windows)
    run = functools.partial(_run, causal=causal, windows=windows, implementation=implementation)
    if sharding is None:
        return run(*arrays)
    return _on_mesh(run, sharding, q.ndim, windows)(*arrays)


def _on_mesh(
    run: Callable[..., Array], sharding: NamedSharding, rank: int, windows: Windows | None
) -> Callable[..., Array]:
    """Returns `run` as a `shard_map` island for q of `rank` axes with this sharding.

    Raises:
        ValueError: an axis is sharded that must be whole.
    """
    *batch, frames, sites, heads, width = (*sharding.spec, *(None,) * (rank - len(sharding.spec)))
    if frames is not None or width is not None or (windows is not None and sites is not None):
        whole = "frames and head width" if windows is None else "frames, sites and head width"
        raise ValueError(
            f"temporal_attention: {whole} must not be sharded, but the sharding is {sharding.spec}"
        )
    of_batch, of_shared, whole = jax.P(*batch, None), jax.P(*batch, None, heads, None), jax.P()
    of_x = jax.P(*batch, None, sites, heads, None)
    # An array that is None takes no spec.
    specs = (of_x, of_x, of_x, whole, whole, whole, of_batch, of_shared, of_shared, whole)
    # check_vma is off: kernel calls do not declare the mesh axes over which their results vary.
    return jax.shard_map(run, mesh=sharding.mesh, in_specs=specs, out_specs=of_x, check_vma=False)


def _check_shapes(
    q: Array,
    k: Array,
    v: Array,
    q_scale: Array,
    k_scale: Array,
    angles: Array,
    visible: Array | None,
    shared_k: Array | None,
    shared_v: Array | None,
    shifted: Array | None,
    windows: Windows | None,
) -> None:
    if q.ndim < 4:
        raise ValueError(f"temporal_attention: q is {q.shape}; give [..., T, S, H, D]")
    *batch, T, S, H, D = q.shape
    if D % 2:
        raise ValueError(
            f"temporal_attention: heads of {D} numbers cannot be rotated; give an even width"
        )
    if (shared_k is None) != (shared_v is None):
        raise ValueError("temporal_attention: give both shared_k and shared_v, or neither")
    expected = {
        "k": (k, q.shape),
        "v": (v, q.shape),
        "q_scale": (q_scale, (D,)),
        "k_scale": (k_scale, (D,)),
        "angles": (angles, (T, D // 2)),
    }
    if shifted is not None:
        expected["shifted"] = (shifted, ())
    if windows is not None:
        _check_windows(windows, T, S)
        turned = 1 if angles.shape[:1] == (1,) else T
        expected["angles"] = (angles, (turned, S, D // 2))
    if visible is not None:
        expected["visible"] = (visible, (*batch, T))
    if shared_k is not None:
        A = shared_k.shape[-3] if shared_k.ndim > 2 else 0
        expected |= {
            "shared_k": (shared_k, (*batch, A, H, D)),
            "shared_v": (shared_v, (*batch, A, H, D)),
        }
    for name, (array, shape) in expected.items():
        if array.shape != tuple(shape):
            raise ValueError(
                f"temporal_attention: {name} is {array.shape}; beside q {q.shape} it must be "
                f"{tuple(shape)}"
            )
    empty = {"q": q} if shared_k is None else {"q": q, "shared_k": shared_k}
    if any(0 in array.shape for array in empty.values()):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in empty.items())
        raise ValueError(f"temporal_attention: nothing to attend to in {shapes}")
    for name, array in {"k": k, "v": v, "shared_k": shared_k, "shared_v": shared_v}.items():
        if array is not None and array.dtype != q.dtype:
            raise ValueError(
                f"temporal_attention: q is {q.dtype} and {name} {array.dtype}; give one dtype"
            )
    for name, array in {"visible": visible, "shifted": shifted}.items():
        if array is not None and array.dtype != bool:
            raise ValueError(f"temporal_attention: {name} is {array.dtype}; give bool")
    if shifted is not None and windows is None:
        raise ValueError("temporal_attention: shifted without windows; give both")


def _check_windows(windows: Windows, T: int, S: int) -> None:
    if windows.columns < 1 or S % windows.columns:
        raise ValueError(
            f"temporal_attention: windows.columns={windows.columns} does not divide the {S} sites "
            "of a frame"
        )
    grid = windows.grid(T, S)
    if not all(1 <= side <= length for side, length in zip(windows.sides, grid, strict=True)):
        raise ValueError(
            f"temporal_attention: windows of {windows.sides} frames, rows and columns do not fit "
            f"{grid}; give sides from 1 to these"
        )


def _spec(
    q: Array,
    _k: Array,
    _v: Array,
    _q_scale: Array,
    _k_scale: Array,
    angles: Array,
    visible: Array | None,
    shared_k: Array | None,
    _shared_v: Array | None,
    shifted: Array | None,
    *,
    causal: bool,
    windows: Windows | None,
) -> Spec:
    return Spec(
        math.prod(q.shape[:-4]),
        *q.shape[-4:],
        A=0 if shared_k is None else shared_k.shape[-3],
        dtype=q.dtype.name,
        causal=causal,
        masked=visible is not None,
        windows=windows,
        shifted=shifted is not None,
        turned=0 if windows is None else angles.shape[0],
    )


def _run(
    q: Array,
    k: Array,
    v: Array,
    q_scale: Array,
    k_scale: Array,
    angles: Array,
    visible: Array | None,
    shared_k: Array | None,
    shared_v: Array | None,
    shifted: Array | None,
    *,
    causal: bool,
    windows: Windows | None,
    implementation: str | None,
) -> Array:
    """Runs on one device: selects an implementation and calls it.

    Leading axes are folded into B for a kernel only: folding would make XLA move sharded arrays.
    """
    q_scale, k_scale, angles = (x.astype(jnp.float32) for x in (q_scale, k_scale, angles))
    arrays = (q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v, shifted)
    spec = _spec(*arrays, causal=causal, windows=windows)
    name, module = select("temporal_attention", IMPLEMENTATIONS, spec, implementation)
    if name == "xla":
        *arrays, _ = arrays
        return module.attend(*arrays, causal=causal, windows=windows, shifted=shifted)

    def fold(x: Array | None, rank: int) -> Array | None:
        return None if x is None else x.reshape(-1, *x.shape[x.ndim - rank :])

    attend = _kernel(name, module, causal, windows, settings.key())
    return attend(
        fold(q, 4),
        fold(k, 4),
        fold(v, 4),
        q_scale,
        k_scale,
        angles,
        fold(visible, 1),
        fold(shared_k, 3),
        fold(shared_v, 3),
        shifted,
    ).reshape(q.shape)


@functools.cache
def _kernel(
    name: str, module: Any, causal: bool, windows: Windows | None, key: Hashable
) -> Callable[..., Array]:
    """Returns an implementation's kernels as one function that supports differentiation and vmap.

    `key` is `settings.key()`: it makes the cache depend on the settings that a trace depends on.
    """
    # For q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v, shifted: whether the array
    # leads with B, and whether it has a derivative.
    has_batch = (True, True, True, False, False, False, True, True, True, False)
    varies = (True, True, True, True, True, False, False, True, True, False)
    spec_of = functools.partial(_spec, causal=causal, windows=windows)

    def forward(*arrays):
        return module.forward(spec_of(*arrays), *arrays)

    def backward(do, *arrays):
        return module.backward(spec_of(*arrays), do, *arrays)

    # A second derivative differentiates this, and is refused.
    title = f"temporal_attention, {name}"
    backward = fold_vmap(backward, (True, *has_batch), title)

    def pull_back(do, *arrays):
        dq, dk, dv, dq_scale, dk_scale, dshared_k, dshared_v = backward(do, *arrays)
        # None for angles, which are constants, and for visible and shifted, which have no
        # derivative.
        scales = dq_scale.sum(0), dk_scale.sum(0)
        return dq, dk, dv, *scales, None, None, dshared_k, dshared_v, None

    if IMPLEMENTATIONS[name].jvp:

        def joint(tangents, *arrays):
            path = IMPLEMENTATIONS[name].jvp
            assert path
            return importlib.import_module(path).jvp(spec_of(*arrays), tangents, *arrays)

        return Operation(title, forward, joint, pull_back, has_batch, varies)
    forward = fold_vmap(forward, has_batch, title)
    attend = jax.custom_vjp(forward)

    def save(*arrays):
        return forward(*arrays), arrays

    def pull_back_saved(arrays, do):
        return pull_back(do, *arrays)

    attend.defvjp(save, pull_back_saved)
    return attend
