"""Training from latents that lie on the device.

The ordinary loop (`training.loop`) reads each batch from disk and hands the device one step at a
time. On a fast accelerator a step of a small model takes a few milliseconds, and the host cannot
keep up. But a whole training set is small: a clip of format `nano` is 17 kB of latents, so
100,000 clips are 1.7 GB. Here they are encoded once, stay in the device's memory, and one call of
the host trains many steps:

    latents = fill(batches of clips, encode, tokenizer, count)                                 (1)
    clips, draws = order.indices(step, K)         host: which clips, which of their captions   (2)
    state, metrics = steps(state, latents, (clips, draws), total)                              (3)

(2) is a pure function of the seed and the step, so a run that goes on from any step sees the
batches that it would have seen. (3) is one compiled call: a scan over K steps, each of which
gathers its batch and calls the step function of the ordinary loop. The host hands over call n + 1
before it looks at the result of call n, so the device never waits. One device, one process.

A run of fixed length in *time* needs a learning rate that falls to its end exactly then. The
number of steps is therefore fixed before training, from the seconds that a step takes:

    seconds = step_seconds(state, steps, latents, order)       compiles, times a few calls on a copy
    total = steps_within(deadline - time.monotonic(), seconds)
    state = train(state, steps, latents, order, total, deadline=deadline)

`total` is an argument of the compiled program (`optim.schedule` takes it traced), so timing and
training share one compilation. `train` also keeps the deadline by itself: if the device turns
slower than it was timed, the last calls are left out, and the learning rate has not quite reached
its end.

This module needs neither Grain nor array_record, TensorFlow Datasets, PyAV or ml_collections.
"""

import collections
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from sora_jax.data.encode import Encode, check_finite, padded
from sora_jax.errors import UserError
from sora_jax.training import metrics as metrics_lib
from sora_jax.training.state import TrainState
from sora_jax.training.step import StepFn

CHUNK = 50  # steps of one call

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
Indices = tuple[np.ndarray, np.ndarray]
StepsFn = Callable[[TrainState, "LatentSet", Indices, int], tuple[TrainState, dict[str, jax.Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """N clips on the device. Clip i has captions[i] paraphrases, each a row of tokens.

    video: float16 [N,T,H,W,C]. audio: float16 [N,A,C]. tokens: int32 [N,P,L] and text_mask: bool
    [N,P,L], padded along P. captions: int32 [N], at least 1. has_audio: bool [N].
    """

    video: jax.Array
    audio: jax.Array
    tokens: jax.Array
    text_mask: jax.Array
    captions: jax.Array
    has_audio: jax.Array

    def __len__(self) -> int:
        return len(self.has_audio)


def fill(
    source_batches: Iterable[Mapping[str, Any]],
    encode: Encode,
    tokenizer: Tokenizer,
    count: int,
    until: float | None = None,
    progress: bool = True,
) -> LatentSet:
    """Encode clips, and keep their latents on the device.

    Args:
        source_batches: batches of clips as `data.sources` describes.
            While the device encodes a batch, the next one is drawn.
        encode: of `data.encode.encoder`.
        tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
        count: clips, at most.
        until: a time of `time.monotonic()`. No further batch is begun after it; one always is.
    Raises:
        UserError: a clip's latents are not finite, or there is no clip.
    """
    parts, keys, captions, texts, has_audio, size = [], [], [], [], [], 0
    with tqdm.tqdm(total=count, unit="clip", desc="latents", disable=not progress) as bar:
        for batch in source_batches:
            size = max(size, len(batch["keys"]))
            latents = encode(*padded(batch, size))
            if parts:
                jax.block_until_ready(parts[-1])  # so at most two batches of frames are in memory
            taken = min(len(batch["keys"]), count - len(keys))
            parts.append({name: x[:taken].astype(jnp.float16) for name, x in latents.items()})
            keys += batch["keys"][:taken]
            has_audio += list(batch["has_audio"][:taken])
            paraphrases = [list(of) or [""] for of in batch["captions"][:taken]]
            captions += [len(of) for of in paraphrases]
            texts.append(tokenizer(sum(paraphrases, [])))
            bar.update(taken)
            if len(keys) == count or (until is not None and time.monotonic() > until):
                break
    if not keys:
        raise UserError("there is no clip to train on: the source is empty; give one with clips")
    latents = {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_finite(keys, latents)
    tokens, mask = (_by_clip(np.concatenate(rows), captions) for rows in zip(*texts))
    return LatentSet(
        video=latents["video"],
        audio=latents["audio"],
        tokens=jnp.asarray(tokens, jnp.int32),
        text_mask=jnp.asarray(mask, bool),
        captions=jnp.asarray(captions, jnp.int32),
        has_audio=jnp.asarray(has_audio, bool),
    )


def _by_clip(rows: np.ndarray, captions: Sequence[int]) -> np.ndarray:
    """Rows [sum of captions, L] of consecutive clips -> [N, P, L], padded with zeros."""
    captions = np.asarray(captions)
    clip = np.repeat(np.arange(len(captions)), captions)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(captions) - captions, captions)
    result = np.zeros((len(captions), captions.max(), rows.shape[1]), rows.dtype)
    result[clip, place] = rows
    return result


def gather(latents: LatentSet, clips: jax.Array, draws: jax.Array) -> dict[str, jax.Array]:
    """The batch of these clips, as `latents.loader.make_loader` gives it: float32, a caption each.

    draws: int32 [B], not negative. Caption `draws` modulo the number of a clip's captions is taken.
    """
    caption = draws % latents.captions[clips]
    return {
        "video": latents.video[clips].astype(jnp.float32),
        "audio": latents.audio[clips].astype(jnp.float32),
        "tokens": latents.tokens[clips, caption],
        "text_mask": latents.text_mask[clips, caption],
        "has_audio": latents.has_audio[clips],
    }


@dataclasses.dataclass(frozen=True)
class Order:
    """Which clips each step trains on: a pure function of the seed and the step.

    A pass visits each of `count` clips once, in a permutation of its own. Passes run into each
    other, so every batch is full.
    """

    count: int
    batch_size: int
    seed: int

    def __post_init__(self):
        if self.count < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(f"{self}; give at least 1 clip, batches of 1, and a seed from 0")

    def indices(self, step: int, steps: int) -> Indices:
        """(clips, draws) of the steps that follow `step`, int32 [steps, batch_size]."""
        positions = np.arange(step * self.batch_size, (step + steps) * self.batch_size)
        passes, places = np.divmod(positions, self.count)
        found = np.empty((2, len(positions)), np.int32)
        for number in np.unique(passes):
            here = passes == number
            found[:, here] = _pass(self.count, self.seed, int(number))[:, places[here]]
        clips, draws = found.reshape(2, steps, self.batch_size)
        return clips, draws


@functools.lru_cache(maxsize=2)
def _pass(count: int, seed: int, number: int) -> np.ndarray:
    """Permutation and draws of one pass, int32 [2, count], from its own Philox stream.

    They come of the stream's raw integers, which are the same under every version of NumPy.
    """
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(2 * count)
    order = np.argsort(raw[:count], kind="stable")
    return np.stack([order, raw[count:] >> np.uint64(33)]).astype(np.int32)


def make_steps(step_of: Callable[[Any], StepFn]) -> StepsFn:
    """The compiled call of equation (3), one step for each row of `clips`.

    Each metric is an array of so many values. The old state's buffers are donated: do not use it
    again.

    Args:
        step_of: the step function of a run of `total` steps, a traced scalar:

            def step_of(total):
                return make_step(program.loss, make_optimizer(run.optim, total))

            It may ignore `total` and return `program.step`, whose number of steps is fixed.
    """

    def run(state, latents, order, total):
        step = step_of(total)

        def body(state, at):
            return step(state, gather(latents, *at))

        return jax.lax.scan(body, state, order)

    return jax.jit(run, donate_argnums=0)


def shapes(
    batch_shapes: Mapping[str, jax.ShapeDtypeStruct], count: int, paraphrases: int
) -> LatentSet:
    """The set of `count` clips as shapes, from the shapes of a batch: to compile beforehand."""

    def of(shape, dtype):
        return jax.ShapeDtypeStruct((count, *shape), dtype)

    words = (paraphrases, batch_shapes["tokens"].shape[1])
    return LatentSet(
        video=of(batch_shapes["video"].shape[1:], jnp.float16),
        audio=of(batch_shapes["audio"].shape[1:], jnp.float16),
        tokens=of(words, jnp.int32),
        text_mask=of(words, bool),
        captions=of((), jnp.int32),
        has_audio=of((), bool),
    )


def repeated(latents: LatentSet, count: int) -> LatentSet:
    """The set with its clips again and again, up to `count` of them."""
    if count == len(latents):
        return latents
    places = np.arange(count) % len(latents)
    return jax.tree.map(lambda x: x[places], latents)


def compile_steps(
    steps_fn: StepsFn,
    state: Any,
    latents: Any,
    batch_size: int,
    chunk: int = CHUNK,
    options: Mapping[str, Any] | None = None,
) -> StepsFn:
    """`steps_fn` of `make_steps`, compiled for calls of `chunk` steps; state and latents as shapes.

    It can run in a thread while the latents are made. What it returns takes no other shapes.
    `options` are the compiler's.
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
    """Seconds of one step: the mean over `calls` calls, after one that compiles.

    The calls train a copy of `state`.
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
    """Steps that so many seconds hold, rounded down to whole calls; at least one call."""
    return max(int(seconds / seconds_per_step) // chunk, 1) * chunk


class _Pace:
    """Seconds of a call, and whether another one would end before a deadline.

    A call begins when it is handed to the device, or when the call before it ends. The first call
    compiles and is no measure of the others.
    """

    def __init__(self):
        self._handed = collections.deque()  # times of the calls under way
        self._seconds = collections.deque(maxlen=5)
        self._compiled, self._ended = False, 0.0

    @property
    def known(self) -> bool:
        return bool(self._seconds)

    def hand_over(self) -> None:
        """A call is about to be handed to the device."""
        self._handed.append(time.monotonic())

    def end(self) -> float:
        """The oldest call under way has ended: its seconds, nan for the call that compiled."""
        now = time.monotonic()
        seconds = now - max(self._handed.popleft(), self._ended)
        self._ended = now
        if not self._compiled:
            self._compiled = True
            return float("nan")
        self._seconds.append(seconds)
        return seconds

    def fits(self, deadline: float | None) -> bool:
        """True if another call would end in time, or if there is time and no call was timed yet."""
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
    """Train up to step `steps`, or up to the deadline.

    Args:
        state: the state to go on from, at any step (its memory is given away).
        steps_fn: from `make_steps`.
        steps: the number of steps of the whole run, over which the learning rate falls.
        chunk: steps of one call.
        deadline: a time of `time.monotonic()`. No call is begun that would end after it, by the
            median seconds of the last five. The last save comes after it.
        save: takes a state and its step, at most each `save_every_seconds` and at the end. All
            losses up to there were finite. It works on a copy while the device trains on. Let it
            write a whole file or none (`weights.save_weights`): a run that is killed then leaves
            the weights saved last.
        log: takes the step and the means of a call's metrics, with `step_seconds` and
            `clips_per_second`, nan for the first call, which compiles.
    Raises:
        UserError: a loss or gradient is not finite: its step is named, and the state is not saved.
    """
    step = begun = int(state.step)
    saved = None
    if order.count != len(latents):
        count = len(latents)
        raise ValueError(f"{order} is not of the {count} clips on the device; give count={count}")
    if steps < step or (steps - step) % chunk:
        raise UserError(
            f"from step {step} to step {steps} it is no whole number of calls of {chunk} steps; "
            f"give {step + max(round((steps - step) / chunk), 1) * chunk} steps"
        )
    pace, under_way, saved_at = _Pace(), collections.deque(), time.monotonic()

    def finish():
        before, metrics = under_way.popleft()
        metrics = jax.device_get(metrics)
        seconds = pace.end() / chunk
        rows = [dict(zip(metrics, values)) for values in zip(*metrics.values())]
        _check_finite(before, rows, saved)
        if log:
            speed = {"step_seconds": seconds, "clips_per_second": order.batch_size / seconds}
            log(before + chunk, metrics_lib.mean(rows) | speed)

    while step < steps and pace.fits(deadline):
        due = pace.known and time.monotonic() - saved_at >= save_every_seconds
        kept = _copied(state) if save and due else None  # the next call takes the memory of `state`
        indices = order.indices(step, chunk)
        pace.hand_over()
        state, metrics = steps_fn(state, latents, indices, steps)
        under_way.append((step, metrics))
        ahead = 1 if pace.known else 0  # the first two calls are timed alone
        while len(under_way) > ahead:
            finish()
        if kept is not None:
            save(kept, step)
            saved, saved_at = step, time.monotonic()
        step += chunk
    while under_way:
        finish()
    if save and step > begun:
        save(state, step)
    return state


def _check_finite(before: int, rows: Sequence[Mapping[str, float]], saved: int | None) -> None:
    """Raises UserError for the first step after `before` whose loss or gradient is not finite."""
    kept = "nothing was saved yet" if saved is None else f"what was saved at step {saved} is kept"
    for step, row in enumerate(rows, before + 1):
        for name in ("loss", "grad_norm"):
            if not np.isfinite(row[name]):
                raise UserError(
                    f"step {step}: {name} is {row[name]}; stopped, and {kept}; try a lower "
                    "optim.lr, a longer optim.warmup or a smaller optim.clip"
                )
