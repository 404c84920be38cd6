"""Compiles Pallas kernels for TPUs that are absent: temporary memory, traffic and static schedules.

    python -m kernels.tpu_schedule
    python -m kernels.tpu_schedule v6e --op=temporal_attention --case=d128 --direction=forward

The first command prints a table: every operation and case (a named workload), forward and
backward, on four generations of TPUs.

libtpu (`pip install -e '.[tpu]'`) compiles for absent chips and can dump its schedule. A bundle is
the set of instructions that the chip issues in one cycle. For a program without branches the number
of bundles is the number of cycles, except for cycles spent waiting for memory. All figures are
*predicted from the static schedule*; none was measured on a TPU. A kernel overlaps transfers with
computation, so the longer of the two is a lower bound on its time. `conv_prologue` loops over rows
within a program, and `cross_attention` does more in the first and the last program of a frame, so
their bundles do not count cycles; the table shows only their traffic and temporaries.
"""

import argparse
import dataclasses
import importlib.util
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jax.core
import jax.extend
import numpy as np
from jax.experimental import topologies

from kernels.tpu_programs import OPS, cases

# Generation -> (smallest topology that libtpu knows, HBM bandwidth of one core in bytes/s as
# published, clock of a core in Hz). The clock is estimated: published peak FLOP/s over the number
# of matrix units. Chips of v5p and tpu7x have two cores, which share the programs.
GENERATIONS = {
    "v5e": ("v5e:2x2", 819e9, 1.5e9),
    "v5p": ("v5p:2x2x1", 2765e9 / 2, 1.75e9),
    "v6e": ("v6e:2x2", 1640e9, 1.75e9),
    "tpu7x": ("tpu7x:2x2x1", 7380e9 / 2, 2.2e9),
}


@dataclasses.dataclass(frozen=True)
class Report:
    """Predicted figures of one kernel compiled for a TPU; none is measured.

    Attributes:
        kernel: name of the kernel.
        bundles: bundles of one program; a bundle is what the chip issues in one cycle.
        programs: number of programs in the kernel's grid.
        temporary_bytes: temporary memory of the whole compiled function.
        moved_bytes: bytes that the kernel moves between HBM and fast memory (VMEM).
    """

    kernel: str
    bundles: int
    programs: int
    temporary_bytes: int
    moved_bytes: int


def compile_here(function, arguments, generation: str) -> list[Report]:
    """Compiles a function for one TPU chip and returns a report of each of its Pallas kernels, in
    order.

    Call it in a process that was started with the variables of `environment`, because libtpu reads
    the path of its dump folder only once, when it is loaded.

    Args:
        function: the function to compile.
        arguments: arrays or shape structs, as a tuple or list of pytrees.
        generation: a key of GENERATIONS.
    """
    directory = Path(os.environ["TPU_SCHEDULE_DIRECTORY"])
    topology = topologies.get_topology_desc(
        platform="tpu", topology_name=GENERATIONS[generation][0]
    )
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])
    arguments = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), arguments
    )
    for file in directory.iterdir():
        file.unlink()
    traced = jax.jit(function).trace(*arguments)
    compiled = traced.lower().compile()
    memory = compiled.memory_analysis()
    temporary = memory.temp_size_in_bytes if memory is not None else 0
    reports = []
    for equation in _pallas_calls(traced.jaxpr):
        mapping, name = equation.params["grid_mapping"], equation.params["name"]
        reports.append(
            Report(
                name, _bundles(directory, name), math.prod(mapping.grid), temporary, _moved(mapping)
            )
        )
    return reports


def environment(directory: str) -> dict[str, str]:
    """Returns the environment variables of a process in which libtpu compiles without a TPU and
    writes its final schedules into `directory`.
    """
    dump = (
        f"--xla_jf_dump_to={directory} --xla_jf_dump_llo_text=true "
        "--xla_jf_dump_llo_pass_label_regex=.*final.*"
    )
    # Several processes may compile at once: without a chip they share nothing.
    offline = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    return {**os.environ, **offline, "LIBTPU_INIT_ARGS": dump, "TPU_SCHEDULE_DIRECTORY": directory}


def _bundles(directory: Path, name: str) -> int:
    """Returns the number of bundles of the kernel `name`, in which the loop over the grid counts
    once, from libtpu's dump in `directory`.
    """
    (file,) = (
        f
        for f in directory.glob("*schedule-analysis_final_bundles.txt")
        if re.search(rf"-{name}(\.\d+)?-\d+-schedule", f.name)
    )
    found = re.search(r"total scheduled bundles:\s*(\d+)", file.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{file} states no number of bundles")
    return int(found[1])


def _pallas_calls(jaxpr):
    for equation in jaxpr.eqns:
        if equation.primitive.name == "pallas_call":
            yield equation
        else:
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                yield from _pallas_calls(inner)


def _moved(mapping) -> int:
    """Returns the bytes that a kernel's pipeline moves between HBM and fast memory.

    A block moves whenever its index differs from that of the previous program. `mapping` is the
    grid mapping of a `pallas_call`.
    """
    total = 0
    for block in mapping.block_mappings:
        array = block.array_aval
        sizes = [
            n if isinstance(n, int) else getattr(n, "block_size", 1) for n in block.block_shape
        ]
        before = None
        for program in np.ndindex(*mapping.grid):
            place = tuple(
                int(i)
                for i in jax.core.eval_jaxpr(
                    block.index_map_jaxpr.jaxpr,
                    block.index_map_jaxpr.consts,
                    *map(np.int32, program),
                )
            )
            if place != before:
                # Of a block that extends beyond the array, only the part inside moves.
                inside = [
                    min(n, whole - i * n)
                    for n, whole, i in zip(sizes, array.shape, place, strict=True)
                ]
                total += math.prod(inside) * array.dtype.itemsize
            before = place
    return total


def predict(case: str, direction: str, generation: str, op: str = "temporal_attention") -> Report:
    """Compiles one kernel for a TPU in a new process and returns its report.

    Args:
        case: name of the workload (`cases`).
        direction: "forward" or "backward".
        generation: a key of GENERATIONS.
        op: name of the operation. Default "temporal_attention".

    Raises:
        RuntimeError: the compiler failed. The message ends with the compiler's output.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [
            sys.executable,
            "-m",
            "kernels.tpu_schedule",
            generation,
            f"--op={op}",
            f"--case={case}",
            f"--direction={direction}",
            "--json",
        ]
        done = subprocess.run(command, env=environment(directory), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{op} {case} {direction} for {generation}: {done.stderr[-3000:]}")
    (report,) = json.loads(done.stdout.splitlines()[-1])
    return Report(**report)


def row(op: str, case: str, direction: str, generation: str) -> str:
    """Compiles one kernel and returns its line of the table that this module prints.

    Args:
        op: name of the operation.
        case: name of its workload (`cases`).
        direction: "forward" or "backward".
        generation: a key of GENERATIONS.
    """
    spec, r = cases(op)[case], predict(case, direction, generation, op)
    _, bandwidth, clock = GENERATIONS[generation]
    *_, units, timed = OPS[op]
    memory = r.moved_bytes / units(spec) / bandwidth
    scheduled, bound = f"{'-':>10}{'-':>10}", "-"
    if timed:
        bundles = r.bundles * r.programs / units(spec)
        scheduled = f"{bundles:10.1f}{bundles / clock * 1e9:10.1f}"
        bound = "memory" if memory > bundles / clock else "compute"
    moved = f"{r.temporary_bytes:12}{r.moved_bytes / spec.array_bytes:8.2f}X{memory * 1e9:10.2f}"
    return f"{op:20}{case:16}{direction:10}{generation:7}{scheduled}{moved}  {bound}"


def main() -> None:
    """Runs the command line of this module: prints memory, traffic and schedule of every kernel."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "generation", nargs="*", help=f"TPU generations: {', '.join(GENERATIONS)}; default: all"
    )
    parser.add_argument("--op", choices=OPS, help="operation; default: all")
    parser.add_argument("--case", help="named workload, such as d128; default: all")
    parser.add_argument("--direction", choices=("forward", "backward"), help="default: both")
    parser.add_argument(
        "--json",
        action="store_true",
        help="internal: compile one program in this process and print its report as JSON",
    )
    flags = parser.parse_args()
    if unknown := set(flags.generation) - set(GENERATIONS):
        parser.error(
            f"no TPU generation {', '.join(sorted(unknown))}; there are {', '.join(GENERATIONS)}"
        )
    ops = [
        op
        for op in ([flags.op] if flags.op else OPS)
        if flags.case is None or flags.case in cases(op)
    ]
    if not ops:
        known = "; ".join(
            f"{op}: {', '.join(cases(op))}" for op in ([flags.op] if flags.op else OPS)
        )
        parser.error(f"no case {flags.case}; there are {known}")
    if importlib.util.find_spec("libtpu") is None:
        parser.error("libtpu, whose compiler is asked, is not installed; pip install -e '.[tpu]'")
    if flags.json:
        if "TPU_SCHEDULE_DIRECTORY" not in os.environ:
            parser.error(
                "--json is for the process that this command starts for each report; leave it out"
            )
        function, arguments = OPS[ops[0]][1](cases(ops[0])[flags.case], flags.direction)
        reports = compile_here(function, arguments, flags.generation[0])
        print(json.dumps([dataclasses.asdict(report) for report in reports]))
        return
    print(
        "predicted, static schedule; clocks estimated; X is the bytes of q or x; ns per site, "
        "token or position, on one core"
    )
    columns = (
        "".join(f"{name:>10}" for name in ("bundles", "compute"))
        + f"{'temporary B':>12}{'moved':>9}{'memory':>10}"
    )
    print(f"{'':53}{columns}")
    for op in ops:
        for case in [flags.case] if flags.case else cases(op):
            for direction in [flags.direction] if flags.direction else ("forward", "backward"):
                for generation in flags.generation or GENERATIONS:
                    print(row(op, case, direction, generation), flush=True)


if __name__ == "__main__":
    main()
