"""The wheel: one name at the top level, and commands that run from it, beside a stranger's
`kernels`.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("sora_jax", "kernels", "experiments", "benchmarks")
FILES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
# A package of another project, as the one of PyPI: it has nothing of ours.
STRANGER = "def get_kernel():\n    return 'a stranger'\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel and a stranger's package `kernels`."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("target")
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--no-index", "-w", str(source / "made"), str(source)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (source / "made").glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(target)
    (target / "kernels").mkdir()
    (target / "kernels" / "__init__.py").write_text(STRANGER)
    return target


def run(installed, *arguments, folder):
    env = {**os.environ, "PYTHONPATH": str(installed), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=env
    )


@pytest.mark.slow
def test_its_top_level_is_one_package_with_all_files(installed):
    names = {p.name for p in installed.iterdir()} - {"kernels"}
    assert {name for name in names if not name.endswith(".dist-info")} == {"sora_jax"}
    inside = installed / "sora_jax"
    for part in ("kernels", "experiments", "benchmarks"):
        ours = {p.relative_to(ROOT) for p in (ROOT / part).rglob("*.py")}
        assert {p.relative_to(inside) for p in (inside / part).rglob("*.py")} == ours
    tuned = {p.name for p in (ROOT / "kernels" / "tuned").rglob("*.json")}
    assert {p.name for p in (inside / "kernels" / "tuned").rglob("*.json")} == tuned
    page = {p.name for p in (ROOT / "sora_jax" / "studio" / "http" / "static").iterdir()}
    assert {p.name for p in (inside / "studio" / "http" / "static").iterdir()} == page
    assert (inside / "shipped" / "nano.safetensors").stat().st_size > 1e6


@pytest.mark.slow
def test_every_module_finds_ours_and_not_the_strangers(installed, tmp_path):
    """All modules that need no further package are imported, in one process with the stranger's."""
    script = (
        "import absl.flags, importlib, pkgutil, sys, kernels\n"
        "import sora_jax\n"
        "for found in pkgutil.walk_packages(sora_jax.__path__, 'sora_jax.'):\n"
        "    if found.name.endswith(('__main__', '.triton', 'registered_config')):\n"
        "        continue\n"
        "    try:\n"
        "        importlib.import_module(found.name)\n"
        "    except absl.flags.DuplicateFlagError:\n"
        "        continue\n"
        "    except ImportError as error:\n"
        "        own = ('sora_jax', 'kernels', 'experiments', 'benchmarks')\n"
        "        assert str(error.name).partition('.')[0] not in own, (found.name, error)\n"
        "assert kernels.get_kernel() == 'a stranger'\n"
        "assert not {'experiments', 'benchmarks'} & set(sys.modules)\n"
        "ours = [name for name in sys.modules if name.startswith('kernels.')]\n"
        "assert not ours, ours\n"
        "from sora_jax.kernels.gated_norm.api import IMPLEMENTATIONS\n"
        "print(IMPLEMENTATIONS['xla'].module)\n"
    )
    done = run(installed, "-c", script, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "sora_jax.kernels.gated_norm.reference"


@pytest.mark.slow
def test_commands_run_from_an_empty_folder(installed, tmp_path):
    command = ["--steps=1", "--prompt=a small red ball", "--output_dir=clips"]
    done = run(installed, "-m", "sora_jax.experiments.sample", *command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(installed, "-m", "sora_jax", "sample", *command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in (tmp_path / "clips").glob("*.mp4"))
    assert names == ["000-a-small-red-ball-seed0-2.mp4", "000-a-small-red-ball-seed0.mp4"]
    listed = run(installed, "-m", "sora_jax", folder=tmp_path).stdout
    assert "python -m sora_jax.experiments.sample" in listed
    helped = run(installed, "-m", "sora_jax", "sample", "--help", folder=tmp_path)
    assert helped.returncode == 0 and "--[no]any_words" in helped.stdout
    assert "python -m sora_jax.experiments.sample --prompt" in helped.stdout
    sweep = f"--sweep={installed}/sora_jax/experiments/sweeps/first.py"
    planned = run(installed, "-m", "sora_jax", "ablate", sweep, "--dry_run", folder=tmp_path)
    assert planned.returncode == 0 and "4 trials" in planned.stdout, planned.stderr
    wrong = run(installed, "-m", "sora_jax", "sampel", folder=tmp_path)
    assert wrong.returncode == 2 and "did you mean 'sample'?" in wrong.stderr


def test_the_same_commands_in_a_checkout(tmp_path):
    done = run(ROOT, "-m", "sora_jax", "describe", "--preset=nano", folder=ROOT)
    assert done.returncode == 0 and "pairs of width" in done.stdout, done.stderr
