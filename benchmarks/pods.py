"""Compiles steps of large models for pods that are absent, for docs/guides/compiled_for_pods.md.

    python -m benchmarks.pods

It writes docs/results/pods.json, from which `python -m benchmarks.documents` fills the table. A
step for absent hardware is compiled by `experiments.compile_only`, in a process of its own; nothing
is run. Each takes minutes on two cores. Steps that the file holds are not compiled again; delete
the file to compile all.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sora_jax import environment, files
from sora_jax.cli import run_main
from sora_jax.errors import UserError

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "docs" / "results" / "pods.json"
CONFIGS = "experiments/configs"
# Arguments of experiments.compile_only, without the folder of the configuration.
STEPS = (
    "xl.py --topology=v5p:8x8x8",
    "xl.py --topology=v6e:16x16",
    "xl.py --topology=v5e:16x16 --config.train.batch_size=256",
    "xl.py --topology=v6e:16x16 --program=sample",
    "dit_14b.py --topology=v5p:8x8x8",
    "xl.py --topology=h200:8 --config.mesh.fsdp=8 --config.train.batch_size=64",
)


def compiled(arguments: str) -> dict[str, Any]:
    """Returns the report of `experiments.compile_only` with one of STEPS.

    Raises:
        UserError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            "-m",
            "experiments.compile_only",
            *shlex.split(f"--config={CONFIGS}/{arguments}"),
        ]
        done = subprocess.run([sys.executable, *command, f"--output={report}"], cwd=ROOT)
        if done.returncode:
            raise UserError(f"{shlex.join(['python', *command])} failed; mend what it says")
        return json.loads(report.read_text(encoding="utf-8"))


def main(_: Sequence[str]) -> None:
    found = json.loads(RESULT.read_text(encoding="utf-8"))["results"] if RESULT.exists() else []
    rows = {row["arguments"]: row for row in found}
    for step in STEPS:
        if step not in rows:
            made = {"arguments": step, "commit": environment.commit(), "report": compiled(step)}
            rows[step] = made
            of_steps = [rows[name] for name in STEPS if name in rows]
            record = environment.record() | {"results": of_steps}
            files.write(RESULT, json.dumps(record, indent=1) + "\n")
    print(RESULT.relative_to(ROOT))


if __name__ == "__main__":
    run_main(main)
