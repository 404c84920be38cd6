"""Signals that ask a run to stop: Ctrl-C and SIGTERM end it after a whole step, saved."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator

from jax.experimental import multihost_utils

from sora_jax.parallel import processes

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_asked() -> Iterator[Callable[[int], int]]:
    """Within, the first Ctrl-C or SIGTERM is only noted: the step and the checkpoint under way end
    whole. A second acts at once.

    Gives a function of the step just done, to be called once a step: the signal that asks to stop
    after it, else 0. Python alone would raise wherever it stands, inside a callback or a save as
    well.
    """
    # only the main thread may set handlers
    if threading.current_thread() is not threading.main_thread():
        yield _never
    elif processes.several():
        with _agreed() as asked:
            yield asked
    else:
        with _noted() as asked:
            yield asked


def _never(step: int) -> int:
    return 0


@contextlib.contextmanager
def _agreed() -> Iterator[Callable[[int], int]]:
    """Several processes agree on a step: JAX waits for SIGTERM there, and one that any of them
    received reaches all within a second or two. Ctrl-C is passed on as one.
    """

    def asked(step: int) -> int:
        return signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0

    def pass_on(number, frame):
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGINT, pass_on)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _noted() -> Iterator[Callable[[int], int]]:
    noted = []
    before = [signal.getsignal(s) for s in SIGNALS]

    def note(number, frame):
        noted.append(number)
        # The system's own way to end a process: Python's would wait for a compilation, and XLA
        # crash on its way out.
        for s in SIGNALS:
            signal.signal(s, signal.SIG_DFL)
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for s in SIGNALS:
        signal.signal(s, note)
    try:
        yield lambda step: noted[0] if noted else 0
    finally:
        for s, handler in zip(SIGNALS, before):
            signal.signal(s, handler)
