"""A clock of training time: seconds per step, without compilation, checkpoints and other pauses."""

import contextlib
import time
from collections.abc import Callable, Iterator


class Clock:
    """A timer of training steps, in seconds per step.

    Call `lap(step)` after the step's results are ready. Dispatch is asynchronous, so an earlier
    call measures the time to enqueue the work.

    Args:
        total_steps: steps of the whole run, for `eta_seconds`.
        step: the step that a continued run starts from. Default 0.
        now: function that returns the time in seconds. Default `time.perf_counter`.

    Attributes:
        step_seconds: seconds per step in the last window of steps; nan before one has ended.
    """

    def __init__(
        self, total_steps: int, step: int = 0, now: Callable[[], float] = time.perf_counter
    ):
        self._total, self._step, self._now = total_steps, step, now
        self._start, self._paused = now(), 0.0
        self.step_seconds = float("nan")  # per step, in the last window

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Context manager: leaves the time spent inside the context out of the measurement."""
        start = self._now()
        try:
            yield
        finally:
            self._paused += self._now() - start

    def lap(self, step: int) -> float:
        """Ends a window of steps at `step`, which began at the last call of `lap` or `restart`, and
        returns the window's seconds without pauses.

        It sets `step_seconds`, the mean seconds per step of the window.
        """
        before = self._step
        seconds = self.restart(step)
        if step > before:
            self.step_seconds = seconds / (step - before)
        return seconds

    def restart(self, step: int) -> float:
        """Begins a window of steps at `step` and returns the seconds since the last one began.

        `step_seconds` is not changed. So a call after the step that compiles leaves that step out.
        """
        seconds = self._now() - self._start - self._paused
        self._start, self._paused, self._step = self._now(), 0.0, step
        return seconds

    @property
    def eta_seconds(self) -> float:
        """The seconds that the rest of the run takes at the speed of the last window; nan before
        the first.
        """
        return (self._total - self._step) * self.step_seconds
