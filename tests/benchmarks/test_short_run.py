"""Stages end in time, leave what was measured, and say in one line what they cannot do."""

import json
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import pytest

from benchmarks import results, short_measure, short_plan, short_train
from benchmarks.suites import temporal_attention
from kernels import triton_call
from sora_jax.errors import UserError

ROOT = Path(__file__).parents[2]
# What both stages leave: at most eight files.
FILES = {"run.log", "environment.json", "measure.json", "rows.jsonl", "tuning.jsonl"}
FILES |= {"train.json", "curve.jsonl", "weights.safetensors"}
LATE = 5.0  # seconds that a stage may take beyond its time


def command(*arguments, **options):
    line = [sys.executable, "-m", "benchmarks.short_run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=900, **options)


def test_all_parts_fit_into_five_and_a_half_minutes():
    assert short_plan.fitting_parts("measure", "gpu", 330.0) == list(short_plan.BUDGETS["measure"])


def test_later_parts_are_left_out_where_time_is_short(capsys):
    fitting = short_plan.fitting_parts("measure", "gpu", 200.0)
    assert fitting[-1] == "attention" and "tuning" not in fitting
    assert "no time for pointwise, tuning, decode, torch, words" in capsys.readouterr().out


def test_too_little_time_says_what_fits():
    with pytest.raises(
        UserError, match="environment, bridge ffi, bridge legacy would fit; give at least 2"
    ):
        short_plan.fitting_parts("measure", "gpu", 40.0)
    with pytest.raises(UserError, match=r"too short to train; give at least 1\.5"):
        short_plan.fitting_parts("train", "gpu", 40.0)


@pytest.mark.parametrize(
    "stage, size", [("measure", "gpu"), ("measure", "tiny"), ("train", "tiny")]
)
def test_the_minutes_that_are_advised_are_enough(stage, size):
    with pytest.raises(UserError) as error:
        short_plan.fitting_parts(stage, size, 2.0)
    advised = re.findall(r"(?:at least|or) ([\d.]+)", str(error.value))
    fitting = [short_plan.fitting_parts(stage, size, 60 * float(minutes)) for minutes in advised]
    assert fitting[-1] == list(short_plan.BUDGETS[stage])


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
    with pytest.raises(UserError, match=r"no CUDA plugin for the NVIDIA H100 80GB HBM3.*cuda13"):
        short_plan.check_gpu("gpu")


@pytest.mark.parametrize(
    "arguments,words",
    [
        ([], "--stage is missing"),
        (["--stage=measure", "--minutes=5"], "--output and --minutes are missing"),
        (
            ["--stage=measure", "--minutes=0.1", "--size=tiny", "--output={}"],
            "too short: no part would fit",
        ),
        (["--stage=train", "--minutes=0.02", "--size=tiny", "--output={}"], "too short to train"),
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


@pytest.mark.slow
def test_a_mistake_that_a_child_finds_is_one_line_and_leaves_the_folder_free(tmp_path):
    stage = ("--stage=train", "--minutes=1", "--size=tiny", f"--output={tmp_path}")
    for _ in range(2):
        done = command(*stage, "--config=no_such.py")
        assert done.returncode == 2 and "error" not in done.stdout
        assert done.stderr.startswith("error: no configuration no_such.py")
        assert len(done.stderr.splitlines()) == 1
        assert {path.name for path in tmp_path.iterdir()} == {"run.log"}


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


def test_each_set_of_parameters_on_trial_is_launched(monkeypatch):
    """jax 0.11 keeps what it traced of a mapped function; a trial needs a function of its own."""
    launched, launch = [], triton_call.Launch.__call__

    def spy(self, *arrays):
        launched.append((self.constants["ROWS"], self.num_warps))
        return launch(self, *arrays)

    monkeypatch.setattr(triton_call.Launch, "__call__", spy)
    tiles = [{"rows": rows, "warps": warps} for rows in (32, 64) for warps in (4, 8)]
    workload = short_measure.tiles_workload(temporal_attention.TINY["tiny"], tiles)
    for make in workload.forms.values():
        (form,) = make()
        with form.tracing():
            jax.jit(form.function).lower(workload.inputs(0))
    assert set(launched) == {(tile["rows"], tile["warps"]) for tile in tiles}


def test_a_device_that_a_kernel_brought_down_ends_the_process(tmp_path, monkeypatch, capsys):
    """Later programs of the process could only fail; the watchdog begins another one."""

    def lost(*_):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    def leave(status):
        raise SystemExit(status)

    monkeypatch.setitem(short_measure.PARTS, "correctness", lost)
    monkeypatch.setattr(short_measure.os, "_exit", leave)
    stage = short_measure.Stage(tmp_path, "tiny", ["correctness"], {"correctness": 1.0})
    with pytest.raises(SystemExit) as fine:
        stage.run()
    monkeypatch.setattr(short_measure.jnp, "zeros", lost)
    with pytest.raises(SystemExit) as dead:
        stage.run()
    assert (fine.value.code, dead.value.code) == (0, short_measure.DEVICE_LOST)
    assert "does not answer after correctness" in capsys.readouterr().out


def test_an_entry_that_cannot_be_prepared_leaves_the_others(tmp_path, monkeypatch):
    entries = short_measure.attention_entries("tiny", ("xla",))

    def prepare(suite, workload, direction, impls, until):
        if direction == "forward":
            raise MemoryError("no room for the inputs")
        return direction

    monkeypatch.setattr(short_measure.harness, "prepare", prepare)
    stage = short_measure.Stage(tmp_path, "tiny", [], {})
    assert stage.prepare(entries) == ["backward"]


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
    assert smoke["ffi"]["correct"] and smoke["ffi"]["interpreted"]
    assert results.read(tmp_path / "tuning.jsonl")
    assert {p.name for p in tmp_path.iterdir()} <= FILES


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
    assert {p.name for p in files} <= FILES
    assert all(file.stat().st_size <= 16 * 2**20 for file in files)


def test_a_stage_that_ends_before_the_first_step_says_so(tmp_path):
    record = short_train.Record(tmp_path, None, {}, {}, {}, (), 100)
    with pytest.raises(UserError, match="no step was taken: the 90 s of the stage were over"):
        record.summary(90.0)
    record.log(50, {"loss": 1.5, "step_seconds": float("nan")})
    assert record.summary(90.0) == "50 steps, loss 1.5000"
