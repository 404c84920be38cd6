"""What a run of experiments.train is: its configuration, and the program that it computes on a
mesh, with nothing allocated.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sora_jax import config as config_lib
from sora_jax.errors import UserError
from sora_jax.flow.loss import FlowConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.train.loop import TrainConfig
from sora_jax.train.optim import OptimConfig
from sora_jax.train.watch import ProfileConfig, SampleConfig


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What to train on; see `experiments/configs/playhouse_nano.py`."""

    source: str = "playhouse"  # or "video_folder"
    path: str = ""
    format: str = "nano"
    clips: int = 2048  # Playhouse takes, where path is empty
    # words of a prompt; families of Playhouse but rooms have what their captions need
    text_length: int = 64
    # the next clip takes the place of one whose latents are not finite, or cannot be read; else the
    # run stops there
    skip_damaged: bool = False

    def __post_init__(self):
        if self.source not in ("playhouse", "video_folder"):
            raise ValueError(f"source={self.source!r}; use 'playhouse' or 'video_folder'")
        if self.format not in FORMATS:
            raise ValueError(f"format={self.format!r}; use one of {', '.join(FORMATS)}")
        if self.source == "video_folder" and not self.path:
            raise ValueError(
                "source='video_folder' needs a path: a folder of videos, or latents of "
                "experiments.precompute"
            )
        for name in ("clips", "text_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; give at least 1")


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that fixes a run, apart from --init_from; `mesh` says only on which devices,
    `profile` and `sample` what it shows.
    """

    model: STDiTConfig = STDiTConfig()
    flow: FlowConfig = FlowConfig()
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    profile: ProfileConfig = ProfileConfig()
    sample: SampleConfig = SampleConfig()

    def __post_init__(self):
        if self.flow.output != self.model.output:
            raise ValueError(
                f"model.output={self.model.output!r} and flow.output={self.flow.output!r} "
                "differ; set both alike"
            )


@dataclasses.dataclass(frozen=True)
class Program:
    """What a run computes on a mesh: `create()` a model, `merge(params)` the model again;
    `begin(params)` the state before the first step, which lies as `placement` says, with its
    batches; `step(state, batch)` and its `loss(params, batch, key)`; `form` of the clips and
    `batch_shapes`.
    """

    form: ClipFormat
    create: Callable[[], Any]
    merge: Callable[[Any], Any]
    shapes: Any  # parameters, as shapes
    begin: Callable[[Any], Any]
    placement: tuple[Any, Any]
    step: Callable[[Any, Any], Any]
    loss: Callable[[Any, Any, Any], Any]
    batch_shapes: dict[str, Any]


def card(
    run: Run,
    identity: Mapping[str, Any],
    rows: Sequence[Mapping[str, float]],
    data: Mapping[str, Any],
    tokenizers: Mapping[str, str],
    words: Sequence[str],
    steps: int,
) -> dict[str, Any]:
    """What a file of weights says of the training behind it, as JSON values.

    Args:
        identity: the run's configuration as JSON values, with what else makes it this run.
        rows: the metrics of the run.
        data: description of the latents that it was trained on.
        tokenizers: fingerprints by kind.
        words: the vocabulary's known words.
    """
    from sora_jax.train import metrics

    told = ("source", "split", "count", "world_version", "family", "family_version", "style")
    # Where the data lay is no one's business but this machine's.
    kept = {**identity, "data": {**identity["data"], "path": Path(run.data.path).name}}
    return {
        "run": kept,
        "run_fingerprint": config_lib.fingerprint(identity),
        "seed": run.train.seed,
        "steps": steps,
        "hardware": metrics.hardware(),
        "hours": metrics.hours(rows),
        "curve": metrics.thin(rows),
        "data": {name: data[name] for name in told if name in data},
        "format": run.data.format,
        "tokenizers": dict(tokenizers),
        "words": tuple(words),
        "text_length": run.data.text_length,
    }


def assemble(run: Run, mesh: Any) -> Program:
    """The program of a run, with nothing allocated.

    Raises UserError where model, clips, batch or parameters do not divide.
    """
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from sora_jax.flow.loss import flow_loss
    from sora_jax.models.st_dit import STDiT
    from sora_jax.parallel import mesh as mesh_lib
    from sora_jax.parallel import rules, sequence
    from sora_jax.train.optim import make_optimizer
    from sora_jax.train.state import new_state, split_module
    from sora_jax.train.step import make_step

    form = FORMATS[run.data.format]
    if form.latent_size % run.model.patch:
        raise UserError(
            f"config.model.patch={run.model.patch} does not divide the latents of format "
            f"{run.data.format}, {form.latent_size} x "
            f"{form.latent_size}; give a divisor of {form.latent_size}"
        )
    mesh_lib.check_batch(run.train.batch_size, mesh)
    sequence.check_tokens(run.model, (form.latent_size,) * 2, mesh)
    times = {name: np.asarray(t, np.float32) for name, t in form.latent_times().items()}
    create = lambda: STDiT(run.model, rngs=nnx.Rngs(run.train.seed))
    shapes, merge = split_module(nnx.eval_shape(create))
    optimizer = make_optimizer(run.optim, run.train.steps)
    begin = lambda params: new_state(params, optimizer, run.train.seed)
    placement = rules.place(jax.eval_shape(begin, shapes), shapes, mesh), rules.batch_sharding(mesh)

    def loss(params, batch, key):
        return flow_loss(sequence.on_mesh(merge(params), mesh), batch, key, times, run.flow)

    clip = {
        "video": (form.video_latents, form.latent_size, form.latent_size, run.model.video_channels)
    }
    clip |= {
        "audio": (form.audio_latents, run.model.audio_channels),
        "tokens": (run.data.text_length,),
    }
    batch = {
        k: jax.ShapeDtypeStruct(
            (run.train.batch_size, *s), jnp.int32 if k == "tokens" else jnp.float32
        )
        for k, s in clip.items()
    }
    batch["text_mask"] = jax.ShapeDtypeStruct(batch["tokens"].shape, bool)
    batch["has_audio"] = jax.ShapeDtypeStruct((run.train.batch_size,), bool)
    return Program(
        form,
        create,
        merge,
        shapes,
        begin,
        placement,
        make_step(loss, optimizer, placement),
        loss,
        batch,
    )
