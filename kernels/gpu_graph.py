"""Compiles operations for an H200 that is absent, and counts the kernels and bytes of XLA's graph.

    python -m kernels.gpu_graph --install=build/gpu_compiler        # once; downloads 250 MB
    python -m kernels.gpu_graph                                     # a table of every operation
    python -m kernels.gpu_graph --op=temporal_attention --case=t16

JAX's CUDA plugin can compile for a GPU that is only described. In the scheduled graph, each
fusion, copy, library call or custom kernel is one launch, and moves at least

    bytes = sum of its operands + sum of its results                                             (1)

Each operand and result counts once. Repeated reads from a cache and the workspaces of library
calls are not counted. All figures are *compiled, not run*. These operations are bound by
memory bandwidth, so the bytes show where time must go. A change that makes XLA launch or move
more is visible on any machine.

The environment variable GPU_COMPILER names the compiler's folder; the default is
build/gpu_compiler. The compiler stays outside the Python environment: inside it, the plugin
would look for a GPU whenever JAX starts. The folder is specific to one version of Python and
of jax. It holds no cuDNN, so cuDNN's attention cannot be compiled this way. The compiler is
CUDA 12's for jax 0.10 and CUDA 13's for jax 0.11.
"""

import argparse
import dataclasses
import functools
import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
from jax.experimental import topologies

from kernels import target
from kernels.conv_prologue import conv_prologue
from kernels.cross_attention import cross_attention
from kernels.gated_norm import gated_norm
from kernels.temporal_attention import temporal_attention

# One H200, as the runtime describes it. XLA reads the cuDNN version when it chooses convolutions.
H200 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 150000000000
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 8 patch: 0 }
device_description_str: "NVIDIA H200" """
# An H100 of 80 GB differs only in its memory: bandwidth (bytes/s), size (bytes) and name.
H100 = (
    H200.replace("4800000000000", "3350000000000")
    .replace("150000000000", "85000000000")
    .replace("NVIDIA H200", "NVIDIA H100 80GB HBM3")
)

BITS = {
    "pred": 8,
    "s8": 8,
    "u8": 8,
    "s16": 16,
    "u16": 16,
    "bf16": 16,
    "f16": 16,
    "s32": 32,
    "u32": 32,
    "f32": 32,
    "s64": 64,
    "u64": 64,
    "f64": 64,
}
# HLO instructions that launch no kernel.
FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "partition-id",
    "replica-id",
}


@dataclasses.dataclass(frozen=True)
class Graph:
    """The cost of a compiled graph.

    Attributes:
        kernels: number of kernels launched.
        bytes: bytes moved, the sum of all operands and results of the kernels.
    """

    kernels: int
    bytes: int


def folder() -> Path:
    """Returns the folder of the GPU compiler: $GPU_COMPILER, else build/gpu_compiler."""
    return Path(os.environ.get("GPU_COMPILER", "build/gpu_compiler")).absolute()


def installed() -> bool:
    """Returns whether `install` has put the GPU compiler of the installed jax into `folder()`."""
    return (
        next(folder().glob(f"jax_cuda{cuda_version()}_plugin-{_jax_version()}.dist-info"), None)
        is not None
    )


def install(into: Path) -> None:
    """Downloads the CUDA plugin for the installed version of jax, and its compiler, into a folder.

    Raises:
        subprocess.CalledProcessError: pip failed.
    """
    packages = [f"jax-cuda{cuda_version()}-{part}=={_jax_version()}" for part in ("plugin", "pjrt")]
    packages += {12: ["nvidia-cuda-nvcc-cu12"], 13: ["nvidia-cuda-nvcc", "nvidia-nvvm"]}[
        cuda_version()
    ]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--upgrade",
            f"--target={into}",
            *packages,
        ],
        check=True,
    )


def _jax_version() -> str:
    return importlib.metadata.version("jax")


def cuda_version() -> int:
    """Returns the major version of CUDA whose compiler goes with the installed version of jax, such
    as 12.
    """
    return 12 if _jax_version().startswith("0.10.") else 13


def _size(shape: str) -> int:
    """Returns the bytes of a shape in HLO's notation, tuples included."""
    total = 0
    for kind, sizes in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape):
        count = 1
        for size in filter(None, sizes.split(",")):
            count *= int(size)
        total += count * BITS.get(kind, 0) // 8
    return total


def read(text: str) -> Graph:
    """Returns the cost of a graph from the text of a compiled HLO module.

    8-bit results of custom calls are excluded: they are workspaces of library calls.
    """
    entry = text[text.index("\nENTRY ") :]
    entry = entry[: entry.index("\n}")]
    shapes, kernels, moved = {}, 0, 0
    for line in entry.splitlines()[1:]:
        found = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([\w-]+)\((.*)", line)
        if not found:
            continue
        name, shape, operation, rest = found.groups()
        shape = (
            re.sub(r"\bs8\[[\d,]*\]|\bu8\[[\d,]*\]", "", shape)
            if operation == "custom-call"
            else shape
        )
        shapes[name] = shape
        if operation in FREE:
            continue
        # A set: an operand that is passed twice is a placeholder for an absent argument.
        operands = set(re.findall(r"%([\w.-]+)", rest.split("), ")[0]))
        kernels += 1
        moved += _size(shape) + sum(_size(shapes.get(operand, "")) for operand in operands)
    return Graph(kernels, moved)


# The operations. For each: its forward function, its backward function and their arguments.


def _op(name, call, case):
    specs = importlib.import_module(f"kernels.{name}.specs")
    spec = specs.SPECS[case]
    given = jax.eval_shape(functools.partial(specs.inputs, spec))
    fixed = {key: x for key, x in given.items() if key in ("angles", "visible", "shifted")}
    free = {key: x for key, x in given.items() if key not in fixed}

    def forward(free, fixed, *, implementation):
        return call({**free, **fixed}, spec, implementation)

    def save(free, fixed, *, implementation):
        """Returns the backward pass as a function of the results' gradients.

        The function holds what the forward pass saved.
        """
        call_free = functools.partial(forward, fixed=fixed, implementation=implementation)
        return jax.vjp(call_free, free)[1]

    return forward, save, free, fixed


def _temporal(given, spec, implementation):
    masks = {"causal": spec.causal, "windows": spec.windows}
    return temporal_attention(**given, **masks, implementation=implementation)


def _cross(given, spec, implementation):
    return cross_attention(**given, implementation=implementation)


def _prologue(given, spec, implementation):
    return conv_prologue(**given, padding=spec.P, implementation=implementation)


def _gated(given, spec, implementation):
    return gated_norm(**given, implementation=implementation)


DIRECTIONS = ("forward", "backward", "jvp")
OPS = {
    "temporal_attention": (_temporal, ("t16", "t16_shared", "xl", "frame16", "t16_window")),
    "cross_attention": (_cross, ("words64", "words128", "audio64", "xl")),
    "conv_prologue": (_prologue, ("wan_480_full", "coarse_720")),
    "gated_norm": (_gated, ("t16", "s")),
}


def _along(function, free, fixed, tangents):
    return jax.jvp(lambda free: function(free, fixed), (free,), (tangents,))


def _both_passes(save, free, fixed, gradients):
    return save(free, fixed)(gradients)


def _pull_back(pull, gradients):
    return pull(gradients)


def compile_here(op: str, case: str, direction: str, implementation: str) -> Graph:
    """Compiles one operation for an H200 in this process and returns the cost of its graph.

    The process must have started with JAX_PLATFORMS=cpu; otherwise the plugin looks for a GPU.

    A backward graph of a kernel starts from the values that its forward pass saved. A backward
    graph of "xla" holds both passes, of which XLA keeps only the forward part that the gradients
    need.

    Args:
        op: name of the operation, such as "temporal_attention".
        case: name of its workload, such as "t16".
        direction: "forward", "backward" or "jvp", which is forward mode.
        implementation: "triton" or "xla".
    """
    topology = topologies.get_topology_desc(platform="cuda", target_config=H200, topology="1x1x1")
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])
    placed = functools.partial(
        jax.tree.map, lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
    )
    forward, save, free, fixed = _op(op, OPS[op][0], case)
    with target.assume(target.H200):
        function = functools.partial(forward, implementation=implementation)
        arguments = (free, fixed)
        if direction == "jvp":
            function, arguments = functools.partial(_along, function), (free, fixed, free)
        if direction == "backward":
            gradients = jax.eval_shape(function, free, fixed)
            save = functools.partial(save, implementation=implementation)
            if implementation == "xla":
                function = functools.partial(_both_passes, save)
                arguments = (free, fixed, gradients)
            else:
                function = _pull_back
                arguments = (jax.eval_shape(save, free, fixed), gradients)
        text = jax.jit(function).lower(*placed(arguments)).compile().as_text()
    assert text is not None  # every program of XLA has one
    return read(text)


def predict(op: str, case: str, direction: str, implementation: str) -> Graph:
    """Runs `compile_here`, with the same arguments, in a new process.

    Raises:
        RuntimeError: the compiler failed. The message ends with the compiler's output.
    """
    which = [f"--op={op}", f"--case={case}", f"--direction={direction}"]
    which += [f"--implementation={implementation}", "--json"]
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(folder()))))
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "TRITON_INTERPRET": "0",
        "PYTHONPATH": path,
    }
    done = subprocess.run(
        [sys.executable, "-m", "kernels.gpu_graph", *which],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{op} {case} {direction} {implementation}: {done.stderr[-3000:]}")
    return Graph(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Runs the command line of this module: installs the GPU compiler, or prints kernels and bytes
    of every operation.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--op", choices=OPS, help="operation; default: all")
    parser.add_argument("--case", help="named workload of --op, such as t16; default: a few")
    parser.add_argument("--direction", choices=DIRECTIONS, help="default: all that the op has")
    parser.add_argument("--implementation", choices=("xla", "triton"), help="default: both")
    parser.add_argument(
        "--install",
        metavar="DIR",
        type=Path,
        help="download the compiler for GPUs into DIR (250 MB) and exit",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="internal: compile one graph in this process and print it as JSON",
    )
    flags = parser.parse_args()
    if flags.json:
        which = (flags.op, flags.case, flags.direction, flags.implementation)
        if None in which or find_spec(f"jax_cuda{cuda_version()}_plugin") is None:
            parser.error(
                "--json is for the process that this command starts for each graph; leave it out"
            )
        print(json.dumps(dataclasses.asdict(compile_here(*which))))
        return
    if flags.install:
        install(flags.install)
        return
    for op in [flags.op] if flags.op else OPS:
        known = importlib.import_module(f"kernels.{op}.specs").SPECS
        if flags.case and flags.op and flags.case not in known:
            parser.error(f"{op} has no case {flags.case}; it has {', '.join(known)}")
    if flags.case and not flags.op:
        parser.error(
            f"--case={flags.case} is a case of one operation; give --op, one of {', '.join(OPS)}"
        )
    if not installed():
        parser.error(
            f"no CUDA plugin in {folder()}; python -m kernels.gpu_graph --install={folder()} "
            "downloads it"
        )
    print(
        "compiled for one H200, not run; bytes of operands and results of every kernel, and of "
        "the least that must be moved"
    )
    print(
        f"{'operation':20}{'case':16}{'direction':10}{'form':8}"
        f"{'kernels':>8}{'MB':>9}{'times the least':>16}"
    )
    for op in [flags.op] if flags.op else OPS:
        for case in [flags.case] if flags.case else OPS[op][1]:
            spec = importlib.import_module(f"kernels.{op}.specs").SPECS[case]
            for direction in [flags.direction] if flags.direction else DIRECTIONS:
                if not hasattr(spec, f"{direction}_bytes"):
                    continue
                least = getattr(spec, f"{direction}_bytes")
                for implementation in (
                    [flags.implementation] if flags.implementation else ("xla", "triton")
                ):
                    graph = predict(op, case, direction, implementation)
                    figures = (
                        f"{graph.kernels:8}{graph.bytes / 1e6:9.0f}{graph.bytes / least:16.2f}"
                    )
                    print(f"{op:20}{case:16}{direction:10}{implementation:8}{figures}", flush=True)


if __name__ == "__main__":
    main()
