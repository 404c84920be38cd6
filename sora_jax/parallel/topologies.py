"""TPU and GPU topologies for ahead-of-time compilation without the hardware, and their peak rates.

A topology is a number of devices and the shape of their network, such as "v5p:8x8x8". The table
DEVICES has for each generation of devices:

    peak      dense bfloat16 FLOP/s
    hbm       bytes of memory
    hbm_bw    bytes/s of that memory
    ici_bw    bytes/s that a device sends over all its links together

The rates are nominal, as the vendors state them per chip. TPUs:
https://docs.cloud.google.com/tpu/docs/v5e, .../v5p, .../v6e and .../tpu7x. These pages give
the links' bandwidth in both directions together (400, 1200, 800, 1200 GB/s per chip); the
table has half of it, one direction. A chip of tpu7x is two devices, each with half of
everything. A chip of v5p is a single device. H100 and H200:
https://www.nvidia.com/en-us/data-center/h100 and .../h200; NVLink in one direction, between
the up to 8 GPUs of a node. No program reaches all of these rates at once, so times computed
from them are lower bounds.

libtpu compiles for TPUs. JAX's CUDA plugin compiles for GPUs; `python -m kernels.gpu_graph
--install=build/gpu_compiler` downloads it into a folder of its own.
"""

import dataclasses
import os
import re
from typing import Any

from jax.experimental import topologies

from kernels import gpu_graph
from sora_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Device:
    """The properties of one device of a generation of accelerators.

    Attributes:
        peak: dense bfloat16 FLOP/s.
        hbm: bytes of memory.
        hbm_bw: bytes/s of that memory.
        ici_bw: bytes/s that the device sends over all its links together.
        axes: number of axes of the network of chips: of a TPU's torus, or 1 for GPUs.
        example: a topology of a whole pod, of a large part of one, or of a node of GPUs, such as
            "v5p:8x8x8".
        slug: the device's name in `kernels.target`, such as "tpu_v5".
        per_chip: devices per chip. Default 1.
    """

    peak: float
    hbm: float
    hbm_bw: float
    ici_bw: float
    axes: int
    example: str
    slug: str
    per_chip: int = 1


DEVICES = {
    "v5e": Device(197e12, 16e9, 819e9, 200e9, 2, "v5e:16x16", "tpu_v5_lite"),
    "v5p": Device(459e12, 95e9, 2765e9, 600e9, 3, "v5p:8x8x8", "tpu_v5"),
    "v6e": Device(918e12, 32e9, 1640e9, 400e9, 2, "v6e:16x16", "tpu_v6_lite"),
    "tpu7x": Device(2307e12 / 2, 192e9 / 2, 7380e9 / 2, 600e9 / 2, 3, "tpu7x:4x4x8", "tpu7x", 2),
    "h100": Device(989e12, 80e9, 3350e9, 450e9, 1, "h100:8", "nvidia_h100"),
    "h200": Device(989e12, 141e9, 4800e9, 450e9, 1, "h200:8", "nvidia_h200"),
}


def peak_flops(slug: str) -> float:
    """Returns the peak dense bfloat16 FLOP/s of one device; nan for a device without an entry in
    DEVICES.

    `slug` is the device's name in `kernels.target`, such as "tpu_v5".
    """
    return next((device.peak for device in DEVICES.values() if device.slug == slug), float("nan"))


def environment(topology: str) -> dict[str, str]:
    """Returns the environment variables that a process needs to compile for a topology.

    They keep libtpu and the CUDA plugin from searching for devices, and let several processes on
    one machine load libtpu.
    """
    found = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    if platform(topology) == "cuda":
        found["PYTHONPATH"] = os.pathsep.join(
            filter(None, (os.environ.get("PYTHONPATH"), str(gpu_graph.folder())))
        )
    return found


def platform(topology: str) -> str:
    """Returns the platform that JAX lowers to, "tpu" or "cuda", for a topology such as
    "v5p:8x8x8".
    """
    return "cuda" if topology.startswith("h") else "tpu"


def options(topology: str) -> dict[str, bool]:
    """Returns the compiler options for a topology such as "v5p:8x8x8".

    For a GPU, XLA would choose Triton kernels of matrix products by timing them on the device.
    Without one it must use those of the library, so Triton is switched off.
    """
    return {"xla_gpu_enable_triton_gemm": False} if platform(topology) == "cuda" else {}


def compiler(topology: str) -> str:
    """Returns the name of the Python package that compiles for a topology such as "v5p:8x8x8"."""
    return {"tpu": "libtpu", "cuda": f"jax-cuda{gpu_graph.cuda_version()}-plugin"}[
        platform(topology)
    ]


def generation(topology: str) -> Device:
    """Returns the properties of one device of a topology such as "v5p:8x8x8".

    Raises:
        UserError: the generation or the shape is unknown. The message lists the known ones.
    """
    name, _, shape = topology.partition(":")
    device = DEVICES.get(name)
    if (
        device is None
        or not re.fullmatch(r"\d+(x\d+)*", shape)
        or len(shape.split("x")) != device.axes
    ):
        known = ", ".join(
            f"{n}:{'x'.join('ABC'[: d.axes])} (as {d.example})" for n, d in DEVICES.items()
        )
        raise UserError(f"topology={topology} does not exist; known: {known}")
    return device


def devices(topology: str) -> list[Any]:
    """Returns the devices of a topology, for compilation only.

    The process must be started with the variables of `environment`.

    Raises:
        UserError: the topology does not exist, or the compiler is not installed or does not support
            its shape.
        RuntimeError: the process was started without `environment`.
    """
    example = generation(topology).example
    if os.environ.get("TPU_SKIP_MDS_QUERY") != "1":
        raise RuntimeError(
            "begin the process with topologies.environment: libtpu would look for a TPU, for "
            "minutes"
        )
    if platform(topology) == "cuda":
        if not gpu_graph.installed():
            folder = gpu_graph.folder()
            raise UserError(
                f"the compiler for GPUs is not in {folder}; python -m kernels.gpu_graph "
                f"--install={folder} downloads it"
            )
        if (count := int(topology.partition(":")[2])) > 8:
            raise UserError(f"topology={topology}: a node has up to 8; give one as {example}")
        described = {"h100": gpu_graph.H100, "h200": gpu_graph.H200}[topology.partition(":")[0]]
        return list(
            topologies.get_topology_desc(
                platform="cuda", target_config=described, topology=f"1x1x{count}"
            ).devices
        )
    try:
        import libtpu  # noqa: F401  (may be absent)
    except ImportError as error:
        raise UserError(
            "libtpu, the compiler for TPUs, is not installed; pip install -e '.[tpu]'"
        ) from error
    try:
        return list(topologies.get_topology_desc(platform="tpu", topology_name=topology).devices)
    except Exception as error:
        raise UserError(
            f"topology={topology}: libtpu makes no such shape "
            f"({str(error).splitlines()[0]}); give one as {example}"
        ) from error
