"""Checks whether Pallas kernels for TPUs can run: on a TPU, or anywhere in the interpreter."""

import contextlib
from contextvars import ContextVar

from jax.experimental.pallas import tpu as pltpu

from kernels import settings, target
from kernels.errors import Unsupported

_interpreter: ContextVar[pltpu.InterpretParams | None] = settings.setting(
    "pallas_interpreter", None
)


def interpreted(params: pltpu.InterpretParams) -> contextlib.AbstractContextManager[None]:
    """Returns a context manager that runs Pallas kernels in the TPU interpreter, on any platform.
    `params` are the interpreter's parameters. Trace inside the context.
    """
    return settings.held(_interpreter, params)


def interpreter() -> pltpu.InterpretParams | None:
    """Returns the parameters of the TPU interpreter that `interpreted` set, or None if kernels are
    compiled.
    """
    return _interpreter.get()


def check_runnable() -> None:
    """Raises `Unsupported` if Pallas kernels for TPUs cannot run here."""
    if target.current().platform != "tpu" and interpreter() is None:
        raise Unsupported(f"needs a TPU, and this is {target.current().kind}")
