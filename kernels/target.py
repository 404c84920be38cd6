"""The device that a program is traced for: the local one, or one assumed for compilation."""

import contextlib
import dataclasses
import re
from contextvars import ContextVar
from typing import Any

import jax

from kernels import settings

# Matches the memory in a device's name: "80GB", "-40GB", "HBM3", "HBM2e".
MEMORY = re.compile(r"[\s-]+(\d+\s?gb|hbm\d\w*)\b")


@dataclasses.dataclass(frozen=True)
class Target:
    """A device to compile for.

    Attributes:
        platform: "cpu", "gpu" or "tpu".
        kind: the device kind as the runtime spells it, for example "NVIDIA H200".
        capability: compute capability of an NVIDIA GPU times ten (90 for an H200); None elsewhere.
    """

    platform: str
    kind: str
    capability: int | None = None

    @property
    def slug(self) -> str:
        """The device kind as a file name, without the size and type of its memory.

        "NVIDIA H200" gives "nvidia_h200"; "NVIDIA H100 80GB HBM3" gives "nvidia_h100".
        """
        name = MEMORY.sub("", self.kind.lower())
        return "_".join(name.split())


CPU = Target("cpu", "cpu")
H200 = Target("gpu", "NVIDIA H200", 90)

_assumed: ContextVar[Target | None] = settings.setting("kernels_target", None)


def assume(target: Target) -> contextlib.AbstractContextManager[None]:
    """Returns a context manager that traces for `target`, to compile for a device that is absent.
    Trace and lower inside the context.
    """
    return settings.held(_assumed, target)


def current() -> Target:
    """Returns the target set by `assume`, or else that of the first device of JAX's default
    backend.
    """
    if (target := _assumed.get()) is not None:
        return target
    return of(jax.devices()[0])


def of(device: Any) -> Target:
    """Returns the target that describes a JAX device. The device may also belong to a topology,
    which describes hardware that is absent.
    """
    # A ROCm GPU has no integer capability ("gfx942"), so its capability is None. These kernels are
    # untested on ROCm.
    capability = str(getattr(device, "compute_capability", "")).replace(".", "")
    return Target(
        device.platform, device.device_kind, int(capability) if capability.isdigit() else None
    )
