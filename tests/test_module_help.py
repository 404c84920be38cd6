"""Every module that runs with `python -m` answers --help, and says a mistake in one line.

Those of `experiments` have more tests: `tests/experiments/test_help.py`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNS = '\nif __name__ == "__main__":\n'
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for package in ("benchmarks", "kernels", "sora_jax", "experiments")
    for path in (ROOT / package).rglob("*.py")
    if RUNS in path.read_text(encoding="utf-8")
    and (package != "experiments" or path.stem == "__main__")
    and path.stem != "sora_torch"  # copied beside exported weights, and run there
)


def run(module, *arguments):
    line = [sys.executable, "-m", module, *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_the_modules_are_found():
    assert {"experiments", "sora_jax", "benchmarks.run", "kernels.gpu_graph"} <= set(MODULES)


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("module", MODULES)
def test_help_is_no_error(module, flag):
    done = run(module, flag)
    assert done.returncode == 0 and not done.stderr, done.stderr[-2000:]
    assert "python -m" in done.stdout


@pytest.mark.parametrize(
    "module, arguments",
    [
        ("benchmarks.short_compile", ()),
        ("benchmarks.short_compile", ("decode",)),  # `short_run` alone starts it with a compiler
        ("benchmarks.short_compile", ("no_table",)),
        ("kernels.gpu_graph", ("--json",)),
    ],
)
def test_a_module_for_child_processes_says_whose(module, arguments):
    done = run(module, *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "process" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", ["experiments", "benchmarks.adopt"])
def test_nobody_reads_the_output(module):
    """As in `python -m experiments | true`: nothing is printed, and the status is SIGPIPE's."""
    shell = f"sleep 0.1; {sys.executable} -m {module} --help"
    done = subprocess.run(
        ["bash", "-c", f"({shell}; echo $? >&2) | true"],
        capture_output=True, text=True, cwd=ROOT, timeout=300,
    )  # fmt: skip
    assert done.stderr == "141\n"
