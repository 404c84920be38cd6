"""The mesh: how many devices share each kind of work.

    data     copies of the model, each with its own clips; gradients are summed over it
    fsdp     clips too, and the parameters with them: each device keeps a share and gathers a layer
             when it is needed
    seq      tokens of one clip: its frames, or its sites, whichever a block keeps apart
             (`sequence.py`)
    tensor   heads and hidden features of one layer

The axes are `Auto` (what jit calls the compiler's choice): modules know no mesh, their parameters
and batches are placed by `rules.py`, and the compiler carries the placement through. What was once
`pjit` is `jax.jit` with shardings.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
from absl import logging
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from kernels import target
from sora_jax.errors import UserError

AXES = ("data", "fsdp", "seq", "tensor")
BATCH = ("data", "fsdp")  # the axes that clips are shared over


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis. data = -1: all that the other axes leave; where data is given too,
    the first devices that it takes.
    """

    data: int = -1
    fsdp: int = 1
    seq: int = 1
    tensor: int = 1

    def __post_init__(self):
        for axis in AXES:
            least = -1 if axis == "data" else 1
            if (size := getattr(self, axis)) < least or size == 0:
                raise ValueError(
                    f"mesh.{axis}={size}; give 1 or more"
                    + (", or -1 for all devices that are left" if least < 0 else "")
                )

    def shape(self, devices: int) -> tuple[int, int, int, int]:
        """The sizes in the order of `AXES` on so many devices.

        Raises UserError where there are too few, or the rest is no number of copies.
        """
        others = self.fsdp * self.seq * self.tensor
        if self.data == -1 and devices % others == 0:
            return (devices // others, self.fsdp, self.seq, self.tensor)
        if self.data == -1 or self.data * others > devices:
            asked = " x ".join(
                f"{axis} {getattr(self, axis)}"
                for axis in AXES
                if getattr(self, axis) not in (1, -1)
            )
            fits = [n for n in range(1, devices + 1) if devices % n == 0]
            raise UserError(
                f"config.mesh asks for {asked}, which {devices} devices do not make; give fsdp "
                f"x seq x tensor one of {', '.join(map(str, fits))}, "
                f"and data -1 for what they leave, or up to {devices} divided by them"
            )
        return (self.data, self.fsdp, self.seq, self.tensor)

    def make(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The mesh over `devices` (default: all there are).

        Raises UserError where they do not fit.
        """
        devices = jax.devices() if devices is None else devices
        shape = self.shape(len(devices))
        devices = devices[: math.prod(shape)]
        kinds = (AxisType.Auto,) * len(AXES)
        try:
            return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)
        except (
            NotImplementedError
        ):  # no axis of a TPU's torus, nor a product of some, is as long: parts of them are
            return Mesh(
                mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True),
                AXES,
                axis_types=kinds,
            )


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Raises UserError where a batch does not divide over the mesh."""
    shares = math.prod(mesh.shape[axis] for axis in BATCH)
    if batch_size % shares:
        near = max(round(batch_size / shares), 1) * shares
        raise UserError(
            f"config.train.batch_size={batch_size} does not divide over the mesh, data "
            f"{mesh.shape['data']} x fsdp {mesh.shape['fsdp']}; "
            f"give a multiple of {shares}, for example {near}"
        )


@contextlib.contextmanager
def traced_for(mesh: Mesh) -> Iterator[None]:
    """Within, programs are traced as `mesh` can run them: on several devices without kernels, which
    the compiler cannot share out unless they are told the sharding, and the model does not tell
    them yet.
    """
    if mesh.size == 1 or mesh.devices.flat[0].platform == "cpu":
        yield
        return
    logging.warning(
        "a mesh of %d devices: attention, norms and convolutions run in their XLA forms, "
        "without this project's kernels",
        mesh.size,
    )
    with target.assume(target.CPU):
        yield
