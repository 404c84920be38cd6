r"""Run an ablation: train the arms of a sweep over several seeds, and report how they differ.

    python -m experiments.ablate --sweep=experiments/sweeps/first.py --workdir=runs/first
    python -m experiments.ablate --sweep=experiments/sweeps/attention.py --dry_run
    python -m experiments.ablate --sweep=experiments/sweeps/attention.py --workdir=runs/attention \
        --workers=2 --memory_gib=20
    python -m experiments.ablate --sweep=experiments/sweeps/attention.py --size=gpu \
        --workdir=runs/attention_gpu --slurm=attention.sbatch

A sweep is a Python file with get_sweep(), which says how configurations are varied; the docstring
of sora_jax/ablations/sweep.py explains it. An arm is one variant of the configuration, and a trial
is the training of one arm with one seed. Each trial trains in a process of its own, in
WORKDIR/trials/FINGERPRINT. The same command continues a stopped study and runs only the trials
that are missing. A trial that is killed is started once more. Trials of a published study (a
folder beside the sweep file) count as done.

At the end the report is in WORKDIR/report.md (`experiments.report`). --dry_run lists the trials
with their cost, and trains nothing.
"""

import os
import shlex
import sys
from collections.abc import Sequence

from absl import flags

from sora_jax import files
from sora_jax.ablations import runner, trial
from sora_jax.ablations.dry_run import table
from sora_jax.ablations.report import write_report
from sora_jax.ablations.study import open_study, read_trial
from sora_jax.ablations.sweep import read_sweep
from sora_jax.cli import import_flags, run_main
from sora_jax.errors import UserError

_SWEEP = flags.DEFINE_string("sweep", None, "Sweep file, such as experiments/sweeps/first.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the study: new, or a stopped one.")
_SIZE = flags.DEFINE_string("size", "", "Size of the sweep, such as gpu. Default: as it stands.")
_WORKERS = flags.DEFINE_integer("workers", 1, "Trials at a time.", lower_bound=1)
_MEMORY = flags.DEFINE_float(
    "memory_gib", None, "GiB for all trials at a time. Default: no limit.", lower_bound=0.1
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "List trials, FLOPs, memory and hours; train none.")
_SLURM = flags.DEFINE_string(
    "slurm", None, "Write a SLURM job array that runs the missing trials, instead of running them."
)
_TRIAL = flags.DEFINE_string(
    "trial", None, "Run one trial of a begun study, by its fingerprint; a job of --slurm does."
)
_WITH_PARENT = flags.DEFINE_bool(
    "with_parent", False, "End when stdin closes; with --trial, for the process of a study."
)


def main(_: Sequence[str]) -> None:
    if _DRY_RUN.value:
        trials, notes = trial.plan(read_sweep(_given("sweep", _SWEEP.value)), _SIZE.value)
        print("\n".join([table(trials), *(f"note: {note}" for note in notes)]))
        return
    folder = files.user_path(_given("workdir", _WORKDIR.value))
    if _TRIAL.value:
        if _WITH_PARENT.value:
            runner.end_with_parent()
        trial.run_trial(read_trial(folder, _TRIAL.value), folder)
        return
    # The trials share the device with this process.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    study, trials, notes = open_study(_given("sweep", _SWEEP.value), folder, _SIZE.value)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    missing = runner.missing(trials, folder)
    for one in {one.data: one for one in missing}.values():
        trial.prepare(one, folder)
    if _SLURM.value:
        files.write(_SLURM.value, _array([_command(one) for one in missing]))
        print(f"{len(missing)} trials: sbatch {_SLURM.value}")
        return
    memory = _MEMORY.value and _MEMORY.value * runner.GIB
    failed = runner.run_trials(
        trials, folder, lambda one: [*_command(one), "--with_parent"], _WORKERS.value, memory
    )
    if study.records():
        print(write_report(study, folder)[0])
    if failed:
        raise UserError("; ".join(f"{name}: {reason}" for name, reason in failed.items()))


def _given(name: str, value: str | None) -> str:
    if not value:
        raise UserError(f"--{name} is missing; see python -m experiments.ablate --help")
    return value


def _command(one: trial.Trial) -> list[str]:
    options = [f"--workdir={files.user_path(_WORKDIR.value or '')}", f"--trial={one.fingerprint}"]
    return [sys.executable, "-m", "experiments.ablate", *import_flags(), *options]


def _array(commands: Sequence[Sequence[str]]) -> str:
    """Returns a SLURM script with one job for each command."""
    jobs = [f"    {i}) {shlex.join(command)} ;;" for i, command in enumerate(commands)]
    head = ["#!/bin/bash", f"#SBATCH --array=0-{len(commands) - 1}"]
    return "\n".join([*head, "case $SLURM_ARRAY_TASK_ID in", *jobs, "esac", ""])


if __name__ == "__main__":
    run_main(main)
