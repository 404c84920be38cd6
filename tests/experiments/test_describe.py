"""The command prints, and a wrong flag ends in one line."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments):
    command = [sys.executable, "-m", "experiments.describe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)


@pytest.mark.slow
def test_a_preset_has_the_format_of_its_name():
    own, nano = run("--preset=S"), run("--preset=S", "--format=nano")
    assert "33 frames" in own.stdout and "17 frames" in nano.stdout


@pytest.mark.slow
def test_a_mesh_is_judged_or_said_not_to_be():
    asked = ("--config=experiments/configs/xl.py", "--config.mesh.fsdp=7")
    assert "the mesh of the config was ignored" in run(*asked).stdout
    judged = run(*asked, "--devices=7")
    assert judged.returncode == 2 and "config.mesh.fsdp=7 does not divide" in judged.stderr


@pytest.mark.parametrize("asked", ["--preset=nano", "--help"])
def test_a_reader_that_leaves_early_is_no_error(asked):
    command = [sys.executable, "-m", "experiments.describe", asked]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        process.stdout.close()
        assert "Traceback" not in (said := process.stderr.read()) and "BrokenPipe" not in said, said
        assert process.wait(600) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    "arguments,words",
    [
        (["--preset=nan"], "did you mean 'nano'"),
        (
            ["--config=experiments/configs/playhouse_nano.py", "--config.model.patch=0"],
            "patch=0; give at least 1",
        ),
    ],
)
def test_errors_are_one_line(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and words in lines[0] and "Traceback" not in done.stderr


MIXTURE = """
from ml_collections import ConfigDict
from experiments.configs import playhouse_nano

def get_config():
    config = playhouse_nano.get_config()
    sets = ({"family": "room"}, {"family": "film", "format": "S", "batch_size": 3})
    config.data = ConfigDict({"sets": sets})
    return config
"""


@pytest.mark.slow
def test_a_set_of_a_mixture_is_described(tmp_path):
    (tmp_path / "mixture.py").write_text(MIXTURE)
    config = f"--config={tmp_path / 'mixture.py'}"
    first, film = run(config).stdout, run(config, "--set=film@S").stdout
    assert first.startswith("set: room@nano\n") and "17 frames" in first
    assert film.startswith("set: film@S\n") and "33 frames" in film and "batch 3" in film
    wrong = run(config, "--set=film")
    assert wrong.returncode == 2 and "--set: the data have no set film" in wrong.stderr, wrong
