"""Suites: a module each, with `workloads(size)` -> list of `Workload`, the most telling first;
sizes are "tiny" (tests), "cpu" and "gpu" (also for TPUs).
"""

import importlib

# In the order in which --suite=all takes them.
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


def load(name: str):
    """The module of a suite."""
    return importlib.import_module(f"benchmarks.suites.{name}")
