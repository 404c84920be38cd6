"""Spatial attention on NVIDIA GPUs by cuDNN, forward and backward. XLA computes norm and rotation.

The sites of a sequence are contiguous in memory, so no layout change is needed. A kernel of
our own could save at most the passes of the norm.
"""

import jax

# It is None where no CUDA plugin is installed.
from jax._src.lib import cuda_versions  # pyright: ignore[reportPrivateImportUsage]

from kernels import target
from kernels.errors import Unsupported
from kernels.spatial_attention.reference import ready
from kernels.spatial_attention.specs import Spec


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if cuDNN cannot run `spec` here."""
    device = target.current()
    if device.platform != "gpu" or device.capability is None or device.capability < 80:
        raise Unsupported(
            f"needs an NVIDIA GPU of compute capability 8.0 or later, and this is {device.kind}"
        )
    if spec.D % 8 or spec.D > 128 or spec.dtype not in ("float16", "bfloat16"):
        raise Unsupported(
            f"takes heads of up to 128 numbers in steps of 8, float16 or bfloat16, not {spec}"
        )
    if not _found():
        raise Unsupported("needs cuDNN, which JAX's CUDA plugin does not find")


def _found() -> bool:
    """Returns whether JAX's CUDA plugin finds cuDNN; the compiler of `kernels.gpu_graph` does not.

    Without the plugin it is True: a program may be traced for a device that is absent.
    """
    if cuda_versions is None:
        return True
    try:
        return cuda_versions.cudnn_get_version() > 0
    except RuntimeError:
        return False


def attend(q, k, v, q_scale, k_scale, angles) -> jax.Array:
    """Computes attention within each sequence by cuDNN, with the arguments and the result of
    `reference.attend`.
    """
    q, k = ready(q, k, q_scale, k_scale, angles)
    return jax.nn.dot_product_attention(q, k, v, scale=1.0, implementation="cudnn")
