"""Training from latents that stay in device memory.

The ordinary loop (`training.loop`) reads each batch from disk and dispatches one step at a time.
On a fast accelerator a step of a small model takes a few milliseconds, and the host cannot keep
up. A whole training set is small, however: a clip of format `nano` is 17 kB of latents, so 100,000
clips are 1.7 GB. Here the clips are encoded once and their latents stay in device memory, and one
call by the host trains many steps:

    latents = fill(batches of clips, encode, tokenizer, count)                                 (1)
    clips, draws = order.indices(step, K)         host: which clips, which of their captions   (2)
    state, metrics = steps(state, latents, (clips, draws), total)                              (3)

(2) is a pure function of the seed and the step, so a run continued from any step sees the same
batches. (3) is one compiled call: a scan over K steps, each of which gathers its batch and calls
the step function of the ordinary loop. The host dispatches call n + 1 before it reads the metrics
of call n, so the device never waits. This works on one device in one process.

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

CHUNK = 50  # training steps per call, K in (2) and (3)

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
Indices = tuple[np.ndarray, np.ndarray]
StepsFn = Callable[[TrainState, "LatentSet", Indices, int], tuple[TrainState, dict[str, jax.Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class LatentSet:
    """The latents and captions of M clips in device memory.

    Clip i has captions[i] paraphrases of its caption, each a row of tokens. Q is the largest number
    of paraphrases of a clip.

    Attributes:
        video: latents, float16 [M,T,H,W,C].
        audio: latents, float16 [M,N,C].
        tokens: int32 [M,Q,L], padded with zeros along Q.
        text_mask: bool [M,Q,L], True for a word, False for padding.
        captions: paraphrases of each clip, int32 [M], at least 1.
        has_audio: bool [M].
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
    """Encodes clips and returns their latents in device memory.

    While the device encodes a batch, the host draws the next one.

    Args:
        source_batches: batches of clips as `data.sources` describes.
        encode: from `data.encode.encoder`.
        tokenizer: list of B captions -> (tokens int32 [B,L], mask bool [B,L]).
        count: the largest number of clips.
        until: a time of `time.monotonic()` in seconds. No batch is started after it, except the
            first. Default: no limit.
        progress: whether to show a progress bar.

    Raises:
        UserError: a clip's latents are not finite, or there is no clip.
    """
    parts, keys, captions, texts, has_audio, size = [], [], [], [], [], 0
    with tqdm.tqdm(total=count, unit="clip", desc="latents", disable=not progress) as bar:
        for batch in source_batches:
            size = max(size, len(batch["keys"]))
            latents = encode(*padded(batch, size))
            if parts:
                jax.block_until_ready(parts[-1])  # at most two batches of frames in memory
            taken = min(len(batch["keys"]), count - len(keys))
            parts.append({name: x[:taken].astype(jnp.float16) for name, x in latents.items()})
            keys += batch["keys"][:taken]
            has_audio += list(batch["has_audio"][:taken])
            paraphrases = [list(of) or [""] for of in batch["captions"][:taken]]
            captions += [len(of) for of in paraphrases]
            texts.append(tokenizer([text for of in paraphrases for text in of]))
            bar.update(taken)
            if len(keys) == count or (until is not None and time.monotonic() > until):
                break
    if not keys:
        raise UserError("there is no clip to train on: the source is empty; give one with clips")
    latents = {name: jnp.concatenate([part[name] for part in parts]) for name in parts[0]}
    check_finite(keys, latents)
    tokens, mask = (_by_clip(np.concatenate(rows), captions) for rows in zip(*texts, strict=True))
    return LatentSet(
        video=latents["video"],
        audio=latents["audio"],
        tokens=jnp.asarray(tokens, jnp.int32),
        text_mask=jnp.asarray(mask, bool),
        captions=jnp.asarray(captions, jnp.int32),
        has_audio=jnp.asarray(has_audio, bool),
    )


def _by_clip(rows: np.ndarray, captions: Sequence[int]) -> np.ndarray:
    """Groups rows [sum of captions, L] by clip into [M, Q, L], padded with zeros."""
    counts = np.asarray(captions)
    clip = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    result = np.zeros((len(counts), counts.max(), rows.shape[1]), rows.dtype)
    result[clip, place] = rows
    return result


def gather(latents: LatentSet, clips: jax.Array, draws: jax.Array) -> dict[str, jax.Array]:
    """Returns a batch in the format of `latents.loader.make_loader`: float32, one caption per clip.

    Args:
        latents: the set.
        clips: indices of the clips, int32 [B].
        draws: random numbers that select the captions, int32 [B], not negative. A clip gets the
            caption `draws` modulo the number of its captions.
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
    """The order of the training clips, a pure function of the seed and the step.

    A pass (epoch) visits each of `count` clips once, in its own random permutation. A batch may
    span two passes, so every batch is full.
    """

    count: int
    batch_size: int
    seed: int

    def __post_init__(self):
        if self.count < 1 or self.batch_size < 1 or self.seed < 0:
            raise ValueError(f"{self}; give at least 1 clip, batches of 1, and a seed from 0")

    def indices(self, step: int, steps: int) -> Indices:
        """Returns (clips, draws) of `steps` steps after `step`, each int32 [steps, batch_size]."""
        positions = np.arange(step * self.batch_size, (step + steps) * self.batch_size)
        passes, places = np.divmod(positions, self.count)
        found = np.empty((2, len(positions)), np.int32)
        for number in np.unique(passes):
            in_pass = passes == number
            found[:, in_pass] = _pass(self.count, self.seed, int(number))[:, places[in_pass]]
        clips, draws = found.reshape(2, steps, self.batch_size)
        return clips, draws


@functools.lru_cache(maxsize=2)
def _pass(count: int, seed: int, number: int) -> np.ndarray:
    """Returns the permutation and the draws of one pass, int32 [2, count].

    Each pass has its own Philox stream. Only the stream's raw integers are used: they are the same
    in every version of NumPy, and the methods of `numpy.random.Generator` may not be.
    """
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(2 * count)
    order = np.argsort(raw[:count], kind="stable")
    return np.stack([order, raw[count:] >> np.uint64(33)]).astype(np.int32)


def make_steps(step_of: Callable[[Any], StepFn]) -> StepsFn:
    """Returns the jitted call of equation (3), which runs one step for each row of `clips`.

    Each metric is an array with one value per step. The old state's buffers are donated: do not use
    it again.

    Args:
        step_of: total -> the step function of a run of `total` steps, a traced scalar:

            def step_of(total):
                return make_step(program.loss, make_optimizer(run.optim, total))

            It may ignore `total` and return `program.step`, whose number of steps is fixed.
    """

    def run(state: TrainState, latents: LatentSet, order: Any, total: Any) -> Any:
        step = step_of(total)

        def body(state: TrainState, at: Any) -> Any:
            return step(state, gather(latents, *at))

        return jax.lax.scan(body, state, order)

    return jax.jit(run, donate_argnums=0)


def shapes(
    batch_shapes: Mapping[str, jax.ShapeDtypeStruct], count: int, paraphrases: int
) -> LatentSet:
    """Returns the shapes of a set of `count` clips, from those of a batch, for `compile_steps`."""

    def of(shape: tuple[int, ...], dtype: Any) -> Any:
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
    """Returns the set with its clips repeated in order, up to `count` clips."""
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
    """Compiles `steps_fn` ahead of time for calls of `chunk` steps.

    It can run in a thread while the latents are made. The result accepts only arguments of these
    shapes.

    Args:
        steps_fn: from `make_steps`.
        state: the state as shapes.
        latents: the set as shapes (`shapes`).
        batch_size: clips per step.
        chunk: steps per call.
        options: options of the compiler. Default: none.
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
    """Measures the seconds of one step: the mean over `calls` calls, after one that compiles.

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
    """Returns the steps that fit in `seconds`, a multiple of `chunk` and at least `chunk`."""
    return max(int(seconds / seconds_per_step) // chunk, 1) * chunk


class _Pace:
    """A timer of calls, which predicts whether another call would end before a deadline.

    A call starts when it is dispatched, or when the previous call ends if that is later. The first
    call compiles, so its time is not used.
    """

    def __init__(self):
        self._handed = collections.deque()  # start times of the calls under way
        self._seconds = collections.deque(maxlen=5)
        self._compiled, self._ended = False, 0.0

    @property
    def known(self) -> bool:
        return bool(self._seconds)

    def hand_over(self) -> None:
        """Records that a call is about to be dispatched."""
        self._handed.append(time.monotonic())

    def end(self) -> float:
        """Records the end of the oldest call under way; returns its seconds, nan if it compiled."""
        now = time.monotonic()
        seconds = now - max(self._handed.popleft(), self._ended)
        self._ended = now
        if not self._compiled:
            self._compiled = True
            return float("nan")
        self._seconds.append(seconds)
        return seconds

    def fits(self, deadline: float | None) -> bool:
        """True if another call would end by the deadline; untimed, if the deadline is ahead."""
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
        chunk: steps of one call.
        deadline: a time of `time.monotonic()` in seconds. A call is not started if it would end
            later, by the median time of the last five calls. The last save comes after the
            deadline. Default: none.
        save: called with a state and its step, at most every `save_every_seconds` seconds and at
            the end, and only if all losses up to the step are finite. It gets a copy of the state
            while the device continues to train. It should write files atomically
            (`weights.save_weights`), so that a killed run leaves the weights saved last.
        save_every_seconds: the shortest time between saves, default 60 s.
        log: called after each call with the step and the means of the call's metrics. They include
            `step_seconds` and `clips_per_second`, nan for the first call, which compiles.

    Returns:
        The state after the last step.

    Raises:
        UserError: a loss or gradient is not finite (the error names the step, and the state is not
            saved), or `chunk` does not divide the steps left.
        ValueError: `order` is not one of the clips in `latents`.
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

    def finish() -> None:
        before, metrics = under_way.popleft()
        metrics = jax.device_get(metrics)
        seconds = pace.end() / chunk
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


def _check_finite(before: int, rows: Sequence[Mapping[str, float]], saved: int | None) -> None:
    """Raises UserError for the first step after `before` with a loss or gradient not finite."""
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
