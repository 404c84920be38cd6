"""The device mesh: its axes, its configuration and the checks of a batch.

    data     data parallelism: each device holds its own clips; gradients are summed over the axis
    fsdp     fully sharded data parallelism: clips and parameters are sharded; each device holds one
             shard of the parameters and gathers a layer when it is needed
    seq      sequence parallelism: the tokens of a clip are sharded by frame or by site, the axis
             that a block does not attend over (`sequence.py`)
    tensor   tensor parallelism: heads and hidden features of a layer

The axes are of type `Auto`: models do not know the mesh. `rules.py` gives the shardings of
parameters and batches to `jax.jit`, and the compiler propagates them to all other arrays.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence

import jax
from absl import logging
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, Mesh

from kernels import target
from sora_jax.errors import UserError

AXES = ("data", "fsdp", "seq", "tensor")
BATCH = ("data", "fsdp")  # the axes that clips are sharded over


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """The number of devices along each mesh axis.

    Attributes:
        data: shards of the batch. Default -1: the number of devices divided by the other axes.
            Otherwise the mesh uses the first data x fsdp x seq x tensor devices.
        fsdp: shards of the batch and of the parameters. Default 1.
        seq: shards of the tokens of a clip. Default 1.
        tensor: shards of the heads and hidden features. Default 1.
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
        """Returns the sizes of the axes, in the order of `AXES`, for a number of devices.

        Raises:
            UserError: there are too few devices, or data is -1 and the other axes do not divide
                their number.
        """
        others = self.fsdp * self.seq * self.tensor
        if self.data == -1 and devices % others == 0:
            return (devices // others, self.fsdp, self.seq, self.tensor)
        if self.data == -1 or self.data * others > devices:
            requested = " x ".join(
                f"{axis} {getattr(self, axis)}"
                for axis in AXES
                if getattr(self, axis) not in (1, -1)
            )
            fits = [n for n in range(1, devices + 1) if devices % n == 0]
            raise UserError(
                f"config.mesh asks for {requested}, which does not fit {devices} devices; "
                f"let fsdp x seq x tensor be one of {', '.join(map(str, fits))}, "
                f"and data -1 (the rest) or at most {devices} divided by their product"
            )
        return (self.data, self.fsdp, self.seq, self.tensor)

    # JAX exports the class of devices as a variable.
    def make(
        self,
        devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]
    ) -> Mesh:
        """Returns the mesh over `devices`, or their first data x fsdp x seq x tensor ones. Default:
        all devices of JAX.

        Raises:
            UserError: the axes do not fit the number of devices.
        """
        devices = jax.devices() if devices is None else devices
        shape = self.shape(len(devices))
        devices = devices[: math.prod(shape)]
        kinds = (AxisType.Auto,) * len(AXES)
        try:
            return jax.make_mesh(shape, AXES, axis_types=kinds, devices=devices)
        except NotImplementedError:
            # No axis of the TPU's torus, nor a product of axes, has the length of a mesh axis. So
            # let a mesh axis take a part of a physical one.
            return Mesh(
                mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True),
                AXES,
                axis_types=kinds,
            )


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh, owner: str = "") -> None:
    """Raises UserError if the mesh does not divide a batch among `data` x `fsdp` devices.

    Args:
        batch_size: clips per batch.
        mesh: the mesh.
        owner: text that names the set of clips in the message, such as " of room@nano". Default "".
    """
    shares = math.prod(mesh.shape[axis] for axis in BATCH)
    if batch_size % shares:
        name = "batch_size" if owner else "config.train.batch_size"
        near = max(round(batch_size / shares), 1) * shares
        raise UserError(
            f"{name}={batch_size}{owner} does not divide over the mesh, data "
            f"{mesh.shape['data']} x fsdp {mesh.shape['fsdp']}; "
            f"give a multiple of {shares}, for example {near}"
        )


@contextlib.contextmanager
def traced_for(mesh: Mesh) -> Iterator[None]:
    """Context manager: programs traced inside it use the kernels of the mesh's devices. The devices
    may be absent, if the program is only compiled.

    The compiler cannot partition a kernel by itself. So the model passes the shardings of `Layout`
    to each operation, and the operation's kernel runs on each device's part of the arrays. A mesh
    of CPUs is traced as usual.
    """
    device = mesh.devices.flat[0]
    if device.platform == "cpu":
        yield
        return
    with target.assume(target.of(device)):
        yield


@contextlib.contextmanager
def traced_without_kernels(mesh: Mesh) -> Iterator[None]:
    """Context manager: programs traced inside it use no kernels of this project, if `mesh` has
    several devices.

    It is for modules that pass no shardings to the operations, such as the tokenizers, because the
    compiler cannot partition a kernel by itself. A mesh of one device, or of CPUs, is traced as
    usual.
    """
    if mesh.size == 1 or mesh.devices.flat[0].platform == "cpu":
        yield
        return
    logging.log_first_n(  # batches of clips come here one after another
        logging.WARNING,
        "a mesh of %d devices: attention, norms and convolutions run in their XLA forms, "
        "without this project's kernels",
        1,
        mesh.size,
    )
    with target.assume(target.CPU):
        yield
