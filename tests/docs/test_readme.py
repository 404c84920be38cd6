"""The README's Python runs as it stands."""

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    shutil.copytree(ROOT / "experiments" / "configs", tmp_path / "experiments" / "configs")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(program, names)
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith("True") and "'colour': 'red'" in said
    assert (tmp_path / "outputs/out.mp4").exists() and (
        tmp_path / "outputs/scores/report.md"
    ).exists()
    assert names["scores"]["facts"]["colour"]["n"] > 0
    assert names["pipe"].fingerprints["model"] == names["trained"].fingerprint
