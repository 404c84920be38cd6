"""Runs a list of parts in a child process. A part may fail or hang without ending the others.

The child runs the parts in order and announces each on its standard output. The parent process
imports only light modules and copies the output into a log. It kills the child

- when a part exceeds its limit; another child then continues with the next part;
- when the total time is over. XLA's compiler cannot be interrupted from within its process.

A child that dies during a part (a crash, a lost device) is replaced in the same way.
"""

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from sora_jax.errors import UserError

BEGINS = "[part] "  # the line that a child prints when it begins a part
FATAL = 2  # exit status of a child after a UserError: no other child is started
ERROR = "error: "  # beginning of the line that a child prints after a UserError
PATIENCE = 2.0  # seconds between asking a child to end and killing it


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a job.

    Attributes:
        name: name of the part.
        limit: seconds after which the child process that runs the part is killed.
    """

    name: str
    limit: float


def announce(name: str) -> None:
    """Prints the line that tells the parent process which part begins; the child calls it."""
    print(f"{BEGINS}{name}", flush=True)


def supervise(
    command: Callable[[Sequence[str], float], Sequence[str]],
    parts: Sequence[Part],
    seconds: float,
    log: Path,
) -> dict[str, str]:
    """Runs the parts of a job in child processes, within `seconds`.

    Args:
        command: function (names of the parts to run, seconds left) -> the command line of a child.
        parts: the parts, in order.
        seconds: time for all parts together.
        log: file to which the children's output is appended; it is also printed.

    Returns:
        How each part ended: {name: "done", "killed after N s", "died with status N" or "not
        begun"}.

    Raises:
        UserError: a child raised it, and ended with status FATAL. The message is the child's.
    """
    end = time.monotonic() + seconds
    left = list(parts)
    ended: dict[str, str] = {}
    while left and time.monotonic() < end:
        reached, reason = _run_child(command, left, end, log)
        names = [part.name for part in left]
        finished = names if reason == "done" else names[: names.index(reached)]
        ended |= dict.fromkeys(finished, "done")
        if reason != "done":
            ended[reached] = reason
        left = left[len(finished) + (reason != "done") :]
    return ended | {part.name: "not begun" for part in left}


def _run_child(
    command: Callable[[Sequence[str], float], Sequence[str]],
    parts: Sequence[Part],
    end: float,
    log: Path,
) -> tuple[str, str]:
    """Runs one child process for `parts`. `end` is the deadline, a `time.monotonic` time; `command`
    and `log` are those of `supervise`.

    Returns:
        The name of the part in which the child ended, and "done" or the reason why it ended there.
    """
    names = [part.name for part in parts]
    limits = {part.name: part.limit for part in parts}
    line = command(names, end - time.monotonic())
    # In a session of its own, so that ending the child also ends the processes that it started.
    child = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    current, begun = names[0], time.monotonic()
    message = f"see {log}"
    try:
        with log.open("a", encoding="utf-8") as file:
            while True:
                wait = min(begun + limits[current], end) - time.monotonic()
                try:
                    text = lines.get(timeout=max(wait, 0.0))
                except queue.Empty:
                    return current, f"killed after {time.monotonic() - begun:.0f} s"
                if text is None:
                    break
                file.write(text)
                file.flush()
                if text.startswith(ERROR):
                    message = text.removeprefix(ERROR).strip()
                else:
                    print(text, end="", flush=True)
                if text.startswith(BEGINS):
                    current, begun = text.removeprefix(BEGINS).strip(), time.monotonic()
        status = child.wait()
        if status == FATAL:
            raise UserError(message)
        return current, "done" if status == 0 else f"died with status {status}"
    finally:
        _end(child)


def _read(stream: IO[str], lines: queue.Queue) -> None:
    with stream:
        for text in stream:
            lines.put(text)
    lines.put(None)


def _end(child: subprocess.Popen) -> None:
    """Ends the child and all processes that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):  # SIGTERM first, so that it may clean up
        if child.poll() is None:
            os.killpg(child.pid, number)
            try:
                child.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)  # workers that outlived it
