"""The public function `spatial_attention`: its implementations and sharding.

`reference.py` specifies what it computes.
"""

import functools
import math

import jax
from jax import Array
from jaxtyping import Float

from kernels.dispatch import Implementation, select
from kernels.spatial_attention.specs import Spec

# In order of preference. "xla" is the reference. Each has `check` and `attend`; JAX differentiates
# `attend`.
IMPLEMENTATIONS = {
    "triton": Implementation(
        "kernels.spatial_attention.triton", "gpu", jvp="kernels.temporal_attention.triton_jvp"
    ),
    "cudnn": Implementation("kernels.spatial_attention.cudnn", "gpu"),
    "pallas_tpu": Implementation("kernels.spatial_attention.pallas_tpu", "tpu"),
    "xla": Implementation("kernels.spatial_attention.reference"),
}


def spatial_attention(
    q: Float[Array, "*B S H D"],
    k: Float[Array, "*B S H D"],
    v: Float[Array, "*B S H D"],
    q_scale: Float[Array, " D"],
    k_scale: Float[Array, " D"],
    angles: Float[Array, "S D//2"],
    *,
    implementation: str | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
) -> Float[Array, "*B S H D"]:
    """Full attention within each sequence, with QK-norm and rotary embedding inside.

    Queries and keys are normalised per head (QK-norm), then rotated (RoPE, arXiv:2104.09864).

    Args:
        q, k, v: [..., S, H, D] over sites and heads, of one dtype, straight from the projections
            (neither normalised nor rotated).
        q_scale, k_scale: [D] gains of the RMS norms of q and k (epsilon 1e-6); used in float32.
        angles: [S, D/2] rotation angle of each plane (x_i, x_{i + D/2}) at each site, in radians.
            No gradient flows into it.
        implementation: "triton" (up to 64 sites), "cudnn", "pallas_tpu" or "xla". Default: the
            first that this platform supports. A named implementation never falls back.
        sharding: the sharding of q, k and v on a mesh; default None. The kernel runs in a
            `shard_map` island. All axes except S and D may be sharded.

    Returns:
        [..., S, H, D] of q's dtype.

    Raises:
        ValueError: shapes or dtypes do not match, S or D is sharded, or the implementation is
            unknown.
        kernels.errors.Unsupported: the implementation does not support the call; the message says
            what it supports. A subclass of NotImplementedError.
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
    # check_vma is off: kernel calls do not declare the mesh axes over which their results vary.
    island = jax.shard_map(
        run,
        mesh=sharding.mesh,
        in_specs=(of_x,) * 3 + (whole,) * 3,
        out_specs=of_x,
        check_vma=False,
    )
    return island(q, k, v, q_scale, k_scale, angles)


def _check_shapes(
    q: Array, k: Array, v: Array, q_scale: Array, k_scale: Array, angles: Array
) -> None:
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


def _run(
    q: Array,
    k: Array,
    v: Array,
    q_scale: Array,
    k_scale: Array,
    angles: Array,
    *,
    implementation: str | None,
) -> Array:
    """Runs on one device: selects an implementation and calls it.

    Leading axes are folded into N for a kernel only: folding would make XLA move sharded arrays.
    """
    shape = q.shape
    spec = Spec(math.prod(shape[:-3]), *shape[-3:], dtype=q.dtype.name)
    name, module = select("spatial_attention", IMPLEMENTATIONS, spec, implementation)
    if name != "xla":
        q, k, v = (x.reshape(-1, *shape[-3:]) for x in (q, k, v))
    return module.attend(q, k, v, q_scale, k_scale, angles).reshape(shape)
