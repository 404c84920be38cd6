r"""Measures time, memory and error of every implementation that this machine can run.

    python -m benchmarks.run --suite=temporal_attention
    python -m benchmarks.run --suite=temporal_attention --impl=triton,xla --case=t16 \
        --direction=forward
    python -m benchmarks.run --suite=all --minutes=10 --resume

The last command measures everything on a GPU, the most informative cases first. Without a GPU, try
--suite=pointwise --size=tiny --output=outputs/bench, which takes about a minute.

A suite has cases (an operation at given shapes), and a case has implementations (--impl).
Implementations of a case are warmed up and timed in turns (A B A B), on several sets of inputs
that together exceed the last-level cache. Each implementation is first compared to the
specification in float32; one with a relative error of 5 % or more is not timed and fails the
command. Implementations that the machine lacks are listed with the reason.

Each row of the output has the times of one call in ms (percentiles 20, 50 and 80), the peak
memory in bytes, the error, the share of the roofline in %, device, commit and versions. It is
appended to the file SUITE.jsonl in --output. `python -m benchmarks.report` makes tables and
plots of the rows, `python -m benchmarks.compare` compares two sets.
"""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks import results
from benchmarks.suites import SUITES
from benchmarks.workload import DIRECTIONS, IMPLEMENTATIONS
from sora_jax import environment
from sora_jax.cli import run_main
from sora_jax.config import nearest
from sora_jax.errors import UserError
from sora_jax.files import check_output

_SUITE = flags.DEFINE_string(
    "suite", None, f"Suites to measure, with commas: {', '.join(SUITES)}; or all. Required."
)
_IMPL = flags.DEFINE_list(
    "impl",
    None,
    f"Implementations to measure, with commas: {', '.join(IMPLEMENTATIONS)}. Default: all that the "
    "machine has.",
)
_CASE = flags.DEFINE_list(
    "case", None, "Measure only cases whose names begin with one of these. Default: all cases."
)
_DIRECTION = flags.DEFINE_list(
    "direction", None, f"{', '.join(DIRECTIONS)}. Default: the directions that each case names."
)
_SIZE = flags.DEFINE_enum(
    "size",
    None,
    ["tiny", "cpu", "gpu"],
    "Shapes of the cases. Default: gpu on an accelerator, else cpu. tiny is for tests.",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the rows. Default: benchmarks/results/DEVICE."
)
_MINUTES = flags.DEFINE_float(
    "minutes",
    None,
    "Start nothing new after this many minutes; finished rows are kept. Default: no limit.",
    lower_bound=0.0,
)
_RESUME = flags.DEFINE_bool(
    "resume", False, "Skip the measurements that --output has rows of, made by this commit."
)
_ROUNDS = flags.DEFINE_integer(
    "rounds", 30, "Largest number of samples of each implementation.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "Seconds of sampling of a case; then fewer rounds are made.", lower_bound=0.0
)


def main(_: Sequence[str]) -> None:
    known = (*SUITES, "all")
    if _SUITE.value is None:
        raise UserError(f"--suite is missing; give one of {', '.join(known)}")
    names = _chosen("suite", _SUITE.value.split(","), known)
    impls = _chosen("impl", _IMPL.value or IMPLEMENTATIONS, IMPLEMENTATIONS)
    directions = _DIRECTION.value and _chosen("direction", _DIRECTION.value, DIRECTIONS)
    # By default JAX preallocates most of a GPU's memory, which would leave too little for PyTorch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    from benchmarks import device, harness  # they load JAX, after the variable is set

    output = check_output("output", _OUTPUT.value or str(results.FOLDER / device.slug()))
    begun = time.monotonic()
    deadline = begun + 60 * _MINUTES.value if _MINUTES.value is not None else math.inf
    size = _SIZE.value or ("cpu" if device.platform() == "cpu" else "gpu")
    todo = harness.plan(SUITES if "all" in names else names, size, _CASE.value, directions)
    done = _done(output, environment.commit()) if _RESUME.value else set()
    ceilings = device.ceilings()
    print(f"{device.slug()}, commit {environment.commit()}, load {device.load()} per core")
    print(
        f"{ceilings.bandwidth / 1e9:.4g} GB/s and {ceilings.flops / 1e12:.3g} TFLOP/s "
        f"({ceilings.source})"
    )
    if ceilings.measured:
        print(
            f"measured now: {ceilings.measured[0] / 1e9:.4g} GB/s and "
            f"{ceilings.measured[1] / 1e12:.3g} TFLOP/s"
        )
    written, failed, skipped, left = 0, [], 0, []
    for suite, workload, direction in todo:
        pending = [
            i
            for i in workload.forms
            if i in impls and (suite, workload.name, i, direction) not in done
        ]
        skipped += len([i for i in workload.forms if i in impls]) - len(pending)
        if not pending:
            continue
        if time.monotonic() > deadline:
            left.append(f"{suite}/{workload.name} {direction}")
            continue
        print(f"\n{suite}/{workload.name}, {direction}", flush=True)
        prepared = harness.prepare(suite, workload, direction, pending, deadline)
        left += [f"{suite}/{workload.name} {direction} {impl}" for impl in prepared.left_out]
        rows = harness.time_forms(prepared, ceilings, _ROUNDS.value, _SECONDS.value)
        for row in rows:
            results.append(output, row)
        written, failed = written + len(rows), failed + prepared.failures
    print(
        f"\n{written} rows into {output} in {(time.monotonic() - begun) / 60:.1f} minutes"
        + f", {skipped} were there" * bool(skipped)
    )
    if left:
        print(
            f"out of time before {len(left)} more: {', '.join(left)}; the same command with "
            "--resume goes on"
        )
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))
    if not written and not skipped and not left:
        remedy = (
            "leave --impl out"
            if _IMPL.value
            else "correctness and kernels need a GPU, a TPU or TRITON_INTERPRET=1"
        )
        raise UserError(
            f"nothing of --impl={','.join(impls)} runs here (the reasons are above); {remedy}"
        )


def _chosen(flag: str, values: Sequence[str], known: Sequence[str]) -> list[str]:
    for value in values:
        if value not in known:
            raise UserError(
                f"--{flag}={value} does not exist; {nearest(value, known)} (there are "
                f"{', '.join(known)})"
            )
    return list(values)


def _done(output: Path, commit: str) -> set[tuple]:
    """Returns (suite, case, impl, direction) of each row in the folder `output` that was measured
    by `commit`.
    """
    rows = results.read(output) if any(output.glob("*.jsonl")) else []
    return {tuple(row[field] for field in results.KEY) for row in rows if row["commit"] == commit}


if __name__ == "__main__":
    run_main(main)
