"""The TPUs and GPUs that can be compiled for without having one, and what each of their devices can
do.

    peak      dense bfloat16 FLOP/s
    hbm       bytes of memory
    hbm_bw    bytes/s of that memory
    ici_bw    bytes/s that a device sends over all its links together

Figures are the makers' own, nominal, for a chip: https://docs.cloud.google.com/tpu/docs/v5e,
.../v5p, .../v6e and .../tpu7x, which give links in both directions together (400, 1200, 800, 1200
GB/s a chip): here is half, one direction. A chip of tpu7x is two devices, each with half of
everything; one of v5p is a single device. Of H100 and H200:
https://www.nvidia.com/en-us/data-center/h100 and .../h200, NVLink in one direction, between the up
to 8 of a node. No program reaches all of these at once: times made of them are lower bounds.

TPUs are compiled for by libtpu, GPUs by JAX's CUDA plugin, which `python -m kernels.gpu_graph
--install=build/gpu_compiler` downloads into a folder of its own.
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
    """One device of a generation; `axes` of its torus of chips, `example` a topology of a whole pod
    or a large part of one, `slug` as in `kernels.target`.
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
    """Dense bfloat16 FLOP/s of one device, by its name in `kernels.target`; nan where it is not in
    the table.
    """
    return next((device.peak for device in DEVICES.values() if device.slug == slug), float("nan"))


def environment(topology: str) -> dict[str, str]:
    """What a process that compiles for a topology must begin with: libtpu and the CUDA plugin are
    to look for no device, and libtpu to share the machine with other processes that compile.
    """
    found = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    if platform(topology) == "cuda":
        found["PYTHONPATH"] = os.pathsep.join(
            filter(None, (os.environ.get("PYTHONPATH"), str(gpu_graph.folder())))
        )
    return found


def platform(topology: str) -> str:
    """ "tpu" or "cuda", as jax calls it when it lowers."""
    return "cuda" if topology.startswith("h") else "tpu"


def options(topology: str) -> dict[str, bool]:
    """Of the compiler: without a GPU to try them on it cannot choose among its own matrix products,
    so it is to take the library's.
    """
    return {"xla_gpu_enable_triton_gemm": False} if platform(topology) == "cuda" else {}


def compiler(topology: str) -> str:
    """The package that compiles for a topology."""
    return {"tpu": "libtpu", "cuda": f"jax-cuda{gpu_graph.cuda_version()}-plugin"}[
        platform(topology)
    ]


def generation(topology: str) -> Device:
    """The table's row for "v5p:8x8x8".

    Raises UserError for a generation or a shape that is none, with the known ones.
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
    """The devices of a topology, to compile for; in a process begun with `environment`.

    Raises UserError without their compiler, or for a shape that it does not make.
    """
    example = generation(topology).example
    if os.environ.get("TPU_SKIP_MDS_QUERY") != "1":
        raise RuntimeError(
            "begin the process with topologies.environment: libtpu would look for a TPU, for "
            "minutes"
        )
    if platform(topology) == "cuda":
        if not gpu_graph.installed():
            here = gpu_graph.folder()
            raise UserError(
                f"the compiler for GPUs is not in {here}; python -m kernels.gpu_graph "
                f"--install={here} downloads it"
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
