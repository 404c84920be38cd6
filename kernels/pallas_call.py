"""Whether Pallas kernels for TPUs can run: on a TPU, or anywhere in Pallas's interpreter."""

import contextlib

from jax.experimental.pallas import tpu as pltpu

from kernels import target
from kernels.errors import Unsupported
from kernels.settings import setting

_interpreter = setting("pallas_interpreter", None)


@contextlib.contextmanager
def interpreted(params: pltpu.InterpretParams):
    """Run kernels in Pallas's interpreter of TPUs, on any platform.

    Trace inside it, and jit nothing that was traced outside it.
    """
    token = _interpreter.set(params)
    try:
        yield
    finally:
        _interpreter.reset(token)


def interpreter() -> pltpu.InterpretParams | None:
    """What `interpreted` set; None where kernels are compiled."""
    return _interpreter.get()


def check_runnable() -> None:
    """Raises `Unsupported` where Pallas kernels for TPUs cannot run."""
    if target.current().platform != "tpu" and interpreter() is None:
        raise Unsupported(f"needs a TPU, and this is {target.current().kind}")
