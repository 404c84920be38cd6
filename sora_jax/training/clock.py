"""The clock of a run: seconds of training, without compilation, checkpoints and other pauses, and
across restarts.
"""

import contextlib
import time
from collections.abc import Callable, Iterator


class Clock:
    """Measures windows of steps.

    Call `lap(step)` once the step's results are there, or it times the queue, not the work.
    """

    def __init__(
        self, total_steps: int, step: int = 0, now: Callable[[], float] = time.perf_counter
    ):
        self._total, self._step, self._now = total_steps, step, now
        self._start, self._paused = now(), 0.0
        self.step_seconds = float("nan")  # of the last window, per step

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """What happens inside is not counted as training."""
        start = self._now()
        try:
            yield
        finally:
            self._paused += self._now() - start

    def lap(self, step: int) -> float:
        """Seconds trained since the last lap, up to which another `step` steps were done; from them
        comes `step_seconds`.
        """
        before = self._step
        seconds = self.restart(step)
        if step > before:
            self.step_seconds = seconds / (step - before)
        return seconds

    def restart(self, step: int) -> float:
        """Begin a lap at this step; the seconds since the last one, which count for nothing: what
        compiles is no measure of what trains.
        """
        seconds = self._now() - self._start - self._paused
        self._start, self._paused, self._step = self._now(), 0.0, step
        return seconds

    @property
    def eta_seconds(self) -> float:
        """Seconds left at the pace of the last window."""
        return (self._total - self._step) * self.step_seconds
