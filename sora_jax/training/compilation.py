"""Compiles a run's program ahead of time for devices that are not present.

The compiler may abort its process, so `in_child` runs it in a child process, which calls
`compile_for`.
"""

import dataclasses
import json
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from kernels import dispatch, target
from sora_jax.errors import UserError
from sora_jax.flops import jaxpr_flops
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import euler_step
from sora_jax.models.cost import quantity
from sora_jax.parallel import rules, sequence, topologies
from sora_jax.parallel.mesh import traced_for
from sora_jax.registry import load_modules, user_modules
from sora_jax.training.compilation_report import report
from sora_jax.training.program import Program, assemble
from sora_jax.training.run import Run

PROGRAMS = ("train", "sample")


class TooLargeError(UserError):
    """A program does not fit in the memory of a device."""


def sampler(run: Run, program: Program, mesh: Any) -> tuple[Any, tuple]:
    """Returns (step, arguments): one Euler step of the sampler with guidance, jitted for the mesh,
    and its arguments.

    The step maps (parameters, latents, start levels, text, negative text, level, next level) to the
    latents at the next level. The arguments are `jax.ShapeDtypeStruct`s: nothing is allocated.

    Args:
        run: the run.
        program: the run's program on the mesh (`program.assemble`).
        mesh: the mesh.
    """
    guidance, times = Guidance(), program.format.latent_times()
    times = {name: jnp.asarray(t, jnp.float32) for name, t in times.items()}

    def step(params: Any, z: Any, start: Any, text: Any, negative: Any, s: Any, s_next: Any) -> Any:
        fixed = {
            "text": text,
            "negative": negative,
            "times": times,
            "passes": guidance.passes,
            "scales": guidance.scales,
        }
        return euler_step(
            sequence.on_mesh(program.merge(params), mesh),
            z,
            s,
            s_next,
            start,
            **fixed,
            output=run.model.output,
        )

    z = {k: program.batch_shapes[k] for k in ("video", "audio")}
    start = {k: jax.ShapeDtypeStruct(x.shape[:2], jnp.float32) for k, x in z.items()}
    names = {"tokens": "tokens", "mask": "text_mask", "shots": "text_shots", "slots": "text_slots"}
    text = {name: program.batch_shapes[key] for name, key in names.items()}
    if references := program.batch_shapes["references"]:
        text["references"] = references
    clips, level = rules.batch_sharding(mesh), jax.ShapeDtypeStruct((), jnp.float32)
    in_shardings = (
        rules.place(program.shapes, program.shapes, mesh),
        clips,
        clips,
        clips,
        clips,
        None,
        None,
    )
    return jax.jit(step, in_shardings=in_shardings, out_shardings=clips, donate_argnums=1), (
        program.shapes,
        z,
        start,
        text,
        text,
        level,
        level,
    )


def compile_for(run: Run, topology: str, kind: str) -> dict[str, Any]:
    """Compiles a program of a run for absent hardware, and returns its report
    (`compilation_report.report`).

    The process must be started with the variables of `topologies.environment`.

    Args:
        run: the run.
        topology: for example "v5p:8x8x8" (`parallel.topologies`).
        kind: the program: "train" for a training step, "sample" for a step of the sampler.

    Raises:
        TooLargeError: the program does not fit in memory.
        UserError: the compiler refuses it.
    """
    mesh = run.mesh.make(topologies.devices(topology))
    start = time.monotonic()
    with traced_for(mesh), dispatch.recorded() as forms:
        step = _traced(run, mesh, kind)
        lowered = step.lower(lowering_platforms=(topologies.platform(topology),))
    with target.assume(target.CPU):
        flops = plain = jaxpr_flops(_traced(run, mesh, kind).jaxpr.jaxpr)
        if run.model.remat != "none" and kind == "train":
            model = dataclasses.replace(run.model, remat="none")
            without_remat = _traced(dataclasses.replace(run, model=model), mesh, kind)
            plain = jaxpr_flops(without_remat.jaxpr.jaxpr)
    traced = time.monotonic()
    try:
        compiled = lowered.compile(compiler_options=topologies.options(topology))
    except jax.errors.JaxRuntimeError as error:
        if larger := too_large(str(error), run, dict(mesh.shape)):
            raise TooLargeError(larger) from error
        raise UserError(str(error).splitlines()[0]) from error
    seconds = {"trace": traced - start, "compile": time.monotonic() - traced}
    return report(run, topology, kind, mesh, compiled, seconds, flops, plain, forms)


def _traced(run: Run, mesh: jax.sharding.Mesh, kind: str) -> Any:
    """Returns the traced step (`jax.stages.Traced`) of training or of the sampler on the mesh."""
    program = assemble(run, mesh)
    if kind == "sample":
        step, arguments = sampler(run, program, mesh)
        return step.trace(*arguments)
    return program.step.trace(jax.eval_shape(program.begin, program.shapes), program.batch_shapes)


def too_large(message: str, run: Run, mesh: dict[str, int]) -> str | None:
    """Returns an explanation of the compiler's out-of-memory error in one line; None for any other
    error.

    The line states by how much memory is exceeded and which setting to change: rematerialisation
    first, then gradient accumulation, then more sharding.

    Args:
        message: the message of the compiler's error.
        run: the run.
        mesh: sizes of the mesh axes by name.
    """
    if "RESOURCE_EXHAUSTED" not in message and "Ran out of memory" not in message:
        return None
    used = re.search(r"Used (\S+) of (\S+) hbm", message)
    by = re.search(r"Exceeded \S+ capacity by (\S+)\.", message)
    excess = (
        "out of memory on each "
        f"device{f', {used[1]}iB of {used[2]}iB' if used else ''}"
        f"{f': {by[1]}iB too much' if by else ''}"
    )
    clips = run.train.batch_size // (mesh["data"] * mesh["fsdp"])
    if run.model.remat != "block":
        remedy = "config.model.remat=block, which stores one activation per pair of blocks"
    elif clips > 1:
        halved = run.train.batch_size * (clips // 2) // clips
        remedy = (
            f"config.train.batch_size={halved} with "
            f"config.optim.accumulate={2 * run.optim.accumulate}, which halves the "
            "activations"
        )
    elif mesh["data"] > 1:
        remedy = (
            f"config.mesh.fsdp={2 * mesh['fsdp']}, which halves parameters and moments, "
            f"or config.mesh.seq={2 * mesh['seq']}, which halves the tokens per device"
        )
    else:
        remedy = (
            f"config.mesh.seq={2 * mesh['seq']} with fewer fsdp, which halves the tokens "
            "per device, or more devices"
        )
    return f"{excess}; give {remedy}"


def child() -> None:
    """The main function of the child process.

    It reads two pickles from stdin: the user's modules to load, and (run, topology, kind). The last
    line of stdout is JSON: the report, or {"error": one line, "too_large": True if the memory of a
    device is too small}.
    """
    load_modules(pickle.load(sys.stdin.buffer))
    run, topology, kind = pickle.load(sys.stdin.buffer)
    try:
        answer = compile_for(run, topology, kind)
    except UserError as error:
        answer = {"error": str(error), "too_large": isinstance(error, TooLargeError)}
    print(json.dumps(answer), flush=True)


def in_child(run: Run, topology: str, kind: str) -> dict[str, Any]:
    """Calls `compile_for` with these arguments in a child process, and returns its report.

    Raises:
        TooLargeError: the program does not fit in memory.
        UserError: the compiler refused it, or aborted its process.
    """
    command = [sys.executable, "-c", "from sora_jax.training.compilation import child; child()"]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, **topologies.environment(topology)}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
    process = subprocess.run(
        command,
        input=pickle.dumps(user_modules()) + pickle.dumps((run, topology, kind)),
        capture_output=True,
        env=environment,
    )
    stderr = process.stderr.decode(errors="replace")
    if process.returncode < 0:
        why = next(
            (
                line.strip()
                for line in stderr.splitlines()
                if "Check failed" in line or line.startswith("F0")
            ),
            "no reason given",
        )
        raise UserError(
            f"the compiler of {topology} aborted (signal {-process.returncode}): "
            f"{why[:300]}; another config.mesh may compile"
        )
    if process.returncode:
        last = next(
            (line.strip() for line in reversed(stderr.splitlines()) if line.strip()),
            "no reason given",
        )
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", prefix="compile_only_", suffix=".log", delete=False
        ) as log:
            log.write(stderr)
        raise UserError(
            f"compiling for {topology} failed: {last[:300]}; the full output is in {log.name}"
        )
    answer = json.loads(process.stdout.splitlines()[-1])
    if "error" in answer:
        raise (TooLargeError if answer["too_large"] else UserError)(answer["error"])
    return answer


def micro_batch(run: Run, topology: str) -> str:
    """Finds the largest micro-batch that fits in memory, and the flags to train with it.

    A batch has data x fsdp shards, by the axes of the mesh. Memory is modelled as a + b n for n
    clips on each shard. The program is compiled with n = 1 and n = 2 to find a and b. A tenth of
    the device's memory is left free.

    The clips per update stay those of the configuration, rounded up to a multiple of data x fsdp.
    They are split into the fewest micro-batches of equal size that fit, whose gradients are
    accumulated.

    Args:
        run: the run.
        topology: for example "v5p:8x8x8" (`parallel.topologies`).

    Returns:
        Text of two lines: the memory of one clip and of each further one on a shard, with the
        number that fit; and the flags.

    Raises:
        UserError: not even one clip fits, or a program cannot be compiled (`in_child`).
    """
    device = topologies.generation(topology)
    data, fsdp, *_ = run.mesh.shape(
        device.per_chip * math.prod(int(n) for n in topology.partition(":")[2].split("x"))
    )

    def held(clips: int) -> float:
        train = dataclasses.replace(run.train, batch_size=clips * data * fsdp)
        return in_child(dataclasses.replace(run, train=train), topology, "train")["memory"]["held"]

    one = held(1)
    try:
        per_clip = max(held(2) - one, 1)
        fit = 1 + math.floor((0.9 * device.hbm - one) / per_clip)
        more = f"{quantity(per_clip, 'B')} more per additional clip"
    except TooLargeError:
        fit, more = int(one <= 0.9 * device.hbm), "too much with two"
    if fit < 1:
        raise UserError(
            f"{topology}: one clip on each of {data * fsdp} batch shards takes "
            f"{quantity(one, 'B')}, more than nine tenths of "
            f"{quantity(device.hbm, 'B')}; give config.model.remat=block, or more "
            "config.mesh.fsdp or seq"
        )
    update_clips = run.train.batch_size * run.optim.accumulate
    # The fewest micro-batches of equal size that fit.
    clips_per_shard = -(-update_clips // (data * fsdp))
    accumulate = next(
        k
        for k in range(1, clips_per_shard + 1)
        if clips_per_shard % k == 0 and clips_per_shard // k <= fit
    )
    return (
        f"{topology}: {quantity(one, 'B')} with one clip on each of {data * fsdp} "
        f"batch shards, {more}: "
        f"{fit} fit (compiled, not run)\nfor {clips_per_shard * data * fsdp} clips an update: "
        f"--config.train.batch_size={clips_per_shard * data * fsdp // accumulate} "
        f"--config.optim.accumulate={accumulate}"
    )
