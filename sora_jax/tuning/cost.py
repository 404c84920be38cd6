"""The cost of a training step, measured before the training begins: memory and time.

Memory is read from the compiled step, without running it. Time is the median of STEPS steps with
made-up batches.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.errors import UserError
from sora_jax.models.cost import quantity
from sora_jax.parallel.mesh import traced_for
from sora_jax.training.program import Program, assemble
from sora_jax.training.run import Run
from sora_jax.training.tokenizer import TokenizerProgram
from sora_jax.training.tokenizer_run import TokenizerRun

STEPS = 4  # timed steps, after a first one that is not timed


@dataclasses.dataclass(frozen=True)
class StepCost:
    """The cost of a training step.

    Attributes:
        compile_seconds: seconds that building and compiling the step took.
        step_seconds: the median seconds of STEPS steps.
        step_bytes: bytes that the step allocates, with its arguments.
    """

    compile_seconds: float
    step_seconds: float
    step_bytes: int


def free_memory() -> int:
    """Returns the bytes that this process may still allocate on the device that computes."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 1 << 62  # unknown: not limited


def resident_memory() -> int:
    """Returns the bytes that this process holds in main memory; 0 if the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * 4096


def check_memory(of_batch: Callable[[int], int], batch_size: int, free: int, what: str) -> int:
    """Returns the bytes of a step, and checks that they are free.

    Args:
        of_batch: batch size -> bytes of a step.
        batch_size: the batch size that is asked for.
        free: bytes that may be allocated.
        what: the training, for the message.

    Raises:
        UserError: the step needs more than `free`. The message names a smaller batch size that
            fits, found by halving.
    """
    needed = of_batch(batch_size)
    if needed <= free:
        return needed
    fits = batch_size // 2
    while fits and of_batch(fits) > free:
        fits //= 2
    remedy = (
        f"batch_size={fits} fits"
        if fits
        else "no batch fits; give LoRA, a smaller model, or a machine with more"
    )
    raise UserError(
        f"{what} with batch_size={batch_size} needs {quantity(needed, 'B')}, and "
        f"{quantity(free, 'B')} are free; {remedy}",
        field="batch_size",
    )


def model_cost(run: Run, free: int) -> StepCost:
    """Compiles a step of a model's training, runs it a few times, and returns its cost.

    Args:
        run: the configuration of the training.
        free: bytes that may be allocated.

    Raises:
        UserError: the step needs more than `free`.
    """
    mesh = run.mesh.make()
    compiled: dict[int, tuple[Program, Any, float]] = {}

    def of_batch(size: int) -> int:
        begun = time.monotonic()
        train = dataclasses.replace(run.train, batch_size=size)
        program = assemble(dataclasses.replace(run, train=train), mesh)
        with traced_for(mesh):
            shapes = jax.eval_shape(program.begin, program.shapes)
            step = program.step.lower(shapes, program.batch_shapes).compile()
        compiled[size] = program, step, time.monotonic() - begun
        return allocated(step)

    needed = check_memory(of_batch, run.train.batch_size, free, "the training")
    program, step, seconds = compiled[run.train.batch_size]
    with traced_for(mesh):
        begin = jax.jit(
            lambda: program.begin(jax.tree.map(_made_up, program.shapes)),
            out_shardings=program.placement[0],
        )
        batch = jax.tree.map(_made_up, program.batch_shapes)
        batch["has_audio"] = jnp.ones_like(batch["has_audio"])
        return StepCost(seconds, _timed(step, begin(), batch), needed)


def tokenizer_cost(run: TokenizerRun, folder: Path, free: int) -> StepCost:
    """Compiles a step of a tokenizer's training, runs it a few times, and returns its cost.

    Args:
        run: the configuration of the training.
        folder: sources may create files here.
        free: bytes that may be allocated.

    Raises:
        UserError: the step needs more than `free`.
    """
    from_batch: dict[int, tuple[Any, Any, Any, float]] = {}

    def of_batch(size: int) -> int:
        begun = time.monotonic()
        train = dataclasses.replace(run.train, batch_size=size)
        program = TokenizerProgram.assemble(dataclasses.replace(run, train=train), folder)
        name, clips = next(iter(program.sets.items()))
        batch = {name: clips.batch("train", [0] * size)}
        state = program.begin(run.train.seed)
        step = program.step.lower(state, batch).compile()
        from_batch[size] = step, state, batch, time.monotonic() - begun
        return allocated(step)

    needed = check_memory(of_batch, run.train.batch_size, free, "the tokenizer's training")
    step, state, batch, seconds = from_batch[run.train.batch_size]
    return StepCost(seconds, _timed(step, state, batch), needed)


def allocated(step: Any) -> int:
    """Returns the bytes of a compiled step: arguments, results that do not replace arguments, and
    intermediate arrays. 0 if the compiler does not say.
    """
    found = step.memory_analysis()
    if found is None:
        return 0
    own = found.output_size_in_bytes - found.alias_size_in_bytes
    return found.argument_size_in_bytes + max(own, 0) + found.temp_size_in_bytes


def _made_up(x: jax.ShapeDtypeStruct) -> jax.Array:
    """Returns an array of that shape and dtype: 0.02 for floats, 1 for integers, True for bools."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.full(x.shape, 0.02, x.dtype)
    return jnp.ones(x.shape, x.dtype)


def _timed(step: Any, state: Any, batch: Any) -> float:
    """Returns the median seconds of STEPS steps, after one that is not counted."""
    seconds = []
    for _ in range(1 + STEPS):
        begun = time.monotonic()
        state, _ = jax.block_until_ready(step(state, batch))
        seconds.append(time.monotonic() - begun)
    return float(np.median(seconds[1:]))
