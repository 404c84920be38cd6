"""Benchmark suites, one module each. Each module has a function `workloads(size)` that returns a
list of `Workload`, the most informative ones first.

Sizes are "tiny" (for tests), "cpu" and "gpu" (also for TPUs).
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
    "cross_attention",
    "spatial_attention",
    "playhouse",
)


def load(name: str) -> ModuleType:
    """Returns the module of the suite `name`, of this package."""
    return importlib.import_module(f"benchmarks.suites.{name}")
