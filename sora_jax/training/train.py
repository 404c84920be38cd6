"""Trains a diffusion transformer from a configuration (`Run`) and writes its weights."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kernels import target
from sora_jax import lora as lora_files
from sora_jax import weights as weights_lib
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.config import known_keywords
from sora_jax.data.latents.record import open_set
from sora_jax.data.t5_prompts import T5Prompts
from sora_jax.errors import UserError, expect
from sora_jax.models import cost
from sora_jax.models.text_encoder import PromptEncoder
from sora_jax.parallel import processes, topologies
from sora_jax.parallel.mesh import traced_for
from sora_jax.training import inputs, metrics
from sora_jax.training.card import card
from sora_jax.training.loop import Every, fit, newest
from sora_jax.training.mixture_step import on_parts, with_set_losses
from sora_jax.training.optim import averaged_params, make_optimizer, stable_steps
from sora_jax.training.preview import previews
from sora_jax.training.program import Program, assemble
from sora_jax.training.run import Run
from sora_jax.training.run_prompts import Prompts, prompts_of
from sora_jax.training.start import Start, open_start, start_params, started
from sora_jax.training.state import TrainState
from sora_jax.training.validation import validation
from sora_jax.training.workdir import Workdir, open_workdir


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a training run.

    Attributes:
        weights: the file of the averaged weights.
        fingerprint: the fingerprint of the weights.
        steps: training steps done in total.
        loss: the loss in the last row of metrics; nan without one.
    """

    weights: Path
    fingerprint: str
    steps: int
    loss: float


@known_keywords
def train(
    run: Run,
    workdir: str | os.PathLike,
    init_from: str | os.PathLike | None = None,
    continue_from: str | os.PathLike | None = None,
    export: bool = False,
    partly: bool = False,
) -> Trained | None:
    """Trains a model, or continues its training; experiments.train calls this.

    Args:
        run: the configuration.
        workdir: the run's directory: new, or that of the same run, which then continues from its
            newest checkpoint with bitwise the result of an uninterrupted run. It holds the
            checkpoints, metrics.jsonl, tensorboard and weights.safetensors.
        init_from: weights of a model of the same configuration to start from. Default: random
            initial weights.
        continue_from: weights written by this run earlier, in another workdir. The run goes on at
            their step, without the moments of its optimizer (`training.start`). Default: none.
        export: True writes the weights of the newest checkpoint and trains no further.
        partly: True takes from init_from only the parameters whose shapes agree, lists the others
            on stderr, and accepts latents of other tokenizers. Default False: all must agree.

    Returns:
        The file of weights with its fingerprint, step and loss. If several processes train together
        (`parallel.processes.join`), every process except process 0 returns None.

    Raises:
        UserError: a configuration, weights, data or directory cannot be used, or a loss or gradient
            is not finite.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was saved.
    """
    expect(run, Run, "run", "give a Run; load_run reads a configuration")
    with contextlib.ExitStack() as stack:
        with processes.together():
            check_platform()
            enable_compile_cache()
            start = open_start("st_dit", init_from, continue_from)
            check_adapted(run, start)
            prompts = prompts_of(run, start.weights, workdir)
            run, tokenizer, dataset = prompts.run, prompts.encoder, prompts.dataset
            mesh = run.mesh.make()
            processes.check_mesh(mesh)
            _tell_devices(mesh)
            program, given = assemble(run, mesh, start.step, prompts.new_rows, prompts.lengths), {}
            if start.weights:
                params = prompts.grown(start.weights.params)
                given = start_params(program.shapes, params, start.file, partly)
            opened = stack.enter_context(open_workdir(workdir, run, start, dataset))
            folders = inputs.latents_of(run.data, opened.path)
            expected = None if partly else start.weights
            batches = _batches(run, program, prompts, folders, expected)
            descriptions = {name: open_set(folder)[1] for name, folder in folders.items()}
            tokenizers = next(iter(descriptions.values()))["tokenizers"]
            evaluate = None if export else _validation(run, program, prompts, opened, tokenizers)

        # Created with its final sharding: the whole state may not fit on one device.
        def begin(given: Any) -> Any:
            return program.begin(started(program.shapes, given, program.create))

        state = jax.jit(begin, out_shardings=program.placement[0])(given)
        with traced_for(mesh):
            if export:
                state = newest(state, batches, opened)
            else:
                state = fit(
                    state,
                    with_set_losses(on_parts(program.step), several=len(program.formats) > 1),
                    batches,
                    run.train,
                    opened,
                    start=start,
                    evaluate=evaluate,
                    pictures=_pictures(run, program, tokenizer, tokenizers, opened),
                    profile=run.profile,
                    flops=_step_flops(run, program, mesh),
                    keep_step=stable_steps(run.optim, run.train.steps),
                )
        written = run, opened, state, descriptions, tokenizer, batches.get_state()
        return _write_weights(*written, start.weights if run.adapt.lora_rank else None)


def _pictures(
    run: Run,
    program: Program,
    tokenizer: PromptEncoder,
    tokenizers: Mapping[str, str],
    workdir: Workdir,
) -> Every | None:
    """Returns the callback that generates preview clips; None if the run makes none.

    `tokenizers` are the fingerprints of the tokenizers that made the run's latents.
    """
    if not run.sample.every:
        return None
    draw = previews(run, program, tokenizer, tokenizers, workdir.path / "samples")
    return Every(draw, run.sample.every)


def check_adapted(run: Run, start: Start) -> None:
    """Checks that a run with LoRA starts from the weights of a file at step 0.

    Raises:
        UserError: it starts from random weights, or goes on at the step of a file.
    """
    if run.adapt.lora_rank and (start.weights is None or start.step):
        raise UserError(
            "LoRA trains small updates of weights that are there; give them as init_from",
            field="init_from",
        )


def _batches(
    run: Run,
    program: Program,
    prompts: Prompts,
    folders: Mapping[str, Path],
    start: weights_lib.Weights | None,
) -> Any:
    """Returns the iterator of the run's batches {set: batch}. If several processes train together,
    each reads its own rows of a batch. If T5 reads the prompts, its features of all captions are
    computed first.

    Args:
        run: the configuration.
        program: the run's program.
        prompts: the encoders of the run's prompts.
        folders: the folder of the latents of each set.
        start: initial weights, whose tokenizers the latents must be of. None: not checked.
    """
    if isinstance(prompts.encoder, T5Prompts):
        prompts.encoder.keep(inputs.captions_of(folders))
    shardings = program.placement[1]
    sizes, rows = _rows(program)
    batches = inputs.open_mixture(
        run.data,
        folders,
        sizes,
        prompts.encoders(),
        run.train.seed,
        start.metadata.get("tokenizers") if start else None,
        rows,
    )
    return processes.GlobalBatches(batches, shardings, sizes) if rows else batches


def _rows(program: Program) -> tuple[dict[str, int], dict[str, Sequence[int]] | None]:
    """Returns ({set: clips of a batch}, {set: indices of the rows of a batch that this process
    reads}). The second is None if this process reads all rows.
    """
    sizes = {name: len(batch["has_audio"]) for name, batch in program.batches.items()}
    if not processes.several():
        return sizes, None
    clips = program.placement[1]["has_audio"]
    return sizes, {name: processes.rows_here(clips, n) for name, n in sizes.items()}


def _validation(
    run: Run,
    program: Program,
    prompts: Prompts,
    workdir: Workdir,
    tokenizers: Mapping[str, str],
) -> Every | None:
    """Returns the callback that measures the loss on held-out clips; None if the run has none.

    `tokenizers` are the fingerprints of the tokenizers that made the run's latents.
    """
    config = run.validation
    if not config.every:
        return None
    sizes, rows = _rows(program)
    folders = inputs.validation_of(run.data, workdir.path, config.clips)
    batches = inputs.held_out_batches(
        run.data, folders, sizes, prompts.encoders(), config.clips, tokenizers, rows
    )
    if rows:
        shardings = program.placement[1]
        batches = {
            name: [processes.global_batch(batch, shardings, sizes[name]) for batch in several]
            for name, several in batches.items()
        }
    return Every(validation(run, program, batches), config.every) if batches else None


def _step_flops(run: Run, program: Program, mesh: jax.sharding.Mesh) -> metrics.StepFlops | None:
    """Returns the FLOPs of a step. For a mixture they are the mean by the weights of its sets.
    Returns None on a CPU, where counting would delay short runs.
    """
    if jax.default_backend() == "cpu":
        return None
    optimizer = make_optimizer(run.optim, run.train.steps)
    sizes, _ = _rows(program)
    counted = [
        cost.training_flops(
            run.model, format, sizes[name], program.batches[name]["tokens"].shape[1], optimizer
        )
        for name, format in program.formats.items()
    ]
    shares = [run.data.weights[name] for name in program.formats]
    steps, updates = zip(*counted, strict=True)  # the update is the same for all sets
    step = float(np.average(steps, weights=shares))
    peak = mesh.size * topologies.peak_flops(target.current().slug)
    # The optimizer updates once in `accumulate` steps: its FLOPs per step are a mean.
    return metrics.StepFlops(step, updates[0] / run.optim.accumulate, peak)


def _write_weights(
    run: Run,
    workdir: Workdir,
    state: TrainState,
    descriptions: Mapping[str, Mapping[str, Any]],
    tokenizer: PromptEncoder,
    position: Mapping[str, Any],
    base: weights_lib.Weights | None,
) -> Trained | None:
    """Writes the averaged weights of a state with their model card, and returns the result.

    Args:
        run: the configuration.
        workdir: the run's directory, where the file is written.
        state: the training state.
        descriptions: the description of the latents of each set (`latents.record`).
        tokenizer: the encoder of prompts.
        position: the position of the data iterator.
        base: with LoRA, the weights that it updates: the file then holds the updates alone. None
            writes all weights.

    Returns:
        None in every process except process 0, which writes the file.
    """
    steps = int(state.step)
    rows = metrics.read(workdir.path / "metrics.jsonl", steps)
    t5 = tokenizer.identity if isinstance(tokenizer, T5Prompts) else None
    described = (run, workdir.config, rows, descriptions, tokenizer.words)
    metadata = card(*described, steps, position, t5)
    averaged = processes.gathered(averaged_params(state.opt_state, state.params))
    if not processes.is_first():
        return None
    if base is not None:
        path = workdir.path / "lora.safetensors"
        fingerprint = lora_files.save_lora(path, averaged["lora"], base, metadata)
    else:
        path = workdir.path / "weights.safetensors"
        fingerprint = weights_lib.save_weights(
            path, "st_dit", averaged, run.model, metadata, dtype=np.float16
        )
    jax.block_until_ready(state)
    losses = [row["loss"] for row in rows if "loss" in row]
    return Trained(path, fingerprint, steps, losses[-1] if losses else float("nan"))


def _tell_devices(mesh: jax.sharding.Mesh) -> None:
    """Prints one line on stderr with the mesh of a run and the number of idle devices."""
    idle = jax.device_count() - mesh.size
    if jax.device_count() > 1 and jax.process_index() == 0:
        rest = (
            f"; {idle} of {jax.device_count()} devices are idle: config.mesh.data=-1 takes all"
            if idle
            else ""
        )
        axes = " x ".join(f"{axis} {n}" for axis, n in mesh.shape.items())
        print(f"on {axes} devices{rest}", file=sys.stderr)
