"""How far the generation is, with an estimate of what is left that holds; seconds of each part."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm


class Progress:
    """A bar for each job of a command.

    The first step of a command compiles its programs, which takes seconds to minutes and says
    nothing about the steps that follow: it stands apart as "compiling ...", and the estimate is
    made from the others.
    """

    def __init__(self, file: TextIO | None = None):
        """file: where to draw; None is stderr."""
        self._file, self._compiled = file, False

    @contextlib.contextmanager
    def job(self, label: str) -> Iterator[Callable[[int, int], None]]:
        """Within, call what is given with (steps done, steps in all) after every step, as
        `Pipeline.generate` does.
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
            if done == total:  # what follows the last step compiles once more
                bar.set_description(f"{label}: decoding ...")

        try:
            yield show
        finally:
            bar.close()


class StepCount:
    """Counts the steps of all windows of a job, for `report(done, total)`."""

    def __init__(self, report: Callable[[int, int], object] | None, total: int):
        self.report, self.total, self.done = report, total, 0

    def __call__(self, step: int, steps: int) -> None:
        """One more step is done; its number within its window does not matter."""
        self.done += 1
        if self.report is not None:
            self.report(self.done, self.total)


class Laps:
    """Seconds of each part of a job, in `laps`."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The part `name` ends here; it began where the one before ended."""
        now = time.perf_counter()
        self.laps[name], self._last = round(now - self._last, 4), now
