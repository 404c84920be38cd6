"""The loop: steps, logging, checkpoints, and the reasons to stop.

    for step:  batch <- data;  state, metrics <- step(state, batch);  every `log_every` steps:
    fetch, check, write

Nothing looks at a step's result until its window ends, so the host prepares data while the device
works, AHEAD steps and no more: what a signal ends is then soon at an end. A loss or gradient that
is not finite is therefore noticed at the end of a window, but the step that made it is named and no
state after it is ever saved.

Where several processes train together all of them run this loop, and stop and save at the same
steps; the first writes what is read.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.errors import Preempted, UserError
from sora_jax.parallel import processes
from sora_jax.train import metrics as metrics_lib
from sora_jax.train.checkpoint import Checkpoints
from sora_jax.train.clock import Clock
from sora_jax.train.state import TrainState
from sora_jax.train.step import StepFn
from sora_jax.train.watch import ProfileConfig, Profiler, peak_memory


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


AHEAD = 2  # steps handed to the device before their results are there

INPUTS = ("data", "clips")  # folders of a workdir that may be there before its run begins


class Workdir:
    """A run's directory: config.json with its fingerprint, checkpoints/, metrics.jsonl,
    tensorboard/. One run at a time; of several processes that train together the first holds it.

    Raises:
        UserError: it holds another run's configuration (the first differing keys are named), or
          other files, or is in use.
    """

    def __init__(self, path: str | os.PathLike, config: Any):
        self.path = Path(path).absolute()
        self.config = config_lib.to_dict(config)
        self.fingerprint = config_lib.fingerprint(self.config)
        record = self.path / "config.json"
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--workdir={path} is a file; give a directory")
        if record.exists():
            try:
                old = json.loads(record.read_text())["config"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{record} is not a run's configuration; give another --workdir"
                ) from error
            if changed := config_lib.differences(old, self.config):
                more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
                raise UserError(
                    f"{path} holds a run with another config: {', '.join(changed[:3])}{more}; "
                    "give another --workdir, "
                    "or the same config to continue that run"
                )
        elif self.path.is_dir() and any(
            not p.name.startswith(".") and p.name not in INPUTS for p in self.path.iterdir()
        ):
            raise UserError(f"{path} is not empty and holds no run; give a new or empty --workdir")
        self._lock = None
        if not processes.is_first():
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another process is training in {path}; wait for it, or give another --workdir"
            ) from error
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}); give another --workdir"
            ) from error

    def begin(self) -> None:
        """Make the directory this run's.

        `fit` does: until training begins, a wrong configuration can be mended in place.
        """
        record = self.path / "config.json"
        if processes.is_first() and not record.exists():
            files.write(
                record,
                json.dumps({"fingerprint": self.fingerprint, "config": self.config}, indent=2)
                + "\n",
            )

    def close(self) -> None:
        if self._lock:
            self._lock.close()

    def __enter__(self) -> "Workdir":
        return self

    def __exit__(self, *_) -> None:
        self.close()


@contextlib.contextmanager
def _stop_asked() -> Iterator[Callable[[int], int]]:
    """Within, the first Ctrl-C or SIGTERM is only noted: the step and the checkpoint under way end
    whole. A second acts at once. Gives a function of the step just done that tells the signal that
    asks to stop after it, else 0; to be called once a step.

    Python would otherwise raise wherever it stands, inside a callback or a save as well. Several
    processes agree on a step, for JAX itself waits for SIGTERM there: one that any of them received
    reaches all, within a second or two, and Ctrl-C is passed on as one.
    """
    asked = []
    # only the main thread may set handlers
    if threading.current_thread() is not threading.main_thread():
        yield lambda step: 0
        return
    if processes.several():
        before = signal.signal(
            signal.SIGINT, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM)
        )
        try:
            yield (
                lambda step: (
                    signal.SIGTERM if multihost_utils.reached_preemption_sync_point(step) else 0
                )
            )
        finally:
            signal.signal(signal.SIGINT, before)
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(s) for s in signals]

    def ask(number, frame):
        asked.append(number)
        # the system's own way to end a process: Python's would wait for a compilation, and XLA
        # crash on its way out
        for s in signals:
            signal.signal(s, signal.SIG_DFL)
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    for s in signals:
        signal.signal(s, ask)
    try:
        yield lambda step: asked[0] if asked else 0
    finally:
        for s, handler in zip(signals, before):
            signal.signal(s, handler)


def _rates(flops: Mapping[str, float], seconds: float, peak: float) -> dict[str, float]:
    """Metrics from the FLOPs and the seconds of a step.

    The writer leaves out nan, of unknown ones.
    """
    return {
        "flops_per_second": flops["model"] / seconds,
        "mfu": flops["model"] / seconds / peak,
        "optimizer_mfu": flops["optimizer"] / seconds / peak,
    }


def fit(
    state: TrainState,
    step_fn: StepFn,
    iterator: Any,
    config: TrainConfig,
    workdir: Workdir,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    evaluate_every: int = 0,
    profile: ProfileConfig = ProfileConfig(),
    pictures: Callable[[TrainState], Mapping[str, Any]] | None = None,
    pictures_every: int = 0,
    flops: Mapping[str, float] | None = None,
    peak_flops: float = float("nan"),
) -> TrainState:
    """Train to `config.steps`, continuing from the newest checkpoint of `workdir` if there is one.

    Args:
        state: the state before step 0 (its memory is given away).
        step_fn: from `make_step`.
        iterator: a Grain `DatasetIterator` of batches; its position is saved and restored with the
          state. It must not run out.
        evaluate: metrics of a state, written as eval_NAME every `evaluate_every` steps and at the
          end.
        profile: a window of the profiler, written beside the metrics.
        pictures: {name: uint8 [H, W, 3]} of a state, for TensorBoard, every `pictures_every` steps
          and at the end.
        flops: {"model": ..., "optimizer": ...} of one step, without what is recomputed. The metric
            `flops_per_second` is the model's.
        peak_flops: FLOP/s of all devices. The metrics `mfu` and `optimizer_mfu` are the shares of
            it that the model's and the optimizer's FLOPs make.
    Raises:
        UserError: a loss or gradient is not finite, the data ran out, or a checkpoint does not fit.
        KeyboardInterrupt: stopped by Ctrl-C, or by SIGTERM (`Preempted`), after a whole step,
          saved; the message says where it continues.
    """
    from tqdm import tqdm

    workdir.begin()
    with (
        Checkpoints(workdir.path / "checkpoints", config.keep) as checkpoints,
        _stop_asked() as stop,
    ):
        if checkpoints.latest is not None:
            state = checkpoints.restore(state, iterator)
            if processes.is_first():
                print(
                    f"continuing from step {checkpoints.latest} of {workdir.path}", file=sys.stderr
                )
        step = saved = int(state.step)
        if step >= config.steps:
            return state
        first_process = processes.is_first()
        writer = metrics_lib.Writer(workdir.path, step) if first_process else None
        clock = Clock(config.steps, step)
        window: list[tuple[int, dict[str, jax.Array]]] = []
        last_save = time.monotonic()

        def checked() -> list[dict[str, float]]:
            rows = jax.device_get([m for _, m in window])
            for (at, _), row in zip(window, rows):
                for name in ("loss", "grad_norm"):
                    if not math.isfinite(row[name]):
                        kept = (
                            f"the checkpoint of step {checkpoints.latest} is kept"
                            if checkpoints.latest
                            else "no checkpoint was made yet"
                        )
                        raise UserError(
                            f"step {at}: {name} is {row[name]}; stopped, and {kept} in "
                            f"{checkpoints.directory}; try a lower "
                            "optim.lr, a longer optim.warmup or a smaller optim.clip, in a new "
                            "workdir"
                        )
            return rows

        bar = tqdm(
            disable=not first_process,
            total=config.steps,
            initial=step,
            unit="step",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 15,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )
        first = True
        profiler = Profiler(
            profile if first_process else ProfileConfig(), workdir.path / "tensorboard"
        )
        try:
            while step < config.steps:
                try:
                    batch = next(iterator)
                except StopIteration:
                    raise UserError(
                        f"the data ran out at step {step}; the iterator must repeat"
                    ) from None
                except UserError as error:
                    raise UserError(
                        f"{error}; stopped at step {step}, and the same command continues from "
                        f"step {saved}"
                    ) from error
                profiler.before(step + 1)
                state, metrics = step_fn(state, batch)
                step += 1
                profiler.after(step, metrics)
                bar.update()
                window.append((step, metrics))
                if len(window) > AHEAD:
                    jax.block_until_ready(window[-1 - AHEAD])
                if first:
                    # The first step compiles: it is checked and timed apart.
                    first = False
                    checked()
                    bar.set_postfix_str(
                        f"compiled in {clock.restart(step):.0f} s, loss "
                        f"{float(metrics['loss']):.4f}"
                    )
                last = step == config.steps
                logged = step % config.log_every == 0
                due = logged and processes.decided(
                    time.monotonic() - last_save > 60 * config.checkpoint_minutes
                )
                # asked once: a signal from here on ends the next step, so that what is said to be
                # saved is
                stopping = stop(step)
                save = (
                    last
                    or stopping
                    or (config.checkpoint_every and step % config.checkpoint_every == 0)
                    or due
                )
                if logged or save:
                    rows = checked()
                    clock.lap(step)
                    values = {
                        **metrics_lib.mean(rows),
                        "step_seconds": clock.step_seconds,
                        "peak_memory": peak_memory(),
                    }
                    values["clips_per_second"] = config.batch_size / clock.step_seconds
                    if flops:
                        values |= _rates(flops, clock.step_seconds, peak_flops)
                    if writer:
                        writer.write(step, values)
                    left = clock.eta_seconds
                    eta = datetime.timedelta(seconds=round(left)) if math.isfinite(left) else "?"
                    bar.set_postfix_str(
                        f"{clock.step_seconds:.3g} s/step, ETA {eta}, loss {values['loss']:.4f}"
                    )
                    window.clear()
                if save and step != saved:
                    with clock.pause():
                        checkpoints.save(step, state, iterator, wait=last or stopping)
                    saved, last_save = step, time.monotonic()
                if evaluate and (last or (evaluate_every and step % evaluate_every == 0)):
                    with clock.pause():
                        values = {f"eval_{k}": float(v) for k, v in evaluate(state).items()}
                        if writer:
                            writer.write(step, values)
                if (
                    pictures
                    and writer
                    and (last or (pictures_every and step % pictures_every == 0))
                ):
                    with clock.pause():
                        writer.show(step, pictures(state))
                if stopping and not last:
                    kind = Preempted if stopping == signal.SIGTERM else KeyboardInterrupt
                    raise kind(
                        f"stopped at step {step}, saved; the same command continues from there"
                    )
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).splitlines()[0][:160]
            # it would come again: no `__cause__`, by which `processes.is_lost` knows what may not
            if reason.startswith("RESOURCE_EXHAUSTED"):
                raise UserError(
                    f"step {step + 1}: out of memory ({reason}); give a smaller "
                    "--config.train.batch_size with --config.optim.accumulate, or "
                    "--config.model.remat=block"
                ) from None
            if not processes.several():
                raise
            raise UserError(
                f"step {step + 1}: another process was lost, or a device failed ({reason}); "
                "the same command, given to every process, "
                f"continues from step {saved}"
            ) from error
        except KeyboardInterrupt as error:
            if error.args:
                raise
            raise KeyboardInterrupt(
                f"stopped at step {step}; the same command continues from step {saved}"
            ) from error
        finally:
            profiler.stop()
            bar.close()
            if writer:
                writer.close()
    return state
