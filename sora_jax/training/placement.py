"""Tabulates how a model's parameters are sharded on a mesh, without any devices."""

from typing import Any

import jax
from flax import nnx

from sora_jax.modality import ClipFormat
from sora_jax.models.cost import quantity
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.parallel import rules
from sora_jax.parallel.mesh import AXES, MeshConfig, check_batch
from sora_jax.parallel.sequence import check_tokens
from sora_jax.tables import section
from sora_jax.training.state import split_module

# Without activations: experiments.compile_only reports the memory of a whole step.
TRAINED = "with gradients, averages, two moments"


def placement(
    model: STDiTConfig, format: ClipFormat, batch_size: int, mesh: MeshConfig, devices: int
) -> str:
    """Returns a table of how the parameters of a model are sharded: path, shape, sharding and bytes
    per device.

    The last lines are the sums: the parameters alone, and five times that for training, which also
    holds gradients, averages and two moments.

    Args:
        model: the model.
        format: format of the clips.
        batch_size: clips per batch.
        mesh: the sizes of the mesh axes.
        devices: number of devices.

    Raises:
        UserError: the mesh does not divide the devices, parameters, batch or tokens.
    """
    shapes, _ = split_module(nnx.eval_shape(lambda: STDiT(model, nnx.Rngs(0))))
    sizes = mesh.shape(devices)
    auto = (jax.sharding.AxisType.Auto,) * len(AXES)
    abstract = jax.sharding.AbstractMesh(sizes, AXES, axis_types=auto)
    rows = rules.table(shapes, abstract)
    check_batch(batch_size, abstract)
    check_tokens(model, format.latent_sides, abstract)

    def spec_text(spec: Any) -> str:
        named = (axis if axis and abstract.shape[axis] > 1 else "-" for axis in spec)
        return f"({', '.join(named)})"

    total = sum(row[-1] for row in rows)
    axes = " x ".join(f"{axis} {n}" for axis, n in zip(AXES, sizes, strict=True))
    lines = [
        (path, "x".join(map(str, shape)), spec_text(spec), quantity(size, "B"))
        for path, shape, spec, size in rows
    ]
    lines.append(("on each device", "", "", quantity(total, "B")))
    lines.append((TRAINED, "", "", quantity(5 * total, "B")))
    return section(f"parameters on {axes}, float32", lines)
