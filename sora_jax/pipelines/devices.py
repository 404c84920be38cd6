"""Spreads the clips of a batch over the devices of this process (data parallelism).

Each device holds the whole model and its own clips, so no activation moves between devices.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sora_jax.parallel.mesh import MeshConfig, traced_for, traced_without_kernels
from sora_jax.parallel.rules import batch_sharding
from sora_jax.parallel.sequence import on_mesh


@dataclasses.dataclass(frozen=True)
class Placed:
    """The modules of a pipeline on the devices of a batch.

    Attributes:
        model: the model.
        video_tokenizer: the video tokenizer.
        audio_tokenizer: the audio tokenizer.
        mesh: the devices over which batches are spread. Default None: batches stay where they are.
    """

    model: Any
    video_tokenizer: Any
    audio_tokenizer: Any
    mesh: Mesh | None = None

    def rows(self, clips: int) -> int:
        """Returns the size of a batch of `clips` clips, padded to a multiple of the devices."""
        return clips if self.mesh is None else -(-clips // self.mesh.size) * self.mesh.size

    def spread(self, batch: Any) -> Any:
        """Returns a tree of arrays [B, ...] with B spread over the devices; B is `rows(clips)`."""
        return batch if self.mesh is None else jax.device_put(batch, batch_sharding(self.mesh))

    @contextlib.contextmanager
    def traced(self) -> Iterator[None]:
        """Context manager in which the model is called, so that it is compiled for these devices
        (`parallel.mesh.traced_for`).
        """
        with contextlib.nullcontext() if self.mesh is None else traced_for(self.mesh):
            yield

    @contextlib.contextmanager
    def traced_without_kernels(self) -> Iterator[None]:
        """Context manager in which the tokenizers are called, so that they are compiled for these
        devices, without fused kernels on several (`parallel.mesh.traced_without_kernels`).
        """
        with contextlib.nullcontext() if self.mesh is None else traced_without_kernels(self.mesh):
            yield


class Placement:
    """Copies of a pipeline's modules on all devices of the process, kept for the next batch."""

    def __init__(self):
        self._made: tuple[list[Any], Placed] | None = None

    def __call__(self, modules: tuple[Any, Any, Any], rows: int) -> Placed:
        """Returns the modules for a batch.

        The given modules themselves are returned, without a mesh, for a batch of one clip, in a
        process of one device, and if the model is on several devices already.

        Args:
            modules: model, video tokenizer and audio tokenizer.
            rows: clips of the batch.
        """
        leaves, devices = jax.tree.leaves(modules), jax.local_devices()
        if rows == 1 or len(devices) == 1 or any(map(_shared, leaves)):
            return Placed(*modules)
        # The arrays are compared, not the modules: a module may have got new arrays.
        if self._made is None or not _same(self._made[0], leaves):
            self._made = None  # frees the former copies first
            mesh = MeshConfig(data=len(devices)).make(devices)
            model, video, audio = jax.device_put(modules, NamedSharding(mesh, P()))
            self._made = leaves, Placed(on_mesh(model, mesh), video, audio, mesh)
        return self._made[1]


def _shared(x: Any) -> bool:
    return isinstance(x, jax.Array) and len(x.sharding.device_set) > 1


def _same(old: list[Any], new: list[Any]) -> bool:
    return len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))
