"""Measures one case in one direction and builds its result rows. Start reading at `measure`.

`prepare` compiles every form of the case, a way to compute it, and compares its results to the
specification. `time_forms` then times the forms.
"""

import dataclasses
import datetime
import math
import operator
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from benchmarks import device, programs, timing
from benchmarks.suites import load
from benchmarks.workload import CORE, Absent, Cost, Workload
from sora_jax import environment
from sora_jax.errors import UserError

# Relative errors from here on are no longer rounding: those of bfloat16 stay under 0.02.
WRONG = 0.05
CACHES = 4  # all sets of inputs together are this many times as large as the last-level cache
MAX_SETS = 64  # sets of inputs


def plan(
    suites: Sequence[str],
    size: str,
    cases: Sequence[str] | None = None,
    directions: Sequence[str] | None = None,
) -> list[tuple]:
    """Returns (suite, workload, direction) of all measurements, in order.

    The suite "correctness" comes first, with all its cases. Then come the first case of every other
    suite, the second case of every suite, and so on, so that each suite has results whenever time
    ends.

    Args:
        suites: names of the suites.
        size: "tiny", "cpu" or "gpu".
        cases: prefixes of the cases to keep. Default: all cases.
        directions: directions to measure. Default: those of each workload's `costs`.

    Raises:
        UserError: nothing matches.
    """
    entries, known = [], []
    for position, suite in enumerate(suites):
        workloads = load(suite).workloads(size)
        known += [workload.name for workload in workloads]
        workloads = [
            w for w in workloads if cases is None or any(w.name.startswith(case) for case in cases)
        ]
        for number, workload in enumerate(workloads):
            for direction in directions or workload.costs:
                if direction == "forward" or workload.differentiable or direction in workload.costs:
                    entries.append(
                        (
                            0 if suite == "correctness" else 1 + number,
                            position,
                            suite,
                            workload,
                            direction,
                        )
                    )
    if not entries:
        raise UserError(
            f"no case of {', '.join(suites)} fits --case and --direction; cases of size "
            f"{size}: {', '.join(known)}"
        )
    return [entry[2:] for entry in sorted(entries, key=operator.itemgetter(0, 1))]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """The implementations of one case in one direction, compiled and compared to the specification.

    Attributes:
        suite: name of the suite.
        workload: the case.
        direction: "forward", "backward" or "forward_backward".
        input_sets: number of sets of inputs that successive calls use in turns.
        ready: (implementation, program, relative error or None) of each form that can be timed.
        failures: one line for each form that failed or whose results are wrong.
        left_out: names of the implementations that were not started before the deadline.
    """

    suite: str
    workload: Workload
    direction: str
    input_sets: int
    ready: list[tuple]
    failures: list[str]
    left_out: list[str]


def measure(
    suite: str,
    workload: Workload,
    direction: str,
    impls: Sequence[str],
    ceilings: device.Ceilings,
    rounds: int = 30,
    seconds: float = 10.0,
) -> tuple[list[dict], list[str]]:
    """Measures one case in one direction: compiles, checks and times its implementations.

    Rows and failures are also printed.

    Args:
        suite: name of the suite.
        workload: the case.
        direction: "forward", "backward" or "forward_backward".
        impls: names of the implementations.
        ceilings: limits of the device, for the roofline.
        rounds: samples of each form. Default 30.
        seconds: time after which sampling ends early. Default 10.

    Returns:
        (rows, failures): a row (`results.SCHEMA`) for each form that was timed, and a line of text
        for each that failed.
    """
    prepared = prepare(suite, workload, direction, impls)
    return time_forms(prepared, ceilings, rounds, seconds), prepared.failures


def prepare(
    suite: str,
    workload: Workload,
    direction: str,
    impls: Sequence[str],
    until: float = math.inf,
) -> Prepared:
    """Compiles the implementations of a case in one direction and compares their results to the
    specification.

    Several cases may be prepared in threads at the same time, except forms of PyTorch, which need
    to be compiled in a single thread.

    Args:
        suite: name of the suite.
        workload: the case.
        direction: "forward", "backward" or "forward_backward".
        impls: names of the implementations.
        until: `time.monotonic` time after which no form is started. Default: no limit.
    """
    prepared = Prepared(suite, workload, direction, 0, [], [], [])
    forms = []
    for impl in impls:
        try:
            forms += [(impl, form) for form in workload.forms[impl]()]
        except Absent as reason:
            print(f"  {impl:14s} absent: {reason}")
    if not forms:
        return prepared
    if time.monotonic() > until:
        prepared.left_out.extend(impl for impl, _ in forms)
        return prepared
    sets = input_sets(workload)
    reference = programs.reference(workload, direction, sets[0])
    for impl, form in forms:
        if time.monotonic() > until:
            prepared.left_out.append(impl)
            continue
        try:
            program = programs.prepare(workload, form, direction, sets)
            difference = None if impl in CORE else programs.error(reference, program.results())
            if difference is not None and not difference < WRONG:
                raise ValueError(f"wrong by {difference:.2g} of its norm: {program.ran}")
            prepared.ready.append((impl, program, difference))
        except Absent as reason:
            print(f"  {impl:14s} absent: {reason}")
        except Exception as exception:  # one failure must not end the others' measurement
            lines = str(exception).strip().splitlines() or [""]
            where = f"{suite}/{workload.name} {direction} {impl}"
            failure = f"{where}: {type(exception).__name__}: {lines[0][:300]}"
            prepared.failures.append(failure)
            print(f"  {impl:14s} failed: {failure}")
    return dataclasses.replace(prepared, input_sets=len(sets))


def time_forms(
    prepared: Prepared, ceilings: device.Ceilings, rounds: int = 30, seconds: float = 10.0
) -> list[dict]:
    """Times the prepared forms of a case in turns. Returns one row (`results.SCHEMA`) for each
    form; the rows are also printed.

    Args:
        prepared: the compiled forms.
        ceilings: limits of the device, for the roofline.
        rounds: samples of each form. Default 30.
        seconds: time after which sampling ends early. Default 10.
    """
    workload, direction, ready = prepared.workload, prepared.direction, prepared.ready
    by_kernels = workload.timer == "kernels" and device.platform() == "gpu"
    wall, kernels, names = sample(ready, rounds, seconds, by_kernels)
    rows = []
    for i, (impl, program, difference) in enumerate(ready):
        p20, p50, p80 = (1e3 * t for t in timing.percentiles(kernels.get(i, wall[i])))
        minimum = workload.costs.get(direction) or _both(workload, direction)
        row = {
            "suite": prepared.suite,
            "case": workload.name,
            "impl": impl,
            "ran": program.ran,
            "direction": direction,
            "p20_ms": p20,
            "p50_ms": p50,
            "p80_ms": p80,
            "percent_of_roofline": minimum and 1e5 * floor_seconds(minimum, ceilings) / p50,
            "peak_bytes": program.peak_bytes,
            "error": difference,
            "device": device.slug(),
            "commit": environment.commit(),
            "versions": device.versions(),
            "timer": "kernels" if i in kernels else "wall",
            "wall_p50_ms": 1e3 * timing.percentiles(wall[i])[1],
            "kernels": names.get(i),
            "lower_s": program.lower_s,
            "compile_s": program.compile_s,
            "rounds": len(wall[i]),
            "input_sets": prepared.input_sets,
            "bytes": minimum and minimum.bytes,
            "flops": minimum and minimum.flops,
            "ceilings": dataclasses.asdict(ceilings),
            "load": device.load(),
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        if workload.unit:
            row[f"{workload.unit}_per_second"] = 1e3 * workload.items / p50
        rows.append(row)
        print(describe(row), flush=True)
    return rows


def floor_seconds(minimum: Cost, ceilings: device.Ceilings) -> float:
    """Returns the least possible seconds of a case on a device, its roofline: the time to move its
    minimum bytes or to compute its minimum FLOPs, whichever is longer.
    """
    return max(minimum.bytes / ceilings.bandwidth, minimum.flops / ceilings.flops)


def _both(workload: Workload, direction: str) -> Cost | None:
    """Returns the minimum cost of forward and backward together, or None if one is unknown."""
    forward, backward = workload.costs.get("forward"), workload.costs.get("backward")
    if direction != "forward_backward" or forward is None or backward is None:
        return None
    return Cost(forward.bytes + backward.bytes, forward.flops + backward.flops)


def input_sets(workload: Workload) -> list[dict]:
    """Returns the sets of inputs of a case. Successive calls use them in turns, so that no input of
    a call is still in the cache.

    There are 2 to MAX_SETS sets, together CACHES times as large as the last-level cache. They are
    copies of the first. A case whose calls pass on their state (`carry`) has a single set. A case
    whose inputs hold no arrays has two different ones.
    """
    first = workload.inputs(0)
    if workload.carry is not None:
        return [first]
    size = sum(getattr(x, "nbytes", 0) for x in jax.tree.leaves(first))
    if not size:
        return [first, workload.inputs(1)]
    count = min(max(2, math.ceil(CACHES * device.cache_bytes() / size)), MAX_SETS)
    return [first, *(jax.tree.map(jnp.array, first) for _ in range(count - 1))]


def sample(
    ready: Sequence[tuple], rounds: int, seconds: float, with_kernels: bool
) -> tuple[dict, dict, dict]:
    """Takes samples of the times of programs in turns.

    Args:
        ready: (implementation, program, error) of each program.
        rounds: samples of each program.
        seconds: time after which sampling ends early.
        with_kernels: whether to record the times of GPU kernels too.

    Returns:
        (wall, kernels, names), three dicts keyed by the index of a program in `ready`: the wall
        seconds per call of each round, the seconds of GPU kernels per call of each round, and the
        kernels' names. The last two lack programs whose kernel times could not be recorded or are
        not plausible.
    """
    calls = {i: timing.calls_per_sample(program) for i, (_, program, _) in enumerate(ready)}

    def sampler(i: int, measure_one: Callable) -> Callable[[int], float]:
        def measured(number: int) -> float:
            return measure_one(ready[i][1], calls[i], number * calls[i])

        return measured

    wall = timing.interleave({i: sampler(i, timing.wall_sample) for i in calls}, rounds, seconds)
    recorder = timing.kernel_recorder() if with_kernels else None
    names = {}
    if recorder is None or not ready:
        return wall, {}, names

    def kernel_sampler(i: int) -> Callable[[int], float]:
        def one(program: programs.Program, count: int, first: int) -> float:
            spent, names[i] = timing.kernel_sample(recorder, program, count, first)
            return spent

        return sampler(i, one)

    try:
        kernels = timing.interleave({i: kernel_sampler(i) for i in calls}, rounds, seconds)
    except RuntimeError as error:
        print(f"  kernel times cannot be had: {error}")
        return wall, {}, {}
    # A kernel time of zero, or longer than the wall time, is a fault of the recorder.
    trusted = [
        i
        for i in kernels
        if 0 < timing.percentiles(kernels[i])[1] <= 1.05 * timing.percentiles(wall[i])[1]
    ]
    return wall, {i: kernels[i] for i in trusted}, {i: names[i] for i in trusted}


def describe(row: dict) -> str:
    """Returns a result row as one line of text."""
    roofline = (
        ""
        if row["percent_of_roofline"] is None
        else f"{row['percent_of_roofline']:6.1f} % of roofline"
    )
    peak = "" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e6:9.1f} MB"
    error = "" if row["error"] is None else f"error {row['error']:.1e}"
    times = f"{row['p50_ms']:10.4f} ms ({row['p20_ms']:.4f} to {row['p80_ms']:.4f}, {row['timer']})"
    return f"  {row['impl']:14s}{times}{roofline:>24s}{peak:>14s}  {error}  {row['ran'][:120]}"
