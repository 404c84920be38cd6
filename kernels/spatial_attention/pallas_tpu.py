"""Spatial attention on TPUs by JAX's splash attention, forward and backward.

XLA computes norm, rotation and layout. Sites are padded to whole blocks. Segment ids keep the
padding out: real sites are segment 1 and attend to each other, padding is segment 0.
"""

from typing import cast

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as mask

from kernels import pallas_call
from kernels.errors import Unsupported
from kernels.spatial_attention.reference import ready
from kernels.spatial_attention.specs import Spec


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if the TPU kernel does not support `spec`."""
    pallas_call.check_runnable()
    if spec.S < 128 or spec.D % 8 or spec.dtype not in ("float32", "bfloat16"):
        raise Unsupported(
            "takes 128 sites or more, heads of a multiple of 8 numbers, float32 or bfloat16, "
            f"not {spec}"
        )


def block(sites: int) -> int:
    """Returns the rows of a block of the TPU kernel for sequences of `sites` sites.

    From 257 sites on it is the size from 256 to 1024, in steps of 128, that needs the least
    padding; the largest of these if several do. At most 256 sites form one block.
    """
    if sites <= 256:
        return -(-sites // 128) * 128
    return min(range(1024, 255, -128), key=lambda rows: -(-sites // rows) * rows)


def attend(q, k, v, q_scale, k_scale, angles) -> jax.Array:
    """Computes attention within each sequence by splash attention, with the arguments and the
    result of `reference.attend`.
    """
    q, k = ready(q, k, q_scale, k_scale, angles)
    sites, heads, rows = q.shape[1], q.shape[2], block(q.shape[1])
    rest = -sites % rows
    q, k, v = (jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, rest), (0, 0))) for x in (q, k, v))
    sizes = splash.BlockSizes(
        block_q=rows,
        block_kv=rows,
        block_q_dkv=rows,
        block_kv_dkv=rows,
        block_q_dq=rows,
        block_kv_dq=rows,
    )
    padded = sites + rest
    everyone = mask.MultiHeadMask([mask.FullMask((padded, padded))] * heads)
    interpret = pallas_call.interpreter() is not None
    kernel = splash.make_splash_mha(
        everyone, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )
    real = (jnp.arange(padded) < sites).astype(jnp.int32)
    segments = splash.SegmentIds(real, real) if rest else None
    # A tuple only with `save_residuals`.
    out = cast(jax.Array, jax.vmap(lambda q, k, v: kernel(q, k, v, segments))(q, k, v))
    return out[:, :, :sites].swapaxes(1, 2).astype(v.dtype)
