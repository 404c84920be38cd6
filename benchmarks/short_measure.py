"""The parts of `short_run --stage=measure`: a few minutes of measurements on a new GPU.

The parts (PARTS) are ordered by importance: whether kernels launch, whether they are correct, their
speed beside XLA and cuDNN, the best launch parameters, the gain in a whole program, and PyTorch's
speed. Some parts have a table of entries: workloads in one direction, with the implementations to
compare. Threads compile all programs of a table together. Nothing compiles while programs are
timed, because compilation itself runs programs on the device.
"""

import concurrent.futures
import contextvars
import dataclasses
import functools
import importlib
import json
import os
import platform
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import device, harness, results
from benchmarks.suites import (
    correctness,
    cross_attention,
    load,
    pointwise,
    temporal_attention,
    vae_conv,
    vae_decode,
)
from benchmarks.watchdog import announce
from benchmarks.workload import Form, Workload, always
from kernels import target, triton_call, tuning
from kernels.conv_prologue import specs as prologues
from kernels.errors import Unsupported
from kernels.gated_norm import specs as norms
from kernels.temporal_attention import specs as temporal
from sora_jax import environment, files
from sora_jax.errors import UserError

OURS = ("triton", "xla", "xla_best")
ATTENTION = (*OURS, "cudnn", "cudnn_core")
TORCH = ("triton", "torch_sdpa", "torch_compile")
DEVICE_LOST = 3  # exit status of a child after which the device does not answer
ENVIRONMENT = "environment.json"
ROWS, TUNING = "rows.jsonl", "tuning.jsonl"
# Launch parameters to try at t16. One wgmma instruction takes a tile of 64 rows.
TILES = [{"rows": rows, "warps": warps} for rows in (32, 64, 128) for warps in (4, 8)]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case in one direction, and the implementations to time side by side.

    Attributes:
        suite: name of the suite.
        workload: the case.
        direction: "forward", "backward" or "forward_backward".
        impls: names of the implementations.
    """

    suite: str
    workload: Workload
    direction: str
    impls: tuple[str, ...]


def correctness_entries(size: str) -> list[Entry]:
    """Returns entries of our Triton kernels: a case for each way that shapes change their code."""
    found = correctness.workloads(size) if size == "tiny" else correctness.varied()
    return [Entry("correctness", w, "forward_backward", ("triton",)) for w in found]


def attention_entries(size: str, impls: tuple[str, ...] = ATTENTION) -> list[Entry]:
    """Returns entries of temporal attention: the workload "t16" forward and backward, and forward
    the same with shared keys, "xl" (preset XL at 720p) and windows of all frames and 2 x 2 sites.

    `impls` are the implementations. Default: ATTENTION.
    """
    if size == "tiny":
        workload = temporal_attention.workloads(size)[0]
        measurements = [(workload, "forward"), (workload, "backward")]
    else:
        t16, *others = (
            temporal_attention.workload(name, temporal.SPECS[name])
            for name in ("t16", "t16_shared", "xl", "t16_window")
        )
        measurements = [(t16, "forward"), (t16, "backward"), *((w, "forward") for w in others)]
    return [Entry("temporal_attention", workload, way, impls) for workload, way in measurements]


def words_entries(size: str) -> list[Entry]:
    """Returns entries of cross-attention to 64 words, forward and backward."""
    words = cross_attention.workloads(size)[0]
    return [Entry("cross_attention", words, way, OURS) for way in ("forward", "backward")]


def pointwise_entries(size: str) -> list[Entry]:
    """Returns entries of `conv_prologue`, of `gated_norm` and of a layer of a video decoder."""
    if size == "tiny":
        workloads = {w.name: w for w in pointwise.workloads(size)}
        prologue, gate = workloads["conv_prologue_tiny"], workloads["gated_norm_tiny"]
        (conv,) = vae_conv.workloads(size)
    else:
        spec = prologues.SPECS["wan_480_full"]
        prologue = pointwise.prologue("wan_480_full", spec)
        gate = pointwise.gate("t16", norms.SPECS["t16"])
        conv = vae_conv.workload("wan_480_full", spec)
    return [
        Entry("pointwise", prologue, "forward", OURS),
        Entry("pointwise", gate, "backward", OURS),
        Entry("pointwise", gate, "forward", OURS),
        Entry("pointwise", prologue, "backward", OURS),
        Entry("vae_conv", conv, "forward", OURS),
    ]


def decode_entries(size: str) -> list[Entry]:
    """Returns the entry of decoding 61 frames of 256 px, with our kernels and without."""
    if size == "tiny":
        (workload,) = vae_decode.workloads(size)
    else:
        workload = next(w for w in load("vae_decode").workloads(size) if "256x256" in w.name)
    return [Entry("vae_decode", workload, "forward", OURS)]


# Tables that threads may compile. PyTorch compiles in one thread only.
TABLES: dict[str, Callable[[str], list[Entry]]] = {
    "correctness": correctness_entries,
    "attention": attention_entries,
    "pointwise": pointwise_entries,
    "decode": decode_entries,
    "words": words_entries,
}


class Stage:
    """Runs parts of stage measure in this process, a child of `watchdog.supervise`.

    Attributes:
        output: folder of the run.
        size: "tiny" or "gpu".
        names: names of the parts to run, in order.
        budgets: {part: its seconds}.
        until: deadline (`time.monotonic`) after which the current part starts no program.
    """

    def __init__(self, output: Path, size: str, names: list[str], budgets: dict[str, float]):
        self.output, self.size, self.names, self.budgets = output, size, names, budgets
        self.until = 0.0

    def run(self) -> None:
        """Runs the parts in order. A part that fails is reported, and the next one runs.

        A part may use time left by earlier parts, up to twice its own budget. If a kernel has
        brought the device down, no later program of this process can run. The process then ends
        with status DEVICE_LOST, and the watchdog starts another one with the next part.
        """
        planned = time.monotonic()
        for name in self.names:
            announce(name)
            planned += self.budgets[name]
            self.until = min(planned, time.monotonic() + 2 * self.budgets[name])
            try:
                with triton_call.use_bridge(self.bridge()):
                    PARTS[name](self)
            except UserError:
                raise
            except Exception as error:  # a failure must not end the other parts
                print(f"  {name} failed: {type(error).__name__}: {error}", flush=True)
            if reason := device_failure():
                print(f"  the device does not answer after {name}: {reason}", flush=True)
                os._exit(DEVICE_LOST)
        # Exits without waiting for compilations that are still running in threads.
        sys.stdout.flush()
        os._exit(0)

    @functools.cached_property
    def ceilings(self) -> device.Ceilings:
        """Bandwidth and peak FLOP/s of this device."""
        return device.ceilings()

    def environment(self) -> dict:
        """Returns the contents of the run's environment.json; {} before it is written."""
        path = self.output / ENVIRONMENT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def record(self, **values: Any) -> None:
        """Adds values to the run's environment.json."""
        content = self.environment() | values
        files.write(self.output / ENVIRONMENT, json.dumps(content, indent=1) + "\n")

    def bridge(self) -> str:
        """Returns the name of the first bridge (`kernels.triton_call`, a way to launch kernels)
        whose results were correct; "ffi" if there is none yet.
        """
        smoke = self.environment().get("bridges", {})
        return next((name for name, found in smoke.items() if found["correct"]), "ffi")

    def prepare(self, entries: list[Entry]) -> list[harness.Prepared]:
        """Compiles the programs of entries in threads. Failures are reported and left out."""

        def prepare_one(entry: Entry) -> harness.Prepared:
            impls = [impl for impl in entry.impls if impl in entry.workload.forms]
            return harness.prepare(entry.suite, entry.workload, entry.direction, impls, self.until)

        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            # Each thread runs in a copy of this context: the bridge is a context variable.
            jobs = [
                (entry, pool.submit(contextvars.copy_context().run, prepare_one, entry))
                for entry in entries
            ]
        prepared = []
        for entry, job in jobs:
            try:
                prepared.append(job.result())
            except Exception as error:  # out of memory for its inputs, say
                where = f"{entry.suite}/{entry.workload.name} {entry.direction}"
                print(f"  {where} failed: {type(error).__name__}: {error}", flush=True)
        return prepared


def device_failure() -> str | None:
    """Returns the reason why the device cannot run the simplest program, or None if it can."""
    try:
        jax.block_until_ready(jnp.zeros(1) + 1)
    except RuntimeError as error:
        return str(error).splitlines()[0][:300]
    return None


def check_environment(stage: Stage) -> None:
    """Records this machine in environment.json: device, commit, versions, cores, ptxas. Prints the
    ceilings (bandwidth and FLOP/s) from which the roofline of each row is computed.
    """
    devices = [str(d.device_kind) for d in jax.devices()]
    stage.record(
        device=device.slug(),
        kinds=devices,
        commit=environment.commit(),
        versions=device.versions() | {"python": platform.python_version()},
        cores=os.cpu_count(),
        ptxas=shutil.which("ptxas"),
    )
    print(
        f"  {', '.join(devices)}; commit {environment.commit()}; {stage.environment()['versions']}"
    )
    print(f"  {stage.ceilings}", flush=True)


def try_bridge(name: str, stage: Stage) -> None:
    """Records in environment.json whether the bridge `name` can launch kernels (`smoke`)."""
    found = smoke(name, stage.size)
    print(f"  {name}: {found}", flush=True)
    stage.record(bridges=stage.environment().get("bridges", {}) | {name: found})
    if name == "torch" and stage.bridge() == "torch":
        print("  no custom call works: only XLA's and PyTorch's forms will be timed", flush=True)


def smoke(name: str, size: str) -> dict:
    """Runs the kernel of temporal attention through the bridge `name`, at size "tiny" or "gpu".

    Returns:
        {"correct": whether the relative "error" is below `harness.WRONG`, "error", "wall_ms" of a
        call, "interpreted"}, or {"correct": False, "reason"} if the kernel cannot be launched.
    """
    spec = temporal.SPECS["t16"]
    if size == "tiny":
        spec = temporal_attention.TINY["tiny"]
    module = importlib.import_module("kernels.temporal_attention.triton")
    given = temporal.inputs(spec)
    wide = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype != bool else x, given)
    names = ("q", "k", "v", "q_scale", "k_scale", "angles", "visible", "shared_k", "shared_v")
    arguments = [given.get(name) for name in names]
    forward = functools.partial(module.forward, spec)
    found: dict = {"correct": False}
    try:
        with triton_call.use_bridge(name):
            run = forward if name == "torch" else jax.jit(forward)
            want = temporal_attention.reference.attend(**wide, causal=spec.causal)
            got = np.asarray(run(*arguments), np.float32)
            error = np.linalg.norm(got - want) / np.linalg.norm(want)
            seconds = [_seconds(run, arguments, calls=1)]
            calls = max(1, min(10, int(0.01 / seconds[0])))
            seconds = [_seconds(run, arguments, calls) for _ in range(5)]
        found = {"correct": bool(error < harness.WRONG), "error": float(error)}
        found["wall_ms"] = 1e3 * statistics.median(seconds)
        found["interpreted"] = triton_call.interpreting()
    except (Unsupported, ImportError, RuntimeError, ValueError, TypeError) as error:
        found["reason"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
    return found


def _seconds(run: Callable, arguments: list, calls: int) -> float:
    """Returns the wall seconds of run(*arguments), the mean of `calls` calls issued together."""
    start = time.perf_counter()
    for _ in range(calls):
        result = run(*arguments)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls


def measure_table(name: str, stage: Stage) -> None:
    """Compiles the entries of a table (a key of TABLES), times them, and writes their rows."""
    rounds, seconds = (5, 0.5) if name == "correctness" else (20, 4.0)
    for prepared in stage.prepare(TABLES[name](stage.size)):
        print(f"  {prepared.suite}/{prepared.workload.name} {prepared.direction}", flush=True)
        if prepared.left_out:
            print(f"  left out, no time to compile: {', '.join(prepared.left_out)}", flush=True)
        _write_rows(stage, harness.time_forms(prepared, stage.ceilings, rounds, seconds), ROWS)


def measure_torch(stage: Stage) -> None:
    """Measures attention by PyTorch beside our kernel, and writes the rows."""
    for entry in attention_entries(stage.size, TORCH):
        prepared = harness.prepare(
            entry.suite, entry.workload, entry.direction, entry.impls, stage.until
        )
        _write_rows(stage, harness.time_forms(prepared, stage.ceilings, 20, 4.0), ROWS)


def tune(stage: Stage) -> None:
    """Times the kernels of temporal attention with each set of launch parameters of TILES in turns,
    for the forward and the backward pass. Appends a row for each set and pass to the file TUNING.
    """
    spec = temporal.SPECS["t16"]
    if stage.size == "tiny":
        spec = temporal_attention.TINY["tiny"]
    for direction in ("forward", "backward"):
        workload = tiles_workload(spec, TILES if stage.size != "tiny" else TILES[:2])
        forms = [Entry("tuning", workload, direction, (name,)) for name in workload.forms]
        prepared = stage.prepare(forms)
        ready = [form for one in prepared for form in one.ready]
        if not ready:
            continue
        together = dataclasses.replace(prepared[0], ready=ready)
        rows = harness.time_forms(together, stage.ceilings, 20, 4.0)
        spec_fields = {"T": spec.T, "D": spec.D, "shared": spec.A > 0, "dtype": spec.dtype}
        where = {"kernel": direction, **spec_fields}
        heuristic = importlib.import_module("kernels.temporal_attention.triton").parameters(
            spec, direction
        )
        for row in rows:
            use = json.loads(row["impl"])
            row |= {"op": "temporal_attention", "kind": target.current().kind, "where": where}
            row |= {"use": use, "is_heuristic": use.items() <= heuristic.items()}
        _write_rows(stage, rows, TUNING)


def tiles_workload(spec: temporal.Spec, tiles: list[dict]) -> Workload:
    """Returns the workload of temporal attention at `spec`, with an implementation for each set of
    launch parameters in `tiles`. Its name is the JSON of the parameters.
    """
    workload = temporal_attention.workload("t16", spec)
    (form,) = workload.forms["triton"]()

    def with_tiles(parameters: dict) -> Callable[[], list[Form]]:
        # A new function object for each form: for the same one, JAX would reuse the trace made
        # with other parameters.
        function = functools.partial(form.function)
        tracing = functools.partial(tuning.trial, "temporal_attention", parameters)
        return always(dataclasses.replace(form, function=function, tracing=tracing))

    forms = {json.dumps(parameters): with_tiles(parameters) for parameters in tiles}
    return dataclasses.replace(workload, forms=forms)


def _write_rows(stage: Stage, rows: list[dict], file: str) -> None:
    for row in rows:
        results.append(stage.output, row, file)


PARTS: dict[str, Callable[[Stage], None]] = {
    "environment": check_environment,
    **{f"bridge {name}": functools.partial(try_bridge, name) for name in triton_call.BRIDGES},
    "correctness": functools.partial(measure_table, "correctness"),
    "attention": functools.partial(measure_table, "attention"),
    "pointwise": functools.partial(measure_table, "pointwise"),
    "tuning": tune,
    "decode": functools.partial(measure_table, "decode"),
    "torch": measure_torch,
    "words": functools.partial(measure_table, "words"),
}
