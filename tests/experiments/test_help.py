"""--help of every command: status 0, its docstring, all its flags, and the keys of its config."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sora_jax.evaluation.suites import SUITES
from sora_jax.oracles.catalogue import ORACLES

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "run_main(main)" in path.read_text() and path.stem != "__main__"
)
NANO = "--config=experiments/configs/playhouse_nano.py"


def run(name, *arguments):
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=600,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help_tells_all_and_is_no_error(name):
    done = run(name, "--help")
    assert done.returncode == 0 and not done.stderr, done.stderr
    source = (ROOT / "experiments" / f"{name}.py").read_text()
    source_of_flags = source
    for module in re.findall(r"adopt_module_key_flags\((\w+)\)", source):
        source_of_flags += (ROOT / "experiments" / f"{module}.py").read_text()
    assert (
        done.stdout.startswith(ast.get_docstring(ast.parse(source)).strip())
        and "python -m experiments." in done.stdout
    )
    defined = re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source_of_flags)
    assert defined and all(
        re.search(rf"^  --(\[no\])?{flag}:", done.stdout, re.MULTILINE) for flag in defined
    )
    assert ("--config=FILE --config.train.steps=200" in done.stdout) == ("config" in defined)


def test_help_names_every_suite_and_every_oracle():
    assert set(SUITES) <= set(re.findall(r"\w+", run("evaluate", "--help").stdout))
    assert set(ORACLES) <= set(re.findall(r"\w+", run("calibrate", "--help").stdout))


def test_help_lists_the_keys_of_a_config():
    done = run("describe", NANO, "--config.model.depth=9", "--help")
    assert (
        done.returncode == 0
        and "\n  --config.model.depth=9\n" in done.stdout
        and "\n  --config.optim.lr=0.0" in done.stdout
    )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("train",), "--workdir is missing"),
        (("describe", "--config=absent.py", "--help"), "--config=absent.py: no such file"),
        (("describe", NANO, "--config.model.dept=9", "--help"), "did you mean 'depth'"),
        (("describe", "--batch=9"), "Unknown command line flag 'batch'"),
    ],
)
def test_mistakes_are_one_line(arguments, words):
    done = run(*arguments)
    lines = done.stderr.splitlines()
    assert (
        done.returncode == 2
        and len(lines) == 1
        and lines[0].startswith("error: ")
        and words in lines[0]
    ), done.stderr
