"""The sweeps of the repository can be planned, and their arms cost what they say."""

import subprocess
import sys
from pathlib import Path

import pytest
from toy_latents import write_latents

from sora_jax.ablations import budget, trial
from sora_jax.ablations.sweep import read_sweep
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.families.phyworld import TRAIN

ROOT = Path(__file__).parents[2]
SMALL = """
    "model.width": 32, "model.heads": 2, "model.audio_width": 32, "model.audio_heads": 2,
    "train.batch_size": 2,
"""
SWEEPS = sorted((ROOT / "experiments" / "sweeps").glob("[!_]*.py"))


def test_a_first_sweep_is_short():
    first = (ROOT / "experiments" / "sweeps" / "first.py").read_text()
    assert len(first.splitlines()) <= 15
    assert first in (ROOT / "docs" / "guides" / "ablations.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweeps_are_planned(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # shipped sweeps find their configurations from anywhere
    for split in TRAIN if path.stem == "symmetry" else ():  # needs latents of another tokenizer
        folder = tmp_path / "runs" / "phyworld" / split
        for one in (folder, folder / "val"):
            write_latents(one, FORMATS["phyworld"], 8, split=split)
    sweep = read_sweep(path)
    assert sweep.question.endswith("?") or "?" in sweep.question
    for size in ("", *sweep.sizes):
        trials, notes = trial.plan(sweep, size)
        assert len({one.fingerprint for one in trials}) == len(sweep.trials) and not notes
        off = [one.flops / trials[0].flops - 1 for one in trials]
        if sweep.match:
            assert max(map(abs, off)) <= budget.TOLERANCE, (size, off)


@pytest.mark.slow
def test_a_dry_run_lists_arms_and_trains_nothing(tmp_path):
    text = (ROOT / "experiments" / "sweeps" / "first.py").read_text()
    assert "always={" in text
    sweep = tmp_path / "first.py"
    sweep.write_text(text.replace("always={", f"always={{{SMALL}"))
    command = [sys.executable, "-m", "experiments.ablate", f"--sweep={sweep}", "--dry_run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    header, first, second, total = done.stdout.splitlines()
    assert header.split() == ["arm", "seeds", "steps", "FLOPs", "off", "memory", "s/step", "hours"]
    assert first.split()[:3] == ["depth=1", "2", "50"]
    assert second.split()[:3] == ["depth=2", "2", "50"]
    assert total.startswith("4 trials, ")
