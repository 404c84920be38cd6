"""Stages end in time, leave what was measured, and say in one line what they cannot do."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from benchmarks import results, short_plan
from sora_jax.errors import UserError

ROOT = Path(__file__).parents[2]
LATE = 5.0  # seconds that a stage may take beyond its time


def command(*arguments, **options):
    line = [sys.executable, "-m", "benchmarks.short_run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=900, **options)


def test_all_parts_fit_into_five_and_a_half_minutes():
    assert short_plan.fitting_parts("measure", "gpu", 330.0) == list(short_plan.BUDGETS["measure"])


def test_later_parts_are_left_out_where_time_is_short(capsys):
    fitting = short_plan.fitting_parts("measure", "gpu", 200.0)
    assert fitting[-1] == "attention" and "tuning" not in fitting
    assert "no time for pointwise, tuning, decode, torch" in capsys.readouterr().out


def test_too_little_time_says_what_fits():
    with pytest.raises(UserError, match="environment, bridge ffi, bridge legacy would fit; give 2"):
        short_plan.fitting_parts("measure", "gpu", 40.0)
    with pytest.raises(UserError, match="too little to train; give 1.5 or more"):
        short_plan.fitting_parts("train", "gpu", 40.0)


def test_budgets_fill_the_time():
    names = ["environment", "correctness"]
    budgets = short_plan.scaled_budgets("measure", "gpu", names, 190.0)
    assert budgets == pytest.approx({"environment": 40.0, "correctness": 150.0})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(short_plan.NEEDED, "train", {"no_such_module": "its-package"})
    with pytest.raises(UserError, match="needs its-package; pip install its-package"):
        short_plan.check_packages("train")


def test_a_gpu_without_a_plugin_is_named(monkeypatch):
    class Found:
        returncode, stdout = 0, "NVIDIA H100 80GB HBM3\n"

    monkeypatch.setattr(short_plan.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(short_plan.subprocess, "run", lambda *_, **__: Found)
    monkeypatch.setattr(short_plan.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="no CUDA plugin for the NVIDIA H100 80GB HBM3.*cuda13"):
        short_plan.check_gpu("gpu")


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], "--stage is missing"),
        (["--stage=measure", "--minutes=5"], "--output and --minutes are missing"),
        (["--stage=measure", "--minutes=0.1", "--size=tiny", "--output={}"], "too little"),
        (["--stage=train", "--minutes=0.02", "--size=tiny", "--output={}"], "too little to train"),
    ],
)
def test_mistakes_are_one_line(arguments, words, tmp_path):
    done = command(*(a.format(tmp_path) for a in arguments))
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_folder_of_another_run_is_refused(tmp_path):
    (tmp_path / "measure.json").write_text("{}")
    done = command("--stage=measure", "--minutes=3", "--size=tiny", f"--output={tmp_path}")
    assert done.returncode == 2 and "holds another run of stage measure" in done.stderr


@pytest.mark.parametrize("module", ["short_measure", "short_train"])
def test_stages_do_without_what_a_bare_machine_lacks(module):
    code = f"""
    import sys
    for name in ("av", "grain", "array_record", "tensorflow_datasets", "tensorflow"):
        sys.modules[name] = None
    import benchmarks.{module}
    """
    line = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.alone
def test_measuring_ends_in_time_with_rows(tmp_path):
    minutes, begun = 3.0, time.monotonic()
    flags = [f"--minutes={minutes}", "--size=tiny", f"--output={tmp_path}"]
    done = command("--stage=measure", *flags)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert time.monotonic() - begun < 60 * minutes + LATE
    rows = results.read(tmp_path / "rows.jsonl")
    assert {"correctness", "temporal_attention", "pointwise"} <= {row["suite"] for row in rows}
    assert all(row["error"] < 1e-4 for row in rows)
    smoke = json.loads((tmp_path / "environment.json").read_text())["bridges"]
    assert smoke["ffi"]["right"] and smoke["ffi"]["interpreted"]
    assert len(list(tmp_path.iterdir())) <= 8


@pytest.mark.slow
@pytest.mark.alone
def test_training_ends_in_time_with_weights(tmp_path):
    from sora_jax import weights

    minutes, begun = 3.0, time.monotonic()
    flags = [f"--minutes={minutes}", "--size=tiny", f"--output={tmp_path}"]
    done = command("--stage=train", "--clips=64", *flags)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert time.monotonic() - begun < 60 * minutes + LATE
    found = weights.load_weights(tmp_path / "weights.safetensors", "st_dit")
    rows = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert found.metadata["steps"] == rows[-1]["step"] > 0
    assert found.metadata["data"]["count"] >= 16
    files = list(tmp_path.iterdir())
    assert len(files) <= 8 and all(file.stat().st_size <= 16 * 2**20 for file in files)
