"""A list of parts run in a child process, each of which may fail or hang without ending the rest.

The child does the parts in order and says on its standard output when one begins. This process
imports nothing heavy, copies the output into a log, and kills the child

- when a part takes longer than its limit. Another child begins with the next part;
- at the end of the time for all. XLA's compiler cannot be interrupted from within its process.

A child that dies in a part (a crash, a lost device) is replaced as well.
"""

import dataclasses
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BEGINS = "[part] "  # the line that a child prints when it begins a part
FATAL = 2  # exit status of a child whose mistake is the user's: no other child is begun
PATIENCE = 2.0  # seconds between asking a child to end and killing it


@dataclasses.dataclass(frozen=True)
class Part:
    """A part by name; a child that is in it for longer than `limit` seconds is killed."""

    name: str
    limit: float


def announce(name: str) -> None:
    """Called by the child when it begins a part."""
    print(f"{BEGINS}{name}", flush=True)


def supervise(
    command: Callable[[Sequence[str], float], Sequence[str]],
    parts: Sequence[Part],
    seconds: float,
    log: Path,
) -> dict[str, str]:
    """Runs all parts within `seconds`; returns how each ended.

    Args:
        command: (names of the parts to do, seconds left) -> the command line of a child.
        log: file to append the children's output to; it is printed as well.

    Returns {name: "done", "killed after N s", "died with status N" or "not begun"}. Raises
    SystemExit with a child's own status where that is `FATAL`.
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


def _run_child(command, parts: Sequence[Part], end: float, log: Path) -> tuple[str, str]:
    """One child for `parts`: (the part that it was in last, "done" or why it ended there)."""
    names = [part.name for part in parts]
    limits = {part.name: part.limit for part in parts}
    line = command(names, end - time.monotonic())
    # A session of its own: the child's own processes are ended with it.
    child = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
    current, begun = names[0], time.monotonic()
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
                print(text, end="", flush=True)
                if text.startswith(BEGINS):
                    current, begun = text.removeprefix(BEGINS).strip(), time.monotonic()
        status = child.wait()
        if status == FATAL:
            raise SystemExit(FATAL)
        return current, "done" if status == 0 else f"died with status {status}"
    finally:
        _end(child)


def _read(stream, lines: queue.Queue) -> None:
    for text in stream:
        lines.put(text)
    lines.put(None)


def _end(child: subprocess.Popen) -> None:
    """Ends the child and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):  # asked first, so that it may clean up
        if child.poll() is None:
            os.killpg(child.pid, number)
            try:
                child.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                continue
    try:
        os.killpg(child.pid, signal.SIGKILL)  # workers that outlived it
    except ProcessLookupError:
        pass
