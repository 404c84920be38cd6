"""Reads files in a child process, because a decoder may crash or hang on a damaged file.

`Worker` runs one function after another in one child, which is started again after a crash. The
child limits its own memory and time, so a call ends even if its parent was killed.
"""

import contextlib
import os
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from sora_jax.errors import UserError

Result = TypeVar("Result")
SECONDS = 300  # limit of one call
BYTES = 4 << 30  # limit of the child's private memory
REMEDY = "encode the file again, or use another"
# The child gets the parent's sys.path, but does not import its main module: a script without a
# `__main__` guard would run again.
START = "from sora_jax.media.worker import serve; serve()"


class Worker:
    """A child process that runs functions. Use it in a `with` statement, or call `close`."""

    def __init__(self, seconds: int = SECONDS):
        """Makes a worker whose child starts with the first call. A call that takes longer than
        `seconds` (default SECONDS) raises UserError.
        """
        self.seconds = seconds
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Returns function(*arguments), run in the child process.

        Args:
            function: a function at the top level of a module of this package.
            arguments: its arguments, which can be pickled like its result.

        Raises:
            UserError: the child crashed or took too long, or the function raised UserError.
            RuntimeError: the function raised another exception, which the message names.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            pickle.dump((function, arguments, self.seconds), process.stdin)
            process.stdin.flush()
            good, value = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            raise UserError(self._died()) from None
        except BaseException:  # such as Ctrl-C: the answer would reach the next call
            self.close()
            raise
        if good:
            return value
        raise value

    def _start(self) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", START], stdin=pipe, stdout=pipe, env=environment
        )

    def _died(self) -> str:
        """Closes the child, and returns why it had ended, as text for a message."""
        status = self.close()
        if status == -signal.SIGALRM:
            return f"its decoder took longer than {self.seconds} s; {REMEDY}"
        with contextlib.suppress(ValueError):
            return f"its decoder crashed ({signal.Signals(-status).name}); {REMEDY}"
        return f"its decoder ended with status {status}; {REMEDY}"

    def close(self) -> int:
        """Ends the child process, if one runs; returns its exit status, 0 if none runs."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()
        try:
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def serve() -> None:
    """The main function of the child process: runs the calls that arrive on stdin until it is
    closed, and answers on stdout.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches children; the parent closes
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with contextlib.suppress(OSError, ValueError):  # not every system has these limits
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (BYTES, most))
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    while True:
        try:
            function, arguments, seconds = pickle.load(calls)
        except EOFError:
            return
        signal.alarm(seconds)
        try:
            answer = True, function(*arguments)
        except UserError as error:
            answer = False, error
        except Exception as error:  # a decoder may raise any
            answer = False, RuntimeError(f"{type(error).__name__}: {error}")
        signal.alarm(0)
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            return
