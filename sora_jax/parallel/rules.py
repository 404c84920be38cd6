"""Sharding rules: a table from the path of every parameter to its PartitionSpec.

Matrices are [inputs, outputs]; `fsdp` and `tensor` are axes of the mesh (`mesh`). The first
matrices of a layer (q, k, v, up) shard their outputs over `tensor`, so each device works on its own
heads or hidden features. The last ones (out, down) shard their inputs over `tensor`, and one
all-reduce ends the layer (Megatron, arXiv:1909.08053). The other axis of each matrix is sharded
over `fsdp` and gathered when the layer runs. Vectors are replicated. A stack of blocks has one
leading axis, which is never sharded: the scan runs over it.

The table is strict. Each parameter matches exactly one rule, each rule matches a parameter, a
spec names every axis of its parameter, and the mesh divides every sharded axis. Anything else
is an error. A parameter that stayed replicated by mistake would be noticed only when a larger
model no longer fits in memory.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.errors import UserError
from sora_jax.parallel.mesh import BATCH
from sora_jax.tree import flatten

Rules = Sequence[tuple[str, P]]

LORA = "lora"  # path of low-rank updates (`training.adapt`), which are small and replicated
STACKED = "stacked"  # path of matrices of several parameters in one array (`training.stacked`)
STACK = r"(pairs|text/blocks)/.*"
STREAM = r"(video|audio)"

ST_DIT: Rules = (
    (rf"{STACK}/(q|k|v|up)/kernel", P(None, "fsdp", "tensor")),
    (rf"{STACK}/(out|down)/kernel", P(None, "tensor", "fsdp")),
    (rf"{STACK}/up/bias", P(None, "tensor")),
    (rf"{STACK}/(down/bias|table|q_scale|k_scale|\w+_gate)", P(None, None)),
    (r"pairs/exchange/pool/kernel", P(None, "fsdp", None)),
    (r"text/embedding/(embedding|kernel)", P(None, "fsdp")),
    (r"text/(norm/scale|register|embedding/bias)", P(None)),
    (rf"{STREAM}_(in|place)/kernel", P(None, "fsdp")),
    (rf"{STREAM}_level/(up|text|step)/kernel", P(None, "tensor")),
    (rf"{STREAM}_level/down/kernel", P("tensor", "fsdp")),
    (rf"{STREAM}_level/rows/kernel", P("fsdp", "tensor")),
    (rf"{STREAM}_head/out/kernel", P("fsdp", None)),
    (rf"{STREAM}_(in|level/up|level/down|level/rows|head/out)/bias", P(None)),
    (rf"{STREAM}_head/table", P(None, None)),
    (r"references/(still|voice|place|time)/kernel", P(None, "fsdp")),
    (r"references/(still|voice)/bias", P(None)),
    (r"references/(view|slot)", P(None, None)),
)
# Rules of parameters that a configuration may leave out
OPTIONAL = re.compile(r"references/|pairs/exchange/pool/")


def specs(params: Any, rules: Rules = ST_DIT) -> dict[str, P]:
    """Returns {path: PartitionSpec} for every parameter. A PartitionSpec names the mesh axis, or
    None, that shards each axis of the parameter.

    Args:
        params: tree of arrays or shapes.
        rules: pairs (regular expression of paths, PartitionSpec). Default: those of `STDiT`.

    Raises:
        ValueError: a parameter matches no rule or several, a rule matches no parameter, or a spec
            has another rank than its parameter.
    """
    found, used = {}, set()
    for path, x in flatten(params).items():
        matching = [rule for rule in rules if re.fullmatch(rule[0], path)]
        if len(matching) != 1:
            many = (
                "matches no rule"
                if not matching
                else f"matches {len(matching)} rules: {', '.join(r[0] for r in matching)}"
            )
            raise ValueError(f"{path} {x.shape} {many}; give it exactly one")
        rule, spec = matching[0]
        if len(spec) != x.ndim:
            raise ValueError(
                f"{path} has the shape {x.shape}, and its rule {rule} a spec of {len(spec)} "
                f"axes, {spec}"
            )
        used.add(rule)
        found[path] = spec
    if unused := [r for r, _ in rules if r not in used and not OPTIONAL.match(r)]:
        raise ValueError(
            f"rules that match no parameter: {', '.join(unused)}; take them out, or mend their "
            "spelling"
        )
    return found


def spec_of(path: str, rules: Rules = ST_DIT) -> P:
    """Returns the PartitionSpec of one parameter, that of the first rule that matches its path.

    Args:
        path: path of the parameter, such as "pairs/space/mlp/up/kernel".
        rules: pairs (regular expression of paths, PartitionSpec). Default: those of `STDiT`.
            `specs` checks that exactly one matches.
    """
    return next(spec for rule, spec in rules if re.fullmatch(rule, path))


def check_sizes(params: Any, mesh: Mesh | AbstractMesh, rules: Rules = ST_DIT) -> None:
    """Raises UserError for the first parameter with a sharded axis that the mesh does not divide.

    A head must not be split between devices, so `tensor` must divide the number of heads.

    Args:
        params: tree of arrays or shapes.
        mesh: the mesh.
        rules: pairs (regular expression of paths, PartitionSpec). Default: those of `STDiT`.

    Raises:
        UserError: see above.
        ValueError: the rules do not fit the parameters (`specs`).
    """
    shapes = {path: x.shape for path, x in flatten(params).items()}
    shared = [
        (path, axis, size, _whole(path, axis, shapes))
        for path, spec in specs(params, rules).items()
        for size, axis in zip(shapes[path], spec, strict=True)
        if axis
    ]
    for path, axis, size, heads in shared:
        if size // heads % mesh.shape[axis]:
            most = math.gcd(*(s // w for _, a, s, w in shared if a == axis))
            fits = [n for n in range(1, most + 1) if most % n == 0]
            of = f"{size}" if heads == 1 else f"{size // heads} heads of {heads}"
            raise UserError(
                f"config.mesh.{axis}={mesh.shape[axis]} does not divide the {of} of {path} "
                f"{shapes[path]}; "
                f"sizes that fit every parameter: {', '.join(map(str, fits))}"
            )


def _whole(path: str, axis: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns how many consecutive entries of a sharded axis must stay together on one device.

    That is the width of a head for axes of heads sharded over `tensor`, else 1.

    Args:
        path: path of the parameter.
        axis: the mesh axis that shards it.
        shapes: shapes of all parameters by path.
    """
    layer, _, name = path.removesuffix("/kernel").rpartition("/")
    return (
        shapes.get(f"{layer}/q_scale", (1,))[-1]
        if axis == "tensor" and name in ("q", "k", "v", "out")
        else 1
    )


def place(state: Any, params: Any, mesh: Mesh, rules: Rules = ST_DIT) -> Any:
    """Returns shardings of a training state, a tree of NamedSharding with the structure of `state`.

    A leaf whose path ends in a parameter's path, with the same shape, is sharded like the
    parameter: so are its moments and averages. Leaves of fewer than two axes, such as counters and
    keys, are replicated, and so are low-rank updates. Stacks of several parameters' matrices
    (`training.stacked`) are replicated if the mesh shards no parameter.

    Args:
        state: arrays or shapes that contain `params` and trees like it.
        params: the parameters, as arrays or shapes.
        mesh: the mesh.
        rules: pairs (regular expression of paths, PartitionSpec). Default: those of `STDiT`.

    Raises:
        UserError: the mesh does not divide a parameter, or it shards parameters while `state` has
            stacks of matrices.
        ValueError: the rules do not fit the parameters (`specs`), or a leaf of two or more axes
            matches no parameter.
    """
    check_sizes(params, mesh, rules)
    where, shapes = specs(params, rules), {path: x.shape for path, x in flatten(params).items()}

    def spec(path: str, x: Any) -> P:
        parts = path.split("/")
        for first in range(len(parts)):
            tail = "/".join(parts[first:])
            if shapes.get(tail) == x.shape:
                return where[tail]
        if len(x.shape) < 2 or LORA in parts:
            return P()
        if STACKED in parts:
            fsdp, tensor = (mesh.shape[axis] for axis in ("fsdp", "tensor"))
            if fsdp * tensor == 1:
                return P()
            raise UserError(
                "config.optim.muon_stacked=true keeps matrices of several parameters in one array, "
                f"which config.mesh.fsdp={fsdp} and config.mesh.tensor={tensor} cannot shard; "
                "set both to 1, or muon_stacked=false"
            )
        raise ValueError(
            f"{path} {x.shape} is like no parameter, and the rules do not say where it lies"
        )

    leaves = [NamedSharding(mesh, spec(path, x)) for path, x in flatten(state).items()]
    return jax.tree.unflatten(jax.tree.structure(state), leaves)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of arrays of clips [B, ...]: their first axis over `data` and `fsdp` of
    the mesh.
    """
    return NamedSharding(mesh, P(BATCH))


def batch_shardings(batch: Mapping[str, Any], mesh: Mesh) -> dict[str, NamedSharding]:
    """Returns the sharding of each entry of a batch by name: that of `batch_sharding` for arrays of
    clips, and replicated for "times", which all clips share.
    """
    everywhere = NamedSharding(mesh, P())
    return {name: everywhere if name == "times" else batch_sharding(mesh) for name in batch}


def table(
    params: Any, mesh: Mesh | AbstractMesh, rules: Rules = ST_DIT
) -> list[tuple[str, tuple[int, ...], P, int]]:
    """Returns (path, shape, PartitionSpec, bytes on each device) of every parameter, in order.

    Args:
        params: tree of arrays or shapes.
        mesh: the mesh.
        rules: pairs (regular expression of paths, PartitionSpec). Default: those of `STDiT`.

    Raises:
        UserError: the mesh does not divide a parameter.
        ValueError: the rules do not fit the parameters (`specs`).
    """
    check_sizes(params, mesh, rules)
    where = specs(params, rules)

    def shards(path: str) -> int:
        return math.prod(mesh.shape[axis] for axis in where[path] if axis)

    return [
        (path, x.shape, where[path], math.prod(x.shape) * x.dtype.itemsize // shards(path))
        for path, x in flatten(params).items()
    ]
