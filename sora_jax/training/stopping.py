"""Signal handling: Ctrl-C and SIGTERM stop a run after a complete, saved step."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from jax.experimental import multihost_utils

from sora_jax.parallel import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_asked() -> Iterator[Callable[[int], int]]:
    """Context manager: defers Ctrl-C and SIGTERM to the end of a training step.

    The first signal is only recorded, so the step and the checkpoint under way are completed. A
    second signal ends the process at once. Python's handler, which this one replaces, would raise
    anywhere, even inside a callback or a save.

    Yields:
        A function to call once after every step, with the step's number. It returns the number of
        the signal that asks to stop after this step, or 0 to go on.
    """
    # Only the main thread may set signal handlers.
    if threading.current_thread() is not threading.main_thread():
        yield _never
    elif processes.several():
        with _agreed() as stop_step:
            yield stop_step
    else:
        with _noted() as stop_step:
            yield stop_step


def _never(step: int) -> int:
    return 0


@contextlib.contextmanager
def _agreed() -> Iterator[Callable[[int], int]]:
    """Makes several processes stop after the same step. Yields the function of `stop_asked`.

    JAX listens for SIGTERM and agrees on a step once any process receives it, within a second or
    two. Ctrl-C is forwarded as SIGTERM.
    """

    def stop_step(step: int) -> int:
        return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0

    def pass_on(number: int, frame: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield stop_step
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _noted() -> Iterator[Callable[[int], int]]:
    # For a single process. Yields the function that `stop_asked` describes.
    noted = []
    before = [signal.getsignal(s) for s in SIGNALS]

    def note(number: int, frame: Any) -> None:
        noted.append(number)
        # A second signal gets the system's default action: Python's handler would wait for a
        # compilation to end, and XLA would crash while exiting.
        for s in SIGNALS:
            signal.signal(s, signal.SIG_DFL)
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for s in SIGNALS:
        signal.signal(s, note)
    try:
        yield lambda step: noted[0] if noted else 0
    finally:
        for s, handler in zip(SIGNALS, before, strict=True):
            signal.signal(s, handler)
