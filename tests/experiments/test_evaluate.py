"""The evaluate command: one clear line for a mistake, and the files that it promises."""

import json
import subprocess
import sys

import pytest

from sora_jax.evaluation import conditions


def run(*flags):
    return subprocess.run(
        [sys.executable, "-m", "experiments.evaluate", *flags],
        capture_output=True,
        text=True,
        timeout=1500,
    )


def test_mistakes_are_one_line_and_status_2(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("kept")
    for flags, words in (
        ((), "--output is missing"),
        # looked at before weights are loaded
        ((f"--output={taken}", f"--weights={taken}"), "cannot write into --output"),
        ((f"--output={tmp_path}", "stray"), "unexpected argument 'stray'"),
        ((f"--output={tmp_path}", f"--weights={taken}"), "not a readable safetensors file"),
        (
            (f"--output={tmp_path}", "--calibrate"),
            "holds no measurement of this version; give a new or empty --output",
        ),
    ):
        done = run(*flags)
        assert done.returncode == 2 and "Traceback" not in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("error: ") and words in last, last
    assert taken.read_text() == "kept" and list(tmp_path.iterdir()) == [taken]


@pytest.mark.slow
def test_calibrate_writes_its_files(tmp_path):
    done = run("--calibrate", "--num_clips=24", "--sheets=1", f"--output={tmp_path}")
    # 1: one clip of 24 under a limit made for many
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
    assert all(
        c in {"ground_truth", "shuffled", "empty", *conditions.KEPT, *conditions.CORRUPTED}
        for of in rows.values()
        for c in of
    )
    assert "![tracked frames](clip-00-tracked.png)" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "clip-00-tracked.png").exists() and (
        tmp_path / "clip-00-onsets.png"
    ).exists()


@pytest.mark.slow
def test_scores_lie_in_their_json(tmp_path):
    done = run(
        "--num_prompts=4", "--steps=2", "--nearest_pool=8", "--sheets=1", f"--output={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    scores = json.loads((tmp_path / "scores.json").read_text())
    wanted = {
        "facts": ("colour", "all", "all_one_ball"),
        "tracker": ("tracked_frames",),
        "sync": ("f1_100ms", "f1_50ms"),
    }
    for suite, metrics in wanted.items():
        for metric in metrics:
            assert set(scores[suite][metric]) == {
                "value",
                "low",
                "high",
                "floor",
                "ceiling",
                "n",
                "unit",
            }
    assert not (tmp_path / "clips").exists()  # kept only while a stopped run may need them
    assert (tmp_path / "clip-00.mp4").exists() and "nearest training scene" in (
        tmp_path / "report.md"
    ).read_text()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    same = run(
        "--num_prompts=4", "--steps=2", "--nearest_pool=8", "--sheets=1", f"--output={tmp_path}"
    )
    assert same.returncode == 0 and same.stdout.startswith("already complete: ")
    other = run(
        "--num_prompts=4", "--steps=3", "--nearest_pool=8", "--sheets=1", f"--output={tmp_path}"
    )
    assert (
        other.returncode == 2
        and "holds another measurement: sampler.steps (2, now 3); give another --output"
        in other.stderr
    )
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
