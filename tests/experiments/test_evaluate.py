"""The commands evaluate and calibrate: one line for a mistake, and the files that they promise."""

import json
import subprocess
import sys

import pytest

from sora_jax.evaluation.calibrate import conditions_of
from sora_jax.oracles.catalogue import ORACLES


def run(*flags, command="evaluate"):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{command}", *flags],
        capture_output=True,
        text=True,
        timeout=1500,
    )


def test_an_unknown_oracle_is_told_the_nearest(tmp_path):
    done = run(f"--output={tmp_path}", "--oracles=sync,fact", command="calibrate")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.strip() == "error: no oracle 'fact'; did you mean 'facts'?"


@pytest.mark.slow
def test_mistakes_are_one_line_and_status_2(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("kept")
    for flags, words in (
        ((), "--output is missing"),
        # looked at before weights are loaded
        ((f"--output={taken}", f"--weights={taken}"), "--output: cannot write into "),
        ((f"--output={tmp_path}", "stray"), "unexpected argument 'stray'"),
        ((f"--output={tmp_path}", f"--weights={taken}"), "not a readable safetensors file"),
        ((f"--output={tmp_path}", "--suite=fact"), "no suite 'fact'; did you mean 'facts'?"),
        (
            (f"--output={tmp_path}",),
            "holds no measurement of this version; give a new or empty folder",
        ),
    ):
        done = run(*flags)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("error: ") and words in last, last
    assert taken.read_text() == "kept" and list(tmp_path.iterdir()) == [taken]


@pytest.mark.slow
def test_calibrate_writes_its_files(tmp_path):
    # tests/evaluation/test_calibration.py holds the limits, with more clips
    done = run("--num_clips=4", "--sheets=1", f"--output={tmp_path}", command="calibrate")
    # 1: one clip of 4 under a limit made for many
    assert done.returncode in (0, 1) and "ground_truth" in done.stdout
    rows = json.loads((tmp_path / "calibration.json").read_text())
    assert set(rows["tracker"]) >= {
        "ground_truth",
        "blur_1px",
        "noise_10",
        "h264_crf23",
        "shuffled",
        "empty",
    }
    assert set(rows["onsets_audio"]) >= {"ground_truth", "noise_20db", "aac", "shuffled", "empty"}
    assert {name: set(of) for name, of in rows.items()} == {
        name: {c.name for c in conditions_of(oracle)} for name, oracle in ORACLES.items()
    }
    assert "![tracked frames](clip-00-tracked.png)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "clip-00-tracked.png").exists() and (
        tmp_path / "clip-00-onsets.png"
    ).exists()


@pytest.mark.slow
def test_scores_lie_in_their_json(tmp_path):
    small = ["--num_prompts=4", "--batch=4", "--nearest_pool=8", "--sheets=1"]
    done = run(*small, "--steps=2", f"--output={tmp_path}")
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    wanted = {
        "facts": ("colour", "all", "all_one_ball", "tracked_frames"),
        "sync": ("f1_100ms", "f1_50ms"),
        "tokenizers": ("psnr", "tracker_kept"),
    }
    assert set(scores) == set(wanted)
    for suite, metrics in wanted.items():
        for metric in metrics:
            cell = scores[suite][metric]
            assert {"value", "low", "high", "floor", "ceiling", "n", "unit"} <= set(cell)
    assert set(scores["facts"]["all"]["groups"]) == {"balls", "launch"}
    assert (tmp_path / "pictures/facts-model-00.mp4").exists()
    assert "nearest training clip" in (tmp_path / "report.md").read_text()
    before = scores
    same = run(*small, "--steps=2", f"--output={tmp_path}")
    assert same.returncode == 0 and json.loads((tmp_path / "scores.json").read_text()) == before
    other = run(*small, "--steps=3", f"--output={tmp_path}")
    assert other.returncode == 2 and "sampler.steps (2, now 3)" in other.stderr
    assert json.loads((tmp_path / "scores.json").read_text()) == before
