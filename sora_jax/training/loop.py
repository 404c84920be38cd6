"""The loop: steps, logging, checkpoints, and the reasons to stop.

    for step:  batch <- data;  state, metrics <- step(state, batch);  every `log_every` steps:
    fetch, check, write

Nothing looks at a step's result until its window ends, so the host prepares data while the device
works, AHEAD steps and no more: so a run stops at most AHEAD steps after a signal. A loss or
gradient that is not finite is therefore noticed at the end of a window, but the step that made it
is named and no state after it is ever saved.

Where several processes train together all of them run this loop, and stop and save at the same
steps; the first writes what is read.
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

from sora_jax.errors import Preempted, UserError
from sora_jax.parallel import processes
from sora_jax.training import metrics as metrics_lib
from sora_jax.training.checkpoint import Checkpoints
from sora_jax.training.clock import Clock
from sora_jax.training.state import TrainState
from sora_jax.training.step import StepFn
from sora_jax.training.stopping import stop_asked
from sora_jax.training.watch import ProfileConfig, Profiler, peak_memory
from sora_jax.training.workdir import Workdir

AHEAD = 2  # steps handed to the device before their results are there


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long and how watched.

    Checkpoints: each `checkpoint_every` steps (0: none), at the end of the first window of
    `log_every` steps after `checkpoint_minutes`, and at the end. So the clock moves no row of the
    metrics.
    """

    steps: int = 1000
    seed: int = 0
    batch_size: int = 32
    log_every: int = 20  # steps
    checkpoint_every: int = 0  # steps
    checkpoint_minutes: float = 5.0
    keep: int = 2  # checkpoints

    def __post_init__(self):
        for name in ("steps", "batch_size", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")
        for name in ("checkpoint_every", "checkpoint_minutes"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; give 0 or more")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed={self.seed}; give 0 to {2**31 - 1}")


@dataclasses.dataclass(frozen=True)
class Every:
    """`call(state)` after each `steps` steps (0: never in between) and after the last."""

    call: Callable[[TrainState], Mapping[str, Any]]
    steps: int = 0

    def due(self, step: int, last: bool) -> bool:
        return last or bool(self.steps and step % self.steps == 0)


def fit(
    state: TrainState,
    step_fn: StepFn,
    batches: Any,
    config: TrainConfig,
    workdir: Workdir,
    *,
    evaluate: Every | None = None,
    pictures: Every | None = None,
    profile: ProfileConfig = ProfileConfig(),
    flops: metrics_lib.StepFlops | None = None,
) -> TrainState:
    """Train to `config.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    Args:
        state: the state before step 0 (its memory is given away).
        step_fn: from `make_step`.
        batches: a Grain `DatasetIterator` of batches; its position is saved and restored with the
          state. It must not run out.
        evaluate: metrics of a state, written as eval_NAME.
        pictures: {name: uint8 [H, W, 3]} of a state, for TensorBoard.
        profile: a window of the profiler, written beside the metrics.
        flops: of a step; adds the metrics of `StepFlops.rates`.
    Raises:
        UserError: a loss or gradient is not finite, the data ran out, or a checkpoint does not fit.
        KeyboardInterrupt: stopped by Ctrl-C, or by SIGTERM (`Preempted`), after a whole step,
          saved; the message says where it continues.
    """
    workdir.begin()
    with (
        Checkpoints(workdir.path / "checkpoints", config.keep) as checkpoints,
        stop_asked() as asked,
    ):
        if checkpoints.latest is not None:
            state = checkpoints.restore(state, batches)
            if processes.is_first():
                print(
                    f"continuing from step {checkpoints.latest} of {workdir.path}", file=sys.stderr
                )
        if int(state.step) >= config.steps:
            return state
        watched = profile if processes.is_first() else ProfileConfig()
        profiler = Profiler(watched, workdir.path / "tensorboard")
        with contextlib.closing(_Loop(state, batches, config, workdir, checkpoints)) as loop:
            with contextlib.closing(profiler), _explained(loop):
                while loop.step < config.steps:
                    loop.advance(step_fn, profiler)
                    last = loop.step == config.steps
                    due = loop.checkpoint_due()
                    # asked once: a signal from here on ends the next step, so that what is said
                    # to be saved is
                    stopping = asked(loop.step)
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


class _Loop:
    """A run under way: its state, and what `fit` keeps from step to step."""

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

    @property
    def at_log(self) -> bool:
        """Whether a window of `log_every` steps ends with this step."""
        return self.step % self.config.log_every == 0

    def advance(self, step_fn: StepFn, profiler: Profiler) -> None:
        """Hands one step to the device."""
        batch = self._next_batch()
        profiler.before(self.step + 1)
        self.state, metrics = step_fn(self.state, batch)
        self.step += 1
        profiler.after(self.step, metrics)
        self.bar.update()
        self.window.append((self.step, metrics))
        if len(self.window) > AHEAD:
            jax.block_until_ready(self.window[-1 - AHEAD])
        if not self.compiled:  # the first step compiles: it is checked and timed apart
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
        """Whether the configuration asks for a checkpoint after this step; all processes agree."""
        by_clock = self.at_log and processes.decided(
            time.monotonic() - self.last_save > 60 * self.config.checkpoint_minutes
        )
        every = self.config.checkpoint_every
        return by_clock or bool(every and self.step % every == 0)

    def _rows(self) -> list[dict[str, float]]:
        """The metrics of the window. Raises UserError for a loss or gradient that is not finite."""
        rows = jax.device_get([metrics for _, metrics in self.window])
        for (step, _), row in zip(self.window, rows):
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
        """Ends the window with a row of its means and speeds."""
        rows = self._rows()
        self.clock.lap(self.step)
        seconds = self.clock.step_seconds
        values = {
            **metrics_lib.mean(rows),
            "step_seconds": seconds,
            "peak_memory": peak_memory(),
            "clips_per_second": self.config.batch_size / seconds,
            **(flops.rates(seconds) if flops else {}),
        }
        if self.writer:
            self.writer.write(self.step, values)
        left = self.clock.eta_seconds
        eta = datetime.timedelta(seconds=round(left)) if math.isfinite(left) else "?"
        self.bar.set_postfix_str(f"{seconds:.3g} s/step, ETA {eta}, loss {values['loss']:.4f}")
        self.window.clear()

    def save(self, wait: bool) -> None:
        """Writes a checkpoint, unless this step has one; `wait`: until it is on the disk."""
        if self.step != self.saved:
            with self.clock.pause():
                self.checkpoints.save(self.step, self.state, self.batches, wait=wait)
            self.saved, self.last_save = self.step, time.monotonic()

    def show(self, evaluate: Every | None, pictures: Every | None, last: bool) -> None:
        """Writes what is due of the evaluation and of the pictures."""
        if evaluate and evaluate.due(self.step, last):
            with self.clock.pause():
                values = {f"eval_{k}": float(v) for k, v in evaluate.call(self.state).items()}
                if self.writer:
                    self.writer.write(self.step, values)
        if pictures and self.writer and pictures.due(self.step, last):
            with self.clock.pause():
                self.writer.show(self.step, pictures.call(self.state))

    def close(self) -> None:
        self.bar.close()
        if self.writer:
            self.writer.close()


@contextlib.contextmanager
def _explained(loop: _Loop) -> Iterator[None]:
    """Within, errors of the device and interruptions say at which step the run goes on."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0][:160]
        # it would come again: no `__cause__`, by which `processes.is_lost` knows what may not
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
