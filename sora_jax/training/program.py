"""The program of a run: its model, loss, step and shardings on a mesh, without any arrays."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sora_jax.errors import UserError
from sora_jax.flow.loss import flow_loss
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import mesh as mesh_lib
from sora_jax.parallel import rules, sequence
from sora_jax.training.optim import make_optimizer
from sora_jax.training.run import Run
from sora_jax.training.state import new_state, split_module
from sora_jax.training.step import make_step


@dataclasses.dataclass(frozen=True)
class Program:
    """The functions, shapes and shardings of a run on a mesh.

    Attributes:
        format: the format of the clips.
        create: () -> a new model with initial parameters.
        merge: parameters -> the model with these parameters.
        shapes: the parameters as a tree of `jax.ShapeDtypeStruct`.
        begin: parameters -> the state before the first step.
        placement: (shardings of the state, sharding of a batch).
        step: (state, batch) -> (state, metrics), jitted.
        loss: (params, batch, key) -> (loss, metrics).
        batch_shapes: a batch as `jax.ShapeDtypeStruct`s.
    """

    format: ClipFormat
    create: Callable[[], Any]
    merge: Callable[[Any], Any]
    shapes: Any
    begin: Callable[[Any], Any]
    placement: tuple[Any, Any]
    step: Callable[[Any, Any], Any]
    loss: Callable[[Any, Any, Any], Any]
    batch_shapes: dict[str, jax.ShapeDtypeStruct]


def assemble(run: Run, mesh: jax.sharding.Mesh) -> Program:
    """Returns the program of a run on a mesh. Allocates no arrays on devices.

    Raises:
        UserError: the patch does not divide the latents, or the mesh does not divide the batch,
            the tokens or the parameters.
    """
    format = FORMATS[run.data.format]
    if format.latent_size % run.model.patch:
        raise UserError(
            f"config.model.patch={run.model.patch} does not divide the latents of format "
            f"{run.data.format}, {format.latent_size} x {format.latent_size}; give a divisor of "
            f"{format.latent_size}"
        )
    mesh_lib.check_batch(run.train.batch_size, mesh)
    sequence.check_tokens(run.model, (format.latent_size,) * 2, mesh)
    times = {name: np.asarray(t, np.float32) for name, t in format.latent_times().items()}
    optimizer = make_optimizer(run.optim, run.train.steps)

    def create() -> Any:
        return STDiT(run.model, rngs=nnx.Rngs(run.train.seed))

    def begin(params: Any) -> Any:
        return new_state(params, optimizer, run.train.seed)

    shapes, merge = split_module(nnx.eval_shape(create))

    def loss(params: Any, batch: Any, key: Any) -> Any:
        return flow_loss(sequence.on_mesh(merge(params), mesh), batch, key, times, run.flow)

    placement = rules.place(jax.eval_shape(begin, shapes), shapes, mesh), rules.batch_sharding(mesh)
    step = make_step(loss, optimizer, placement)
    batch = batch_shapes(run, format)
    return Program(format, create, merge, shapes, begin, placement, step, loss, batch)


def batch_shapes(run: Run, format: ClipFormat) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of a batch of `latents.loader.make_loader`."""
    size, words = run.train.batch_size, run.data.text_length
    side, channels = format.latent_size, run.model.video_channels

    def of(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *shape), dtype)

    return {
        "video": of(format.video_latents, side, side, channels),
        "audio": of(format.audio_latents, run.model.audio_channels),
        "tokens": of(words, dtype=jnp.int32),
        "text_mask": of(words, dtype=bool),
        "has_audio": of(dtype=bool),
    }
