"""Calling Triton kernels from JAX: on a GPU through jax-triton, anywhere in Triton's interpreter, or only compiling them.

Three traps are closed here. jax-triton 0.3.1 is the release that works with triton 3.6.0 (0.4 fails at lowering), and it cannot be
imported without JAX's CUDA plugin, so it is imported when first used. Triton's interpreter (TRITON_INTERPRET=1, set before triton is
imported) wants PyTorch tensors, of which it needs a handful of methods. And its `tl.dot` multiplies the bit patterns of bfloat16
numbers, so there bfloat16 arrays are passed as float32.
"""

import dataclasses
import importlib.metadata
import importlib.util
import re
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import triton

from kernels import target
from kernels.errors import Unsupported

TYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int32": "i32"}


@dataclasses.dataclass(frozen=True)
class Launch:
    """One kernel with everything that fixes its machine code; the kernel's parameters are inputs, results, constants, in this order."""

    kernel: Any  # a function under @triton.jit
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    results: tuple[jax.ShapeDtypeStruct, ...]
    programs: int
    constants: Mapping[str, Any]
    num_warps: int = 4
    num_stages: int = 2

    def __call__(self, *arrays: jax.Array) -> list[jax.Array]:
        """Run on arrays of the shapes of `inputs`; returns arrays of those of `results`."""
        for array, expected in zip(arrays, self.inputs, strict=True):
            assert (array.shape, array.dtype) == (expected.shape, expected.dtype), (self.kernel, array, expected)
        return _interpret(self, *arrays) if interpreting() else _call(self, *arrays)


def interpreting() -> bool:
    """Whether Triton's interpreter stands in for a GPU."""
    return triton.knobs.runtime.interpret


def check_runnable() -> None:
    """Raises `Unsupported` where Triton kernels cannot run: no NVIDIA GPU, or jax-triton is missing or of another release."""
    if interpreting():
        return
    device = target.current()
    if device.platform != "gpu" or device.capability is None:
        raise Unsupported(f"needs an NVIDIA GPU, and this is {device.kind}; TRITON_INTERPRET=1 runs it anywhere, slowly")
    if device.capability < 80:
        raise Unsupported(f"needs an NVIDIA GPU of compute capability 8.0 or later, and {device.kind} has {device.capability / 10}")
    if importlib.util.find_spec("jax_triton") is None:
        raise Unsupported("needs jax-triton 0.3.1; pip install 'sora_jax[gpu]'")
    release = importlib.metadata.version("jax-triton")
    if release != "0.3.1":
        raise Unsupported(f"needs jax-triton 0.3.1, and {release} is installed; pip install 'sora_jax[gpu]'")


def _call(launch: Launch, *arrays: jax.Array) -> list[jax.Array]:
    import jax_triton

    return jax_triton.triton_call(
        *arrays, kernel=launch.kernel, out_shape=list(launch.results), grid=(launch.programs,), name=launch.kernel.fn.__name__,
        compute_capability=target.current().capability, num_warps=launch.num_warps, num_stages=launch.num_stages, **launch.constants,
    )  # fmt: skip


# Triton's interpreter.


class _Tensor:
    """What the interpreter asks of a tensor in main memory: where it lies. It copies nothing back, since nothing was copied out."""

    def __init__(self, array: np.ndarray):
        self.array, self.dtype = array, TYPES[array.dtype.name]

    def data_ptr(self) -> int:
        return self.array.ctypes.data

    def untyped_storage(self):
        return self

    def cpu(self):
        return self

    def new_empty(self, *_, **__):
        return _Tensor(self.array)

    def set_(self, *_):
        pass

    def storage_offset(self) -> int:
        return 0

    def size(self) -> tuple[int, ...]:
        return self.array.shape

    def stride(self) -> tuple[int, ...]:
        return self.array.strides

    def copy_(self, _):
        pass


GUARD = 1 << 20  # bytes before and after every array


def _guarded(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A copy that lies between guards, and all the memory around it: a kernel that misses must hit these, not the process."""
    memory = np.full(array.nbytes + 2 * GUARD, 0x5A, np.uint8)
    copy = memory[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy, memory


def _unhurt(memory: np.ndarray) -> bool:
    return bool((memory[:GUARD] == 0x5A).all() and (memory[-GUARD:] == 0x5A).all())


# Its state is global, and the devices of a mesh call back at the same time.
_one_at_a_time = threading.Lock()


def _interpret(launch: Launch, *arrays: jax.Array) -> list[jax.Array]:
    def widened(dtype):
        return jnp.float32 if dtype == jnp.bfloat16 else dtype

    def run(*arrays):
        # Results start as NaN, as memory of a GPU may, so that a site that is left out is seen.
        blank = (np.full(r.shape, np.nan, widened(r.dtype)) for r in launch.results)
        held = [_guarded(a) for a in (*map(np.asarray, arrays), *blank)]
        tensors, results = [_Tensor(a) for a, _ in held], [a for a, _ in held[len(arrays) :]]
        # Padding rows hold 0 / 0 and log 0 here and there, which masks discard.
        with np.errstate(all="ignore"), _one_at_a_time:
            launch.kernel[(launch.programs,)](*tensors, **launch.constants)
        if not all(_unhurt(memory) for _, memory in held):
            for result in results:
                result.fill(np.nan)  # raising in a callback would say less: no test passes with these
        return results

    shapes = [jax.ShapeDtypeStruct(r.shape, widened(r.dtype)) for r in launch.results]
    results = jax.pure_callback(run, shapes, *(a.astype(widened(a.dtype)) for a in arrays))
    return [result.astype(r.dtype) for result, r in zip(results, launch.results, strict=True)]


# Compilation without a GPU.


@dataclasses.dataclass(frozen=True)
class Resources:
    """What a compiled kernel occupies: registers a thread, bytes a thread spills, bytes of shared memory a program; and its PTX."""

    registers: int
    spilled: int
    shared: int
    ptx: str


def compile_for(launch: Launch, capability: int) -> Resources:
    """Compile for an NVIDIA GPU of this compute capability (90: H100, H200), which may be absent. Needs TRITON_INTERPRET unset."""
    from triton.backends.compiler import GPUTarget

    arrays = (*launch.inputs, *launch.results)
    names = launch.kernel.arg_names
    signature = {name: f"*{TYPES[a.dtype.name]}" for name, a in zip(names, arrays, strict=False)}
    signature |= dict.fromkeys(names[len(arrays) :], "constexpr")
    # XLA aligns every array to 16 bytes or more, and jax-triton says so to the compiler.
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(len(arrays))}
    source = triton.compiler.ASTSource(launch.kernel, signature, dict(launch.constants), aligned)
    options = {"num_warps": launch.num_warps, "num_stages": launch.num_stages}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, spilled = _usage(compiled.asm["cubin"])
    return Resources(registers, spilled, compiled.metadata.shared, compiled.asm["ptx"])


def _usage(cubin: bytes) -> tuple[int, int]:
    """Registers and local memory of a binary's one kernel, as NVIDIA's cuobjdump, which Triton brings along, reads them."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tool, "--dump-resource-usage", file.name], check=True, capture_output=True, text=True).stdout
    usage = re.search(r"REG:(\d+) STACK:(\d+) .*LOCAL:(\d+)", text)
    return int(usage[1]), max(int(usage[2]), int(usage[3]))
