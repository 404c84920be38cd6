"""`python -m experiments.precompute` on a folder of videos: latents come out, and other videos are
refused before they are cut.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sora_jax import mp4
from sora_jax.clip import Clip
from sora_jax.data.latents import record

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_other_videos_are_refused_before_they_are_cut(tmp_path):
    videos, output = tmp_path / "videos", tmp_path / "latents"
    for i in range(2):
        mp4.write_mp4(
            videos / f"{i}.mp4", Clip(np.full((17, 32, 32, 3), 0.4 * i), np.zeros(34000), 8)
        )

    def run(*more):
        command = [
            sys.executable,
            "-m",
            "experiments.precompute",
            "--source=video_folder",
            f"--path={videos}",
            f"--output={output}",
            *more,
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=900)

    done = run()
    assert done.returncode == 0 and "1 clips in" in done.stdout, done.stderr
    assert record.identity(output)["count"] == 1
    files = lambda: {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    before = files()
    done = run("--fit=letterbox")
    assert done.returncode == 2 and "latents holds latents with set videos_" in done.stderr
    done = run("--fit=letterbox", "--source=playhouse", "--path=")
    assert done.returncode == 2 and "--fit: fit=letterbox: playhouse renders" in done.stderr
    assert files() == before
    shutil.copy(videos / "0.mp4", videos / "9.mp4")
    before = files()
    done = run()
    assert done.returncode == 2 and "latents holds latents with set videos_" in done.stderr, (
        done.stderr
    )
    assert "delete it, or write to another folder" in done.stderr and files() == before


@pytest.mark.slow
def test_a_source_of_ones_own(tmp_path):
    command = [
        sys.executable,
        "-m",
        "experiments.precompute",
        "--import=docs/examples/own_source.py",
    ]
    done = subprocess.run(
        [*command, "--source=sweep", "--num_clips=2", f"--output={tmp_path}/latents"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )
    assert done.returncode == 0 and "2 clips in" in done.stdout, done.stderr
    known = record.identity(tmp_path / "latents")
    assert (known["source"], known["split"], known["count"]) == ("sweep", "train", 2)
    wrong = subprocess.run(
        [*command, "--source=sweet", f"--output={tmp_path}/other"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert wrong.returncode == 2 and "did you mean 'sweep'" in wrong.stderr
