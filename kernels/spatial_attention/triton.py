"""Spatial attention within short sequences on NVIDIA GPUs: the kernels of temporal attention.

A sequence of S sites is a window of S tokens, and N sequences are the frames of one video
(`kernels.temporal_attention.triton`). So one program handles 64 // S neighbouring sequences,
and norm and rotation stay inside the kernel.
"""

import jax

from kernels.spatial_attention.specs import Spec
from kernels.temporal_attention import temporal_attention, triton
from kernels.temporal_attention.specs import Spec as TemporalSpec
from kernels.temporal_attention.specs import Windows


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if the GPU kernel cannot run `spec` here."""
    windows = Windows((1, 1, spec.S), spec.S)
    triton.check(TemporalSpec(1, spec.N, spec.S, spec.H, spec.D, dtype=spec.dtype, windows=windows))


def attend(q, k, v, q_scale, k_scale, angles) -> jax.Array:
    """Computes attention within each sequence, with the arguments and the result of
    `reference.attend`; q, k and v are [N, S, H, D].
    """
    sites = q.shape[1]
    return temporal_attention(
        q,
        k,
        v,
        q_scale,
        k_scale,
        angles[None],
        windows=Windows((1, 1, sites), sites),
        implementation="triton",
    )
