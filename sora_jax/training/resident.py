"""Training from latents that stay in device memory.

The ordinary loop (`training.loop`) reads each batch from disk and dispatches one step at a time.
On a fast accelerator a step of a small model takes a few milliseconds, and the host cannot keep
up. A whole training set is small, however: a clip of format `nano` is 17 kB of latents, so 100,000
clips are 1.7 GB. Here the clips are encoded once and their latents stay in device memory, and one
call by the host trains many steps:

    latents = fill(batches of clips, encode, tokenizer, count)                                 (1)
    clips, draws = order.indices(step, K)         host: which clips, which of their captions   (2)
    state, metrics = steps(state, latents, (clips, draws), total)                              (3)

(1), the latents, and (2), the order of the clips, are in `latent_set.py`. The order is a pure
function of the seed and the step, so a run continued from any step sees the same batches. (3) is
one compiled call: a scan over K steps, each of which gathers its batch and calls the step function
of the ordinary loop. The host dispatches call n + 1 before it reads the metrics of call n, so the
device never waits. This works on one device in one process.

A run of fixed length in *time* needs a learning rate that reaches its final value exactly at the
end. The number of steps is therefore fixed before training, from the measured seconds of a step:

    seconds = step_seconds(state, steps, latents, order)       compiles, times a few calls on a copy
    total = steps_within(deadline - time.monotonic(), seconds)
    state = train(state, steps, latents, order, total, deadline=deadline)

`total` is an argument of the compiled program (`optim.schedule` accepts a traced scalar), so timing
and training share one compilation. `train` enforces the deadline too: if the device becomes slower
than measured, the last calls are skipped and the learning rate stops short of its final value.

This module imports none of Grain, array_record, TensorFlow Datasets, PyAV and ml_collections.
"""

import collections
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.errors import UserError
from sora_jax.training import metrics as metrics_lib
from sora_jax.training.latent_set import Indices, LatentSet, Order, gather
from sora_jax.training.state import TrainState
from sora_jax.training.step import StepFn

CHUNK = 50  # training steps per call, K in equations (2) and (3)

StepsFn = Callable[[TrainState, LatentSet, Indices, int], tuple[TrainState, dict[str, jax.Array]]]


def make_steps(step_of: Callable[[Any], StepFn]) -> StepsFn:
    """Returns a jitted function (state, latents, (clips, draws), total) -> (state, metrics) that
    runs many training steps in one call.

    It runs one step for each row of `clips` and `draws`, both int32 [steps, batch_size]
    (`latent_set.Order.indices`). `total` is the number of steps of the whole run. Each metric is an
    array with one value per step. The old state's buffers are donated: do not use it again.

    Args:
        step_of: total -> the step function of a run of `total` steps, a traced scalar:

            def step_of(total):
                return make_step(loss, make_optimizer(run.optim, total))

            Batches have no times: `loss` adds those of the clips' format.
    """

    def run(state: TrainState, latents: LatentSet, order: Any, total: Any) -> Any:
        step = step_of(total)

        def body(state: TrainState, at: Any) -> Any:
            return step(state, gather(latents, *at))

        return jax.lax.scan(body, state, order)

    return jax.jit(run, donate_argnums=0)


def compile_steps(
    steps_fn: StepsFn,
    state: Any,
    latents: Any,
    batch_size: int,
    chunk: int = CHUNK,
    options: Mapping[str, Any] | None = None,
) -> StepsFn:
    """Compiles `steps_fn` ahead of time for calls of `chunk` steps, and returns the compiled form.

    The compilation can run in a thread while the latents are made. The compiled function accepts
    only arguments of these shapes.

    Args:
        steps_fn: from `make_steps`.
        state: the training state as `jax.ShapeDtypeStruct`s.
        latents: the training set as `jax.ShapeDtypeStruct`s (`latent_set.shapes`).
        batch_size: clips per step.
        chunk: steps per call. Default CHUNK.
        options: options of XLA's compiler by name. Default: none.
    """
    at = jax.ShapeDtypeStruct((chunk, batch_size), jnp.int32)
    total = jax.ShapeDtypeStruct((), jnp.int32)
    compiled = steps_fn.lower(state, latents, (at, at), total).compile(options)
    return lambda state, latents, order, total: compiled(state, latents, order, np.int32(total))


def _copied(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def step_seconds(
    state: TrainState,
    steps_fn: StepsFn,
    latents: LatentSet,
    order: Order,
    chunk: int = CHUNK,
    calls: int = 3,
) -> float:
    """Returns the measured seconds of one step: the mean over `calls` calls, after one call that
    compiles and is not timed.

    The calls train a copy of `state`.

    Args:
        state: the state, which is not changed.
        steps_fn: from `make_steps`.
        latents: the training set.
        order: the order of its clips.
        chunk: steps of one call. Default CHUNK.
        calls: timed calls. Default 3.
    """
    state, at = _copied(state), int(state.step)
    begun = 0.0
    for call in range(1 + calls):
        indices = order.indices(at + call * chunk, chunk)
        state, metrics = steps_fn(state, latents, indices, at + chunk)
        if call == 0:
            jax.block_until_ready(metrics)
            begun = time.monotonic()
    jax.block_until_ready(metrics)
    return (time.monotonic() - begun) / (calls * chunk)


def steps_within(seconds: float, seconds_per_step: float, chunk: int = CHUNK) -> int:
    """Returns the number of steps that fit in a time, a multiple of `chunk` and at least `chunk`.

    Args:
        seconds: the available time in seconds.
        seconds_per_step: seconds of one step (`step_seconds`).
        chunk: steps of one call. Default CHUNK.
    """
    return max(int(seconds / seconds_per_step) // chunk, 1) * chunk


class _Pace:
    """A timer of calls of the device, which predicts whether another call would end by a deadline.

    A call starts when it is dispatched, or when the previous call ends if that is later. The first
    call compiles, so its time is not used.
    """

    def __init__(self):
        self._handed = collections.deque()  # dispatch times of the calls under way
        self._seconds = collections.deque(maxlen=5)
        self._compiled, self._ended = False, 0.0

    @property
    def known(self) -> bool:
        return bool(self._seconds)

    def hand_over(self) -> None:
        """Records that a call is about to be dispatched."""
        self._handed.append(time.monotonic())

    def end(self) -> float:
        """Records the end of the oldest call under way, and returns the seconds that it took; nan
        for the first call, which compiled.
        """
        now = time.monotonic()
        seconds = now - max(self._handed.popleft(), self._ended)
        self._ended = now
        if not self._compiled:
            self._compiled = True
            return float("nan")
        self._seconds.append(seconds)
        return seconds

    def fits(self, deadline: float | None) -> bool:
        """True if another call would end by the deadline, a time of `time.monotonic()` in seconds
        (None: no deadline). Before any call was timed: True if the deadline has not passed.
        """
        now = time.monotonic()
        if deadline is None or not self.known:
            return deadline is None or now < deadline
        seconds = statistics.median(self._seconds)
        free = now
        if self._handed:
            free = max(now, max(self._handed[0], self._ended) + seconds)
        return free + seconds <= deadline


def train(
    state: TrainState,
    steps_fn: StepsFn,
    latents: LatentSet,
    order: Order,
    steps: int,
    *,
    chunk: int = CHUNK,
    deadline: float | None = None,
    save: Callable[[TrainState, int], object] | None = None,
    save_every_seconds: float = 60.0,
    log: Callable[[int, dict[str, float]], object] | None = None,
) -> TrainState:
    """Trains up to step `steps`, or up to the deadline.

    Args:
        state: the state to continue from, at any step. Its buffers are donated: do not use it
            again.
        steps_fn: from `make_steps`.
        latents: the training set.
        order: the order of its clips.
        steps: the number of steps of the whole run, over which the learning rate falls.
        chunk: steps of one call. Default CHUNK.
        deadline: a time of `time.monotonic()` in seconds. A call is not started if it would end
            later, by the median time of the last five calls. The last save comes after the
            deadline. Default: none.
        save: called with a state and its step, at most every `save_every_seconds` seconds and at
            the end, and only if all losses up to the step are finite. It gets a copy of the state
            while the device continues to train. It should write files atomically, so that a killed
            run leaves the weights saved last (`weights.save_weights`). Default: none.
        save_every_seconds: the shortest time between saves. Default 60 s.
        log: called after each call with the step and the means of the call's metrics. They include
            `step_seconds` and `clips_per_second`, nan for the first call, which compiles. Default:
            none.

    Returns:
        The state after the last step.

    Raises:
        UserError: a loss or gradient is not finite (the error names the step, and the state is not
            saved), or `chunk` does not divide the steps left.
        ValueError: `order` is for another number of clips than `latents` has.
    """
    step = begun = int(state.step)
    _check_lengths(order, len(latents), step, steps, chunk)
    pace, under_way = _Pace(), collections.deque()
    saved, saved_at = None, time.monotonic()

    def finish() -> None:
        before, metrics = under_way.popleft()
        metrics, seconds = jax.device_get(metrics), pace.end() / chunk
        rows = [
            dict(zip(metrics, values, strict=True))
            for values in zip(*metrics.values(), strict=True)
        ]
        _check_finite(before, rows, saved)
        if log:
            speed = {"step_seconds": seconds, "clips_per_second": order.batch_size / seconds}
            log(before + chunk, metrics_lib.mean(rows) | speed)

    while step < steps and pace.fits(deadline):
        due = pace.known and time.monotonic() - saved_at >= save_every_seconds
        snapshot = _copied(state) if save and due else None  # the next call donates `state`
        indices = order.indices(step, chunk)
        pace.hand_over()
        state, metrics = steps_fn(state, latents, indices, steps)
        under_way.append((step, metrics))
        # The first two calls run alone: one compiles, the other gives the first timing.
        ahead = 1 if pace.known else 0
        while len(under_way) > ahead:
            finish()
        if save and snapshot is not None:
            save(snapshot, step)
            saved, saved_at = step, time.monotonic()
        step += chunk
    while under_way:
        finish()
    if save and step > begun:
        save(state, step)
    return state


def _check_lengths(order: Order, count: int, step: int, steps: int, chunk: int) -> None:
    """Raises ValueError if `order` is not for `count` clips, and UserError if the steps from `step`
    to `steps` are not a whole number of calls of `chunk` steps.
    """
    if order.count != count:
        raise ValueError(f"{order} is not of the {count} clips on the device; give count={count}")
    if steps < step or (steps - step) % chunk:
        raise UserError(
            f"from step {step} to step {steps} it is no whole number of calls of {chunk} steps; "
            f"give {step + max(round((steps - step) / chunk), 1) * chunk} steps"
        )


def _check_finite(before: int, rows: Sequence[Mapping[str, float]], saved: int | None) -> None:
    """Raises UserError, which names the step, if a loss or gradient norm is not finite.

    Args:
        before: the step before that of the first row.
        rows: metrics of consecutive steps.
        saved: the last saved step, for the message; None: nothing was saved.
    """
    checkpoint = (
        "nothing was saved yet" if saved is None else f"what was saved at step {saved} is kept"
    )
    for step, row in enumerate(rows, before + 1):
        for name in ("loss", "grad_norm"):
            if not np.isfinite(row[name]):
                raise UserError(
                    f"step {step}: {name} is {row[name]}; stopped, and {checkpoint}; try a lower "
                    "optim.lr, a longer optim.warmup or a smaller optim.clip"
                )
