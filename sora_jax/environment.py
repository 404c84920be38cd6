"""Provenance of a measurement: hardware, commit, package versions, command."""

import datetime
import functools
import hashlib
import importlib.metadata
import os
import shlex
import subprocess
import sys
from pathlib import Path

import jax

ROOT = Path(__file__).parents[1]
# True in a checkout: an installed wheel holds the other packages inside this one (setup.py).
CHECKOUT = not Path(__file__).with_name("kernels").is_dir()
PACKAGES = ("jax", "jaxlib", "numpy")


def hardware() -> str:
    """Returns JAX's devices as text: "2 CPU cores", or "8 x TPU v5e" (over all processes)."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        return f"{cores} CPU cores"
    return f"{jax.device_count()} x {device.device_kind}"


@functools.cache
def commit() -> str:
    """Returns the library's git commit, followed by "-dirty" if its files differ from that commit.

    Outside a checkout: SORA_JAX_COMMIT if it is set, else "tree-" and a digest of the library's
    files, so that results of different versions are never confused.
    """

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", *args], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # An installed wheel may lie in the repository of another project.
        at = git("rev-parse", "--short=12", "HEAD") if CHECKOUT else ""
        dirty = at and git("status", "--porcelain", "--", "kernels", "sora_jax", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        at = dirty = ""
    if not at:
        return os.environ.get("SORA_JAX_COMMIT") or f"tree-{_sources_digest()}"
    return at + "-dirty" * bool(dirty)


def _sources_digest() -> str:
    """Returns 12 hex digits of a sha256 over the names and contents of the Python files that can
    affect a measurement.
    """
    digest = hashlib.sha256()
    for folder in ("benchmarks", "kernels", "sora_jax") if CHECKOUT else ("sora_jax",):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Returns {package: version} of those `packages` that are installed. Default: PACKAGES."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command() -> str:
    """Returns the command line of this process, with all flags that were given."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def record() -> dict[str, object]:
    """Returns the provenance of a measurement to store with its results, as JSON values: "command",
    "hardware", "commit", "versions" and "date" (of today).
    """
    return {
        "command": command(),
        "hardware": hardware(),
        "commit": commit(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }
