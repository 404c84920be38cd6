"""A model on a mesh: dynamic sequence parallelism over `seq`, and each block's weights gathered
where it runs.

Tokens v [B, T, S, D] of a factorised model meet either within a frame or at a site, never both at
once. So on n devices along `seq`

    blocks within frames    work on  [B, T/n, S, D]                                              (1)
    blocks along time       work on  [B, T, S/n, D]                                              (2)

and between them one all-to-all, in which a device keeps 1/n of what it has and sends each other
device as much: two a pair of blocks going forward, two more going back. Nothing else of the video
moves over `seq`; the sound is whole on each of its devices, and reads P pooled tokens a frame. T is
padded to a multiple of n with frames that no other frame sees and no loss counts.

Where tokens meet across frames and sites (`full`, and the windows of `window`), tokens stay as in
(1), and within the attention alone

    queries, keys, values   lie as  [B, T, S, h/n, d]                                            (3)

by one all-to-all each, and a fourth brings the result back: Ulysses. n must divide the heads then.

Parameters lie in shares over `fsdp` (`rules.py`). A block's kernels are cast to the model's dtype
and gathered inside the scanned body, so that one block's are whole at a time, and their gradients
leave it in shares again. Left to itself the compiler may gather a whole stack before the scan, and
libtpu ends the process where `fsdp` is not the only axis.

Sources: Zhao et al. 2024, "DSP: Dynamic Sequence Parallelism for Multi-Dimensional Transformers";
Jacobs et al. 2023, "DeepSpeed Ulysses".
"""

import dataclasses
import functools
from collections.abc import Callable
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
from sora_jax.tree import flatten

FRAMES_APART = P(BATCH, "seq", None, None)  # (1)
SITES_APART = P(BATCH, None, "seq", None)  # (2)
FRAMES_WITH_HEADS = P(BATCH, "seq", None, "tensor", None)
HEADS_APART = P(BATCH, None, None, ("tensor", "seq"), None)  # (3)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["model"], meta_fields=["mesh"])
@dataclasses.dataclass(frozen=True)
class OnMesh:
    """`sora_jax.models.st_dit.STDiT` called as before, with its work shared out over `mesh`; the
    batch must divide over it.
    """

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

        def pad(x, axis):
            return jnp.pad(x, [(0, padding if i == axis else 0) for i in range(x.ndim)])

        # Padding frames are a copy of nothing at level 0 and second 0: finite, and seen by none.
        latents = {**latents, "video": pad(latents["video"], 1)}
        levels = {**levels, "video": pad(levels["video"], 1)}
        times = {**times, "video": pad(jnp.asarray(times["video"]), 0)}
        out = self.model(
            latents,
            levels,
            text,
            times,
            couple,
            layout=layout(self.mesh, self.config, frames if padding else None),
        )
        return {**out, "video": out["video"][:, :frames]}


def check_tokens(config: Any, sides: tuple[int, int], mesh: Mesh) -> None:
    """Raises UserError where `seq` does not divide what it shares out: the tokens of a frame, or,
    across frames and sites, the heads.
    """
    share = mesh.shape["seq"]
    if share == 1:
        return
    if config.attention == "pure":
        parts, what = sides[0] // config.patch * (sides[1] // config.patch), "tokens of a frame"
    else:
        parts, what = (
            config.heads // mesh.shape["tensor"],
            f"heads that mesh.tensor={mesh.shape['tensor']} leaves to {config.attention!r}",
        )
    if parts % share:
        fits = ", ".join(str(n) for n in range(1, parts + 1) if parts % n == 0)
        raise UserError(
            f"config.mesh.seq={share} does not divide the {parts} {what}; sizes that do: {fits}"
        )


def layout(mesh: Mesh, config: Any, frames: int | None = None) -> Layout:
    """The hooks of `sora_jax.nn.layout` on a mesh, for a model's config; `frames` as there."""

    def lie(spec):
        sharding = NamedSharding(mesh, spec)
        return functools.partial(jax.lax.with_sharding_constraint, shardings=sharding)

    hooks = {
        "frames_apart": lie(FRAMES_APART),
        "sites_apart": lie(FRAMES_APART),
        "everywhere": lie(P(BATCH)),
    }
    if mesh.shape["seq"] > 1 and config.attention == "pure":
        hooks |= {
            "frames_apart": _switch(mesh, SITES_APART, FRAMES_APART),
            "sites_apart": _switch(mesh, FRAMES_APART, SITES_APART),
        }
    elif mesh.shape["seq"] > 1:
        hooks |= {
            "heads_apart": _switch(mesh, FRAMES_WITH_HEADS, HEADS_APART),
            "heads_joined": _switch(mesh, HEADS_APART, FRAMES_WITH_HEADS),
        }
    weights = (
        functools.partial(_gathered, mesh, jnp.dtype(config.dtype))
        if mesh.shape["fsdp"] > 1
        else None
    )
    return Layout(**hooks, weights=weights, frames=frames)


def _switch(mesh: Mesh, source: P, destination: P) -> Callable[[jax.Array], jax.Array]:
    """All-to-all over `seq`: the sharded axis changes from `source` to `destination`."""

    def axis(spec):
        return next(i for i, names in enumerate(spec) if names and "seq" in (names, *names))

    def exchange(x):
        split, concat = axis(destination), axis(source)
        return jax.lax.all_to_all(x, "seq", split_axis=split, concat_axis=concat, tiled=True)

    return jax.shard_map(exchange, mesh=mesh, in_specs=source, out_specs=destination)


def _gathered(mesh: Mesh, dtype: jnp.dtype, stack: str, params: Any) -> Any:
    """The parameters of one block of a stack, whole over `fsdp`; as they lay over `tensor`."""

    def gather(path: str, x: jax.Array) -> jax.Array:
        if x.ndim < 2:  # vectors are whole everywhere
            return x
        lies = rules.spec_of(f"{stack}/{path}")[1:]
        return _gather(
            NamedSharding(mesh, P(*lies)),
            NamedSharding(mesh, P(*(None if axis == "fsdp" else axis for axis in lies))),
            x.astype(dtype),
        )

    leaves = [gather(path, x) for path, x in flatten(params).items()]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gather(apart: NamedSharding, whole: NamedSharding, x: jax.Array) -> jax.Array:
    """x made whole; its gradient is summed into shares, where a constraint alone would have it
    whole too.
    """
    return jax.lax.with_sharding_constraint(jax.lax.with_sharding_constraint(x, apart), whole)


def _gather_forward(apart, whole, x):
    return _gather(apart, whole, x), None


def _gather_backward(apart, _whole, _kept, gradient):
    return (jax.lax.with_sharding_constraint(gradient, apart),)


_gather.defvjp(_gather_forward, _gather_backward)


def on_mesh(model: nnx.Module, mesh: Mesh) -> Any:
    """The model itself on one device, `OnMesh` on several."""
    return model if mesh.size == 1 else OnMesh(model, mesh)
