"""compile_only: what it reports of a small run on a small slice, and mistakes in one line."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sora_jax import config as config_lib
from sora_jax.errors import UserError
from sora_jax.parallel import topologies
from sora_jax.training import compilation, compilation_report
from sora_jax.training.run import Run

ROOT = Path(__file__).parents[2]
NANO = "--config=experiments/configs/playhouse_nano.py"
needs_libtpu = pytest.mark.skipif(
    not importlib.util.find_spec("libtpu"), reason="libtpu is not installed"
)


def run(*arguments):
    command = [sys.executable, "-m", "experiments.compile_only", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=800)


@pytest.mark.parametrize("topology", ["v9:2x2", "v5e", "v5p:8x8", "v6e:axb"])
def test_an_unknown_topology_names_the_known(topology):
    with pytest.raises(
        UserError,
        match=f"topology={topology} does not exist; known: v5e:AxB .*v5p:AxBxC .*v6e.*tpu7x",
    ):
        topologies.generation(topology)


def test_without_libtpu_the_remedy_is_told(monkeypatch):
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(UserError, match=r"pip install -e '.\[tpu\]'"):
        topologies.devices("v5e:2x2")


def test_a_compiler_that_dies_is_one_line(monkeypatch):
    dying = (
        "import os, sys; print('F0101 x.cc:1] Check failed: a == b', file=sys.stderr, "
        "flush=True); os.abort()"
    )
    real = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **kwargs: real([sys.executable, "-c", dying], **kwargs)
    )
    with pytest.raises(
        UserError,
        match=r"compiler of v5e:2x2 aborted \(signal 6\): .*Check failed: a == b",
    ):
        compilation.in_child(Run(), "v5e:2x2", "train")


@pytest.mark.parametrize(
    "held,said",
    [
        ((4e9, 5e9), "11 fit .*\nfor 512 clips an update: --config.train.batch_size=512 "),
        ((12e9, 15e9), "1 fit"),
        ((12e9, None), "too much with two: 1 fit"),
        ((15e9, None), None),
        ((17e9, 22e9), None),
        ((30e9, 32e9), None),
    ],
)
def test_as_many_clips_as_fit(monkeypatch, held, said):
    """On v5e nine tenths of 16 GB may be held."""
    values = iter(held)

    def compiled(*_):
        if (value := next(values)) is None:
            raise compilation.TooLargeError("out of memory")
        return {"memory": {"held": value}}

    monkeypatch.setattr(compilation, "in_child", compiled)
    run = config_lib.from_dict(Run, {"train": {"batch_size": 512}, "mesh": {"fsdp": 64}})
    if said is None:
        with pytest.raises(UserError, match="one clip on each of 256 batch shards takes"):
            compilation.micro_batch(run, "v5e:16x16")
    else:
        assert re.search(said, compilation.micro_batch(run, "v5e:16x16"))


@pytest.mark.slow
@pytest.mark.parametrize("more", ["--output=r.json", "--program=sample"])
def test_what_a_suggestion_would_pass_over_is_refused(more):
    done = run(NANO, "--topology=v5e:2x2", "--suggest_batch", more)
    assert done.returncode == 2 and "error: --suggest_batch prints how many clips" in done.stderr


MESSAGE = (
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space "
    "hbm. Used 20.10G of 15.75G hbm. "
    "Exceeded hbm capacity by 4.35G."
)


@pytest.mark.parametrize(
    "remat,batch,mesh,remedy",
    [
        ("none", 8, {"data": 2, "fsdp": 2, "seq": 1, "tensor": 1}, "config.model.remat=block"),
        (
            "block",
            8,
            {"data": 2, "fsdp": 2, "seq": 1, "tensor": 1},
            "config.train.batch_size=4 with config.optim.accumulate=2",
        ),
        ("block", 4, {"data": 2, "fsdp": 2, "seq": 1, "tensor": 1}, "config.mesh.fsdp=4"),
        ("block", 4, {"data": 1, "fsdp": 4, "seq": 1, "tensor": 1}, "config.mesh.seq=2"),
    ],
)
def test_out_of_memory_says_how_much_and_what_removes_it(remat, batch, mesh, remedy):
    asked = config_lib.from_dict(Run, {"model": {"remat": remat}, "train": {"batch_size": batch}})
    said = compilation.too_large(MESSAGE, asked, mesh)
    assert (
        said.startswith(
            "out of memory on each device, 20.10GiB of 15.75GiB: 4.35GiB too much; give "
        )
        and remedy in said
    )
    assert compilation.too_large("INTERNAL: something else", asked, mesh) is None


def test_calls_of_kernels_are_counted():
    targets = (
        "triton_kernel_call",
        "triton_kernel_call_ffi",
        "tpu_custom_call",
        "__cudnn$fmhaSoftmax",
        "__cublas$gemm",
        "Sharding",
    )
    text = "\n".join(f'%x = f32[] custom-call(), custom_call_target="{t}"' for t in targets)
    assert len(compilation_report.KERNEL.findall(text)) == 4


@needs_libtpu
@pytest.mark.slow
def test_a_small_run_on_a_small_slice(tmp_path):
    small = [
        "--config.model.depth=2",
        "--config.model.unroll=1",
        "--config.train.batch_size=8",
        "--config.optim.muon=False",
    ]
    done = run(
        NANO,
        *small,
        "--config.mesh.fsdp=2",
        "--config.mesh.seq=2",
        "--topology=v5e:2x2",
        f"--output={tmp_path / 'r.json'}",
    )
    assert done.returncode == 0, done.stderr
    assert "compiled, not run" in done.stdout and "MFU at most" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["devices"] == 4 and report["mesh"] == {
        "data": 1,
        "fsdp": 2,
        "seq": 2,
        "tensor": 1,
    }
    assert report["flops"]["all"] == report["flops"]["without recomputation"] > 0
    assert report["memory"]["held"] + report["memory"]["headroom"] == report["memory"]["device"]
    # Parameters, moments and average over two devices, at four bytes a number.
    assert 4 * 4 * 2.5e6 / 2 < report["memory"]["arguments"] < 4 * 4 * 4.5e6 / 2
    assert (
        report["collectives"]["all-to-all"]["count"] >= 4 * 2
        and report["collectives"]["all-gather"]["sent"] > 0
    )
    assert 0 < report["mfu_bound"] < 1


@pytest.mark.slow
def test_mistakes_are_one_line():
    for arguments, words in (
        ([NANO], "--topology is missing"),
        ([NANO, "--topology=v4:2x2"], "known: v5e"),
        (["--topology=v5e:2x2"], "--config is missing"),
    ):
        done = run(*arguments)
        lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
        assert (
            done.returncode == 2
            and len(lines) == 1
            and words in lines[0]
            and "Traceback" not in done.stderr
        ), done.stderr
