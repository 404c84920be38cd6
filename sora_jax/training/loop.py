"""The training loop: steps, metrics, checkpoints, and early stopping.

    for step:  batch <- data;  state, metrics <- step(state, batch);  every `log_every` steps:
    fetch, check, write

The host does not read a step's metrics until its window of `log_every` steps ends, so it
prepares data while the device works. It runs at most AHEAD steps ahead, so a run stops at most
AHEAD steps after a signal. A loss or gradient that is not finite is detected at the end of its
window. The error names the step, and no state after it is saved.

Several processes that train together all run this loop, and stop and save at the same steps.
Process 0 writes the metrics and the progress bar.
"""

import contextlib
import dataclasses
import datetime
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from tqdm import tqdm

from sora_jax.config import within
from sora_jax.errors import Preempted, UserError
from sora_jax.parallel import processes
from sora_jax.training import metrics as metrics_lib
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.clock import Clock
from sora_jax.training.start import NEW, Start
from sora_jax.training.state import TrainState
from sora_jax.training.step import StepFn
from sora_jax.training.stopping import stop_asked
from sora_jax.training.watch import ProfileConfig, Profiler, peak_memory
from sora_jax.training.workdir import Workdir

AHEAD = 2  # steps dispatched to the device before their results are ready


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The length of a training run, its logging and its checkpoints.

    A checkpoint is saved every `checkpoint_every` steps, at the end of the first window of
    `log_every` steps that ends more than `checkpoint_minutes` after the last checkpoint, and after
    the last step. Saving by the clock only at the end of a window keeps the steps of the rows of
    metrics independent of speed.

    Attributes:
        steps: training steps of the whole run. Default 1000.
        seed: seed of the initial weights, of the order of clips and of the noise. Default 0.
        batch_size: clips of a batch of the first set. Default 32.
        log_every: steps of a window, for which one row of metrics is written. Default 20.
        checkpoint_every: steps between checkpoints. Default 0: none are saved by the step.
        checkpoint_minutes: minutes between checkpoints. Default 5.
        keep: newest checkpoints to keep. Default 2.
    """

    steps: int = 1000
    seed: int = 0
    batch_size: int = 32
    log_every: int = 20
    checkpoint_every: int = 0
    checkpoint_minutes: float = 5.0
    keep: int = 2

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")
        within(self, "[0, inf)", "checkpoint_every", "checkpoint_minutes")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed}; give 0 to {2**31 - 1}")


@dataclasses.dataclass(frozen=True)
class Every:
    """A callback of the training loop, with the steps after which it is called.

    Attributes:
        call: training state -> metrics or pictures by name.
        steps: it is called every `steps` steps and after the last. Default 0: after the last only.
    """

    call: Callable[[TrainState], Mapping[str, Any]]
    steps: int = 0

    def due(self, step: int, last: bool) -> bool:
        """Returns whether to call after `step`; `last` is True if that is the run's last step."""
        return last or bool(self.steps and step % self.steps == 0)


def fit(
    state: TrainState,
    step_fn: StepFn,
    batches: Any,
    config: TrainConfig,
    workdir: Workdir,
    *,
    start: Start = NEW,
    evaluate: Every | None = None,
    pictures: Every | None = None,
    profile: ProfileConfig = ProfileConfig(),
    flops: metrics_lib.StepFlops | None = None,
    keep_step: int | None = None,
) -> TrainState:
    """Trains to `config.steps`, from the newest checkpoint of `workdir` if there is one.

    If the directory holds a run with another number of steps, the checkpoints after the last step
    that both runs share (`Workdir.shared`) are deleted, so the later steps are trained anew.

    Args:
        state: the state before step 0. Its buffers are donated: do not use it again.
        step_fn: from `make_step`.
        batches: a Grain `DatasetIterator` of batches. Its position is saved and restored with the
          state. It must not run out.
        config: the length, logging and checkpoints.
        workdir: the run's directory.
        start: where a run without checkpoints starts (`open_start`). Default: at step 0.
        evaluate: its call returns {NAME: metric} of a state, written as val/NAME. Default: none.
        pictures: its call returns images {name: uint8 [H, W, 3]} for TensorBoard. Default: none.
        profile: the steps to profile; the trace is written to TensorBoard. Default: none.
        flops: FLOPs of a step; adds the metrics of `StepFlops.rates`. Default: none.
        keep_step: a step whose checkpoint is saved and kept, from which a longer run can begin
          (`optim.stable_steps`). Default: none.

    Returns:
        The state after step `config.steps`.

    Raises:
        UserError: a loss or gradient is not finite, the data ran out, or a checkpoint does not fit.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM (`Preempted`), after the step was saved.
    """
    with (
        Checkpoints(workdir.path / "checkpoints", config.keep, keep_step) as checkpoints,
        stop_asked() as stop_step,
    ):
        if workdir.shared is not None:
            checkpoints.drop_after(workdir.shared)
        workdir.begin()
        if checkpoints.latest is None:
            start.begin(workdir.path, batches)
        else:
            state = checkpoints.restore(state, batches)
            if processes.is_first():
                print(f"continuing from step {int(state.step)} of {workdir.path}", file=sys.stderr)
        if int(state.step) >= config.steps:
            return state
        watched = profile if processes.is_first() else ProfileConfig()
        profiler = Profiler(watched, workdir.path / "tensorboard")
        with contextlib.closing(_Loop(state, batches, config, workdir, checkpoints)) as loop:
            with contextlib.closing(profiler), _explained(loop):
                while loop.step < config.steps:
                    loop.advance(step_fn, profiler)
                    last = loop.step == config.steps
                    due = loop.checkpoint_due() or loop.step == keep_step
                    # Asked once per step: a signal that arrives later stops after the next step, so
                    # the step named in the message below has been saved.
                    stopping = stop_step(loop.step)
                    save = bool(last or stopping or due)
                    if save or loop.at_log:
                        loop.log(flops)
                    if save:
                        loop.save(wait=bool(last or stopping))
                    loop.show(evaluate, pictures, last)
                    if stopping and not last:
                        kind = Preempted if stopping == signal.SIGTERM else KeyboardInterrupt
                        raise kind(
                            f"stopped at step {loop.step}, saved; the same command continues "
                            "from there"
                        )
            return loop.state


def newest(state: TrainState, batches: Any, workdir: Workdir) -> TrainState:
    """Returns the state of the newest checkpoint, and moves the iterator `batches` to its position.

    Args:
        state: any state of the run; it gives the structure, shapes, dtypes and shardings.
        batches: the iterator of the run's batches.
        workdir: the run's directory.

    Raises:
        UserError: the directory has no checkpoint, or its run has another number of steps.
    """
    with Checkpoints(workdir.path / "checkpoints") as checkpoints:
        if workdir.shared is not None:
            raise UserError(
                f"{workdir.path} holds a run with another number of steps; give its own "
                "config.train.steps"
            )
        if checkpoints.latest is None:
            raise UserError(f"{workdir.path} has no checkpoint yet; train first")
        return checkpoints.restore(state, batches)


class _Loop:
    """The mutable state of `fit`: training state, window of metrics, clock and progress bar."""

    def __init__(self, state, batches, config: TrainConfig, workdir: Workdir, checkpoints):
        first = processes.is_first()
        self.state, self.batches, self.config, self.checkpoints = (
            state,
            batches,
            config,
            checkpoints,
        )
        self.step = self.saved = int(state.step)
        self.window: list[tuple[int, dict[str, jax.Array]]] = []  # metrics since the last row
        self.compiled = False
        # Texts of the progress bar: speed and loss; loss of the last validation.
        self.said = self.validated = ""
        self.last_save = time.monotonic()
        self.writer = metrics_lib.Writer(workdir.path, self.step) if first else None
        self.clock = Clock(config.steps, self.step)
        self.bar = tqdm(
            disable=not first,
            total=config.steps,
            initial=self.step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )
        if self.step < config.steps:
            self.bar.set_postfix_str("compiling, which can take minutes")

    @property
    def at_log(self) -> bool:
        """True if this step ends a window of `log_every` steps."""
        return self.step % self.config.log_every == 0

    def advance(self, step_fn: StepFn, profiler: Profiler) -> None:
        """Dispatches one step to the device, and waits until at most AHEAD steps are pending."""
        batch = self._next_batch()
        profiler.before(self.step + 1)
        self.state, metrics = step_fn(self.state, batch)
        self.step += 1
        profiler.after(self.step, metrics)
        self.bar.update()
        self.window.append((self.step, metrics))
        if len(self.window) > AHEAD:
            jax.block_until_ready(self.window[-1 - AHEAD])
        if not self.compiled:  # the first step compiles: checked at once, left out of step_seconds
            self.compiled = True
            self._rows()
            self.bar.set_postfix_str(
                f"compiled in {self.clock.restart(self.step):.0f} s, loss "
                f"{float(metrics['loss']):.4f}"
            )

    def _next_batch(self) -> Any:
        try:
            return next(self.batches)
        except StopIteration:
            raise UserError(
                f"the data ran out at step {self.step}; the iterator must repeat"
            ) from None
        except UserError as error:
            raise UserError(
                f"{error}; stopped at step {self.step}, and the same command continues from "
                f"step {self.saved}"
            ) from error

    def checkpoint_due(self) -> bool:
        """True if a checkpoint is due after this step. Process 0's clock decides for all."""
        by_clock = self.at_log and processes.decided(
            time.monotonic() - self.last_save > 60 * self.config.checkpoint_minutes
        )
        every = self.config.checkpoint_every
        return by_clock or bool(every and self.step % every == 0)

    def _rows(self) -> list[dict[str, float]]:
        """Fetches the metrics of the window's steps from the device, {name: value} of each.

        Raises:
            UserError: a loss or gradient is not finite.
        """
        rows = jax.device_get([metrics for _, metrics in self.window])
        for (step, _), row in zip(self.window, rows, strict=True):
            for name in ("loss", "grad_norm"):
                if not math.isfinite(row[name]):
                    latest = self.checkpoints.latest
                    kept = f"the checkpoint of step {latest} is kept"
                    raise UserError(
                        f"step {step}: {name} is {row[name]}; stopped, and "
                        f"{kept if latest else 'no checkpoint was made yet'} in "
                        f"{self.checkpoints.directory}; try a lower optim.lr, a longer "
                        "optim.warmup or a smaller optim.clip, in a new workdir"
                    )
        return rows

    def log(self, flops: metrics_lib.StepFlops | None) -> None:
        """Ends the window: writes a row of its mean metrics and its speed. `flops` adds rates."""
        rows = self._rows()
        self.clock.lap(self.step)
        seconds = self.clock.step_seconds
        means = metrics_lib.mean(rows)
        clips = means.pop("clips", self.config.batch_size)
        values = {
            **means,
            "step_seconds": seconds,
            "peak_memory": peak_memory(),
            "clips_per_second": clips / seconds,
            **(flops.rates(seconds) if flops else {}),
        }
        if self.writer:
            self.writer.write(self.step, values)
        speed, left = "", self.clock.eta_seconds
        if math.isfinite(left):  # unknown until a second step has run
            speed = f"{seconds:.3g} s/step, ETA {datetime.timedelta(seconds=round(left))}, "
        self.said = f"{speed}loss {values['loss']:.4f}"
        self._say()
        self.window.clear()

    def _say(self) -> None:
        self.bar.set_postfix_str(", ".join(filter(None, (self.said, self.validated))))

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Returns a context whose time does not count as training time. It first waits for the
        dispatched steps, whose time does count.
        """
        jax.block_until_ready(self.state)
        return self.clock.pause()

    def save(self, wait: bool) -> None:
        """Saves a checkpoint, unless this step has one. `wait=True` waits until it is on disk."""
        if self.step != self.saved:
            with self.paused():
                self.checkpoints.save(self.step, self.state, self.batches, wait=wait)
            self.saved, self.last_save = self.step, time.monotonic()

    def show(self, evaluate: Every | None, pictures: Every | None, last: bool) -> None:
        """Writes the evaluation metrics and the pictures that are due after this step."""
        if evaluate and evaluate.due(self.step, last):
            with self.paused():
                values = {f"val/{k}": float(v) for k, v in evaluate.call(self.state).items()}
                if self.writer:
                    self.writer.write(self.step, values)
            if "val/loss" in values:
                self.validated = f"val {values['val/loss']:.4f}"
                self._say()
        if pictures and self.writer and pictures.due(self.step, last):
            with self.paused():
                self.writer.show(self.step, pictures.call(self.state))

    def close(self) -> None:
        self.bar.close()
        if self.writer:
            self.writer.close()


@contextlib.contextmanager
def _explained(loop: _Loop) -> Iterator[None]:
    """Adds the step that the run continues from to device errors and interruptions."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0][:160]
        # Out of memory would happen again on a retry. `from None` leaves `__cause__` empty, so
        # `processes.is_lost` does not take it for a lost process, which asks for a retry.
        if reason.startswith("RESOURCE_EXHAUSTED"):
            raise UserError(
                f"step {loop.step + 1}: out of memory ({reason}); give a smaller "
                "config.train.batch_size with config.optim.accumulate, or "
                "config.model.remat=block"
            ) from None
        if not processes.several():
            raise
        raise UserError(
            f"step {loop.step + 1}: another process was lost, or a device failed ({reason}); "
            f"the same command, given to every process, continues from step {loop.saved}"
        ) from error
    except KeyboardInterrupt as error:
        if error.args:
            raise
        raise KeyboardInterrupt(
            f"stopped at step {loop.step}; the same command continues from step {loop.saved}"
        ) from error
