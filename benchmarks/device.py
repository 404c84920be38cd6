"""The local device: its name, its ceilings (bandwidth and FLOP/s), and all versions that can
influence a measurement.
"""

import contextlib
import dataclasses
import functools
import glob
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

from kernels import target
from sora_jax import environment

PACKAGES = (
    *("jax", "jaxlib", "triton", "torch", "numpy", "tokamax", "xformers", "libtpu"),
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """The limits of a device: memory bandwidth and FLOP/s, against which times are compared.

    Attributes:
        bandwidth: memory traffic in bytes/s, reads and writes together.
        flops: FLOP/s of matrix products.
        source: where both numbers come from, as text.
        measured: (bandwidth, flops) as measured on this machine, if the numbers above are those of
            LISTED. Default None.
    """

    bandwidth: float
    flops: float
    source: str
    measured: tuple[float, float] | None = None


# GPUs: measured on one device, with a copy of 8.6 GB and a bfloat16 product of 8192^3 on random
# numbers. The vendor's figures are 3.35 (H100) and 4.8 TB/s (H200), and 989 TFLOP/s. TPUs: the
# vendor's figures.
LISTED = {
    "nvidia_h100": Ceilings(3.0e12, 798e12, "listed, measured on an H100"),
    "nvidia_h200": Ceilings(4.3e12, 790e12, "listed, measured on an H200"),
    "tpu_v5_lite": Ceilings(819e9, 197e12, "listed, nominal"),
    "tpu_v5": Ceilings(2765e9, 459e12, "listed, nominal"),
    "tpu_v6_lite": Ceilings(1640e9, 918e12, "listed, nominal"),
    "tpu7x": Ceilings(7380e9, 2307e12, "listed, nominal"),
}


def slug() -> str:
    """Returns the name of this machine's device as a folder name: "nvidia_h200", "cpu"."""
    return target.current().slug


def platform() -> str:
    """Returns the platform of this machine's device: "cpu", "gpu" or "tpu"."""
    return target.current().platform


def ceilings() -> Ceilings:
    """Returns the limits of this machine's device in LISTED, with those measured now as `measured`.

    For a device that is not in LISTED, returns the measured limits alone.
    """
    measured, listed = measured_ceilings(), LISTED.get(slug())
    return (
        dataclasses.replace(listed, measured=(measured.bandwidth, measured.flops))
        if listed
        else measured
    )


@functools.cache
def measured_ceilings(repeats: int = 5) -> Ceilings:
    """Measures the limits of this machine's device: the best of `repeats` runs of a copy and of a
    matrix product.

    The copied arrays are far larger than the cache. The product, of random numbers, is in bfloat16
    on an accelerator and in float32 on a CPU. Other processes on the machine lower both results.
    """
    on_cpu = platform() == "cpu"
    numbers = (32 if on_cpu else 1024) * 2**20
    side, dtype = (1024, jnp.float32) if on_cpu else (8192, jnp.bfloat16)
    x = jax.random.normal(jax.random.key(0), (numbers,))
    a, b = jax.random.normal(jax.random.key(1), (2, side, side), dtype)

    def best(function: Callable, *args: jax.Array) -> float:
        jax.block_until_ready(function(*args))
        times = []
        for _ in range(repeats):
            start = time.perf_counter()
            jax.block_until_ready(function(*args))
            times.append(time.perf_counter() - start)
        return min(times)

    copy, product = best(jax.jit(jnp.negative), x), best(jax.jit(jnp.matmul), a, b)
    return Ceilings(
        2 * x.nbytes / copy,
        2 * side**3 / product,
        f"measured here: {x.nbytes // 2**20} MB negated, {side}^3 {dtype.__name__}",
    )


def cache_bytes() -> int:
    """Returns the size of the last-level cache in bytes. Calls are timed on several sets of inputs,
    which together exceed it.

    A CPU's size comes from the system; a GPU counts as 60 MB (the L2 of an H200), a TPU as 128 MB
    (VMEM).
    """
    if platform() != "cpu":
        return {"gpu": 60, "tpu": 128}[platform()] * 2**20
    sizes = [
        Path(path).read_text(encoding="utf-8").strip()
        for path in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size")
    ]
    return max(
        (int(size[:-1]) * 2 ** {"K": 10, "M": 20}[size[-1]] for size in sizes), default=32 * 2**20
    )


@functools.cache
def versions() -> dict[str, str]:
    """Returns {package: version} of the installed PACKAGES, and on a GPU the "driver"."""
    found = environment.versions(PACKAGES)
    if platform() == "gpu":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            found["driver"] = subprocess.run(
                query, capture_output=True, text=True, check=True
            ).stdout.strip()
    return found


def load() -> float:
    """Returns the load average of the last minute, divided by the number of CPU cores.

    Above 1 the machine is busy, and timings on its CPU mean little.
    """
    return (
        round(os.getloadavg()[0] / (os.cpu_count() or 1), 2) if hasattr(os, "getloadavg") else 0.0
    )
