"""Calls Triton kernels from JAX: on a GPU, in Triton's interpreter, or for compilation only.

On a GPU, Triton compiles the kernel to PTX. A bridge then launches it. There are three
bridges:

    ffi      `triton_kernel_call_ffi`, the typed custom call registered by JAX's CUDA plugin. XLA
             can record it into a CUDA graph.
    legacy   `triton_kernel_call`, the plugin's untyped custom call. Each call splits the CUDA graph
             around it.
    torch    Triton's own launcher, on PyTorch tensors that share memory with the arrays. It works
             outside `jax.jit` only. It tells a fault of the kernel from a fault of the custom call.

`default_bridge` is "ffi" if the plugin registers it, else "legacy". `use_bridge` selects
another.

JAX's custom call passes two pointers after a kernel's own parameters (global scratch and
profiling), as Triton 3.6 expects. A Triton release with another number of hidden parameters is
refused.
"""

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import jax
import jax.core
import triton

# It holds nothing where no CUDA plugin is installed.
from jax._src.lib import gpu_triton  # pyright: ignore[reportPrivateImportUsage]
from triton import knobs
from triton.backends.compiler import GPUTarget

from kernels import settings, target
from kernels.dispatch import INSTALL
from kernels.errors import Unsupported
from kernels.triton_interpreter import TYPES, interpret

BRIDGES = {"ffi": "triton_kernel_call_ffi", "legacy": "triton_kernel_call", "torch": None}
HIDDEN_PARAMETERS = 2

_bridge: ContextVar[str | None] = settings.setting("triton_bridge", None)


@dataclasses.dataclass(frozen=True)
class Launch:
    """A Triton kernel with everything that its machine code and its launch depend on.

    The kernel's parameters are pointers to its inputs, pointers to its results and its constants,
    in this order.

    Attributes:
        kernel: a function decorated by @triton.jit.
        inputs: shapes and dtypes of the input arrays.
        results: shapes and dtypes of the output arrays.
        programs: number of program instances of the one-dimensional grid.
        constants: values of the `tl.constexpr` parameters by name.
        num_warps: warps of a program. Default 4.
        num_stages: stages of software pipelining. Default 2.
    """

    kernel: Any
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    results: tuple[jax.ShapeDtypeStruct, ...]
    programs: int
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 2

    def __call__(self, *arrays: jax.Array) -> list[jax.Array]:
        """Runs the kernel on arrays with the shapes and dtypes of `inputs`. Returns arrays with
        those of `results`.
        """
        for array, expected in zip(arrays, self.inputs, strict=True):
            given = (array.shape, array.dtype)
            assert given == (expected.shape, expected.dtype), (self.kernel, array, expected)
        if interpreting():
            return interpret(self, *arrays)
        if (_bridge.get() or default_bridge()) == "torch":
            return _launch_by_torch(self, *arrays)
        return _custom_call(self, *arrays)


def cdiv(a: int, b: int) -> int:
    """Returns a / b, rounded up. (The types of `triton.cdiv` allow compile-time constants only.)"""
    return -(-a // b)


def interpreting() -> bool:
    """Returns whether Triton's interpreter is active (TRITON_INTERPRET=1)."""
    return knobs.runtime.interpret


def check_runnable() -> None:
    """Raises `Unsupported` if Triton kernels cannot run: without an NVIDIA GPU of compute
    capability 8.0 or later, or without JAX's CUDA plugin. In Triton's interpreter they always run.
    """
    if interpreting():
        return
    device = target.current()
    if device.platform != "gpu" or device.capability is None:
        raise Unsupported(
            f"needs an NVIDIA GPU, and this is {device.kind}; "
            "TRITON_INTERPRET=1 runs it anywhere, slowly"
        )
    if device.capability < 80:
        raise Unsupported(
            "needs an NVIDIA GPU of compute capability 8.0 or later, "
            f"and {device.kind} has {device.capability / 10}"
        )
    if not hasattr(gpu_triton, "TritonKernel"):
        raise Unsupported(f"needs JAX's CUDA plugin; {INSTALL['gpu']}")


def use_bridge(name: str) -> contextlib.AbstractContextManager[None]:
    """Returns a context manager that launches Triton kernels through the bridge `name`: "ffi",
    "legacy" or "torch". Trace inside the context.

    Raises:
        ValueError: the bridge is unknown.
    """
    if name not in BRIDGES:
        raise ValueError(f"no bridge {name!r}; there are {', '.join(BRIDGES)}")
    return settings.held(_bridge, name)


@functools.cache
def default_bridge() -> str:
    """Returns the bridge that launches Triton kernels by default.

    It is "ffi" if JAX's CUDA plugin registers the typed custom call, else "legacy".
    """
    plugin = gpu_triton._cuda_triton
    assert plugin is not None  # `check_runnable` asks for it
    registered = plugin.registrations()
    return "ffi" if BRIDGES["ffi"] in registered else "legacy"


def _custom_call(launch: Launch, *arrays: jax.Array) -> list[jax.Array]:
    """Launches the kernel as a custom call of XLA. Triton compiles it at trace time."""
    bridge = _bridge.get() or default_bridge()
    _find_assembler()
    capability = target.current().capability
    assert capability is not None  # `check_runnable` asks for an NVIDIA GPU
    compiled = _compile(_Key.of(launch, capability))
    kernel = gpu_triton.TritonKernel(
        compiled.metadata.name,
        launch.num_warps,
        1,  # programs of a cluster
        compiled.metadata.shared,
        compiled.asm["ptx"],
        "",
        capability,
    )
    pointers = [gpu_triton.create_array_parameter(0, 16)] * (
        len(launch.inputs) + len(launch.results)
    )
    call = gpu_triton.TritonKernelCall(kernel, launch.programs, 1, 1, pointers)
    name = launch.kernel.fn.__name__
    config = zlib.compress(call.to_proto(name, b""))
    results = list(launch.results)
    if bridge == "legacy":
        options = {"custom_call_api_version": 2, "legacy_backend_config": config}
        return list(jax.ffi.ffi_call(BRIDGES[bridge], results, **options)(*arrays))
    return list(jax.ffi.ffi_call(BRIDGES[bridge], results)(*arrays, name=name, opaque=config))


def _launch_by_torch(launch: Launch, *arrays: jax.Array) -> list[jax.Array]:
    """Launches the kernel immediately, on PyTorch tensors that share the arrays' memory, and waits
    for it. Raises `Unsupported` inside `jax.jit`.
    """
    import torch  # may be absent; one of several bridges

    if any(isinstance(array, jax.core.Tracer) for array in arrays):
        raise Unsupported("the bridge torch launches kernels at once; call it outside of jax.jit")
    inputs = [torch.from_dlpack(jax.block_until_ready(array)) for array in arrays]
    results = []
    for result in launch.results:
        dtype = getattr(torch, result.dtype.name)
        results.append(torch.empty(result.shape, dtype=dtype, device=inputs[0].device))
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    launch.kernel[(launch.programs,)](*inputs, *results, **launch.constants, **options)
    if inputs[0].is_cuda:
        torch.cuda.synchronize()
    return [jax.dlpack.from_dlpack(result) for result in results]


@functools.cache
def _find_assembler() -> None:
    """Lets JAX's plugin find the assembler ptxas: if no folder of PATH has one, appends those of
    CUDA and of Triton to PATH.
    """
    if shutil.which("ptxas") is None:
        folders = ["/usr/local/cuda/bin", str(_nvidia_tools())]
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])


def _nvidia_tools() -> Path:
    """Returns the folder of the NVIDIA tools that Triton ships."""
    return Path(triton.__file__).parent / "backends/nvidia/bin"


# Compilation. It needs no GPU.


@dataclasses.dataclass(frozen=True)
class _Key:
    """A hashable key of everything that a launch's machine code depends on.

    Attributes:
        kernel: a function decorated by @triton.jit.
        pointers: Triton's types of the inputs and results, such as "*bf16".
        constants: names and values of the `tl.constexpr` parameters.
        options: names and values of `num_warps` and `num_stages`.
        capability: compute capability of the GPU times ten.
    """

    kernel: Any
    pointers: tuple[str, ...]
    constants: tuple[tuple[str, Any], ...]
    options: tuple[tuple[str, int], ...]
    capability: int

    @classmethod
    def of(cls, launch: Launch, capability: int) -> "_Key":
        arrays = (*launch.inputs, *launch.results)
        pointers = tuple(f"*{TYPES[array.dtype.name]}" for array in arrays)
        options = (("num_warps", launch.num_warps), ("num_stages", launch.num_stages))
        constants = tuple(launch.constants.items())
        return cls(launch.kernel, pointers, constants, options, capability)


@functools.cache
def _compile(key: _Key) -> triton.compiler.CompiledKernel:
    names, count = key.kernel.arg_names, len(key.pointers)
    signature = dict(zip(names[:count], key.pointers, strict=True))
    signature |= dict.fromkeys(names[count:], "constexpr")
    # XLA aligns every array to 16 bytes or more.
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(count)}
    source = triton.compiler.ASTSource(key.kernel, signature, dict(key.constants), aligned)
    with _writable_cache():
        device = GPUTarget("cuda", key.capability, 32)
        compiled = triton.compile(source, target=device, options=dict(key.options))
    hidden = _parameters(compiled.asm["ptx"]) - count
    if hidden != HIDDEN_PARAMETERS:
        raise Unsupported(
            f"triton {triton.__version__} gives kernels {hidden} hidden parameters, and JAX passes "
            f"{HIDDEN_PARAMETERS}; install triton==3.6.0"
        )
    return compiled


def _parameters(ptx: str) -> int:
    """Returns the number of parameters of the single kernel in a PTX module."""
    entry = ptx[ptx.index(".entry") :]
    return entry[: entry.index(")")].count(".param")


@contextlib.contextmanager
def _writable_cache() -> Iterator[None]:
    """Context manager: moves Triton's cache to a temporary folder if its own is not writable."""
    try:
        folder = Path(knobs.cache.dir)
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if writable:
        yield
        return
    with tempfile.TemporaryDirectory() as temporary, knobs.cache.scope():
        knobs.cache.dir = temporary
        yield


@dataclasses.dataclass(frozen=True)
class Resources:
    """The resources of a compiled kernel, and its PTX.

    Attributes:
        registers: number of registers of a thread.
        spilled: bytes of local memory of a thread, to which registers are spilled.
        shared: bytes of shared memory of a program.
        ptx: the PTX text.
    """

    registers: int
    spilled: int
    shared: int
    ptx: str


def compile_for(launch: Launch, capability: int) -> Resources:
    """Compiles a launch for an NVIDIA GPU, which may be absent, and returns its resources.

    TRITON_INTERPRET must be unset.

    Args:
        launch: the launch to compile.
        capability: compute capability of the GPU times ten, for example 90 for an H100 or H200.

    Raises:
        Unsupported: this release of Triton has another number of hidden parameters.
    """
    compiled = _compile(_Key.of(launch, capability))
    registers, spilled = _usage(compiled.asm["cubin"])
    return Resources(registers, spilled, compiled.metadata.shared, compiled.asm["ptx"])


def _usage(cubin: bytes) -> tuple[int, int]:
    """Returns the registers and the bytes of local memory of a thread, as NVIDIA's cuobjdump reads
    them from the binary `cubin` of a single kernel.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [_nvidia_tools() / "cuobjdump", "--dump-resource-usage", file.name]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", text)
    if usage is None:
        raise ValueError(f"cuobjdump reports no registers: {text[:200]}")
    return int(usage[1]), max(int(usage[2]), int(usage[3]))
