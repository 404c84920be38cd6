"""The public function: which implementation runs.

Skip to `spatial_attention`; what it computes is in `reference.py`.
"""

import functools
import math

import jax

from kernels.dispatch import Implementation, select
from kernels.spatial_attention.specs import Spec

# Best first. "xla" is the reference; every one has `check` and `attend`, which JAX differentiates.
IMPLEMENTATIONS = {
    "cudnn": Implementation("kernels.spatial_attention.cudnn", "gpu"),
    "pallas_tpu": Implementation("kernels.spatial_attention.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.spatial_attention.reference"),
}


def spatial_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    q_scale: jax.Array,
    k_scale: jax.Array,
    angles: jax.Array,
    *,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> jax.Array:
    """Every token of a sequence attends to all of it; q and k are normalised per head and rotated
    here.

    q, k, v          [..., S, H, D] over sites and heads, of one dtype; as the projections leave
                     them, before any norm
    q_scale, k_scale [D] of the RMS norm of q and k (epsilon 1e-6); used in float32
    angles           [S, D/2] by which plane (x_i, x_{i + D/2}) turns at each site; no gradient
                     flows into them
    implementation   "cudnn", "pallas_tpu" or "xla"; default the first for this platform that can.
                     One that is named never falls back
    sharding         how q, k and v lie on a mesh. The kernel then runs in a `shard_map` island: all
                     axes but S and D may be sharded

    Returns [..., S, H, D], dtype of q. Raises ValueError for shapes that do not fit together, or an
    unknown implementation; `kernels.errors.Unsupported`, a NotImplementedError, for what the
    implementation cannot do, with what it can.
    """
    _check_shapes(q, k, v, q_scale, k_scale, angles)
    angles = jax.lax.stop_gradient(angles)
    run = functools.partial(_run, implementation=implementation)
    if sharding is None:
        return run(q, k, v, q_scale, k_scale, angles)
    *batch, sites, heads, width = (*sharding.spec, *(None,) * (q.ndim - len(sharding.spec)))
    if sites is not None or width is not None:
        raise ValueError(
            "spatial_attention: sites and head width must not be sharded, but the sharding is "
            f"{sharding.spec}"
        )
    of_x, whole = jax.P(*batch, None, heads, None), jax.P()
    # check_vma: kernel calls do not say over which axes their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x,) * 3 + (whole,) * 3,
        out_specs=of_x,
        check_vma=False,
    )
    return island(q, k, v, q_scale, k_scale, angles)


def _check_shapes(q, k, v, q_scale, k_scale, angles) -> None:
    if q.ndim < 3:
        raise ValueError(f"spatial_attention: q is {q.shape}; give [..., S, H, D]")
    S, _, D = q.shape[-3:]
    if D % 2:
        raise ValueError(
            f"spatial_attention: heads of {D} numbers cannot be rotated; give an even width"
        )
    expected = {
        "k": (k, q.shape),
        "v": (v, q.shape),
        "q_scale": (q_scale, (D,)),
        "k_scale": (k_scale, (D,)),
        "angles": (angles, (S, D // 2)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(
                f"spatial_attention: {name} is {array.shape}; beside q {q.shape} it must be {shape}"
            )
    for name, array in {"k": k, "v": v}.items():
        if array.dtype != q.dtype:
            raise ValueError(
                f"spatial_attention: q is {q.dtype} and {name} {array.dtype}; give one dtype"
            )
    if 0 in q.shape:
        raise ValueError(f"spatial_attention: nothing to attend to in q {q.shape}")


def _run(q, k, v, q_scale, k_scale, angles, *, implementation):
    """On one device: an implementation chosen, and leading axes folded into N for a kernel; XLA
    would have to move what is sharded.
    """
    shape = q.shape
    spec = Spec(math.prod(shape[:-3]), *shape[-3:], dtype=q.dtype.name)
    name, module = select("spatial_attention", IMPLEMENTATIONS, spec, implementation)
    if name != "xla":
        q, k, v = (x.reshape(-1, *shape[-3:]) for x in (q, k, v))
    return module.attend(q, k, v, q_scale, k_scale, angles).reshape(shape)
