"""What every command does alike: --import, --version, and the list of commands."""

import json
import subprocess
import sys

import pytest

import sora_jax
from experiments.__main__ import commands
from sora_jax import cli
from sora_jax.errors import UserError
from sora_jax.registry import CONFIGS


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=300
    )


def test_the_commands_are_listed_with_what_they_do():
    done = run("experiments")
    assert done.returncode == 0 and "experiments.sample" in done.stdout
    found = commands()
    assert {"train", "evaluate", "calibrate", "precompute"} <= set(found)
    assert all(text for text in found.values())


def test_version():
    done = run("experiments.describe", "--version")
    assert done.returncode == 0 and done.stdout.startswith(f"sora_jax {sora_jax.__version__}, jax ")


def test_an_import_that_fails_is_one_line(tmp_path):
    (tmp_path / "mine.py").write_text("import math\n\nmath.sqrt('x')\n")
    done = run("experiments.describe", f"--import={tmp_path}/mine.py", "--preset=nano")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "TypeError" in done.stderr and "mine.py, line 3" in done.stderr


@pytest.mark.parametrize(
    ("flag", "wanted"), [("--steps=ten", "a whole number"), ("--guidance=much", "a number")]
)
def test_a_number_that_is_none_is_said_in_plain_words(flag, wanted):
    done = run("experiments.sample", flag)
    value = flag.partition("=")[2]
    said = f"error: flag {flag}: give {wanted}, not {value!r} (--help lists the flags)"
    assert done.returncode == 2 and done.stderr.strip() == said


@pytest.mark.slow
def test_a_registered_configuration_is_given_by_its_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from experiments.configs import playhouse_nano\n"
        "from sora_jax.registry import CONFIGS\n\n"
        "@CONFIGS.register\n"
        "def thin():\n"
        "    config = playhouse_nano.get_config()\n"
        "    config.model.depth = 1\n"
        "    return config\n"
    )
    imported = f"--import={tmp_path}/mine.py"
    done = run("experiments.describe", imported, "--config=thin", "--config.model.width=48")
    assert done.returncode == 0, done.stderr
    assert "1 pairs of width 48" in done.stdout
    wrong = run("experiments.describe", imported, "--config=thn")
    assert wrong.returncode == 2 and "did you mean 'thin'?" in wrong.stderr


def test_an_error_of_a_field_names_the_flag():
    assert cli.message(UserError("it is negative", field="import")) == "--import: it is negative"
    assert cli.message(UserError("it is negative", field="no_such_flag")) == "it is negative"
    assert cli.message(UserError("it is negative")) == "it is negative"


def test_help_names_what_every_command_has():
    done = run("experiments.describe", "--help")
    assert "--import" in done.stdout and "--version" in done.stdout


@pytest.fixture(autouse=True)
def no_leftovers():
    before = dict(CONFIGS)
    yield
    CONFIGS.clear()
    CONFIGS.update(before)


def test_a_measurement_keeps_the_whole_command(tmp_path):
    """The measuring itself is replaced."""
    row = {"size": 64, "family": "room", "index": 0, "psnr": 40.0, "snr": 40.0}
    row |= {"false_alarms": 0, "searches": 0}
    (tmp_path / "measure_marks.py").write_text(
        "import json\nfrom experiments import measure_marks as m\n"
        "from sora_jax.evaluation.marks import PICTURE, SOUND\n"
        "def rows(path, size):\n"
        f"    found = {row} | {{'found': dict.fromkeys([*PICTURE, *SOUND], 'found')}}\n"
        "    path.write_text(json.dumps(found))\n"
        "m._measure = rows\nm.run_main(m.main)\n"
    )
    (tmp_path / "round_trip.py").write_text(
        "from experiments import round_trip as r\n"
        "r.scores_through = lambda *given: {}\nr.run_main(r.main)\n"
    )
    given = {
        "measure_marks": ("--sizes=64", "--keys=3", "--num_clips=1"),
        "round_trip": ("--oracles=lips,words", "--num_clips=3"),
    }
    for name, flags in given.items():
        out = tmp_path / name
        arguments = [str(tmp_path / f"{name}.py"), *flags, f"--output={out}"]
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        (report,) = out.glob("*.json")
        assert json.loads(report.read_text())["command"] == " ".join(["python", *arguments])
        if name == "measure_marks":
            assert "64 px, as published: 100.0% of 1 clips" in done.stdout
