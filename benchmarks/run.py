r"""Measures speed, memory and error of this machine's implementations.

The rows are appended to benchmarks/results/DEVICE.

    python -m benchmarks.run --suite=temporal_attention
    python -m benchmarks.run --suite=temporal_attention --impl=triton,xla --case=t16 \
        --direction=forward
    python -m benchmarks.run --suite=all --minutes=10 --resume

The last command measures everything on a GPU, the most informative cases first.

Implementations of a case are warmed up and measured in turns (A B A B), on inputs rotated past the
last-level cache. Each is compared to the specification in float32; a wrong one is not timed.
Implementations that the machine lacks are listed with the reason.
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
    "suite", None, f"what to measure: {', '.join(SUITES)}, or all; several with commas"
)
_IMPL = flags.DEFINE_list(
    "impl", None, f"only these: {', '.join(IMPLEMENTATIONS)}; by default all that the machine has"
)
_CASE = flags.DEFINE_list("case", None, "only cases whose names begin so")
_DIRECTION = flags.DEFINE_list(
    "direction", None, f"{', '.join(DIRECTIONS)}; by default what the suite is about"
)
_SIZE = flags.DEFINE_enum(
    "size",
    None,
    ["tiny", "cpu", "gpu"],
    "sizes of the cases; by default the machine's; tiny is for tests",
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "folder for the rows; by default benchmarks/results/DEVICE"
)
_MINUTES = flags.DEFINE_float(
    "minutes", None, "begin no form after so long; what was measured is kept", lower_bound=0.0
)
_RESUME = flags.DEFINE_bool("resume", False, "leave out what this commit has rows of in --output")
_ROUNDS = flags.DEFINE_integer("rounds", 30, "samples of each implementation", lower_bound=1)
_SECONDS = flags.DEFINE_float(
    "seconds", 10.0, "go on with fewer samples of a case after so long", lower_bound=0.0
)


def main(_: Sequence[str]) -> None:
    names = _chosen(
        "suite",
        [_SUITE.value] if _SUITE.value is None else _SUITE.value.split(","),
        (*SUITES, "all"),
    )
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


def _chosen(flag: str, values: Sequence[str | None], known: Sequence[str]) -> list[str]:
    for value in values:
        if value is None:
            raise UserError(f"--{flag} is missing; give one of {', '.join(known)}")
        if value not in known:
            raise UserError(
                f"--{flag}={value} does not exist; {nearest(value, known)} (there are "
                f"{', '.join(known)})"
            )
    return list(values)


def _done(output: Path, commit: str) -> set[tuple]:
    """Returns the keys of a commit's rows in `output`."""
    rows = results.read(output) if any(output.glob("*.jsonl")) else []
    return {tuple(row[field] for field in results.KEY) for row in rows if row["commit"] == commit}


if __name__ == "__main__":
    run_main(main)
