"""Training with several processes, for example one per host of a TPU pod or per task of SLURM.

Every process runs the same command. Together they are one JAX program over all devices
(`jax.distributed`): arrays are global, and each process holds the shards of its own devices. A
collective is an operation that all processes must call. A decision made by one process alone would
leave the others waiting in a collective forever. So process 0 writes files and decides, and the
others follow. With one process, every function here returns at once without communication.
"""

import contextlib
import functools
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from sora_jax import cli
from sora_jax.errors import UserError

START_SECONDS = 300  # time for all processes to join
END_SECONDS = 3600  # time that the others wait at exit for process 0, which writes the weights
LOST = 75  # exit status after another process was lost: "try again" (EX_TEMPFAIL of sysexits.h)


def join(
    coordinator: str | None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Joins a group of processes. Call it before any other use of a device.

    JAX aborts the process if the others do not join within START_SECONDS.

    Args:
        coordinator: None for one process. "auto" takes the processes from SLURM, Kubernetes, a TPU
            pod or Open MPI, as `jax.distributed` finds them. Otherwise HOST:PORT, a free port on
            the host of process 0; the other two arguments are then required.
        num_processes: the number of processes. Default: none.
        process_id: the index of this process, from 0. Default: none.

    Raises:
        UserError: the arguments are inconsistent, or "auto" finds no cluster.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise UserError(
                "--num_processes and --process_id need --coordinator=HOST:PORT of process 0; "
                "give it, or leave them out"
            )
        return
    if coordinator == "auto":
        address = None
    else:
        address = coordinator
        if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdigit():
            raise UserError(
                f"--coordinator={coordinator} is no address; give HOST:PORT of process 0, or "
                "auto under SLURM, on GKE and TPU pods"
            )
        if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
            raise UserError(
                f"--coordinator={coordinator} needs --num_processes (now {num_processes}) and "
                f"--process_id from 0 to one less (now {process_id})"
            )
    who = (
        f"process {process_id} of {num_processes} at {address}"
        if address
        else "one of the processes that the cluster names"
    )
    # JAX aborts a process that cannot join, with a long message. This line tells what it was doing.
    print(
        f"joining as {who}; all must be there, and reach process 0, within {START_SECONDS} s",
        file=sys.stderr,
    )
    try:
        jax.distributed.initialize(
            address,
            num_processes,
            process_id,
            initialization_timeout=START_SECONDS,
            shutdown_timeout_seconds=END_SECONDS,
        )
    except ValueError as error:  # jax.distributed detects no cluster
        raise UserError(
            f"--coordinator={coordinator}: no SLURM, Kubernetes, TPU pod or Open MPI says who "
            f"takes part ({error}); start with srun, or give "
            "--coordinator=HOST:PORT --num_processes=N --process_id=I"
        ) from error
    if several() and jax.default_backend() == "cpu":
        # On CPUs only process 0 finds its programs in the compilation cache. The others would still
        # be compiling when its collectives time out (30 s in gloo).
        jax.config.update("jax_enable_compilation_cache", False)


def several() -> bool:
    """True if more than one process has joined."""
    return jax.process_count() > 1


def is_first() -> bool:
    """True for process 0, which writes files and messages."""
    return jax.process_index() == 0


def decided(answer: bool) -> bool:
    """Returns the answer of process 0 in every process.

    A collective: all processes must call it.

    Args:
        answer: this process's answer; only that of process 0 counts.
    """
    return bool(multihost_utils.broadcast_one_to_all(np.int32(answer))) if several() else answer


def any_of(answer: bool) -> bool:
    """Returns True in every process if the answer of any process is True.

    A collective: all processes must call it.
    """
    return bool(multihost_utils.process_allgather(np.int32(answer)).any()) if several() else answer


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Context manager: a `UserError` of one process ends all processes. Each raises its own error,
    or one that points to the other process.

    The end of the context is a collective: either all processes leave it, or all raise.
    """
    failure = None
    try:
        yield
    except UserError as error:
        failure = error
    if any_of(failure is not None):
        raise failure or UserError(
            "another process could not begin, and says why; mend that, and give every process "
            "its command again"
        )


def is_lost(error: BaseException | None) -> bool:
    """True if several processes train together, and the error comes from a device or another
    process that was lost during a step.
    """
    return several() and isinstance(getattr(error, "__cause__", None), jax.errors.JaxRuntimeError)


@contextlib.contextmanager
def leaving_on_error() -> Iterator[None]:
    """Context manager: if an exception is raised inside it and several processes train together,
    ends this process at once, with the message that `cli.run_main` would print.

    A normal exit would deadlock: JAX's shutdown and a save in progress wait for the other
    processes, which wait for this one. Process 0 hosts the coordinator, so it exits last, after
    2 s; without it the others would be aborted before they have printed their errors. The exit
    status is that of `run_main`, or `LOST`.
    """
    try:
        yield
    except Exception as error:
        if several():
            try:
                if isinstance(error, UserError):
                    print(f"error: {cli.message(error)}", file=sys.stderr)
                else:
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                time.sleep(2.0 * is_first())
            finally:  # even if printing fails, for example on a closed pipe
                os._exit(_status(error))
        raise


def _status(error: Exception) -> int:
    """Returns the exit status of a process that ends with an error: LOST, 2 for a `UserError`, or 1
    for any other.
    """
    if is_lost(error):
        return LOST
    return 2 if isinstance(error, UserError) else 1


def check_mesh(mesh: Mesh) -> None:
    """Raises UserError if a process has no device in the mesh."""
    idle = set(range(jax.process_count())) - {device.process_index for device in mesh.devices.flat}
    if idle:
        raise UserError(
            f"config.mesh takes {mesh.size} of {jax.device_count()} devices and none of "
            f"process {min(idle)}; give config.mesh.data=-1, "
            "or start fewer processes"
        )


def rows_here(sharding: NamedSharding, batch_size: int) -> list[int]:
    """Returns the sorted indices of the rows of a global batch that this process's devices hold.

    Processes that work on the same clips (along `seq` and `tensor`) hold the same rows.

    Args:
        sharding: sharding of the first axis of the batch.
        batch_size: number of rows of the global batch.
    """
    rows: set[int] = set()
    for index in sharding.addressable_devices_indices_map((batch_size,)).values():
        if index is not None:
            rows.update(range(batch_size)[index[0]])
    return sorted(rows)


class GlobalBatches:
    """An iterator of training batches of several processes, as global arrays.

    It yields {set: batch} with arrays sharded over all processes. Each array is put together from
    the rows that the processes read. Its position is that of the Grain iterator.

    Args:
        rows: the Grain iterator of {set: batch} of this process's rows (`data.mixture.mix`).
        shardings: the sharding of each entry of a batch. Entries that are replicated, such as the
            times of latents, have no axis of clips.
        batch_sizes: clips of a global batch of each set.
    """

    def __init__(
        self, rows: Any, shardings: Mapping[str, NamedSharding], batch_sizes: Mapping[str, int]
    ):
        self._rows, self._shardings, self._sizes = rows, shardings, batch_sizes
        self.save, self.get_state, self.set_state = rows.save, rows.get_state, rows.set_state

    def __next__(self) -> dict[str, dict[str, Any]]:
        ((name, batch),) = next(self._rows).items()
        return {name: global_batch(batch, self._shardings, self._sizes[name])}


def global_batch(
    batch: Mapping[str, Any], shardings: Mapping[str, NamedSharding], size: int
) -> dict[str, Any]:
    """Returns a global batch, of which this process provides its rows.

    Args:
        batch: this process's rows, arrays or trees of arrays by entry.
        shardings: the sharding of each entry. Entries that are replicated, such as the times of
            latents, have no axis of clips.
        size: clips of the global batch.
    """

    def place(x: Any, sharding: NamedSharding) -> Any:
        rows = x.shape[:1] if sharding.is_fully_replicated else (size,)
        return jax.make_array_from_process_local_data(sharding, x, (*rows, *x.shape[1:]))

    return {
        key: jax.tree.map(functools.partial(place, sharding=shardings[key]), entry)
        for key, entry in batch.items()
    }


def gathered(tree: Any) -> Any:
    """Returns a tree of global arrays as NumPy arrays in process 0, gathered one leaf at a time.

    A collective: all processes must call it. The other processes get None for each leaf. With one
    process it returns `tree` itself.
    """
    if not several():
        return tree

    def whole(leaf: Any) -> Any:
        array = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(array) if is_first() else None

    return jax.tree.map(whole, tree)
