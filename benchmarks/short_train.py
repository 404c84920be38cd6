"""`short_run --stage=train`: draws scenes, encodes them, trains and saves within a given time.

    scenes (drawn in processes) -> pixels and samples -> latents on the device -> training steps
    -> averaged weights

A thread meanwhile compiles the training steps, for a set of --clips clips. If there is too
little time to encode that many clips, the available ones are repeated.

The model, loss, step, optimizer and format of the weights are those of `experiments.train`.
Only the source of the batches differs (`sora_jax.training.resident`). Drawing and encoding take at
most a quarter of the time (FILLING). The weights are saved every minute, and once at the end.
"""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.suites.ours import no_kernels
from benchmarks.watchdog import announce
from sora_jax import config as config_lib
from sora_jax import environment
from sora_jax import weights as weights_lib
from sora_jax.compat import enable_compile_cache
from sora_jax.data.encode import encoder, reference_encoder
from sora_jax.data.sources import PlayhouseSource
from sora_jax.errors import UserError
from sora_jax.models.text_encoder import TextTokenizer
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training import latent_set, resident
from sora_jax.training.card import card
from sora_jax.training.configs import load_run
from sora_jax.training.optim import averaged_params, make_optimizer
from sora_jax.training.program import Program, assemble
from sora_jax.training.run import Run
from sora_jax.training.state import split_module
from sora_jax.training.step import make_step
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES

FILLING = 0.25  # share of the time in which scenes are drawn and encoded
SAVING = 10.0  # seconds at the end for the last weights
LARGEST = 16 * 2**20  # bytes of a file of weights
# One pair of blocks and one text layer, because compilation dominates a tiny run.
TINY = {
    **{"depth": 1, "width": 16, "heads": 2, "audio_width": 8, "audio_heads": 2},
    **{
        "exchange_width": 8,
        "exchange_heads": 2,
        "text_width": 8,
        "text_heads": 2,
        "text_layers": 1,
    },
}


def read_config(path: str, size: str) -> Run:
    """Returns the run of the configuration file `path`; for size "tiny" with a small model and
    small batches.
    """
    tiny = {f"model.{name}": value for name, value in TINY.items()} | {"train.batch_size": 8}
    return load_run(path, tiny if size == "tiny" else None)


def working_kernels(size: str) -> contextlib.AbstractContextManager:
    """Returns a context manager in which models use kernels only if those launch and compute
    correctly on this machine; otherwise they use XLA's implementations.

    The check is needed because a kernel that computes wrongly would corrupt the gradients silently.
    """
    if size == "tiny" or jax.default_backend() != "gpu":
        return contextlib.nullcontext()
    # Both need Triton, which may be absent from a machine without a GPU.
    from benchmarks.short_measure import smoke
    from kernels import triton_call

    for bridge in ("ffi", "legacy"):
        found = smoke(bridge, size)
        print(f"  kernels by {bridge}: {found}", flush=True)
        if found["correct"]:
            return triton_call.use_bridge(bridge)
    print("  no kernel can be launched: training with XLA's forms", flush=True)
    return no_kernels()


def main(
    output: Path,
    size: str,
    seconds: float,
    config: str,
    init_from: str | None,
    family_name: str,
    clips: int,
) -> None:
    """Runs stage train in this process.

    Args:
        output: folder of the results.
        size: "gpu" or "tiny".
        seconds: time until the stage must have ended.
        config: path of the configuration file.
        init_from: weights to start from; None for random initial ones.
        family_name: family of the scenes.
        clips: largest number of training clips.

    Raises:
        UserError: the model's weights are too large to keep, or there was no time for a step.
    """
    begun = time.monotonic()
    announce("train")
    enable_compile_cache()
    with working_kernels(size):
        train(begun, output, size, seconds, config, init_from, family_name, clips)


def check_parameters(program: Program) -> None:
    """Raises UserError if the model's weights take more than LARGEST bytes in float16."""
    parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(program.shapes))
    if 2 * parameters > LARGEST:
        size_mib = 2 * parameters / 2**20
        raise UserError(
            f"the model has {parameters / 1e6:.1f}M parameters, {size_mib:.1f} MiB in float16; "
            f"give one of at most {LARGEST // 2**20} MiB"
        )


def compile_in_thread(
    run: Run, program: Program, shapes: Any, chunk: int, options: dict | None
) -> concurrent.futures.Future:
    """Starts a thread that compiles the function of `resident.make_steps`, which runs many training
    steps in one call. Returns a future of the compiled function.

    Args:
        run: the run.
        program: its model, loss and state.
        shapes: shapes of the latents of the whole set.
        chunk: training steps of one call.
        options: options of XLA's compiler; None for the defaults.
    """

    times = {name: t.astype(np.float32) for name, t in program.format.latent_times().items()}

    def loss(params: Any, batch: dict, key: Any) -> Any:
        return program.loss(params, {**batch, "times": times}, key)

    def step_for(total: int) -> Callable:
        return make_step(loss, make_optimizer(run.optim, total))

    return concurrent.futures.ThreadPoolExecutor(1).submit(
        contextvars.copy_context().run,  # carries the bridge of the kernels
        resident.compile_steps,
        resident.make_steps(step_for),
        jax.eval_shape(program.begin, program.shapes),
        shapes,
        run.train.batch_size,
        chunk,
        options,
    )


@dataclasses.dataclass
class Record:
    """Writes the results of a run: the loss curve, and the averaged weights with a model card.

    Attributes:
        output: folder of the files.
        run: the run.
        identity: JSON values that identify the run, for the model card.
        data: description of the data set, for the model card.
        tokenizers: {"video_tokenizer", "audio_tokenizer": fingerprint}.
        words: the words of the vocabulary.
        total: number of training steps.
        rows: the logged steps, {"step", "loss", ...}.
    """

    output: Path
    run: Run
    identity: dict
    data: dict
    tokenizers: dict[str, str]
    words: tuple[str, ...]
    total: int
    rows: list[dict] = dataclasses.field(default_factory=list)

    def save(self, state: Any, step: int) -> None:
        """Writes the averaged weights of a training state, reached at `step`, to
        weights.safetensors.
        """
        data = {self.run.data.name: {**self.data, "tokenizers": self.tokenizers}}
        metadata = card(self.run, self.identity, self.rows, data, self.words, step)
        averaged = averaged_params(state.opt_state, state.params)
        path = self.output / "weights.safetensors"
        weights_lib.save_weights(
            path, "st_dit", averaged, self.run.model, metadata, dtype=np.float16
        )
        print(f"  step {step}: saved {path.name}", flush=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Appends the finite values of a step, {name: value}, to `rows` and to curve.jsonl. Prints
        every twentieth row.
        """
        finite = {name: float(x) for name, x in values.items() if np.isfinite(x)}
        self.rows.append({"step": step, **finite})
        with (self.output / "curve.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        if len(self.rows) % 20 == 1:
            print(f"  step {step} of {self.total}: loss {values['loss']:.4f}", flush=True)

    def summary(self, seconds: float) -> str:
        """Returns the number of steps and the last loss as text.

        Raises UserError, which states the `seconds` of the stage, if no step was taken.
        """
        if not self.rows:
            raise UserError(
                f"no step was taken: the {seconds:.0f} s of the stage were over when the steps had "
                "been compiled; give more --minutes"
            )
        return f"{self.rows[-1]['step']} steps, loss {self.rows[-1]['loss']:.4f}"


def train(
    begun: float,
    output: Path,
    size: str,
    seconds: float,
    config: str,
    init_from: str | None,
    family_name: str,
    clips: int,
) -> None:
    """Draws and encodes scenes, trains on them and saves the weights, until `seconds` after
    `begun`, a `time.monotonic` time.

    The other arguments are those of `main`.
    """
    end = begun + seconds - SAVING
    run = read_config(config, size)
    family, format = FAMILIES[family_name], run.data.mixture[0].clip_format
    start = weights_lib.load_weights(init_from, "st_dit") if init_from else None
    words = tuple(start.metadata.get("words", family.words)) if start else family.words
    data = dataclasses.replace(run.data, family=family_name, text_length=family.text_length)
    run = dataclasses.replace(run, data=data)
    tokenizer = TextTokenizer.of_vocabulary(words, run.model.vocabulary, family.text_length)
    program = assemble(run, MeshConfig(data=1).make())
    check_parameters(program)
    video, audio = (weights_lib.load_video_tokenizer(), weights_lib.load_audio_tokenizer())
    tokenizers = {"video_tokenizer": video[1].fingerprint, "audio_tokenizer": audio[1].fingerprint}

    full = size != "tiny"
    workers = os.cpu_count() or 1
    batch, workers = (512, workers) if full else (16, 0)
    refers = run.model.references > 0
    source = PlayhouseSource("train", format, clips, batch, workers, family_name, references=refers)
    until = begun + FILLING * seconds
    chunk = resident.CHUNK if full else 5
    paraphrases = len(draw("train", 0, family=family_name).captions)
    shapes = latent_set.shapes(program.batch_shapes, clips, paraphrases)
    # On a CPU, XLA would spend a minute on optimising the code of small products.
    options = None if full else {"xla_backend_optimization_level": 0}
    compiling = compile_in_thread(run, program, shapes, chunk, options)
    encode, refer = encoder(video[0], audio[0], format), reference_encoder(video[0], audio[0])
    latents = latent_set.fill(source(), encode, tokenizer, clips, until, refer=refer)
    count = len(latents)
    print(f"  {count} clips on the device after {time.monotonic() - begun:.0f} s", flush=True)
    latents = latent_set.repeated(latents, clips)
    given = (
        weights_lib.fill(program.shapes, start.params, init_from) if start and init_from else None
    )
    state = program.begin(given or split_module(program.create())[0])
    steps = compiling.result()
    print(f"  steps compiled after {time.monotonic() - begun:.0f} s", flush=True)
    order = latent_set.Order(clips, run.train.batch_size, run.train.seed)
    pace = resident.step_seconds(state, steps, latents, order, chunk, calls=2)
    total = resident.steps_within(end - time.monotonic(), pace, chunk)
    print(
        f"  {1e3 * pace:.1f} ms a step, {total} steps of {run.train.batch_size} clips", flush=True
    )

    data = {**source.identity, "count": count}
    identity = {**config_lib.to_dict(run), "init_from": start.fingerprint if start else None}
    record = Record(output, run, identity, data, tokenizers, words, total)
    resident.train(
        state,
        steps,
        latents,
        order,
        total,
        chunk=chunk,
        deadline=end,
        save=record.save,
        save_every_seconds=60.0 if full else 5.0,
        log=record.log,
    )
    hardware = environment.hardware()
    print(f"  {record.summary(seconds)} on {hardware}", flush=True)
