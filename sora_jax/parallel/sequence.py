"""A model on a mesh: dynamic sequence parallelism over `seq`, and each block's weights gathered where it runs.

Tokens v [B, T, S, D] of a factorised model meet either within a frame or at a site, never both at once. So on n devices along `seq`

    blocks within frames    work on  [B, T/n, S, D]                                                     (1)
    blocks along time       work on  [B, T, S/n, D]                                                     (2)

and between them one all-to-all, in which a device keeps 1/n of what it has and sends each other device as much: two a pair of
blocks going forward, two more going back. Nothing else of the video moves over `seq`; the sound is whole on each of its devices,
and reads P pooled tokens a frame. T is padded to a multiple of n with frames that no other frame sees and no loss counts.

Parameters lie in shares over `fsdp` (`rules.py`). A block's kernels are cast to the model's dtype and gathered inside the scanned
body, so that one block's are whole at a time, and their gradients leave it in shares again. Left to itself the compiler may gather
a whole stack before the scan, and libtpu ends the process where `fsdp` is not the only axis.

Source: Zhao et al. 2024, "DSP: Dynamic Sequence Parallelism for Multi-Dimensional Transformers".
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UserError
from sora_jax.nn.layout import Layout
from sora_jax.parallel import rules
from sora_jax.parallel.mesh import BATCH
from sora_jax.weights import flatten

FRAMES_APART = P(BATCH, "seq", None, None)
SITES_APART = P(BATCH, None, "seq", None)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["model"], meta_fields=["mesh"])
@dataclasses.dataclass(frozen=True)
class OnMesh:
    """`sora_jax.models.st_dit.STDiT` called as before, with its work shared out over `mesh`; the batch must divide over it."""

    model: Any
    mesh: Mesh

    @property
    def config(self):
        return self.model.config

    def __call__(self, latents, levels, text, times, couple=1.0):
        """As the model's. Raises UserError where tokens do not divide over `seq`."""
        frames, share = latents["video"].shape[1], self.mesh.shape["seq"]
        check_tokens(self.config, latents["video"].shape[2:4], self.mesh)
        padding = -frames % share
        pad = lambda x, axis: jnp.pad(x, [(0, padding if i == axis else 0) for i in range(x.ndim)])
        # Padding frames are a copy of nothing at level 0 and second 0: finite, and seen by none.
        latents = {**latents, "video": pad(latents["video"], 1)}
        levels = {**levels, "video": pad(levels["video"], 1)}
        times = {**times, "video": pad(jnp.asarray(times["video"]), 0)}
        out = self.model(latents, levels, text, times, couple, layout=layout(self.mesh, self.config.dtype, frames if padding else None))
        return {**out, "video": out["video"][:, :frames]}


def check_tokens(config: Any, sides: tuple[int, int], mesh: Mesh) -> None:
    """Raises UserError where `seq` does not divide the tokens of a frame, or the pattern of attention does not let them part."""
    share = mesh.shape["seq"]
    if share == 1:
        return
    if config.attention != "pure":
        raise UserError(
            f"config.mesh.seq={share} needs config.model.attention='pure', whose tokens meet within a frame or along time; "
            f"it is {config.attention!r}: give mesh.seq=1"
        )
    sites = sides[0] // config.patch * (sides[1] // config.patch)
    if sites % share:
        fits = ", ".join(str(n) for n in range(1, sites + 1) if sites % n == 0)
        raise UserError(f"config.mesh.seq={share} does not divide the {sites} tokens of a frame; sizes that do: {fits}")


def layout(mesh: Mesh, dtype: str, frames: int | None = None) -> Layout:
    """The hooks of `sora_jax.nn.layout` on a mesh, for a model that computes in `dtype`."""
    switch = functools.partial(_switch, mesh) if mesh.shape["seq"] > 1 else lambda x, to: jax.lax.with_sharding_constraint(x, NamedSharding(mesh, to))
    everywhere = lambda a: jax.lax.with_sharding_constraint(a, NamedSharding(mesh, P(BATCH)))
    weights = functools.partial(_gathered, mesh, jnp.dtype(dtype)) if mesh.shape["fsdp"] > 1 else None
    return Layout(lambda v: switch(v, FRAMES_APART), lambda v: switch(v, SITES_APART), everywhere, weights, frames)


def _switch(mesh: Mesh, v: jax.Array, to: P) -> jax.Array:
    """The all-to-all between (1) and (2): v [B, T, S, D] whose other axis is shared out -> v whose `to` is."""
    away, split, joined = (SITES_APART, 1, 2) if to == FRAMES_APART else (FRAMES_APART, 2, 1)
    exchange = lambda x: jax.lax.all_to_all(x, "seq", split_axis=split, concat_axis=joined, tiled=True)
    return jax.shard_map(exchange, mesh=mesh, in_specs=away, out_specs=to)(v)


def _gathered(mesh: Mesh, dtype: jnp.dtype, stack: str, params: Any) -> Any:
    """The parameters of one block of a stack, whole over `fsdp`; as they lay over `tensor`."""

    def gather(path: str, x: jax.Array) -> jax.Array:
        if x.ndim < 2:  # vectors are whole everywhere
            return x
        lies = rules.spec_of(f"{stack}/{path}")[1:]
        return _gather(NamedSharding(mesh, P(*lies)), NamedSharding(mesh, P(*(None if axis == "fsdp" else axis for axis in lies))), x.astype(dtype))

    leaves = [gather(path, x) for path, x in flatten(params).items()]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gather(apart: NamedSharding, whole: NamedSharding, x: jax.Array) -> jax.Array:
    """x made whole; its gradient is summed into shares, where a constraint alone would have it whole too."""
    return jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(x, apart), whole)


_gather.defvjp(
    lambda apart, whole, x: (_gather(apart, whole, x), None),
    lambda apart, whole, _, g: (jax.lax.with_sharding_constraint(g, apart),),
)


def on_mesh(model: nnx.Module, mesh: Mesh) -> Any:
    """The model itself on one device, `OnMesh` on several."""
    return model if mesh.size == 1 else OnMesh(model, mesh)
