"""experiments/launch/train.sbatch, with a `srun` and a `scontrol` that do what SLURM's do for one
task.
"""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "experiments" / "launch" / "train.sbatch"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_STEP_NODELIST=localhost SLURM_NTASKS=1 SLURM_PROCID=0
export SLURM_LOCALID=0 SLURM_STEP_NUM_NODES=1
exec "$@"
"""


def slurm(folder):
    """A PATH on which SLURM is."""
    for name, text in (("srun", SRUN), ("scontrol", f"#!/bin/bash\necho $@ >>{folder}/requeued\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_RESTART_COUNT": "0",
    }


def submit(tmp_path, python, *flags, **environment):
    (tmp_path / "python").write_text(f"#!/bin/bash\n{python}\n")
    (tmp_path / "python").chmod(0o755)
    environment = slurm(tmp_path) | {"PYTHON": str(tmp_path / "python")} | environment
    done = subprocess.run(
        ["bash", SCRIPT, *flags], env=environment, capture_output=True, text=True, timeout=600
    )
    requeued = tmp_path / "requeued"
    return done, requeued.read_text().split() if requeued.exists() else None


def test_it_is_bash():
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0


@pytest.mark.parametrize(
    ("python", "restarts", "status", "again"),
    [
        ("exit 0", 0, 0, True),  # stopped by SIGTERM
        ("exit 0", 99, 0, True),
        ("exit 75", 0, 0, True),  # another task was lost
        ("kill -9 $$", 0, 0, True),
        ("exit 75", 20, 75, False),
        ("exit 2", 0, 2, False),  # a mistake in the command
        ("exit 1", 0, 1, False),
        ("touch $W/weights.safetensors", 0, 0, False),  # trained
        ("kill -15 $PPID; sleep 0.3", 0, 0, True),  # SIGTERM reaches this shell too: it waits
    ],
)
def test_the_job_queues_itself_again_until_it_is_trained(tmp_path, python, restarts, status, again):
    done, requeued = submit(
        tmp_path,
        python,
        f"--workdir={tmp_path}",
        W=str(tmp_path),
        SLURM_RESTART_COUNT=str(restarts),
    )
    assert (done.returncode, requeued) == (status, ["requeue", "4711"] if again else None), (
        done.stderr
    )


def test_the_command_is_handed_on(tmp_path):
    done, _ = submit(tmp_path, 'printf "%s|" "$@"', "--workdir=/a b", "--config=c.py")
    assert done.stdout.startswith(
        "-m|experiments.train|--coordinator=auto|--workdir=/a b|--config=c.py|"
    )
    done, _ = submit(tmp_path, "exit 0", "--config=c.py")
    assert (done.returncode, done.stdout) == (2, "") and "--workdir=DIR is missing" in done.stderr
