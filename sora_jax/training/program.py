"""The program of a run: its model, loss, step and shardings on a mesh, without any arrays."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sora_jax import low_rank
from sora_jax.flow import shortcut
from sora_jax.flow.loss import FlowConfig, flow_loss
from sora_jax.modality import PIXELS_PER_LATENT, SAMPLE_RATE, SAMPLES_PER_LATENT, ClipFormat
from sora_jax.models.reference_encoder import VIEWS
from sora_jax.models.st_dit import STDiT
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.parallel import mesh as mesh_lib
from sora_jax.parallel import rules, sequence
from sora_jax.training import adapt
from sora_jax.training.data_config import batch_sizes
from sora_jax.training.optim import make_optimizer
from sora_jax.training.run import Run
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.references import VOICE_SECONDS


@dataclasses.dataclass(frozen=True)
class Program:
    """The functions, shapes and shardings of a run on a mesh.

    Attributes:
        formats: the format of the clips of each set, by name.
        create: () -> a new model with initial parameters.
        merge: parameters of the run -> the model with these parameters. Parameters of the run are
            those of the model, or with LoRA the tree that `adapt.begin` returns.
        shapes: the model's parameters as a tree of `jax.ShapeDtypeStruct`.
        begin: parameters of the model -> the training state before the first step.
        placement: (shardings of the state, shardings of a batch).
        step: (state, batch) -> (state, metrics), jitted.
        loss: (parameters of the run, batch, key) -> (loss, metrics).
        validation_loss: as `loss`, with the settings of `validation_flow`.
        batches: the arrays of a batch of each set as `jax.ShapeDtypeStruct`s, {set: {name: shape}}.
    """

    formats: dict[str, ClipFormat]
    create: Callable[[], Any]
    merge: Callable[[Any], Any]
    shapes: Any
    begin: Callable[[Any], Any]
    placement: tuple[Any, Any]
    step: Callable[[Any, Any], Any]
    loss: Callable[[Any, Any, Any], Any]
    validation_loss: Callable[[Any, Any, Any], Any]
    batches: dict[str, dict[str, Any]]

    @property
    def format(self) -> ClipFormat:
        """The format of the clips of the first of the run's sets."""
        return next(iter(self.formats.values()))

    @property
    def batch_shapes(self) -> dict[str, Any]:
        """The arrays of a batch of the run's first set, `jax.ShapeDtypeStruct`s by name."""
        return next(iter(self.batches.values()))


def validation_flow(flow: FlowConfig) -> FlowConfig:
    """Returns the settings of the loss on held-out clips: the default noise levels and tasks,
    without dropout of text, references and coupling. `output` and `first_latents` are those of
    `flow`.

    So runs that are trained with different levels, tasks or weights have comparable losses.
    """
    return FlowConfig(
        output=flow.output,
        first_latents=flow.first_latents,
        text_dropout=0.0,
        reference_dropout=0.0,
        couple_dropout=0.0,
    )


def assemble(
    run: Run,
    mesh: jax.sharding.Mesh,
    start: int = 0,
    rows: tuple[int, int] = (0, 0),
    text_lengths: Mapping[str, int] | None = None,
) -> Program:
    """Returns the program of a run on a mesh. Allocates no arrays on devices.

    Args:
        run: the configuration.
        mesh: the devices.
        start: steps that were made before, by an optimizer whose moments are lost. Default: 0.
        rows: the rows of new words in the embedding, (index of the first, number of rows). Default:
            none.
        text_lengths: words of a padded prompt by set. Default: `data.text_length` for all.

    Raises:
        UserError: the mesh does not divide a batch, the tokens or the parameters.
    """
    formats = {one.name: one.clip_format for one in run.data.mixture}
    sizes = batch_sizes(run.data, run.train.batch_size)
    for name, format in formats.items():
        mesh_lib.check_batch(sizes[name], mesh, f" of {name}" * (len(formats) > 1))
        sequence.check_tokens(run.model, format.latent_sides, mesh)
    sequence.check_heads(run.model, mesh)
    parts = run.adapt.lora_rank or run.adapt.freeze
    mask = functools.partial(adapt.trained, config=run.adapt) if parts else None
    optimizer = make_optimizer(run.optim, run.train.steps, start, mask)

    def create() -> Any:
        return STDiT(run.model, rngs=nnx.Rngs(run.train.seed))

    def begin(params: Any) -> Any:
        key = jax.random.key(run.train.seed)
        params = adapt.begin(params, run.adapt, key, rows[1])
        return new_state(params, optimizer, run.train.seed, start)

    shapes, merge_model = split_module(nnx.eval_shape(create))

    def merge(params: Any) -> Any:
        return merge_model(low_rank.merged(params, rows[0]))

    def loss_of(flow: FlowConfig) -> Callable[[Any, Any, Any], Any]:
        compute = shortcut.loss if flow.shortcut.every else flow_loss

        def loss(params: Any, batch: Any, key: Any) -> Any:
            model = sequence.on_mesh(merge(adapt.held(params, run.adapt)), mesh)
            return compute(model, batch, key, batch["times"], flow)

        return loss

    loss = loss_of(run.flow)
    validation_loss = loss_of(validation_flow(run.flow))

    lengths = text_lengths or dict.fromkeys(formats, run.data.text_length)
    batches = {
        one.name: batch_shapes(
            run.model,
            one.clip_format,
            sizes[one.name],
            lengths[one.name],
            FAMILIES[one.family].max_cast,
        )
        for one in run.data.mixture
    }
    batch_placement = rules.batch_shardings(next(iter(batches.values())), mesh)
    placement = rules.place(jax.eval_shape(begin, shapes), shapes, mesh), batch_placement
    step = make_step(loss, optimizer, placement)
    return Program(
        formats, create, merge, shapes, begin, placement, step, loss, validation_loss, batches
    )


def batch_shapes(
    model: STDiTConfig, format: ClipFormat, size: int, words: int, cast: int = 0
) -> dict[str, Any]:
    """Returns the arrays of a batch of latents as `jax.ShapeDtypeStruct`s by name, those that
    `latents.loader.batches` reads.

    Args:
        model: configuration of the model.
        format: format of the clips.
        size: clips per batch.
        words: words of a padded prompt, or tokens of T5.
        cast: number of characters of a clip whose references (stills and voices) are in the batch,
            if the model reads references. Default: 0.
    """
    channels = model.video_channels
    times = {
        m: jax.ShapeDtypeStruct(t.shape, jnp.float32) for m, t in format.latent_times().items()
    }

    def of(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *shape), dtype)

    side = -(-format.size // PIXELS_PER_LATENT)  # stills are square
    voice = -(-round(VOICE_SECONDS * SAMPLE_RATE) // SAMPLES_PER_LATENT)
    references = {
        "stills": of(cast, VIEWS, side, side, channels),
        "voices": of(cast, voice, model.audio_channels),
        "present": of(cast, dtype=bool),
        "heard": of(cast, dtype=bool),
    }
    return {
        "video": of(format.video_latents, *format.latent_sides, channels),
        "audio": of(format.audio_latents, model.audio_channels),
        "tokens": (
            of(words, model.text_features) if model.text_features else of(words, dtype=jnp.int32)
        ),
        "text_mask": of(words, dtype=bool),
        "text_shots": of(words, dtype=jnp.int8),
        "text_slots": of(words, dtype=jnp.int8),
        "references": references if cast and model.references else {},
        "has_audio": of(dtype=bool),
        "times": times,
    }
