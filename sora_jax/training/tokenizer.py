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
from sora_jax.compat import enable_compile_cache
from sora_jax.data.mixture import mix, part
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
class SetConfig(ClipsConfig):
    """One set of clips of a tokenizer: the split `train` of a source, evaluated on its split `val`.

    Attributes:
        scenes: the largest number of clips of `train`, for a source that draws them.
        family: the family of Playhouse's scenes.
        weight: the set's share of the batches of a mixture, up to a factor.
        batch_size: clips of a batch. Default 0: `train.batch_size`.
    """

    scenes: int = 8192
    family: str = "room"
    weight: float = 1.0
    batch_size: int = 0

    def __post_init__(self):
        super().__post_init__()
        if self.family not in FAMILIES:
            raise ValueError(f"family={self.family!r}; use one of {', '.join(FAMILIES)}")
        if self.scenes < 1:
            raise ValueError(f"scenes={self.scenes}; give at least 1")
        if self.batch_size < 0:
            raise ValueError(f"batch_size={self.batch_size}; give 1 or more, or 0: train.batch_size")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight={self.weight}; give a positive number")
        if self.source == "playhouse" and self.path:
            raise ValueError(
                f"source='playhouse' reads no path={self.path!r}; leave it empty, or set "
                "source='video_folder'"
            )

    @property
    def name(self) -> str:
        """Names the set in metrics: its family or source, and its format."""
        return f"{self.family if self.source == 'playhouse' else self.source}@{self.format}"

    def selection(self) -> Selection:
        """Returns the selection of the split `train`."""
        return Selection(self.path, FORMATS[self.format], self.scenes, family=self.family)


@dataclasses.dataclass(frozen=True)
class TokenizerDataConfig(SetConfig):
    """The data of a tokenizer: one set, or a mixture.

    Attributes:
        sets: the sets of a mixture; the other fields then keep their defaults. Default: (), the
            one set of the other fields.
    """

    sets: tuple[SetConfig, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        names = [one.name for one in self.sets]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sets has {doubled[0]} twice; give it once, with a larger weight")
        default = SetConfig()
        for field in dataclasses.fields(SetConfig):
            value = getattr(self, field.name)
            if self.sets and value != getattr(default, field.name):
                raise ValueError(
                    f"{field.name}={value!r} beside sets; give it in an entry of sets instead"
                )

    @property
    def mixture(self) -> tuple[SetConfig, ...]:
        """The sets: `sets`, or the one of the other fields."""
        return self.sets or (self,)


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


def shots_psnr(tokenizer: video.VideoTokenizer, clips: Clips) -> dict[str, float]:
    """Returns the mean reconstruction PSNR (dB) of the shots of at most HELD_OUT clips of val."""
    graphdef, state = nnx.split(tokenizer)

    @jax.jit
    def squared_error(state: Any, batch: Any) -> jax.Array:
        frames, tokenizer = clips.render(batch), nnx.merge(graphdef, state)
        return jnp.square(tokenizer.decode(tokenizer.encode(frames)) - frames).mean((1, 2, 3, 4))

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
    kind, mixture = KINDS[run.kind], run.data.mixture
    _check_latents(kind, run)
    enable_compile_cache()
    start = weights.load_weights(init_from, run.kind) if init_from else None
    tokenizer = kind.module(run.tokenizer, rngs=nnx.Rngs(run.train.seed))
    params, merge = split_module(tokenizer)
    if start:
        params = weights.fill(params, trained(start.params, tokenizer), str(init_from))
    optimizer = make_optimizer(run.optim, run.train.steps)
    fingerprint = start.fingerprint if start else None
    with open_workdir(workdir, run, fingerprint, _identify(run.data)) as opened:
        sets = {
            one.name: open_clips(
                kind.name, SOURCES[one.source], one.selection(), opened.path / "clips"
            )
            for one in mixture
        }
        batches = {
            one.name: sets[one.name].batches(one.batch_size or run.train.batch_size, run.train.seed)
            for one in mixture
        }
        shares = {one.name: one.weight for one in mixture}

        def loss(params: Any, batch: Any, key: Any) -> Any:
            name, inputs = part(batch)
            return kind.loss(merge(params), sets[name].render(inputs), key)

        state = fit(
            new_state(params, optimizer, run.train.seed),
            make_step(loss, optimizer),
            mix(batches, shares),
            run.train,
            opened,
        )
        tokenizer = merge(averaged_params(state.opt_state, state.params))
        scores = _scores(kind, tokenizer, mixture, sets)
        statistics(tokenizer, sets, shares)
        return _write_weights(run, opened, tokenizer, scores)


def _check_latents(kind: Kind, run: TokenizerRun) -> None:
    """Refuses formats whose latents have another number of frames than the tokenizer's."""
    for one in run.data.mixture if kind.name == VIDEO else ():
        fitting = FORMATS[one.format].frames_per_latent
        if run.tokenizer.frames_per_latent != fitting:
            raise UserError(
                f"config.tokenizer.frames_per_latent={run.tokenizer.frames_per_latent}, and "
                f"clips of format {one.format} have {fitting} frames to a latent; set both alike"
            )


def _identify(data: TokenizerDataConfig) -> dict[str, Any]:
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
        format = FORMATS[one.format]
        if kind.name == VIDEO and format.shots:
            found |= shots_psnr(tokenizer, clips)
        elif kind.name == VIDEO and one.source == "playhouse":
            found |= held_out_psnr(tokenizer, format, clips.count["val"], one.family)
        prefix = f"{one.name}/" if len(mixture) > 1 else ""
        scores |= {f"{prefix}{name}": value for name, value in found.items()}
    return scores


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
