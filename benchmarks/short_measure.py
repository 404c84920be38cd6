"""The parts of `short_run --stage=measure`: a few minutes of measurements on a new GPU.

The parts are ordered by importance: whether kernels launch, whether they are correct, their
speed beside XLA and cuDNN, the best launch parameters, the gain in a whole program, PyTorch's
speed. Threads compile all forms of a table together. Nothing compiles while forms are timed,
because compilation itself runs programs on the device.
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
from benchmarks.suites import correctness, load, pointwise, temporal_attention, vae_conv, vae_decode
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
SITES = 256  # of the workloads of `correctness`
DEVICE_LOST = 3  # exit status
ENVIRONMENT = "environment.json"
ROWS, TUNING = "rows.jsonl", "tuning.jsonl"
# Launch parameters to try at t16. One wgmma instruction takes a tile of 64 rows.
TILES = [{"rows": rows, "warps": warps} for rows in (32, 64, 128) for warps in (4, 8)]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case in one direction, and the implementations to time side by side."""

    suite: str
    workload: Workload
    direction: str
    impls: tuple[str, ...]


def _smaller(spec: Any, **sizes: int) -> Any:
    """Returns the spec with each size in `sizes` limited to that maximum."""
    limited = {name: min(getattr(spec, name), maximum) for name, maximum in sizes.items()}
    return dataclasses.replace(spec, **limited)


def correctness_entries(size: str) -> list[Entry]:
    """Returns our kernels forward and backward, a case for each way that sizes shape a program."""
    if size == "tiny":
        found = correctness.workloads(size)
    else:
        names = ("t16", "t64", "xl", "wide", "t16_shared", "t16_causal", "t16_masked", "t16_f32")
        specs = {name: _smaller(temporal.SPECS[name], S=SITES) for name in names}
        named = [
            ("temporal_attention", temporal_attention.workload(n, s)) for n, s in specs.items()
        ]
        for name in ("wan_480_full", "wan_704_half"):
            spec = _smaller(prologues.SPECS[name], H=64, W=64)
            named.append(("pointwise", pointwise.prologue(name, spec)))
        for name in ("t16", "wide"):
            spec = _smaller(norms.SPECS[name], S=SITES)
            named.append(("pointwise", pointwise.gate(name, spec)))
        found = [correctness.only_ours(suite, workload) for suite, workload in named]
    return [Entry("correctness", w, "forward_backward", ("triton",)) for w in found]


def attention_entries(size: str, impls: tuple[str, ...] = ATTENTION) -> list[Entry]:
    """Returns temporal attention by `impls`: t16 both ways, with shared keys, and of preset XL."""
    if size == "tiny":
        (workload,) = temporal_attention.workloads(size)
        measurements = [(workload, "forward"), (workload, "backward")]
    else:
        t16, shared, xl = (
            temporal_attention.workload(name, temporal.SPECS[name])
            for name in ("t16", "t16_shared", "xl")
        )
        measurements = [(t16, "forward"), (t16, "backward"), (shared, "forward"), (xl, "forward")]
    return [Entry("temporal_attention", workload, way, impls) for workload, way in measurements]


def pointwise_entries(size: str) -> list[Entry]:
    """Returns our kernels of `conv_prologue` and `gated_norm`, and a layer of a decoder."""
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
        Entry("pointwise", prologue, "backward", OURS),
        Entry("vae_conv", conv, "forward", OURS),
    ]


def decode_entries(size: str) -> list[Entry]:
    """Returns decoding of 61 frames of 256 px, with our kernels and without."""
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
}


class Stage:
    """The parts of one child process.

    `output` is the folder of the run, `size` "tiny" or "gpu", `names` the parts to run and
    `budgets` their seconds.
    """

    def __init__(self, output: Path, size: str, names: list[str], budgets: dict[str, float]):
        self.output, self.size, self.names, self.budgets = output, size, names, budgets
        self.until = 0.0  # deadline of the current part: no form is started after it

    def run(self) -> None:
        """Runs the parts in order. A part that fails is reported, and the next one runs.

        A part may use time left by earlier parts, but at most twice its own. If a kernel has
        brought the device down, no later program of this process can run: the process ends, and the
        watchdog starts another one with the next part.
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
        """Returns the run's environment.json; {} before it is written."""
        path = self.output / ENVIRONMENT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def record(self, **values: Any) -> None:
        """Adds values to the run's environment.json."""
        content = self.environment() | values
        files.write(self.output / ENVIRONMENT, json.dumps(content, indent=1) + "\n")

    def bridge(self) -> str:
        """Returns the first bridge whose results were correct; "ffi" before any was tried."""
        smoke = self.environment().get("bridges", {})
        return next((name for name, found in smoke.items() if found["correct"]), "ffi")

    def prepare(self, entries: list[Entry]) -> list[harness.Prepared]:
        """Compiles the forms of entries in threads. Forms that fail are reported and omitted."""

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
    """Returns why the device cannot run the simplest program, or None if it can."""
    try:
        jax.block_until_ready(jnp.zeros(1) + 1)
    except RuntimeError as error:
        return str(error).splitlines()[0][:300]
    return None


def check_environment(stage: Stage) -> None:
    """Records this machine, and prints the ceilings that rows are divided by."""
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
    """Records whether one bridge can launch kernels."""
    found = smoke(name, stage.size)
    print(f"  {name}: {found}", flush=True)
    stage.record(bridges=stage.environment().get("bridges", {}) | {name: found})
    if name == "torch" and stage.bridge() == "torch":
        print("  no custom call works: only XLA's and PyTorch's forms will be timed", flush=True)


def smoke(name: str, size: str) -> dict:
    """Runs temporal attention through one bridge.

    Returns:
        {"correct": whether the error is below `harness.WRONG`, "error": relative, "wall_ms": of a
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
    """Returns the wall seconds per call, of `calls` calls that are issued together."""
    start = time.perf_counter()
    for _ in range(calls):
        result = run(*arguments)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / calls


def measure_table(name: str, stage: Stage) -> None:
    """Compiles the entries of one table, then times them."""
    rounds, seconds = (5, 0.5) if name == "correctness" else (20, 4.0)
    for prepared in stage.prepare(TABLES[name](stage.size)):
        print(f"  {prepared.suite}/{prepared.workload.name} {prepared.direction}", flush=True)
        if prepared.left_out:
            print(f"  left out, no time to compile: {', '.join(prepared.left_out)}", flush=True)
        _write_rows(stage, harness.time_forms(prepared, stage.ceilings, rounds, seconds), ROWS)


def measure_torch(stage: Stage) -> None:
    """Measures PyTorch's forms of attention beside our kernel."""
    for entry in attention_entries(stage.size, TORCH):
        prepared = harness.prepare(
            entry.suite, entry.workload, entry.direction, entry.impls, stage.until
        )
        _write_rows(stage, harness.time_forms(prepared, stage.ceilings, 20, 4.0), ROWS)


def tune(stage: Stage) -> None:
    """Measures launch parameters of temporal attention at t16, in turns, for each direction."""
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
    """Returns temporal attention with one form for each set of launch parameters.

    A form's name is the JSON of its parameters.
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
}
