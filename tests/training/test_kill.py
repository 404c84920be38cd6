"""SIGKILL: a run killed at any step, or while it saves, loses nothing but the steps since its last
whole checkpoint.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_run
from test_fit import losses, same

WIDTH = 1024  # 17 MB of state: a save lasts long enough to be hit
STEPS = 60


def start(workdir):
    return subprocess.Popen(
        [sys.executable, str(Path(toy_run.__file__)), str(workdir), str(STEPS), str(WIDTH)],
        stderr=subprocess.DEVNULL,
    )


def kill_when(process, reached):
    deadline = time.monotonic() + 300
    while not reached() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    alive = process.poll() is None
    os.kill(process.pid, signal.SIGKILL) if alive else None
    process.wait()
    return alive


def unfinished(workdir):
    directory = workdir / "checkpoints"
    return (
        [p.name for p in directory.iterdir() if not p.name.isdigit()] if directory.is_dir() else []
    )


@pytest.mark.slow
def test_killed_at_any_step_and_while_saving(tmp_path):
    whole, whole_data = toy_run.run(tmp_path / "whole", STEPS, WIDTH)
    cut = tmp_path / "cut"
    during_save = 0
    for seed in range(6):
        last = max(losses(cut), default=0)
        if seed % 2:
            at = last + random.Random(seed).randint(1, 9)
            alive = kill_when(start(cut), lambda at=at: max(losses(cut), default=0) >= at)
        else:
            # The step of a save in progress is in the name of its folder, which is not a number
            # until it is whole.
            left = set(unfinished(cut))
            alive = kill_when(start(cut), lambda left=left: set(unfinished(cut)) - left)
            during_save += bool(set(unfinished(cut)))
        if not alive:
            break
    assert during_save, "no kill met a save in progress"
    resumed, resumed_data = toy_run.run(cut, STEPS, WIDTH)
    same(whole, resumed)
    assert whole_data.get_state() == resumed_data.get_state()
    assert losses(cut) == losses(tmp_path / "whole") and sorted(losses(cut)) == list(
        range(1, STEPS + 1)
    )
    assert not unfinished(cut)
