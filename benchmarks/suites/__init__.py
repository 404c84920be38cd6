"""Benchmark suites, one module each, with `workloads(size)` -> list of `Workload`.

The most informative workloads come first. Sizes are "tiny" (for tests), "cpu" and "gpu" (also
for TPUs).
"""

import importlib
from types import ModuleType

# In the order of --suite=all.
SUITES = (
    "correctness",
    "temporal_attention",
    "vae_conv",
    "pointwise",
    "dit_step",
    "vae_decode",
    "spatial_attention",
    "playhouse",
)


def load(name: str) -> ModuleType:
    """Returns the module of the suite `name`, of this package."""
    return importlib.import_module(f"benchmarks.suites.{name}")
