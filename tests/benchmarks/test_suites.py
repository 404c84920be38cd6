"""Every suite runs at a tiny size on a CPU, and what is wrong, absent or misspelt is said."""

import dataclasses
import subprocess
import sys
import types
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks import device, harness, results
from benchmarks.suites import SUITES, attention, load
from benchmarks.workload import IMPLEMENTATIONS, Absent, Cost, Form, Workload
from kernels.temporal_attention import reference
from kernels.temporal_attention.specs import Windows
from sora_jax.errors import UserError

ROOT = Path(__file__).parents[2]
# Suites whose programs take more than seconds to compile.
LONG = ("dit_step", "correctness", "pointwise", "spatial_attention", "cross_attention")
CEILINGS = device.Ceilings(1e10, 1e11, "made up")


@pytest.fixture(autouse=True)
def small_cache(monkeypatch):
    monkeypatch.setattr(device, "cache_bytes", lambda: 1)


def measure(suite, workload, direction, impls, **options):
    return harness.measure(
        suite, workload, direction, impls, CEILINGS, **{"rounds": 2, "seconds": 0.0, **options}
    )


# "xla" everywhere; our kernels, in Triton's interpreter, where they are what it is about.
@pytest.mark.parametrize(
    "suite",
    [pytest.param(s, marks=pytest.mark.slow if s in LONG else ()) for s in SUITES],
)
def test_a_suite_runs(suite, tmp_path):
    workloads = load(suite).workloads("tiny")
    impl = "triton" if suite == "correctness" else "xla"
    for _, workload, direction in harness.plan([suite], "tiny"):
        rows, failures = measure(suite, workload, direction, [impl])
        assert not failures and [row["impl"] for row in rows] == [impl]
        for row in rows:
            results.append(tmp_path, row)
    read = results.read(tmp_path)
    assert {row["case"] for row in read} == {workload.name for workload in workloads}
    for row in read:
        assert list(row)[: len(results.SCHEMA)] == list(results.SCHEMA)
        assert 0 < row["p20_ms"] <= row["p50_ms"] <= row["p80_ms"]
        assert (
            row["device"] == "cpu"
            and row["ran"]
            and row["versions"]["jax"]
            and row["timer"] == "wall"
        )
        assert row["error"] is None if suite == "playhouse" else row["error"] < 1e-4
        assert (row["percent_of_roofline"] is None) == (suite in ("playhouse", "correctness"))


def test_windows_as_rows_of_a_library():
    windows = Windows((2, 2, 1), 4)
    layout = attention.Layout("time", windows=windows)
    x = jnp.arange(2 * 4 * 8).reshape(2, 4, 8, 1, 1)
    rows = layout.rows(x)
    tokens, divided = windows.tokens, reference.divide(x, windows, None)
    assert (rows == jnp.swapaxes(divided, 1, 2).reshape(-1, tokens, 1, 1)).all()
    assert (layout.back(rows, x.shape) == x).all()


def test_all_suites_have_cases_for_a_gpu_and_known_implementations():
    for suite in set(SUITES) - {"dit_step"}:  # which counts its FLOPs by tracing large models
        for workload in load(suite).workloads("gpu"):
            assert set(workload.forms) <= set(IMPLEMENTATIONS)


def test_the_order_tells_most_first():
    order = [
        (suite, workload.name)
        for suite, workload, _ in harness.plan(
            ["correctness", "temporal_attention", "pointwise"], "gpu"
        )
    ]
    suites = [suite for suite, _ in order]
    assert "correctness" not in suites[suites.count("correctness") :]
    rest = list(dict.fromkeys(order[suites.count("correctness") :]))
    assert rest[:4] == [
        ("temporal_attention", "t16"),
        ("pointwise", "conv_prologue_wan_480_full"),
        ("temporal_attention", "t8"),
        ("pointwise", "gated_norm_t16"),
    ]
    with pytest.raises(UserError, match="no case"):
        harness.plan(["pointwise"], "tiny", cases=["nothing"])


def scaling(*forms, reference=lambda x: {"y": 2 * x["x"]}):
    costs = {"forward": Cost(8000, 0)}
    return Workload(
        "scaling",
        costs,
        lambda seed: {"x": jnp.arange(1.0, 1001.0)},
        reference,
        dict(forms),
        differentiable=("x",),
    )


def test_a_wrong_result_is_a_failure_and_not_timed():
    wrong = ("xla", lambda: [Form("wrong", lambda x: {"y": 2.2 * x["x"]})])
    nan = ("xla_best", lambda: [Form("nan", lambda x: {"y": jnp.nan * x["x"]})])
    right = ("triton", lambda: [Form("right", lambda x: {"y": x["x"] + x["x"]})])
    for direction in ("forward", "backward", "forward_backward"):
        rows, failures = measure(
            "scaling", scaling(wrong, nan, right), direction, ["xla", "xla_best", "triton"]
        )
        assert [row["impl"] for row in rows] == ["triton"] and rows[0]["error"] == 0
        assert len(failures) == 2 and all("wrong by" in failure for failure in failures)


def test_what_is_absent_is_named_with_its_reason(capsys):
    def absent():
        raise Absent("not installed; pip install it")

    fallback = (
        "cudnn",
        lambda: [Form("said to be a kernel", lambda x: {"y": 2 * x["x"]}, expects="cudnn")],
    )
    rows, failures = measure(
        "scaling", scaling(("tokamax", absent), fallback), "forward", ["tokamax", "cudnn"]
    )
    said = capsys.readouterr().out
    assert (
        not rows
        and not failures
        and "absent: not installed; pip install it" in said
        and "no cudnn call" in said
    )


def test_a_deadline_is_looked_at_between_forms(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(harness, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    forms = [
        (name, lambda: [Form("right", lambda x: {"y": 2 * x["x"]})])
        for name in ("xla", "xla_best", "triton")
    ]
    names = [name for name, _ in forms]
    prepared = harness.prepare("scaling", scaling(*forms), "forward", names, until=2)
    assert [impl for impl, _, _ in prepared.ready] == ["xla", "xla_best"] and prepared.left_out == [
        "triton"
    ]
    late = harness.prepare("scaling", scaling(*forms), "forward", names, until=2)
    assert not late.ready and late.left_out == names


def test_percent_of_roofline_and_state_that_is_handed_on():
    counter = dataclasses.replace(
        scaling(
            ("xla", lambda: [Form("count", lambda x: {"n": x["n"] + 1, "y": x["n"] * 1.0})]),
            reference=lambda x: {"y": x["n"] * 1.0},
        ),
        inputs=lambda seed: {"n": jnp.zeros((), jnp.int32)},
        differentiable=(),
        carry="n",
        costs={"forward": Cost(10**7, 10**9)},
    )
    (row,), failures = measure("scaling", counter, "forward", ["xla"])
    assert not failures and row["error"] == 0 and row["input_sets"] == 1
    # 1e9 FLOPs at 1e11/s are 10 ms, 1e7 bytes 1 ms
    assert row["percent_of_roofline"] == pytest.approx(100 * 10 / row["p50_ms"])


def command(*arguments):
    line = [sys.executable, "-m", "benchmarks.run", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=600)


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--suite=pointwize"], "did you mean 'pointwise'"),
        (["--suite=pointwise", "--impl=cudn"], "did you mean 'cudnn'"),
        (["--suite=pointwise", "--direction=sideways"], "--direction=sideways"),
        ([], "--suite is missing"),
    ],
)
def test_errors_are_one_line(arguments, words):
    done = command(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_command_writes_as_it_goes_and_resumes(tmp_path):
    line = [
        "--suite=playhouse",
        "--case=draw",
        "--size=tiny",
        "--rounds=1",
        "--seconds=0",
        f"--output={tmp_path}",
        "--resume",
    ]
    late = command(*line, "--minutes=0")
    assert (
        late.returncode == 0
        and "out of time before 1 more: playhouse/draw" in late.stdout
        and not list(tmp_path.iterdir())
    )
    first, second = command(*line), command(*line)
    assert (
        "1 rows" in first.stdout and "0 rows" in second.stdout and "1 were there" in second.stdout
    ), first.stderr
    assert len(results.read(tmp_path)) == 1
    absent = command(*line, "--impl=cudnn")
    assert absent.returncode == 2 and "error: nothing of --impl=cudnn" in absent.stderr
