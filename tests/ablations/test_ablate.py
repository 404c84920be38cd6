"""The real command: a study that is killed twice ends as one that was not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_sweep import write_sweep

from sora_jax.training import metrics

ROOT = Path(__file__).parents[2]
EXACT = ("curves", "weights", "flops", "fingerprint")


def command(sweep, workdir, *options):
    files = f"--sweep={sweep}", f"--workdir={workdir}"
    return [sys.executable, "-m", "experiments.ablate", *files, *options]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=ROOT)


def records(workdir):
    found = [json.loads(path.read_text()) for path in workdir.glob("trials/*/trial.json")]
    return {one["fingerprint"]: {name: one[name] for name in EXACT} for one in found}


def steps(workdir):
    rows = (metrics.read(path) for path in workdir.glob("trials/*/run/metrics.jsonl"))
    return sum(int(of[-1]["step"]) for of in rows if of)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_killed_twice_ends_in_its_report(tmp_path):
    sweep = write_sweep(tmp_path, steps=20)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = run(sweep, whole)
    assert done.returncode == 0, done.stderr
    for at in (4, 45):  # in the first trial and in the third
        with (tmp_path / "log").open("a") as log:
            process = subprocess.Popen(command(sweep, cut), stdout=log, stderr=log, cwd=ROOT)
        while steps(cut) < at:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.1)
        process.kill()
        process.wait()
    resumed = run(sweep, cut, "--workers=2")
    assert resumed.returncode == 0, resumed.stderr
    assert records(cut) == records(whole) and len(records(whole)) == 4
    report = (cut / "report.md").read_text()
    assert "Does a second pair of blocks help?" in report
    assert re.search(r"\| depth=1 +\| depth=2 +\| [+-]", report)
    assert {"scores.png", "scores.svg", "curves.png", "curves.svg"} <= set(os.listdir(cut))

    # run again, it trains nothing; without one record, that trial alone
    times = {path: path.stat().st_mtime_ns for path in cut.glob("trials/*/trial.json")}
    assert run(sweep, cut).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    gone, *kept = times
    subprocess.run(["rm", "-r", gone.parent], check=True)
    assert run(sweep, cut).returncode == 0
    assert records(cut) == records(whole)
    assert all(path.stat().st_mtime_ns == times[path] for path in kept)


@pytest.mark.slow
def test_what_failed_is_named_and_the_rest_is_reported(tmp_path):
    trials = 'prod(param("optim.lr", {"slow": 1e-3, "wild": 1e30}), seeds(1))'
    sweep = write_sweep(tmp_path, trials)
    done = run(sweep, tmp_path / "study")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: wild seed 0: step") and "log.txt" in line
    assert "1 of 2 trials are missing" in (tmp_path / "study" / "report.md").read_text()


@pytest.mark.slow
def test_a_killed_trial_is_started_once_more(tmp_path):
    sweep = write_sweep(tmp_path, 'param("model.depth", [1])', steps=300)
    study = tmp_path / "study"
    process = subprocess.Popen(
        command(sweep, study), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    killed = set()
    while len(killed) < 2 and process.poll() is None:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                said, number = path.read_text(), int(path.parent.name)
            except OSError:
                continue
            ours = f"--workdir={study}" in said and "--trial=" in said
            if ours and number not in killed and steps(study) > 2:
                os.kill(number, signal.SIGKILL)
                killed.add(number)
        time.sleep(0.2)
    _, stderr = process.communicate()
    assert process.returncode == 2 and len(killed) == 2
    assert "killed by SIGKILL with" in stderr and "2 times; too little memory?" in stderr
