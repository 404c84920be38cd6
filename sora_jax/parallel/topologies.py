"""The TPUs that can be compiled for without having one, and what each of their devices can do.

    peak      dense bfloat16 FLOP/s          hbm         bytes of memory
    hbm_bw    bytes/s of that memory         ici_bw      bytes/s that a device sends over all its links together

Figures are the makers' own, nominal, for a chip: https://docs.cloud.google.com/tpu/docs/v5e, .../v5p, .../v6e and .../tpu7x, which give links
in both directions together (400, 1200, 800, 1200 GB/s a chip): here is half, one direction. A chip of tpu7x is two devices, each
with half of everything; one of v5p is a single device. No program reaches all of these at once: times made of them are lower bounds.
"""

import dataclasses
import os
import re
from typing import Any

from sora_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Device:
    """One device of a generation; `axes` of its torus, `example` a topology of a whole pod or a large part of one."""

    peak: float
    hbm: float
    hbm_bw: float
    ici_bw: float
    axes: int
    example: str


DEVICES = {
    "v5e": Device(197e12, 16e9, 819e9, 200e9, 2, "v5e:16x16"),
    "v5p": Device(459e12, 95e9, 2765e9, 600e9, 3, "v5p:8x8x8"),
    "v6e": Device(918e12, 32e9, 1640e9, 400e9, 2, "v6e:16x16"),
    "tpu7x": Device(2307e12 / 2, 192e9 / 2, 7380e9 / 2, 600e9 / 2, 3, "tpu7x:4x4x8"),
}
# Under these libtpu looks for no TPU, and shares the machine with other processes that compile.
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def generation(topology: str) -> Device:
    """The table's row for "v5p:8x8x8". Raises UserError for a generation or a shape that is none, with the known ones."""
    name, _, shape = topology.partition(":")
    device = DEVICES.get(name)
    if device is None or not re.fullmatch(r"\d+(x\d+)*", shape) or len(shape.split("x")) != device.axes:
        known = ", ".join(f"{n}:{'x'.join('ABC'[: d.axes])} (as {d.example})" for n, d in DEVICES.items())
        raise UserError(f"--topology={topology} does not exist; known: {known}")
    return device


def devices(topology: str) -> list[Any]:
    """The devices of a topology, to compile for; in a process begun with `ENVIRONMENT`. Raises UserError without libtpu, or for a
    shape that libtpu does not make."""
    from jax.experimental import topologies

    generation(topology)
    if os.environ.get("TPU_SKIP_MDS_QUERY") != "1":
        raise RuntimeError("begin the process with topologies.ENVIRONMENT: libtpu would look for a TPU, for minutes")
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise UserError("libtpu, the compiler for TPUs, is not installed; pip install 'sora_jax[tpu]'") from error
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:
        raise UserError(
            f"--topology={topology}: libtpu makes no such shape ({str(error).splitlines()[0]}); give one as {generation(topology).example}"
        ) from error
