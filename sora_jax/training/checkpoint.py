"""Checkpoints: the training state and the data position, saved asynchronously by Orbax (API v1).

A checkpoint is a directory that appears by one rename once all of it is on disk. A run killed
while saving therefore keeps the previous checkpoint. Arrays are named by their path in the
state, for example "params.blocks.kernel".

Several processes save and restore together, each its own shards. All of them are at the same
batch, so the data positions that they save are equal and any one can be read. A run can
therefore continue with a different number of processes and see the same clips.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging

from sora_jax.compat import orbax_v1
from sora_jax.errors import UserError
from sora_jax.files import disk_error
from sora_jax.parallel import processes
from sora_jax.training.state import TrainState

ocp = orbax_v1()
# Orbax logs a failed save with a thousand lines of tracebacks; `Checkpoints` reports it in one.
logging.get_absl_logger().addFilter(
    lambda record: not (record.exc_info and "orbax" in record.pathname)
)


def _named(state: TrainState) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


class _Position:
    """The position of a Grain iterator, as an Orbax checkpointable.

    Each process writes one file. Loading accepts any of them, as all must hold the same position.
    """

    def __init__(self, iterator: Any):
        self._iterator, self.save = iterator, iterator.save

    async def load(self, directory: Any) -> Any:
        positions = {path.read_text(encoding="utf-8") for path in directory.glob("process_*.json")}
        if len(positions) != 1:
            raise ValueError(f"{directory} holds {len(positions)} positions of the data, not one")

        async def move():
            self._iterator.set_state(json.loads(positions.pop()))

        return move()


class Checkpoints:
    """The checkpoints of one run, a context manager.

    Leaving the context waits for the save in progress, unless another process was lost: the save
    would then never finish.

    Args:
        directory: the folder of the checkpoints.
        keep: number of newest checkpoints to keep, at least 1. Default 2.
        keep_step: a step whose checkpoint is also kept. Default: none.
    """

    def __init__(self, directory: str | os.PathLike, keep: int = 2, keep_step: int | None = None):
        self.directory = Path(directory).absolute()
        half = [path.name.split(".")[0] for path in self.directory.glob("*.orbax-checkpoint-tmp*")]
        if half and processes.is_first():
            logging.warning(
                "the checkpoint of step %s was cut off as it was written; it is removed, and "
                "the one before it counts",
                ", ".join(half),
            )
        policies = ocp.training.preservation_policies
        kept = [policies.LatestN(max(keep, 1))]
        if keep_step is not None:
            kept.append(policies.CustomSteps([keep_step]))
        self._checkpointer = ocp.training.Checkpointer(
            self.directory,
            preservation_policy=policies.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
        )
        self._pending, self._step = None, 0

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if processes.is_lost(error):
            return
        try:
            self._checkpointer.close()
        except (OSError, RuntimeError, ValueError) as closing:
            # Closing raises a failed save again; the error under way has reported it already.
            if error is None:
                raise self._unwritten(self._step, closing) from closing

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; None without one."""
        return self._checkpointer.latest.step if self._checkpointer.latest else None

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, in order."""
        return [checkpoint.step for checkpoint in self._checkpointer.checkpoints]

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of steps after `step`, the newest first.

        Raises:
            UserError: there are checkpoints and all of them are later. Nothing is deleted then.
        """
        later = [one for one in self.steps if one > step]
        if later and len(later) == len(self.steps):
            raise UserError(
                f"{self.directory} has no checkpoint of step {step} or before, from which a run "
                f"of this length goes on, only of {', '.join(map(str, later))}"
            )
        for one in reversed(later):
            self._checkpointer.delete(one)

    def save(self, step: int, state: TrainState, iterator: Any, wait: bool = False) -> None:
        """Saves the state and the iterator's position at `step`.

        Args:
            step: the step that names the checkpoint.
            state: the training state.
            iterator: the data iterator whose position is saved.
            wait: True returns once the checkpoint is on disk. False, the default, returns once
                the arrays are copied off the device.

        Raises:
            UserError: the checkpoint, or the previous one, cannot be written.
        """
        arrays = {
            name: jax.random.key_data(leaf) if _is_key(leaf) else leaf
            for name, leaf in _named(state).items()
        }
        try:
            if self._pending is not None:
                self._pending.result()
            self._step = step
            self._pending = self._checkpointer.save_checkpointables_async(
                step, {"state": arrays, "data": _Position(iterator)}, force=True
            )
            if wait and self._pending is not None:
                self._pending.result()
        except (OSError, RuntimeError, ValueError) as error:
            raise self._unwritten(step, error) from error

    def _unwritten(self, step: int, error: Exception) -> Exception:
        """Returns a UserError if `error` says that the disk cannot be written, else `error`."""
        disk = error if isinstance(error, OSError) else disk_error(error)
        if disk is None:
            return error
        return UserError(
            f"the checkpoint of step {step} could not be written to {self.directory} "
            f"({disk.strerror}); make room"
        )

    def restore(self, state: TrainState, iterator: Any, step: int | None = None) -> TrainState:
        """Returns the state at `step` and moves `iterator` to the position saved with it.

        Damaged checkpoints newer than the one restored are logged, and their folders moved to
        `unreadable` beside the checkpoints. The run then continues from the newest readable
        checkpoint and writes the later ones again.

        Args:
            state: any state of the run; it gives the structure, shapes, dtypes and shardings.
            iterator: the data iterator to move.
            step: the step of the checkpoint. Default: that of the newest one that can be read.

        Raises:
            UserError: `step`, or every checkpoint, is damaged or does not fit `state`. Nothing is
              moved then.
        """
        abstract = {}
        for name, leaf in _named(state).items():
            data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
            abstract[name] = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=data.sharding)
        reasons: dict[int, str] = {}
        for candidate in reversed(self.steps) if step is None else [step]:
            reason = None
            try:
                loaded = self._checkpointer.load_checkpointables(
                    candidate, {"state": abstract, "data": _Position(iterator)}
                )["state"]
            except (ValueError, KeyError, OSError) as error:
                reason = " ".join(str(error.__cause__ or error).split())[:160]
            if not processes.any_of(reason is not None):
                break
            reasons[candidate] = reason or "another process cannot read it"
        else:
            each = "; ".join(f"step {candidate}: {reason}" for candidate, reason in reasons.items())
            raise UserError(
                f"no checkpoint in {self.directory} can be read and fits this program "
                f"({each}); use a new workdir"
            )
        for bad, reason in reasons.items():
            aside = self.directory.with_name("unreadable")
            if processes.is_first():
                aside.mkdir(exist_ok=True)
                (self.directory / str(bad)).rename(aside / f"{bad}_{time.time_ns()}")
            logging.warning(
                "the checkpoint of step %d cannot be read (%s); moved to %s", bad, reason, aside
            )
        if reasons:
            processes.any_of(False)  # a barrier: no process reloads before the folders are moved
            self._checkpointer.reload()
        leaves = [
            jax.random.wrap_key_data(loaded[name], impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else loaded[name]
            for name, leaf in _named(state).items()
        ]
        return jax.tree.unflatten(jax.tree.structure(state), leaves)
