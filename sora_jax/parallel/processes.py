"""Several processes, one program: a host of a pod, or a task of SLURM, each with devices of its
own.

Every process runs the same command. Together they are one JAX program over all devices
(`jax.distributed`): arrays are global, each process holds the shards of its own devices, and what
one of them alone decided would leave the others waiting for ever. So process 0 writes and decides,
the others follow; each function here is plain, and free, where there is one process.
"""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding

from sora_jax import cli
from sora_jax.errors import UserError

START_SECONDS = 300  # for all processes to be there
END_SECONDS = 3600  # that the others wait at their end for the first, which writes the weights
LOST = 75  # exit status where another process was lost: "try again" (EX_TEMPFAIL of sysexits.h)


def join(
    coordinator: str | None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Become one of several processes; before anything touches a device.

    coordinator: None for one process; "auto" where SLURM, Kubernetes, a TPU pod or Open MPI says
    who is there (`jax.distributed` asks them); else HOST:PORT, free on the host of process 0, with
    the other two given.

    Raises:
        UserError: the three do not fit each other, or nobody says who is there. Where the others do
          not come, JAX aborts the process.
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
    # JAX aborts a process that does not meet the others, with a page of its own; this line says
    # what it was at.
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
    except ValueError as error:  # nothing that jax knows how to ask
        raise UserError(
            f"--coordinator={coordinator}: no SLURM, Kubernetes, TPU pod or Open MPI says who "
            f"takes part ({error}); start with srun, or give "
            "--coordinator=HOST:PORT --num_processes=N --process_id=I"
        ) from error
    if several() and jax.default_backend() == "cpu":
        # Of CPU processes the first alone finds its programs on disk again, and gloo gives those
        # that still compile 30 s.
        jax.config.update("jax_enable_compilation_cache", False)


def several() -> bool:
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return jax.process_index() == 0


def decided(answer: bool) -> bool:
    """The answer of process 0, in all of them; all must ask."""
    return bool(multihost_utils.broadcast_one_to_all(np.int32(answer))) if several() else answer


def any_of(answer: bool) -> bool:
    """Whether any process answers yes; all must ask."""
    return bool(multihost_utils.process_allgather(np.int32(answer)).any()) if several() else answer


@contextlib.contextmanager
def together() -> Iterator[None]:
    """All processes come out of it, or none: a `UserError` of one ends them all, each with a line
    of its own.
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
    """Whether an error says that a device or another process went away in the middle of a step."""
    return several() and isinstance(getattr(error, "__cause__", None), jax.errors.JaxRuntimeError)


@contextlib.contextmanager
def leaving_on_error() -> Iterator[None]:
    """Around a process's work: where it fails, tell the error as `run_main` does, and end.

    JAX's own way out, and a save that is under way, wait for the others, which wait for this one.
    Process 0 is where they meet, and goes last: without it the others are aborted in mid-sentence.
    The status is that of `run_main`, or `LOST`.
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
            finally:  # also where nobody reads what is told
                os._exit(_status(error))
        raise


def _status(error: Exception) -> int:
    """The exit status of a process that ends with an error."""
    if is_lost(error):
        return LOST
    return 2 if isinstance(error, UserError) else 1


def check_mesh(mesh: Mesh) -> None:
    """Raises UserError where a process has no device in the mesh."""
    idle = set(range(jax.process_count())) - {device.process_index for device in mesh.devices.flat}
    if idle:
        raise UserError(
            f"config.mesh takes {mesh.size} of {jax.device_count()} devices and none of "
            f"process {min(idle)}; give config.mesh.data=-1, "
            "or start fewer processes"
        )


def rows_here(sharding: NamedSharding, batch_size: int) -> list[int]:
    """The rows of a global batch that the devices of this process hold.

    Processes that share clips (`seq`, `tensor`) have the same.
    """
    rows = {
        row
        for (at, *_) in sharding.addressable_devices_indices_map((batch_size,)).values()
        for row in range(batch_size)[at]
    }
    return sorted(rows)


class GlobalBatches:
    """A Grain iterator of this process's rows, as batches of global arrays; its position is the
    iterator's.
    """

    def __init__(self, rows: Any, sharding: NamedSharding, batch_size: int):
        self._rows, self._sharding, self._size = rows, sharding, batch_size
        self.save, self.get_state, self.set_state = rows.save, rows.get_state, rows.set_state

    def __next__(self) -> dict[str, jax.Array]:
        def place(x):
            shape = (self._size, *x.shape[1:])
            return jax.make_array_from_process_local_data(self._sharding, x, shape)

        return jax.tree.map(place, next(self._rows))


def gathered(tree: Any) -> Any:
    """Arrays of NumPy from global ones, a leaf at a time, in process 0; elsewhere None for each.

    All must ask. The same tree for one.
    """
    if not several():
        return tree

    def whole(leaf):
        array = multihost_utils.process_allgather(leaf, tiled=True)
        return np.asarray(array) if is_first() else None

    return jax.tree.map(whole, tree)
