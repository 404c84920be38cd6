"""experiments.soak: a run that is killed again and again ends as one that was left alone, and a
difference is seen.
"""

import json
import shlex
import subprocess
import sys
import time

import pytest
from test_train_command import ROOT, command, latents  # noqa: F401


@pytest.mark.slow
def test_a_killed_run_is_the_run_left_alone(tmp_path, latents):  # noqa: F811
    train = [
        flag
        for flag in command(tmp_path, latents, steps=80)[3:]
        if not flag.startswith("--workdir")
    ]
    soak = [
        sys.executable,
        "-m",
        "experiments.soak",
        f"--train={shlex.join(train)}",
        f"--output={tmp_path / 'soak'}",
    ]
    done = subprocess.run(
        [*soak, "--minutes=0.5", "--every=0.25", "--together"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 0
        and "2 kills in 80 steps" in done.stdout
        and "nothing was lost" in done.stdout
    ), done.stdout + done.stderr
    result = json.loads((tmp_path / "soak" / "soak.json").read_text())
    assert result["same"] and result["rows"] == 80 and len(result["kills"]) == 2
    assert (tmp_path / "soak" / "soak.png").stat().st_size > 5000

    killed = tmp_path / "soak" / "killed"
    rows = [json.loads(line) for line in (killed / "metrics.jsonl").read_text().splitlines()]
    rows[7]["loss"] *= 1 + 1e-6
    (killed / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    again = subprocess.run(
        [*soak, "--minutes=0.5", "--every=0.25"], cwd=ROOT, capture_output=True, text=True
    )
    assert (
        again.returncode == 1
        and "80 rows of losses, 1 differ" in again.stdout
        and "THE RUNS DIFFER" in again.stdout
    ), again.stdout + again.stderr


@pytest.mark.slow
def test_stopped_it_leaves_no_run_behind(tmp_path, latents):  # noqa: F811
    train = [
        flag
        for flag in command(tmp_path, latents, steps=2000)[3:]
        if not flag.startswith("--workdir")
    ]
    soak = [
        sys.executable,
        "-m",
        "experiments.soak",
        f"--train={shlex.join(train)}",
        f"--output={tmp_path / 'soak'}",
        "--together",
    ]
    process = subprocess.Popen(soak, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    runs = ["pgrep", "-f", f"experiments.train.*{tmp_path}"]
    for _ in range(600):
        if len(subprocess.run(runs, capture_output=True).stdout.split()) == 2:
            break
        time.sleep(0.1)
    process.terminate()
    assert process.wait(120) == 143 and not subprocess.run(runs, capture_output=True).stdout


def test_mistakes_are_one_line(tmp_path):
    soak = [sys.executable, "-m", "experiments.soak", f"--output={tmp_path}"]
    for flags, said in (([], "give --train"), (["--train=--workdir=x"], "leave it out")):
        done = subprocess.run([*soak, *flags], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
