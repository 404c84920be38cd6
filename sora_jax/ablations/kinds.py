"""The two kinds of runs that a trial can train, a model (`Run`) or a tokenizer (`TokenizerRun`),
and the functions that differ between them.

The sweep's configuration decides: that of a tokenizer has a key `kind`.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import config as config_lib
from sora_jax.flops import count_flops
from sora_jax.flow.guidance import MODALITIES
from sora_jax.flow.loss import QUARTERS
from sora_jax.modality import ClipFormat
from sora_jax.models import cost
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.parallel.mesh import traced_for
from sora_jax.training import inputs
from sora_jax.training.configs import read_with
from sora_jax.training.data_config import batch_sizes
from sora_jax.training.optim import OptimConfig, make_optimizer
from sora_jax.training.program import assemble
from sora_jax.training.run import Run
from sora_jax.training.state import new_state, split_module
from sora_jax.training.tokenizer import TokenizerProgram, identify_clips, train_tokenizer
from sora_jax.training.tokenizer_run import TokenizerRun, tokenizer_run
from sora_jax.training.train import train

AnyRun = Run | TokenizerRun


def run_of(values: Mapping[str, Any]) -> AnyRun:
    """Returns the run of the values of a configuration.

    Raises:
        UserError: a key is unknown or a value is wrong.
    """
    return tokenizer_run(values) if "kind" in values else config_lib.from_dict(Run, values)


def read_run(config: str, values: Mapping[str, Any]) -> AnyRun:
    """Returns the run of a configuration, some of its values replaced.

    Args:
        config: a file whose name ends in .py, or a registered name.
        values: the replaced values by key, such as {"train.steps": 200}.

    Raises:
        UserError: the configuration does not exist, a key is unknown or a value is wrong.
    """
    return run_of(read_with(config, values))


def default_of(run: AnyRun) -> AnyRun:
    """Returns the run of the same kind whose fields all have their defaults."""
    if isinstance(run, Run):
        return Run()
    return TokenizerRun(run.kind, type(run.tokenizer)())


def weights_kind(run: AnyRun) -> str:
    """Returns the kind of the weights that the run writes, a key of `weights.KINDS`."""
    return "st_dit" if isinstance(run, Run) else run.kind


def identify(run: AnyRun) -> dict[str, Any]:
    """Returns the identity of the data that the run trains on."""
    return inputs.identify(run.data) if isinstance(run, Run) else identify_clips(run.data)


def measures(run: AnyRun) -> list[str]:
    """Returns the names of the metrics that a validation of the run gives, such as "val/loss"."""
    several = [one.name for one in run.data.mixture] if len(run.data.mixture) > 1 else []
    if isinstance(run, Run):
        losses = ["loss", *(f"{m}_loss" for m in MODALITIES)]
        found = [f"{m}_loss_q{q}" for m in MODALITIES for q in range(1, QUARTERS + 1)]
        found = [*losses, *found, *(f"{one}/{name}" for one in several for name in losses)]
    else:
        program, (batch, *_) = _tokenizer(run)
        terms = jax.eval_shape(program.loss, program.params, batch, jax.random.key(0))[1]
        found = list(dict.fromkeys(("loss", *terms)))
        found = [f"{one}/{name}" for one in several for name in found] or found
    return [f"val/{name}" for name in found]


def prepare(run: AnyRun, folder: Path) -> None:
    """Makes the latents that a model trains on and is validated on, in `folder`. Does nothing for a
    tokenizer, which needs none.
    """
    if isinstance(run, Run):
        inputs.latents_of(run.data, folder)
        inputs.validation_of(run.data, folder, run.validation.clips)


def train_run(run: AnyRun, workdir: Path) -> tuple[Path, str]:
    """Trains in a run's directory, or continues there, and returns (file of the weights, their
    fingerprint).
    """
    trained = train(run, workdir) if isinstance(run, Run) else train_tokenizer(run, workdir)
    assert trained is not None  # one process
    return trained.weights, trained.fingerprint


def step_flops(run: AnyRun) -> tuple[float, float]:
    """Returns (FLOPs of the loss and gradient of a batch, FLOPs of an update of the optimizer).

    For a mixture the first is the mean by the sets' weights.
    """
    shares = list(run.data.weights.values())
    if not isinstance(run, Run):
        program, batches = _tokenizer(run)
        gradient = jax.grad(lambda *args: program.loss(*args)[0])
        key = jax.random.key(0)
        steps = [count_flops(gradient, program.params, batch, key) for batch in batches]
        update = cost.update_flops(program.optimizer, program.params)
        return float(np.average(steps, weights=shares)), float(update)
    sizes = batch_sizes(run.data, run.train.batch_size)
    optim = dataclasses.replace(run.optim, warmup=0, ema=0.0)  # they have no products
    counted = [
        _counted(run.model, one.clip_format, sizes[one.name], run.data.text_length, optim)
        for one in run.data.mixture
    ]
    steps, updates = zip(*counted, strict=True)  # the update is the same for all sets
    return float(np.average(steps, weights=shares)), float(updates[0])


@functools.cache
def _counted(
    model: STDiTConfig, format: ClipFormat, batch_size: int, text_length: int, optim: OptimConfig
) -> tuple[int, int]:
    """Returns `cost.training_flops` of these; trials that differ in their steps are counted
    once.
    """
    optimizer = make_optimizer(optim, steps=1)
    return cost.training_flops(model, format, batch_size, text_length, optimizer)


def compiled_steps(run: AnyRun) -> list[tuple[Any, Any, Any]]:
    """Returns (compiled training step, state, batch) for each set of the run's data. The step maps
    (state, batch) to (state, metrics). Batches of models are made up of ones.
    """
    if not isinstance(run, Run):
        program, batches = _tokenizer(run)
        # Copies, because a step donates the buffers of its state.
        params = [jax.tree.map(jnp.copy, program.params) for _ in batches]
        states = [new_state(one, program.optimizer, run.train.seed) for one in params]
        return [
            (program.step.lower(state, batch).compile(), state, batch)
            for state, batch in zip(states, batches, strict=True)
        ]
    mesh = run.mesh.make()
    program, compiled = assemble(run, mesh), []
    for batch in program.batches.values():
        ones = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), batch)
        with traced_for(mesh):
            state = program.begin(split_module(program.create())[0])
            compiled.append((program.step.lower(state, ones).compile(), state, ones))
    return compiled


def _tokenizer(run: TokenizerRun) -> tuple[TokenizerProgram, list[dict[str, Any]]]:
    """Returns the program of a tokenizer's training, and a batch {set: arrays} of each set."""
    with tempfile.TemporaryDirectory() as folder:
        program = TokenizerProgram.assemble(run, Path(folder))
        batches = [
            {name: clips.batch("train", range(program.sizes[name]))}
            for name, clips in program.sets.items()
        ]
    return program, batches
