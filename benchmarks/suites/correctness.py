"""Compares every kernel of the project on every named workload, forward and backward, with its
specification in float32.

A wrong result makes the command fail. Run this suite first on a new device. Its timings are a
by-product.
"""

import dataclasses

from benchmarks.suites import load
from benchmarks.suites.ours import CALLS
from benchmarks.workload import Workload

SOURCES = ("temporal_attention", "pointwise")  # suites whose workloads are single kernels


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    found = [
        only_ours(suite, workload) for suite in SOURCES for workload in load(suite).workloads(size)
    ]
    return [workload for workload in found if workload.forms and workload.differentiable]


def only_ours(suite: str, workload: Workload) -> Workload:
    """Returns a workload with only the project's kernels as implementations, measured forward and
    backward. It is named SUITE/NAME.
    """
    costs = {"forward_backward": None}
    forms = {impl: make for impl, make in workload.forms.items() if impl in CALLS}
    return dataclasses.replace(workload, name=f"{suite}/{workload.name}", costs=costs, forms=forms)
