"""Trains a video or audio tokenizer from a configuration and writes its weights."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.compat import check_platform, enable_compile_cache
from sora_jax.data.mixture import mix, part, with_set_losses
from sora_jax.data.named_sources import SOURCES
from sora_jax.data.tokenizer_clips import AUDIO, HELD_OUT, VIDEO, Clips, open_clips
from sora_jax.environment import hardware
from sora_jax.errors import UserError
from sora_jax.evaluation.round_trip import boxes, psnr, videos_through
from sora_jax.modality import ClipFormat
from sora_jax.oracles.examples import render_takes
from sora_jax.tokenizers import audio, video
from sora_jax.training.data_config import DataConfig, SetConfig, batch_sizes, published
from sora_jax.training.loop import TrainConfig, fit, newest
from sora_jax.training.metrics import hours, read, thin
from sora_jax.training.optim import OptimConfig, averaged_params, make_optimizer, stable_steps
from sora_jax.training.start import open_start
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.training.workdir import Workdir, open_workdir
from sora_jax.tree import flatten
from sora_jax.worlds.playhouse.draw import draw


@dataclasses.dataclass(frozen=True)
class TokenizerRun:
    """The configuration of a tokenizer's training: everything but the weights it starts from.

    Attributes:
        kind: a name of KINDS: "video_tokenizer" or "audio_tokenizer".
        tokenizer: the configuration of a tokenizer of that kind.
    """

    kind: str
    tokenizer: video.VideoTokenizerConfig | audio.AudioTokenizerConfig
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self):
        for one in self.data.mixture:
            if one.source == "playhouse" and one.path:
                raise ValueError(
                    f"data: source='playhouse' reads no path={one.path!r}; leave it empty, or set "
                    "source='video_folder'"
                )
        fit = [kind for kind, of in KINDS.items() if isinstance(self.tokenizer, of.config)]
        if self.kind not in fit:
            raise ValueError(
                f"kind={self.kind!r} with a {type(self.tokenizer).__name__}; its kind is "
                f"{', '.join(fit) or 'none'}"
            )


@dataclasses.dataclass(frozen=True)
class Kind:
    """The parts that differ between the two tokenizers.

    Attributes:
        name: the modality, VIDEO or AUDIO.
        config: the class of the tokenizer's configuration.
        module: the class of the tokenizer.
        loss: (tokenizer, frames or samples, key) -> (scalar, metrics).
    """

    name: str
    config: type
    module: Callable[..., video.VideoTokenizer | audio.AudioTokenizer]
    loss: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


KINDS = {
    "video_tokenizer": Kind(
        VIDEO, video.VideoTokenizerConfig, video.VideoTokenizer, video.video_loss
    ),
    "audio_tokenizer": Kind(
        AUDIO, audio.AudioTokenizerConfig, audio.AudioTokenizer, audio.audio_loss
    ),
}


def batches_of(clips: Clips, split: str, most: int, size: int = 16) -> list[dict[str, np.ndarray]]:
    """Returns the first `most` clips of a split in batches of `size`; the last may be smaller."""
    count = min(most, clips.count[split])
    return [clips.batch(split, range(i, min(i + size, count))) for i in range(0, count, size)]


def held_out(kind: Kind, tokenizer: nnx.Module, clips: Clips) -> dict[str, float]:
    """Returns the metrics of the loss, averaged over at most HELD_OUT clips of the split val."""
    graphdef, state = nnx.split(tokenizer)
    measure = jax.jit(
        lambda state, batch: kind.loss(
            nnx.merge(graphdef, state), clips.render(batch), jax.random.key(0)
        )[1]
    )
    batches = batches_of(clips, "val", HELD_OUT)
    rows, sizes = (
        [measure(state, batch) for batch in batches],
        [len(next(iter(batch.values()))) for batch in batches],
    )
    return {name: float(np.average([row[name] for row in rows], weights=sizes)) for name in rows[0]}


def held_out_psnr(
    tokenizer: video.VideoTokenizer, format: ClipFormat, clips: int = HELD_OUT, family: str = "room"
) -> dict[str, float]:
    """Returns the reconstruction PSNR (dB) of Playhouse clips of the split val.

    The tokenizer encodes and decodes each clip without latent noise. `clip_psnr` is over whole
    frames, `box_psnr` inside the balls' bounding boxes (`evaluation.round_trip.psnr`). Both are
    means over the clips that have one; without any, the metric is left out.
    """
    truth = render_takes([draw("val", i, family=family) for i in range(clips)], format)
    decoded = videos_through(tokenizer, truth)
    values = {
        "clip_psnr": [psnr(clip) for clip in decoded],
        "box_psnr": [psnr(clip, boxes(clip)) for clip in decoded],
    }
    found = {name: [x for x in of if x is not None] for name, of in values.items()}
    return {name: float(np.mean(of)) for name, of in found.items() if of}


def shots_psnr(tokenizer: video.VideoTokenizer, clips: Clips) -> dict[str, float]:
    """Returns the mean reconstruction PSNR (dB) of the shots of at most HELD_OUT clips of val."""
    graphdef, state = nnx.split(tokenizer)

    @jax.jit
    def squared_error(state: Any, batch: Any) -> jax.Array:
        frames, tokenizer = clips.render(batch), nnx.merge(graphdef, state)
        height, width = frames.shape[2:4]
        decoded = tokenizer.decode(tokenizer.encode(frames))[:, :, :height, :width]
        return jnp.square(decoded - frames).mean((1, 2, 3, 4))

    errors = [squared_error(state, batch) for batch in batches_of(clips, "val", HELD_OUT)]
    return {"clip_psnr": float(-10 * np.log10(np.concatenate(errors)).mean())}


def statistics(
    tokenizer: video.VideoTokenizer | audio.AudioTokenizer,
    sets: Mapping[str, Clips],
    weights: Mapping[str, float],
    most: int = 256,
) -> None:
    """Measures latent statistics on at most `most` training clips and stores them.

    They are the tokenizer's scale and the mean and deviation of each channel. The clips are of all
    sets, by weight.
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


def trained(stored: dict, tokenizer: nnx.Module) -> dict:
    """Returns the parameters in a stored tokenizer, without its latent statistics.

    Training runs at scale 1, and `statistics` measures the statistics at its end.
    """
    measured = flatten(nnx.state(tokenizer, nnx.Not(nnx.Param)))
    return {name: x for name, x in flatten(stored).items() if name not in measured}


@dataclasses.dataclass(frozen=True)
class TrainedTokenizer:
    """The result of a tokenizer's training.

    Attributes:
        weights: the file of the weights.
        fingerprint: the fingerprint of the weights.
        scores: metrics on held-out clips, by name.
    """

    weights: Path
    fingerprint: str
    scores: dict[str, float]


def tokenizer_run(values: Mapping[str, Any]) -> TokenizerRun:
    """Returns the run of a configuration's values; `kind` selects the tokenizer.

    Raises:
        UserError: the configuration is not one of a tokenizer, a key is unknown or a value is
            wrong.
    """
    kind = values.get("kind")
    if "model" in values:
        raise UserError(
            "config is for the diffusion transformer; give it to experiments.train, or here "
            f"one with a kind: {', '.join(KINDS)}"
        )
    if kind not in KINDS:
        raise UserError(f"config.kind is {kind!r}; it is one of {', '.join(KINDS)}")
    if "tokenizer" in values:
        tokenizer = config_lib.from_dict(
            KINDS[kind].config, values["tokenizer"], "config.tokenizer"
        )
        values = {**values, "tokenizer": tokenizer}
    return config_lib.from_dict(TokenizerRun, values)


def train_tokenizer(
    run: TokenizerRun,
    workdir: str | os.PathLike,
    init_from: str | os.PathLike | None = None,
    continue_from: str | os.PathLike | None = None,
    export: bool = False,
) -> TrainedTokenizer:
    """Trains a tokenizer, or continues its training; experiments.train_tokenizer calls this.

    Args:
        run: the configuration.
        workdir: the run's directory: new, or that of the same run, which then continues.
        init_from: weights of a tokenizer of the same configuration to start from. Default: random
            initial weights.
        continue_from: weights written by this run earlier, in another workdir. The run goes on at
            their step, without the moments of its optimizer (`training.start`). Default: none.
        export: True writes the weights of the newest checkpoint and trains no further.

    Raises:
        UserError: a configuration, weights, data or directory cannot be used.
    """
    kind, mixture = KINDS[run.kind], run.data.mixture
    _check_latents(run)
    check_platform()
    enable_compile_cache()
    start = open_start(run.kind, init_from, continue_from)
    tokenizer = kind.module(run.tokenizer, rngs=nnx.Rngs(run.train.seed))
    params, merge = split_module(tokenizer)
    if start.weights:
        params = weights.fill(params, trained(start.weights.params, tokenizer), start.file)
    optimizer = make_optimizer(run.optim, run.train.steps, start.step)
    with open_workdir(workdir, run, start, _identify(run.data)) as opened:
        sets = {
            one.name: open_clips(
                kind.name, SOURCES[one.source], one.selection(), opened.path / "clips"
            )
            for one in mixture
        }
        sizes, shares = (
            batch_sizes(run.data, run.train.batch_size, kind.name),
            run.data.weights,
        )
        batches = {name: clips.batches(sizes[name], run.train.seed) for name, clips in sets.items()}

        def loss(params: Any, batch: Any, key: Any) -> Any:
            name, inputs = part(batch)
            return kind.loss(merge(params), sets[name].render(inputs), key)

        state, stream = (
            new_state(params, optimizer, run.train.seed, start.step),
            mix(batches, shares),
        )
        if export:
            state = newest(state, stream, opened)
        else:
            state = fit(
                state,
                with_set_losses(make_step(loss, optimizer), several=len(sets) > 1),
                stream,
                run.train,
                opened,
                start=start,
                keep_step=stable_steps(run.optim, run.train.steps),
            )
        tokenizer = merge(averaged_params(state.opt_state, state.params))
        scores = _scores(kind, tokenizer, mixture, sets)
        statistics(tokenizer, sets, shares)
        return _write_weights(run, opened, tokenizer, scores, int(state.step), stream.get_state())


def _check_latents(run: TokenizerRun) -> None:
    """Refuses formats whose latents have another number of frames than the tokenizer's."""
    if not isinstance(run.tokenizer, video.VideoTokenizerConfig):
        return
    for one in run.data.mixture:
        fitting = one.clip_format.frames_per_latent
        if run.tokenizer.frames_per_latent != fitting:
            raise UserError(
                f"config.tokenizer.frames_per_latent={run.tokenizer.frames_per_latent}, and "
                f"clips of format {one.format} have {fitting} frames to a latent; set both alike"
            )


def _identify(data: DataConfig) -> dict[str, Any]:
    """Returns the identity of the data: of one set, or of each set of a mixture."""
    known = {one.name: SOURCES[one.source].identify(one.selection()) for one in data.mixture}
    return known if data.sets else next(iter(known.values()))


def _scores(
    kind: Kind, tokenizer: Any, mixture: Sequence[SetConfig], sets: Mapping[str, Clips]
) -> dict[str, float]:
    """Returns the metrics on held-out clips; those of a mixture are named SET/METRIC."""
    scores = {}
    for one in mixture:
        clips = sets[one.name]
        found = held_out(kind, tokenizer, clips)
        format = one.clip_format
        if kind.name == VIDEO and format.shots:
            found |= shots_psnr(tokenizer, clips)
        elif kind.name == VIDEO and one.source == "playhouse":
            found |= held_out_psnr(tokenizer, format, clips.count["val"], one.family)
        prefix = f"{one.name}/" if len(mixture) > 1 else ""
        scores |= {f"{prefix}{name}": value for name, value in found.items()}
    return scores


def _write_weights(
    run: TokenizerRun,
    workdir: Workdir,
    tokenizer: nnx.Module,
    scores: dict[str, float],
    steps: int,
    position: Mapping[str, Any],
) -> TrainedTokenizer:
    data, rows = published(workdir.config["data"]), read(workdir.path / "metrics.jsonl", steps)
    metadata = {
        "run": {**workdir.config, "data": data},
        "steps": steps,
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
