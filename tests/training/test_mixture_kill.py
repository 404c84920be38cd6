"""The real command on a mixture: four families and a folder of videos, in two formats and rates."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from sora_jax import mp4, weights
from sora_jax.clip import Clip
from sora_jax.training import metrics
from sora_jax.tree import flatten

ROOT = Path(__file__).parents[2]
CONFIG = """
from ml_collections import ConfigDict
def get_config():
    model = dict(depth=1, width=24, heads=2, audio_width=16, audio_heads=2, exchange_width=16,
                 exchange_heads=2, text_width=16, text_heads=2, text_layers=1)
    small = dict(height=16, width=16, clips=6)
    sets = (
        dict(family="room", weight=2.0, **small),
        dict(family="court", **small),
        dict(family="film", height=16, width=24, fps=12.0, clips=6),
        dict(family="occlude", **small),
        dict(source="video_folder", path=PATH, height=16, width=24, fps=12.0),
    )
    return ConfigDict(dict(
        model=model, data=dict(sets=sets),
        train=dict(steps=24, batch_size=2, log_every=1, checkpoint_every=3),
    ))
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_mixture_killed_twice_is_the_mixture_that_was_not(tmp_path):
    videos = tmp_path / "videos"
    for i in range(4):  # 2.1 s of 24 x 40 pixels
        frames = np.random.default_rng(i).random((50, 24, 40, 3))
        mp4.write_mp4(videos / f"{i}.mp4", Clip(frames, 0.1 * np.sin(np.arange(33600) / 9), 24))
        (videos / f"{i}.txt").write_text("a clip of noise")
    config = tmp_path / "config.py"
    config.write_text(CONFIG.replace("PATH", repr(str(videos))))

    def start(name):
        command = [sys.executable, "-m", "experiments.train", f"--config={config}"]
        command.append(f"--workdir={tmp_path / name}")
        with (tmp_path / f"{name}.log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)

    def steps(name):
        return len(metrics.read(tmp_path / name / "metrics.jsonl"))

    for at in (5, 14):
        process, deadline = start("cut"), time.monotonic() + 1200
        while steps("cut") < at and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert process.poll() is None, (tmp_path / "cut.log").read_text()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for name in ("cut", "whole"):
        assert start(name).wait() == 0, (tmp_path / f"{name}.log").read_text()

    cut, whole = (
        weights.load_weights(tmp_path / name / "weights.safetensors", "st_dit")
        for name in ("cut", "whole")
    )
    jax.tree.map(np.testing.assert_array_equal, flatten(cut.params), flatten(whole.params))
    rows = metrics.read(tmp_path / "cut" / "metrics.jsonl")
    assert [row["loss"] for row in rows] == [
        row["loss"] for row in metrics.read(tmp_path / "whole" / "metrics.jsonl")
    ]
    sets = whole.metadata["data"]["sets"]
    for name in sets:  # 24 batches of weights 2, 1, 1, 1 and 1
        count = sum(f"{name}/loss" in row for row in rows)
        assert abs(count - 24 * (2 if name.startswith("room") else 1) / 6) <= 2, name
    assert len(sets) == 5 and len(whole.metadata["formats"]) == 2
    assert str(tmp_path) not in str(whole.metadata)
