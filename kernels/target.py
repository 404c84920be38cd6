"""For which device a program is being traced: the one at hand, or one that is only compiled for."""

import contextlib
import dataclasses
import re

import jax

from kernels.settings import setting

# "80GB", "-40GB", "HBM3", "HBM2e" in the name of a device.
MEMORY = re.compile(r"[\s-]+(\d+\s?gb|hbm\d\w*)\b")


@dataclasses.dataclass(frozen=True)
class Target:
    """platform "cpu", "gpu" or "tpu"; kind as the runtime spells it ("NVIDIA H200"); capability of
    an NVIDIA GPU (90), else None.
    """

    platform: str
    kind: str
    capability: int | None = None

    @property
    def slug(self) -> str:
        """The kind as a file name, without the size and type of its memory.

        "NVIDIA H200" and "NVIDIA H100 80GB HBM3" -> "nvidia_h200" and "nvidia_h100".
        """
        name = MEMORY.sub("", self.kind.lower())
        return "_".join(name.split())


CPU = Target("cpu", "cpu")
H200 = Target("gpu", "NVIDIA H200", 90)

_assumed = setting("kernels_target", None)


@contextlib.contextmanager
def assume(target: Target):
    """Trace for `target`, to compile for a device that is absent.

    Lower inside it, and jit nothing that was traced outside it.
    """
    token = _assumed.set(target)
    try:
        yield
    finally:
        _assumed.reset(token)


def current() -> Target:
    """The target that `assume` set, else the first device of JAX's default backend."""
    if (target := _assumed.get()) is not None:
        return target
    device = jax.devices()[0]
    # A ROCm GPU has no integer capability ("gfx942"), and none of these kernels was tried on one.
    capability = str(getattr(device, "compute_capability", "")).replace(".", "")
    return Target(
        device.platform, device.device_kind, int(capability) if capability.isdigit() else None
    )
