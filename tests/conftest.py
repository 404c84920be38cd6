"""Checks shapes in annotations, keeps compiled programs between runs, renders clips for oracles."""

import os
from pathlib import Path

# Workers of pytest share the cores; threads of OpenBLAS that wait for each other take them away.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax
import pytest
from jaxtyping import install_import_hook
from shape_checks import CHECKED_MODULES

# Programs of tests run once, so compiling them takes longer than running them. On a CPU it takes a
# fifth of the time without LLVM's optimisation and without the emitter of fusions through MLIR
# (docs/decisions/0045-tests-compile-fast.md).
QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters",
)
if os.environ.get("JAX_PLATFORMS") == "cpu":
    flags = os.environ.get("XLA_FLAGS", "").split()
    # Once each: workers inherit them, and they are part of the names of compiled programs on disk.
    os.environ["XLA_FLAGS"] = " ".join([*flags, *(flag for flag in QUICK if flag not in flags)])

# Most of the suite's time was compiling the same programs in every run and worker. Commands that
# tests start inherit the folder through the environment. `make clean` empties it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    for name, value in {
        "jax_compilation_cache_dir": str(Path(__file__).parent.parent / "build" / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)

# Before the first import of the package: modules imported earlier stay unchecked.
install_import_hook(CHECKED_MODULES, "shape_checks.check")

from sora_jax.modality import FORMATS  # noqa: E402
from sora_jax.oracles import examples  # noqa: E402


@pytest.fixture(scope="session")
def clips():
    """24 rendered scenes of the val split."""
    return examples.ground_truth("val", range(24), FORMATS["nano"], batch=24)


@pytest.fixture(scope="module", autouse=True)
def forget_compiled():
    """Drops a file's compiled programs after it: a worker grew to 7 GB otherwise."""
    yield
    jax.clear_caches()
