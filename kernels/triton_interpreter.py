"""Runs Triton kernels in Triton's interpreter: on any machine, without a GPU, slowly.

The interpreter is selected by TRITON_INTERPRET=1, set before triton is imported. This module
works around two of the interpreter's properties. First, it expects PyTorch tensors; it calls only
a few of their methods, which `_Tensor` provides for NumPy arrays. Second, its `tl.dot` multiplies
the bit patterns of bfloat16 numbers, so bfloat16 arrays are passed as float32.
"""

import threading

import jax
import jax.numpy as jnp
import numpy as np

# Triton's names of the dtypes that kernels take.
TYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "int32": "i32"}


class _Tensor:
    """A NumPy array with the few methods of a PyTorch tensor that the interpreter calls.

    Methods that copy do nothing, because the interpreter is to work on the array's own memory.
    """

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
    """Copies an array into a buffer, between two guards of GUARD bytes. Returns the copy and the
    whole buffer.

    An out-of-bounds write of a kernel changes a guard instead of other memory of the process, and
    is detected (`_unhurt`).
    """
    memory = np.full(array.nbytes + 2 * GUARD, 0x5A, np.uint8)
    copy = memory[GUARD : GUARD + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy, memory


def _unhurt(memory: np.ndarray) -> bool:
    return bool((memory[:GUARD] == 0x5A).all() and (memory[-GUARD:] == 0x5A).all())


# The interpreter's state is global, and the devices of a mesh call back concurrently.
_one_at_a_time = threading.Lock()


def interpret(launch, *arrays: jax.Array) -> list[jax.Array]:
    """Runs a kernel on the CPU in NumPy, one program after another, and returns its results.

    If the kernel writes out of bounds, all results are filled with NaN.

    Args:
        launch: a `triton_call.Launch`.
        arrays: the inputs of the launch.
    """

    def widened(dtype):
        return jnp.float32 if dtype == jnp.bfloat16 else dtype

    def run(*arrays):
        # Results start as NaN, as GPU memory may, so an element that no program writes is noticed.
        blank = (np.full(r.shape, np.nan, widened(r.dtype)) for r in launch.results)
        held = [_guarded(a) for a in (*map(np.asarray, arrays), *blank)]
        tensors, results = [_Tensor(a) for a, _ in held], [a for a, _ in held[len(arrays) :]]
        # Padding rows compute 0 / 0 and log 0 in places. Masks discard these values.
        with np.errstate(all="ignore"), _one_at_a_time:
            launch.kernel[(launch.programs,)](*tensors, **launch.constants)
        if not all(_unhurt(memory) for _, memory in held):
            for result in results:
                # NaN fails every test; an exception in a callback would be harder to read.
                result.fill(np.nan)
        return results

    shapes = [jax.ShapeDtypeStruct(r.shape, widened(r.dtype)) for r in launch.results]
    results = jax.pure_callback(run, shapes, *(a.astype(widened(a.dtype)) for a in arrays))
    return [result.astype(r.dtype) for result, r in zip(results, launch.results, strict=True)]
