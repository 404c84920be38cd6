"""`short_run --stage=compile`: compiles every program of stage measure for an H100 that is absent.

A table is a group of measurements (TABLES), and a form is one way to compute a workload. The forms
have full size. A child process compiles each table, form by form, in one thread. From its seconds
follows an estimate of the compile time on the GPU's machine, which compiles THREADS forms at the
same time. cuDNN and PyTorch are omitted, because they do not compile without their device.

    python -m benchmarks.short_run --stage=compile
"""

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies

from benchmarks import programs, results, short_measure
from benchmarks.workload import Absent, Form
from kernels import gpu_graph, target
from sora_jax.errors import UserError

THREADS = 8
TABLES = ("correctness", "attention", "pointwise", "tuning", "decode", "words")


def main(budgets: dict[str, tuple[float, float]]) -> None:
    """Compiles all TABLES. Prints the seconds of each form, and of each table in total, beside the
    seconds that it may take.

    `budgets` are {table: (seconds of full size, seconds of size tiny)}. Raises UserError if the
    compiler for GPUs is not installed, or a form cannot be compiled.
    """
    if not gpu_graph.installed():
        raise UserError(
            f"the compiler for GPUs is not in {gpu_graph.folder()}; "
            f"python -m kernels.gpu_graph --install={gpu_graph.folder()} downloads it"
        )
    print("compiled for one H100, not run")
    for name in TABLES:
        seconds = compile_in_child(name)
        total, share = sum(seconds), budgets[name][0]
        print(
            f"{name}: {len(seconds)} forms in {total:.0f} s; on {THREADS} threads "
            f"{total / THREADS:.0f} s (estimate), of the {share} s that the part has",
            flush=True,
        )


def compile_in_child(name: str) -> list[float]:
    """Compiles the table `name` in a child process that has the compiler for GPUs. Prints a line
    for each form.

    Returns:
        The seconds of each form.

    Raises:
        UserError: a form cannot be compiled.
    """
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(gpu_graph.folder()))))
    found = {"JAX_PLATFORMS": "cpu", "TRITON_INTERPRET": "0", "PYTHONPATH": path}
    command = [sys.executable, "-m", "benchmarks.short_compile", name]
    seconds = []
    # XLA warns on stderr that there is no driver, so stderr is shown only after a failure.
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            command, env={**os.environ, **found}, stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert child.stdout is not None  # it is a pipe
        for text in child.stdout:
            line = json.loads(text)
            seconds.append(line["seconds"])
            print(f"  {line['form']:76s}{line['seconds']:7.1f} s  {line['calls']}", flush=True)
        if child.wait():
            log.seek(0)
            print(log.read(), file=sys.stderr)
            raise UserError(f"table {name} cannot be compiled; its error is above")
    return seconds


def compile_table(*names: str) -> None:
    """Compiles the forms of one table in this process. Prints a JSON line for each.

    `names` is the name of the table alone.

    Raises:
        UserError: the process was not started by `compile_in_child`.
    """
    plugin = f"jax_cuda{gpu_graph.cuda_version()}_plugin"
    if len(names) != 1 or names[0] not in TABLES or importlib.util.find_spec(plugin) is None:
        raise UserError(
            "this module compiles one table for the process that starts it; "
            "give python -m benchmarks.short_run --stage=compile"
        )
    (name,) = names
    with target.assume(target.Target("gpu", "NVIDIA H100 80GB HBM3", 90)):
        if name == "tuning":
            spec = short_measure.temporal.SPECS["t16"]
            workload = short_measure.tiles_workload(spec, short_measure.TILES)
            ways = ("forward", "backward")
            entries = [
                short_measure.Entry(name, workload, way, tuple(workload.forms)) for way in ways
            ]
        else:
            entries = short_measure.TABLES[name]("gpu")
        for entry in entries:
            for impl in entry.impls:
                if impl.startswith("cudnn") or impl not in entry.workload.forms:
                    continue
                try:
                    forms = entry.workload.forms[impl]()
                except Absent:
                    continue
                for form in forms:
                    print(json.dumps(_compile(entry, impl, form)), flush=True)


def _compile(entry: short_measure.Entry, impl: str, form: Form) -> dict:
    """Compiles one form as `programs.JaxProgram` does, but from the shapes of its inputs alone.

    Args:
        entry: the case and the direction.
        impl: name of the implementation.
        form: its form.

    Returns:
        {"form": its name, "seconds", "calls": names of the custom calls in the program}.
    """
    described = topologies.get_topology_desc(
        platform="cuda", target_config=gpu_graph.H100, topology="1x1x1"
    )
    sharding = jax.sharding.SingleDeviceSharding(described.devices[0])
    given = jax.eval_shape(functools.partial(entry.workload.inputs, 0))
    differentiable, rest = programs.split(entry.workload, given)

    def results(differentiable: dict, rest: dict) -> Any:
        return form.function({**rest, **differentiable})

    def save(differentiable: dict, rest: dict) -> tuple:
        return jax.vjp(functools.partial(results, rest=rest), differentiable)

    def pull_back(pull: Callable, cotangents: Any) -> Any:
        return pull(cotangents)[0]

    start = time.perf_counter()
    with form.tracing():
        cotangents = None
        if entry.direction != "forward":
            shapes = jax.eval_shape(results, differentiable, rest)
            cotangents = jax.eval_shape(functools.partial(programs.cotangents_like, shapes))
        if entry.direction == "backward":
            pull = jax.eval_shape(save, differentiable, rest)[1]
            function, arguments = pull_back, (pull, cotangents)
        else:
            function = programs.directed(results, entry.direction)
            arguments = (differentiable, rest, cotangents)
        placed = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), arguments
        )
        # XLA chooses among its Triton matrix products by timing them, which needs a GPU.
        options = {"xla_gpu_enable_triton_gemm": False, **form.compiler_options}
        compiled = jax.jit(function).lower(*placed).compile(options)
    calls = sorted(set(re.findall(r'custom_call_target="([^"]+)"', compiled.as_text() or "")))
    where = f"{entry.suite}/{entry.workload.name} {entry.direction} {impl}"
    return {"form": where, "seconds": time.perf_counter() - start, "calls": ", ".join(calls)}


if __name__ == "__main__":
    sys.exit(results.command(__doc__, compile_table, sys.argv[1:]))
