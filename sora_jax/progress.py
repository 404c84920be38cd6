"""Progress bars with a reliable estimate of the remaining time, and the seconds that each part of
a job took.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm


class Progress:
    """Progress bars, one for each job of a command.

    The first step of a command compiles its programs. It takes seconds to minutes and predicts
    nothing about later steps, so it is shown as "compiling ..." and excluded from the estimate.
    """

    def __init__(self, file: TextIO | None = None):
        """file: the stream to draw on. Default None: stderr."""
        self._file, self._compiled = file, False

    @contextlib.contextmanager
    def job(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Context manager: shows the progress bar of one job, called `label`.

        It yields a callback (steps done, total steps). Call that after every step of the sampler,
        as `Pipeline.generate` does. After the last step the bar says "decoding ...".
        """
        wait = label if self._compiled else f"{label}: compiling ..."
        bar = tqdm(desc=wait, bar_format="{desc}", leave=False, file=self._file)

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar.total is None:
                bar.close()
                bar = tqdm(
                    desc=label, initial=done, total=total, unit="step", leave=False, file=self._file
                )
                self._compiled = True
            else:
                bar.update(done - bar.n)
            if done == total:  # decoding compiles another program
                bar.set_description(f"{label}: decoding ...")

        try:
            yield show
        finally:
            bar.close()


class StepCount:
    """A callback that counts the steps of a job over several windows, parts of a long clip.

    Attributes:
        report: called with (steps done, `total`) after each step; None: not called.
        total: number of steps of the whole job.
        done: number of steps so far.
    """

    def __init__(self, report: Callable[[int, int], object] | None, total: int):
        self.report, self.total, self.done = report, total, 0

    def __call__(self, step: int, steps: int) -> None:
        """Counts one more step. Both arguments, which count within a window, are ignored."""
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)


class Laps:
    """A stopwatch that starts when it is made.

    Attributes:
        laps: {name of a part of the job: seconds}.
    """

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends the part `name`, which began at the end of the previous part. The seconds of parts
        with the same name are added.
        """
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 4)
        self._last = now
