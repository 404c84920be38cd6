"""docs/examples/consent.py: a character is recorded, refused, granted and restricted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_consent():
    done = subprocess.run(
        [sys.executable, "docs/examples/consent.py"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "recorded @mika of ann, granted to nobody",
        "refused: @mika: @mika is not granted to you; ask its owner",
        "refused: @mika: its owner says 'never says two'; change the prompt",
    ]
