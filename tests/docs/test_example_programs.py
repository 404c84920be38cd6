"""The programs of docs/examples that are called by no other test run as their pages say."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def run(name, *arguments):
    command = [sys.executable, f"docs/examples/{name}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
@pytest.mark.parametrize("name", ["families", "model_figure", "story_in_styles"])
def test_a_figure(name, tmp_path):
    run(name, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert min(image.size) > 300 and len(image.convert("RGB").getcolors(2**24)) > 20


@pytest.mark.slow
def test_losses(tmp_path):
    run("losses", "docs/first_run.jsonl", tmp_path / "losses.png")
    assert (tmp_path / "losses.png").stat().st_size > 10_000


@pytest.mark.slow
def test_consent():
    """A character is recorded, refused, granted and restricted."""
    done = run("consent")
    assert done.stdout.splitlines() == [
        "recorded @mika of ann, granted to nobody",
        "refused: @mika: @mika is not granted to you; ask its owner",
        "refused: @mika: its owner says 'never says two'; change the prompt",
    ]
