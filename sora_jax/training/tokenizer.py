"""Trains a video or audio tokenizer from a configuration and writes its weights."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from sora_jax import weights
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.config import known_keywords
from sora_jax.data.mixture import mix, part
from sora_jax.data.named_sources import SOURCES
from sora_jax.data.tokenizer_clips import Clips, open_clips
from sora_jax.environment import hardware
from sora_jax.errors import UserError
from sora_jax.tokenizers import audio, video
from sora_jax.training.best import Best
from sora_jax.training.data_config import DataConfig, batch_sizes, published
from sora_jax.training.loop import Every, fit, newest
from sora_jax.training.metrics import hours, read, thin
from sora_jax.training.mixture_step import with_set_losses
from sora_jax.training.optim import averaged_params, make_optimizer, stable_steps
from sora_jax.training.round_trip_picture import draw_round_trips
from sora_jax.training.start import Start, open_start
from sora_jax.training.state import TrainState, new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.training.tokenizer_run import KINDS, TokenizerRun, check_latents
from sora_jax.training.tokenizer_scores import batches_of, final_scores, validation
from sora_jax.training.workdir import Workdir, open_workdir
from sora_jax.tree import flatten

# Modules of a video tokenizer's encoder
ENCODER = ("embed", "encoder_fine", "down", "encoder_coarse", "to_latent")


@dataclasses.dataclass(frozen=True)
class TokenizerProgram:
    """The functions and data of a tokenizer's training.

    Attributes:
        tokenizer: the tokenizer with new weights.
        params: its parameters, a pytree.
        merge: parameters -> the tokenizer with these parameters.
        sets: the clips of each set by name.
        sizes: number of clips in a batch of each set.
        loss: (parameters, {set: batch}, key) -> (scalar, metrics).
        optimizer: the optimizer of the parameters.
        step: (state, {set: batch}) -> (state, metrics), jitted (`step.make_step`).
    """

    tokenizer: video.VideoTokenizer | audio.AudioTokenizer
    params: Any
    merge: Callable[[Any], Any]
    sets: Mapping[str, Clips]
    sizes: Mapping[str, int]
    loss: Callable[..., Any]
    optimizer: optax.GradientTransformation
    step: Callable[..., Any]

    def begin(self, seed: int) -> TrainState:
        """Returns the state of a training from new weights before its first step."""
        return new_state(self.params, self.optimizer, seed)

    @classmethod
    def assemble(cls, run: TokenizerRun, folder: Path, first: int = 0) -> "TokenizerProgram":
        """Returns the program of a tokenizer's training.

        Args:
            run: the configuration.
            folder: sources may create the files that they need here.
            first: the step that a run goes on from without the moments of its optimizer. Default 0.
        """
        kind = KINDS[run.kind]
        tokenizer = kind.module(run.tokenizer, rngs=nnx.Rngs(run.train.seed))
        params, merge = split_module(tokenizer)
        sets = {
            one.name: open_clips(kind.name, SOURCES[one.source], one.selection(), folder)
            for one in run.data.mixture
        }

        def loss(params: Any, batch: Any, key: Any) -> Any:
            name, inputs = part(batch)
            if run.decoder_only:
                params = jax.tree.map(
                    lambda x, on: x if on else jax.lax.stop_gradient(x),
                    params,
                    decoder_mask(params),
                )
            return kind.loss(merge(params), sets[name].render(inputs), key)

        mask = decoder_mask if run.decoder_only else None
        optimizer = make_optimizer(run.optim, run.train.steps, first, mask)
        step = make_step(loss, optimizer)
        sizes = batch_sizes(run.data, run.train.batch_size, kind.name)
        return cls(tokenizer, params, merge, sets, sizes, loss, optimizer, step)


def statistics(
    tokenizer: video.VideoTokenizer | audio.AudioTokenizer,
    sets: Mapping[str, Clips],
    weights: Mapping[str, float],
    most: int = 256,
) -> None:
    """Measures the latents of training clips and sets the tokenizer's statistics in place.

    The statistics are its scale and the mean and standard deviation of each channel.

    Args:
        tokenizer: the trained tokenizer, still at scale 1.
        sets: the clips of each set by name.
        weights: the share of each set, by name, up to a common factor.
        most: number of clips of all sets together. They are shared out by weight, rounded up, and
            are the first clips of each set; a smaller set gives all its clips. Default 256.
    """
    graphdef, state = nnx.split(tokenizer)
    total, latents = sum(weights.values()), []
    for name, clips in sets.items():
        encode = jax.jit(
            lambda state, batch, clips=clips: nnx.merge(graphdef, state).encode(clips.render(batch))
        )
        share = math.ceil(most * weights[name] / total)
        latents += [encode(state, batch) for batch in batches_of(clips, "train", share)]
    tokenizer.set_statistics(jnp.concatenate([z.reshape(-1, z.shape[-1]) for z in latents]))


def keep_statistics(tokenizer: nnx.Module, stored: dict) -> None:
    """Sets a tokenizer's latent statistics (`statistics`) to those of stored weights, in place.

    `stored` has the variables of a tokenizer as nested dicts of arrays.
    """
    given = flatten(stored)
    measured = nnx.state(tokenizer, nnx.Not(nnx.Param))
    leaves = [jnp.asarray(given[path], x.dtype) for path, x in flatten(measured).items()]
    nnx.update(tokenizer, jax.tree.unflatten(jax.tree.structure(measured), leaves))


def trained(stored: dict, tokenizer: nnx.Module) -> dict:
    """Returns the parameters of a stored tokenizer by path, without its latent statistics.

    Training runs at scale 1, and `statistics` measures the statistics when it ends.

    Args:
        stored: the variables in a file of weights, nested dicts of arrays.
        tokenizer: a tokenizer of the same configuration.
    """
    measured = flatten(nnx.state(tokenizer, nnx.Not(nnx.Param)))
    return {name: x for name, x in flatten(stored).items() if name not in measured}


def decoder_mask(params: Any) -> Any:
    """Returns a tree of bool like the parameters of a video tokenizer: True for its decoder's."""
    names = [path.split("/")[0] not in ENCODER for path in flatten(params)]
    return jax.tree.unflatten(jax.tree.structure(params), names)


@dataclasses.dataclass(frozen=True)
class TrainedTokenizer:
    """The result of a tokenizer's training.

    Attributes:
        weights: the file of the weights.
        fingerprint: the fingerprint of the weights.
        scores: metrics on held-out clips, by name (`tokenizer_scores.final_scores`).
    """

    weights: Path
    fingerprint: str
    scores: dict[str, float]


@known_keywords
def train_tokenizer(
    run: TokenizerRun,
    workdir: str | os.PathLike,
    init_from: str | os.PathLike | None = None,
    continue_from: str | os.PathLike | None = None,
    export: bool = False,
) -> TrainedTokenizer:
    """Trains a tokenizer, or continues its training; experiments.train_tokenizer calls this.

    With validation, the weights written are those with the lowest loss at any validation, the one
    at the end included. Without, they are those of the end. Both are averaged weights.

    Args:
        run: the configuration.
        workdir: the run's directory: new, or that of the same run, which then continues. At the
            end it also has weights.safetensors, and round_trip.png: a held-out clip of each set
            before and after encoding and decoding.
        init_from: weights of a tokenizer of the same configuration to start from. Default: random
            initial weights.
        continue_from: weights written by this run earlier, in another workdir. The run goes on at
            their step, without the moments of its optimizer (`training.start`). Default: none.
        export: True writes the weights of the newest checkpoint and trains no further.

    Returns:
        The file of the weights, their fingerprint and the scores on held-out clips.

    Raises:
        UserError: a configuration, weights, data or directory cannot be used; both init_from and
            continue_from are given; or `export` is True and there is no checkpoint.
    """
    kind = KINDS[run.kind]
    check_latents(run)
    check_platform()
    enable_compile_cache()
    start = open_start(run.kind, init_from, continue_from)
    check_decoder(run, start)
    with open_workdir(workdir, run, start, identify_clips(run.data)) as opened:
        program = TokenizerProgram.assemble(run, opened.path / "clips", start.step)
        tokenizer, params, merge, sets = (
            program.tokenizer,
            program.params,
            program.merge,
            program.sets,
        )
        if start.weights:
            params = weights.fill(params, trained(start.weights.params, tokenizer), start.file)
        state = new_state(params, program.optimizer, run.train.seed, start.step)
        batches = {
            name: clips.batches(program.sizes[name], run.train.seed) for name, clips in sets.items()
        }
        stream, every = mix(batches, run.data.weights), run.validation.every
        evaluate = validation(run, kind, merge, sets) if every else None
        best = Best(opened.path / "best.safetensors", run.kind, run.tokenizer, run.data.weights)
        if export:
            state = newest(state, stream, opened)
        else:
            state = fit(
                state,
                with_set_losses(program.step, several=len(sets) > 1),
                stream,
                run.train,
                opened,
                start=start,
                evaluate=Every(best.watch(evaluate, averaged), every) if evaluate else None,
                keep_step=stable_steps(run.optim, run.train.steps),
            )
        step, params = int(state.step), averaged(state)
        if evaluate and best.step < step:
            params, step = best.better(best.loss_of(evaluate(state)), step, params)
        scores = final_scores(run, kind, merge, params, sets)
        tokenizer = merge(params)
        draw_round_trips(opened.path / "round_trip.png", kind, tokenizer, sets)
        if run.decoder_only and start.weights:
            keep_statistics(tokenizer, start.weights.params)
        else:
            statistics(tokenizer, sets, run.data.weights)
        latents_of = start.weights.latents if run.decoder_only and start.weights else None
        made = scores, int(state.step), step, stream.get_state(), latents_of
        return _write_weights(run, opened, tokenizer, *made)


def check_decoder(run: TokenizerRun, start: Start) -> None:
    """Raises UserError if a run that trains only a decoder has no weights to start from."""
    if run.decoder_only and start.weights is None:
        raise UserError(
            "decoder_only trains the decoder of weights that are there; give them as init_from",
            field="init_from",
        )


def averaged(state: TrainState) -> Any:
    """Returns the averaged weights of a training state, a tree like its parameters."""
    return averaged_params(state.opt_state, state.params)


def identify_clips(data: DataConfig) -> dict[str, Any]:
    """Returns the identity of the clips that a tokenizer trains on: entries of the source, such as
    its split. The identity of a mixture is a dict {name of a set: its identity}.
    """
    known = {one.name: SOURCES[one.source].identify(one.selection()) for one in data.mixture}
    return known if data.sets else next(iter(known.values()))


def _write_weights(
    run: TokenizerRun,
    workdir: Workdir,
    tokenizer: nnx.Module,
    scores: dict[str, float],
    steps: int,
    best_step: int,
    position: Mapping[str, Any],
    latents_of: str | None,
) -> TrainedTokenizer:
    """Writes the weights and returns the result of the training.

    Args:
        run: the configuration.
        workdir: the run's directory.
        tokenizer: the tokenizer with the weights to write.
        scores: metrics on held-out clips.
        steps: training steps done.
        best_step: the step of the weights.
        position: the position of the data iterator.
        latents_of: if only the decoder was trained, the fingerprint of the tokenizer that makes the
            same latents. None: the latents are new.
    """
    data, rows = published(workdir.config["data"]), read(workdir.path / "metrics.jsonl", steps)
    metadata = {
        "run": {**workdir.config, "data": data},
        "steps": steps,
        "best_step": best_step,
        **({"latents_of": latents_of} if latents_of else {}),
        "position": dict(position),
        "hours": hours(rows),
        "hardware": hardware(),
        "held_out": scores,
        "curve": thin(rows),
    }
    path = workdir.path / "weights.safetensors"
    stored = nnx.state(tokenizer, weights.STORED)
    fingerprint = weights.save_weights(
        path, run.kind, stored, run.tokenizer, metadata, dtype=np.float16
    )
    return TrainedTokenizer(path, fingerprint, scores)
