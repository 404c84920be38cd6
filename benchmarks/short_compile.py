"""`short_run --stage=compile`: compiles every form of stage measure for an H100 that is absent.

The forms have full size. A child process compiles each table, form by form, in one thread. The
seconds estimate the compile time of the stage on a machine with more cores, which compiles
THREADS forms at the same time. cuDNN and PyTorch are omitted: neither compiles without its
device.
"""

import functools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental import topologies

from benchmarks import programs, short_measure
from benchmarks.workload import Absent, Form
from kernels import gpu_graph, target
from sora_jax.errors import UserError

THREADS = 8
TABLES = ("correctness", "attention", "pointwise", "tuning", "decode")


def main(budgets: dict[str, tuple[float, float]]) -> None:
    """Prints a line for each form, and for each table the total next to its time budget."""
    if not gpu_graph.installed():
        raise UserError(
            f"the compiler for GPUs is not in {gpu_graph.folder()}; "
            f"python -m kernels.gpu_graph --install={gpu_graph.folder()} downloads it"
        )
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(gpu_graph.folder()))))
    found = {"JAX_PLATFORMS": "cpu", "TRITON_INTERPRET": "0", "PYTHONPATH": path}
    found["TF_CPP_MIN_LOG_LEVEL"] = "2"  # hides XLA's warning about a missing driver
    print("compiled for one H100, not run")
    for name in TABLES:
        command = [sys.executable, "-m", "benchmarks.short_compile", name]
        child = subprocess.Popen(
            command, env={**os.environ, **found}, stdout=subprocess.PIPE, text=True
        )
        total, forms = 0.0, 0
        for text in child.stdout:
            line = json.loads(text)
            total, forms = total + line["seconds"], forms + 1
            print(f"  {line['form']:76s}{line['seconds']:7.1f} s  {line['calls']}", flush=True)
        if child.wait():
            raise UserError(f"table {name} cannot be compiled; its error is above")
        share = budgets[name][0]
        print(
            f"{name}: {forms} forms in {total:.0f} s; on {THREADS} threads {total / THREADS:.0f} s "
            f"(estimate), of the {share} s that the part has",
            flush=True,
        )


def compile_table(name: str) -> None:
    """Compiles the forms of one table and prints a JSON line for each.

    Must run in a process started as `main` does.
    """
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
    """Compiles one form as `programs.JaxProgram` does, from shapes alone."""
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
    calls = sorted(set(re.findall(r'custom_call_target="([^"]+)"', compiled.as_text())))
    where = f"{entry.suite}/{entry.workload.name} {entry.direction} {impl}"
    return {"form": where, "seconds": time.perf_counter() - start, "calls": ", ".join(calls)}


if __name__ == "__main__":
    compile_table(sys.argv[1])
