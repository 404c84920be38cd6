"""A model on a mesh: dynamic sequence parallelism over `seq`, and a gather of weights per block.

`seq`, `tensor` and `fsdp` are axes of the mesh (`mesh`). In a factorised model, video tokens
v [B, T, S, D] attend either within a frame or along time at a site, never both at once. So on n
devices along `seq`

    blocks within frames    work on  [B, T/n, S, D]                                              (1)
    blocks along time       work on  [B, T, S/n, D]                                              (2)

with one all-to-all between them, in which a device keeps 1/n of its tokens and sends 1/n to
each other device. A pair of blocks takes two all-to-alls in the forward pass and two in the
backward pass. No other video activations move over `seq`. Audio tokens are replicated over `seq`
and read P pooled tokens per frame. T is padded to a multiple of n. The padding frames are masked
from all other frames and from the loss.

If tokens attend across frames and sites (attention "full", and the windows of "window"), tokens
stay sharded by frames as in (1), and only within the attention

    queries, keys, values   are     [B, T, S, h/n, d]                                            (3)

by one all-to-all each. A fourth returns the result to (1). This is DeepSpeed Ulysses, and n
must divide the heads.

Parameters are sharded over `fsdp` (`rules.py`). A block's kernels are cast to the model's
dtype and gathered inside the scanned body, so only one block's kernels are whole at a time.
Their gradients leave the body sharded again. Without this the compiler may gather a whole
stack before the scan, and libtpu aborts the process if `fsdp` is not the only axis.

Sources: Zhao et al. 2024, "DSP: Dynamic Sequence Parallelism for Multi-Dimensional
Transformers" (arXiv:2403.10266); Jacobs et al. 2023, "DeepSpeed Ulysses" (arXiv:2309.14509).
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UserError
from sora_jax.nn.layout import Layout
from sora_jax.parallel import rules
from sora_jax.parallel.mesh import BATCH
from sora_jax.tree import flatten

# Shardings of tokens [B, T, S, D] over frames, equation (1), and over sites, (2).
FRAMES_APART = P(BATCH, "seq", None, None)
SITES_APART = P(BATCH, None, "seq", None)
# The same of their queries, keys and values [B, T, S, h, d], and those of the audio [B, N, h, d].
FRAMES_WITH_HEADS = P(BATCH, "seq", None, "tensor", None)
SITES_WITH_HEADS = P(BATCH, None, "seq", "tensor", None)
AUDIO_WITH_HEADS = P(BATCH, None, "tensor", None)
# Sharding of queries, keys and values [B, T, S, h, d] over heads, equation (3).
HEADS_APART = P(BATCH, None, None, ("tensor", "seq"), None)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["model"], meta_fields=["mesh"])
@dataclasses.dataclass(frozen=True)
class ShardedModel:
    """A `sora_jax.models.st_dit.STDiT` that runs on a mesh, with the model's call signature.

    Attributes:
        model: the model.
        mesh: the mesh. `data` x `fsdp` must divide the batch.
    """

    model: Any
    mesh: Mesh

    @property
    def config(self) -> Any:
        """The configuration of the model, `STDiTConfig`."""
        return self.model.config

    def __call__(
        self,
        latents: Any,
        levels: Any,
        text: Any,
        times: Any,
        couple: Any = 1.0,
        sizes: Any = None,
    ) -> dict[str, jax.Array]:
        """Evaluates the model on the mesh, with the arguments and results of `STDiT.__call__`.

        Raises:
            UserError: `seq` does not divide the tokens.
        """
        frames, axis_size = latents["video"].shape[1], self.mesh.shape["seq"]
        check_tokens(self.config, latents["video"].shape[2:4], self.mesh)
        padding = -frames % axis_size

        def pad(x: jax.Array, axis: int) -> jax.Array:
            return jnp.pad(x, [(0, padding if i == axis else 0) for i in range(x.ndim)])

        # Padding frames are zeros at level 0 and time 0 s: finite, and masked in every attention.
        latents = {**latents, "video": pad(latents["video"], 1)}
        levels = {**levels, "video": pad(levels["video"], 1)}
        if sizes is not None:
            sizes = {**sizes, "video": pad(sizes["video"], 1)}
        times = {
            name: pad(jnp.asarray(t), 0) if name.startswith("video") else t
            for name, t in times.items()
        }
        out = self.model(
            latents,
            levels,
            text,
            times,
            couple,
            sizes,
            layout=layout(self.mesh, self.config, frames if padding else None),
        )
        return {**out, "video": out["video"][:, :frames]}


def check_tokens(config: Any, sides: Sequence[int], mesh: Mesh | AbstractMesh) -> None:
    """Raises UserError if `seq` does not divide the axis that it shards.

    With attention "pure" that axis is the tokens of a frame. With any other it is the heads that
    `tensor` leaves on a device.

    Args:
        config: the model's configuration, `STDiTConfig`.
        sides: rows and columns of the video latents.
        mesh: the mesh.
    """
    axis_size = mesh.shape["seq"]
    if axis_size == 1:
        return
    if config.attention == "pure":
        parts, what = math.prod(config.grid(sides)), "tokens of a frame"
    else:
        parts, what = (
            config.heads // mesh.shape["tensor"],
            f"heads that mesh.tensor={mesh.shape['tensor']} leaves to {config.attention!r}",
        )
    if parts % axis_size:
        fits = ", ".join(str(n) for n in range(1, parts + 1) if parts % n == 0)
        raise UserError(
            f"config.mesh.seq={axis_size} does not divide the {parts} {what}; sizes that do: {fits}"
        )


def _split_heads(config: Any, mesh: Mesh) -> dict[str, int]:
    """Returns the numbers of heads that `tensor` does not divide, by their key in the
    configuration: "heads", "audio_heads", or "exchange_heads" of an exchange.
    """
    names = ["heads", "audio_heads"]
    if config.exchange != "none" or config.memory:
        names.append("exchange_heads")
    heads = {name: getattr(config, name) for name in names}
    return {name: count for name, count in heads.items() if count % mesh.shape["tensor"]}


def check_heads(config: Any, mesh: Mesh) -> None:
    """Raises UserError if `tensor` splits a head, on devices that have kernels: GPUs and TPUs.

    Args:
        config: the model's configuration.
        mesh: the mesh.
    """
    split = _split_heads(config, mesh)
    if not split or mesh.devices.flat[0].platform == "cpu":
        return
    name, count = next(iter(split.items()))
    fits = ", ".join(str(n) for n in range(1, count + 1) if count % n == 0)
    raise UserError(
        f"config.mesh.tensor={mesh.shape['tensor']} splits a head of model.{name}={count}, and "
        f"kernels need whole heads; sizes that do not: {fits}"
    )


def layout(mesh: Mesh, config: Any, frames: int | None = None) -> Layout:
    """Returns the sharding hooks of a model on a mesh.

    Args:
        mesh: the mesh.
        config: the model's configuration, `STDiTConfig`.
        frames: the number of latent frames without padding. Default None: there is no padding.

    Raises:
        UserError: `tensor` splits a head on devices that have kernels (`check_heads`).
    """

    islands = _islands(mesh, config)

    def constrain(spec):
        sharding = NamedSharding(mesh, spec)
        return functools.partial(jax.lax.with_sharding_constraint, shardings=sharding)

    hooks: dict[str, Any] = {
        "shard_frames": constrain(FRAMES_APART),
        "shard_sites": constrain(FRAMES_APART),
        "replicate_audio": constrain(P(BATCH)),
    }
    if mesh.shape["seq"] > 1 and config.attention == "pure":
        hooks |= {
            "shard_frames": _switch(mesh, SITES_APART, FRAMES_APART),
            "shard_sites": _switch(mesh, FRAMES_APART, SITES_APART),
        }
    elif mesh.shape["seq"] > 1:
        hooks |= {
            "shard_heads": _switch(mesh, FRAMES_WITH_HEADS, HEADS_APART),
            "unshard_heads": _switch(mesh, HEADS_APART, FRAMES_WITH_HEADS),
        }
    weights = (
        functools.partial(_gathered, mesh, jnp.dtype(config.dtype))
        if mesh.shape["fsdp"] > 1
        else None
    )
    return Layout(**hooks, **islands, weights=weights, frames=frames)


def _islands(mesh: Mesh, config: Any) -> dict[str, Any]:
    """Returns the shardings that kernels run with, by their name in `Layout`. Each device has whole
    heads. {} if `tensor` splits a head on devices without kernels.

    Raises:
        UserError: `tensor` splits a head on devices with kernels (`check_heads`).
    """
    check_heads(config, mesh)
    if _split_heads(config, mesh):
        return {}  # the compiler partitions the reference anywhere
    pure = config.attention == "pure"
    specs = {
        "in_frames": FRAMES_WITH_HEADS,
        "along_time": SITES_WITH_HEADS if pure else FRAMES_WITH_HEADS,
        "across": HEADS_APART,
        "in_audio": AUDIO_WITH_HEADS,
    }
    return {name: NamedSharding(mesh, spec) for name, spec in specs.items()}


def _switch(mesh: Mesh, source: P, destination: P) -> Callable[[jax.Array], jax.Array]:
    """Returns an all-to-all over `seq`, a function of an array: its sharding changes from `source`
    to `destination`.
    """

    def axis(spec):
        # An axis is sharded over one mesh axis (a name) or several (a tuple of names).
        return next(i for i, names in enumerate(spec) if names and "seq" in (names, *names))

    # A device cuts its block along `split`, sends one part to each device, and joins the parts that
    # it receives along `concat`. `tiled` keeps the rank: no axis of devices is added.
    def exchange(x: jax.Array) -> jax.Array:
        split, concat = axis(destination), axis(source)
        return jax.lax.all_to_all(x, "seq", split_axis=split, concat_axis=concat, tiled=True)

    return jax.shard_map(exchange, mesh=mesh, in_specs=source, out_specs=destination)


def _gathered(mesh: Mesh, dtype: jnp.dtype, stack: str, params: Any) -> Any:
    """Returns one block's parameters with kernels cast to `dtype` and gathered over `fsdp`. They
    stay sharded over `tensor`.

    Args:
        mesh: the mesh.
        dtype: dtype of the computation.
        stack: path of the stack of blocks, such as "pairs".
        params: the parameters of one block.
    """

    def gather(path: str, x: jax.Array) -> jax.Array:
        if x.ndim < 2:  # vectors are replicated
            return x
        axes = rules.spec_of(f"{stack}/{path}")[1:]  # without the axis of the scan
        return _gather(
            NamedSharding(mesh, P(*axes)),
            NamedSharding(mesh, P(*(None if axis == "fsdp" else axis for axis in axes))),
            x.astype(dtype),
        )

    leaves = [gather(path, x) for path, x in flatten(params).items()]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gather(apart: NamedSharding, whole: NamedSharding, x: jax.Array) -> jax.Array:
    """Gathers x from the sharding `apart` to `whole`. The gradient of the result is reduced and
    scattered back to `apart`; a sharding constraint alone would leave it gathered too.
    """
    return jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(x, apart), whole)


def _gather_forward(
    apart: NamedSharding, whole: NamedSharding, x: jax.Array
) -> tuple[jax.Array, None]:
    return _gather(apart, whole, x), None


def _gather_backward(apart: NamedSharding, _whole: NamedSharding, _kept: None, gradient: jax.Array):
    return (jax.lax.with_sharding_constraint(gradient, apart),)


_gather.defvjp(_gather_forward, _gather_backward)


def on_mesh(model: nnx.Module, mesh: Mesh) -> Any:
    """Returns the model itself for a mesh of one device, or a `ShardedModel` for several."""
    return model if mesh.size == 1 else ShardedModel(model, mesh)
