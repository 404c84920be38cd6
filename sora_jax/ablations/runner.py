"""Runs the trials of a study, each in a process of its own, several at a time.

A trial whose process is killed is started once more, and its training goes on from the last
checkpoint. A trial that ends with an error is not started again. If this process dies, the trials
notice that their stdin closes (`end_with_parent`), save a checkpoint and end.

Trials run side by side as far as a memory limit allows: each is assumed to need the peak memory of
the largest process so far. So with a limit the first trial runs alone until its peak is known.
"""

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tqdm

from sora_jax.ablations.trial import PATIENCE, RECORD, Trial, folder_of
from sora_jax.training.metrics import read

ATTEMPTS = 2  # processes that are started for a trial at most
POLL = 0.5  # seconds between looks at the processes
GIB = 2**30
LOG = "log.txt"  # output of a trial's processes, in its folder


@dataclasses.dataclass
class Attempt:
    """A process that runs a trial.

    Attributes:
        trial: the trial.
        number: the number of the attempt, from 1.
        process: the process.
        peak: largest resident memory of the trial's processes so far, in bytes; 0 if unknown.
    """

    trial: Trial
    number: int
    process: subprocess.Popen
    peak: int = 0

    def measure(self) -> None:
        """Updates `peak`, which only Linux reports."""
        with contextlib.suppress(OSError, StopIteration, ValueError):
            status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
            line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            self.peak = max(self.peak, 1024 * int(line.split()[1]))


def missing(trials: Sequence[Trial], folder: Path) -> list[Trial]:
    """Returns the trials without a record."""
    return [trial for trial in trials if not (folder_of(trial, folder) / RECORD).exists()]


def run_trials(
    trials: Sequence[Trial],
    folder: Path,
    command: Callable[[Trial], Sequence[str]],
    workers: int = 1,
    memory: float | None = None,
) -> dict[str, str]:
    """Runs the trials that have no record yet.

    Args:
        trials: the trials.
        folder: the folder of the study.
        command: trial -> command line of a process that runs it (`trial.run_trial`).
        workers: largest number of trials at a time. Default 1.
        memory: bytes for all running trials together. Default: no limit.

    Returns:
        {name of a trial: reason} of the trials that failed.

    Raises:
        KeyboardInterrupt: the user stopped the study; its trials have saved checkpoints.
    """
    waiting = deque((trial, 1, 0) for trial in missing(trials, folder))
    running: list[Attempt] = []
    failed: dict[str, str] = {}
    largest = 0
    with _bar(trials, folder) as show, _ended(running):
        while waiting or running:
            while waiting and _fits(len(running), workers, memory, largest):
                running.append(_start(*waiting.popleft(), folder, command))
            time.sleep(POLL)
            for attempt in list(running):
                attempt.measure()
                largest = max(largest, attempt.peak)
                if attempt.process.poll() is None:
                    continue
                running.remove(attempt)
                if reason := _reason(attempt, folder):
                    if attempt.process.returncode <= 0 and attempt.number < ATTEMPTS:
                        waiting.append((attempt.trial, attempt.number + 1, attempt.peak))
                    else:
                        failed[attempt.trial.name] = reason
            show(running)
    return failed


def _fits(running: int, workers: int, memory: float | None, largest: int) -> bool:
    if running >= workers:
        return False
    if memory is None or not running:
        return True
    return bool(largest) and (running + 1) * largest <= memory


def _start(
    trial: Trial, number: int, peak: int, folder: Path, command: Callable[[Trial], Sequence[str]]
) -> Attempt:
    with (folder_of(trial, folder) / LOG).open("ab") as log:
        # A session of its own, so that Ctrl-C reaches only this process, which stops the trials.
        process = subprocess.Popen(
            command(trial),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Attempt(trial, number, process, peak)


def _reason(attempt: Attempt, folder: Path) -> str | None:
    """Returns why an ended process left no record; None if it left one."""
    own = folder_of(attempt.trial, folder)
    if (own / RECORD).exists():
        return None
    code = attempt.process.returncode
    if code < 0:
        peak = f" with {attempt.peak / GIB:.1f} GiB of memory" * bool(attempt.peak)
        hint = "; too little memory? give fewer --workers" * (code == -signal.SIGKILL)
        return f"killed by {signal.Signals(-code).name}{peak}, {attempt.number} times{hint}"
    said = (own / LOG).read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    last = next((line for line in reversed(said) if line.strip()), f"status {code}")
    return f"{last.removeprefix('error: ')} (see {own / LOG})"


def end_with_parent() -> None:
    """Stops this process when its stdin closes, because the runner has ended: as SIGTERM does, and
    by SIGKILL if it has not ended PATIENCE seconds later, as while it compiles.
    """

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin, whose lock would be held when Python exits
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _ended(running: list[Attempt]) -> Iterator[None]:
    """Context manager: ends the processes of `running` when the block ends early, with time for
    each to save a checkpoint (PATIENCE).
    """
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt("stopped; the same command continues from there") from None
    finally:
        for attempt in running:
            attempt.process.terminate()
        for attempt in running:
            try:
                attempt.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                attempt.process.kill()


@contextlib.contextmanager
def _bar(trials: Sequence[Trial], folder: Path) -> Iterator[Callable[[Sequence[Attempt]], None]]:
    """Context manager: shows a progress bar of the steps of all trials, and yields a function that
    updates it from the list of running attempts.
    """
    steps = {trial.name: trial.run.train.steps for trial in trials}
    left = {trial.name: trial for trial in missing(trials, folder)}
    done = sum(steps[name] for name in steps.keys() - left.keys())
    with tqdm.tqdm(total=sum(steps.values()), initial=done, unit="step") as bar:

        def show(running: Sequence[Attempt]) -> None:
            under_way = {attempt.trial.name for attempt in running}
            now = done
            for name, trial in left.items():
                own = folder_of(trial, folder)
                if (own / RECORD).exists():
                    now += steps[name]
                elif name in under_way and (rows := read(own / "run" / "metrics.jsonl")):
                    now += int(rows[-1]["step"])
            text = ", ".join(sorted(under_way))
            if now > bar.n or text != bar.postfix:
                bar.set_postfix_str(text, refresh=False)
                bar.update(now - bar.n)
                bar.refresh()

        yield show
