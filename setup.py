"""The wheel's layout: `kernels`, `experiments` and `benchmarks` inside `sora_jax` (decision 0026).

In a checkout, and in an editable install, the three are packages of their own. At the top level of
site-packages their names are not ours: `kernels` is also a package of PyPI.
"""

import re
import shutil
import sys
import warnings
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

INSIDE = ("kernels", "experiments", "benchmarks")
ROOT = Path(__file__).parent
EDITABLE = "editable_wheel" in sys.argv  # pip install -e


def moved(text: str) -> str:
    """Returns Python source with the packages INSIDE as subpackages of `sora_jax`.

    It changes import statements, names of modules in strings and comments, and commands.
    """
    for package in INSIDE:
        entries = (ROOT / package).iterdir()
        modules = {entry.stem for entry in entries if entry.is_dir() or entry.suffix == ".py"}
        named = rf"(?<![\w./]){package}(?=\.(?:(?:{'|'.join(sorted(modules))})\b|\{{))"
        text = re.sub(named, f"sora_jax.{package}", text)
        text = re.sub(rf"(?m)^(\s*from ){package}(?= import\b)", rf"\1sora_jax.{package}", text)
        text = re.sub(rf"(-m ){package}\b", rf"\1sora_jax.{package}", text)
    return text


class BuildPy(build_py):
    """Copies modules as `moved` changes them."""

    def run(self):
        for package in INSIDE:  # of a build before this layout
            shutil.rmtree(Path(self.build_lib) / package, ignore_errors=True)
        super().run()

    def build_module(self, module, module_file, package):
        target, copied = super().build_module(module, module_file, package)
        if not EDITABLE:
            path = Path(target)
            path.write_text(moved(path.read_text(encoding="utf-8")), encoding="utf-8")
        return target, copied


# setuptools warns in every editable install of folders that hide it; here it is the checkout's own.
warnings.filterwarnings("ignore", message="Editable installation")
packages = find_packages(include=["sora_jax", "sora_jax.*"])
inside = find_packages(include=[pattern for name in INSIDE for pattern in (name, f"{name}.*")])
packages += inside if EDITABLE else [f"sora_jax.{name}" for name in inside]
setup(
    packages=packages,
    package_dir={} if EDITABLE else {f"sora_jax.{name}": name for name in INSIDE},
    cmdclass={"build_py": BuildPy},
)
