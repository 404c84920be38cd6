"""Trains a video or audio tokenizer from a configuration and writes its weights."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax import config as config_lib
from sora_jax import weights
from sora_jax.compat import enable_compile_cache
from sora_jax.data.named_sources import SOURCES, Selection
from sora_jax.data.tokenizer_clips import AUDIO, HELD_OUT, VIDEO, Clips, open_clips
from sora_jax.environment import hardware
from sora_jax.errors import UserError
from sora_jax.evaluation.round_trip import boxes, pictures_through, psnr
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles.examples import render_takes
from sora_jax.tokenizers import audio, video
from sora_jax.training.loop import TrainConfig, fit
from sora_jax.training.metrics import read, thin
from sora_jax.training.optim import OptimConfig, averaged_params, make_optimizer
from sora_jax.training.run import ClipsConfig
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.training.workdir import Workdir, open_workdir
from sora_jax.tree import flatten
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.families import FAMILIES


@dataclasses.dataclass(frozen=True)
class TokenizerDataConfig(ClipsConfig):
    """The data of a tokenizer: the split `train` of a source, evaluated on its split `val`.

    Attributes:
        scenes: the largest number of clips of `train`, for a source that draws them.
        family: the family of Playhouse's scenes.
    """

    scenes: int = 8192
    family: str = "room"

    def __post_init__(self):
        super().__post_init__()
        if self.family not in FAMILIES:
            raise ValueError(f"family={self.family!r}; use one of {', '.join(FAMILIES)}")
        if self.scenes < 1:
            raise ValueError(f"scenes={self.scenes}; give at least 1")
        if self.source == "playhouse" and self.path:
            raise ValueError(
                f"source='playhouse' reads no path={self.path!r}; leave it empty, or set "
                "source='video_folder'"
            )

    def selection(self) -> Selection:
        """Returns the selection of the split `train`."""
        return Selection(self.path, FORMATS[self.format], self.scenes, family=self.family)


@dataclasses.dataclass(frozen=True)
class TokenizerRun:
    """The configuration of a tokenizer's training: everything but the weights it starts from.

    Attributes:
        kind: a name of KINDS: "video_tokenizer" or "audio_tokenizer".
        tokenizer: the configuration of a tokenizer of that kind.
    """

    kind: str
    tokenizer: video.VideoTokenizerConfig | audio.AudioTokenizerConfig
    data: TokenizerDataConfig = TokenizerDataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self):
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
    module: type
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
    means over clips.
    """
    truth = render_takes([draw("val", i, family=family) for i in range(clips)], format)
    decoded = pictures_through(tokenizer, truth)
    return {
        "clip_psnr": float(np.mean([psnr(clip) for clip in decoded])),
        "box_psnr": float(np.mean([psnr(clip, boxes(clip)) for clip in decoded])),
    }


def statistics(
    tokenizer: video.VideoTokenizer | audio.AudioTokenizer, clips: Clips, most: int = 256
) -> None:
    """Measures latent statistics on at most `most` training clips and stores them.

    They are the tokenizer's scale and the mean and deviation of each channel.
    """
    graphdef, state = nnx.split(tokenizer)
    encode = jax.jit(lambda state, batch: nnx.merge(graphdef, state).encode(clips.render(batch)))
    tokenizer.set_statistics(
        jnp.concatenate([encode(state, batch) for batch in batches_of(clips, "train", most)])
    )


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
) -> TrainedTokenizer:
    """Trains a tokenizer, or continues its training; experiments.train_tokenizer calls this.

    Args:
        run: the configuration.
        workdir: the run's directory: new, or that of the same run, which then continues.
        init_from: weights of a tokenizer of the same configuration to start from. Default: random
            initial weights.

    Raises:
        UserError: a configuration, weights, data or directory cannot be used.
    """
    kind, format = KINDS[run.kind], FORMATS[run.data.format]
    if kind.name == VIDEO and run.tokenizer.frames_per_latent != format.frames_per_latent:
        raise UserError(
            f"config.tokenizer.frames_per_latent={run.tokenizer.frames_per_latent}, and "
            f"clips of format {run.data.format} have "
            f"{format.frames_per_latent} frames to a latent; set both alike"
        )
    enable_compile_cache()
    start = weights.load_weights(init_from, run.kind) if init_from else None
    tokenizer = kind.module(run.tokenizer, rngs=nnx.Rngs(run.train.seed))
    params, merge = split_module(tokenizer)
    if start:
        params = weights.fill(params, trained(start.params, tokenizer), str(init_from))
    optimizer = make_optimizer(run.optim, run.train.steps)
    fingerprint = start.fingerprint if start else None
    source, selection = SOURCES[run.data.source], run.data.selection()
    with open_workdir(workdir, run, fingerprint, source.identify(selection)) as opened:
        clips = open_clips(kind.name, source, selection, opened.path / "clips")

        def loss(params: Any, batch: Any, key: Any) -> Any:
            return kind.loss(merge(params), clips.render(batch), key)

        state = fit(
            new_state(params, optimizer, run.train.seed),
            make_step(loss, optimizer),
            clips.stream(run.train.batch_size, run.train.seed),
            run.train,
            opened,
        )
        tokenizer = merge(averaged_params(state.opt_state, state.params))
        scores = held_out(kind, tokenizer, clips)
        if kind.name == VIDEO and run.data.source == "playhouse":
            scores |= held_out_psnr(tokenizer, format, clips.count["val"], run.data.family)
        statistics(tokenizer, clips)
        return _write_weights(run, opened, tokenizer, scores)


def _write_weights(
    run: TokenizerRun, workdir: Workdir, tokenizer: nnx.Module, scores: dict[str, float]
) -> TrainedTokenizer:
    # Only the folder's name: a published file must not reveal the paths of this machine.
    data = {**workdir.config["data"], "path": Path(run.data.path).name}
    metadata = {
        "run": {**workdir.config, "data": data},
        "hardware": hardware(),
        "held_out": scores,
        "curve": thin(read(workdir.path / "metrics.jsonl")),
    }
    path = workdir.path / "weights.safetensors"
    stored = nnx.state(tokenizer, weights.STORED)
    fingerprint = weights.save_weights(
        path, run.kind, stored, run.tokenizer, metadata, dtype=np.float16
    )
    return TrainedTokenizer(path, fingerprint, scores)
