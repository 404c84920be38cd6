"""Every kernel of ours on every named workload of its operation, forward and backward, against
float32: a wrong result is an error of the command. The first thing to run on a device; the times
are by the way.
"""

import dataclasses

from benchmarks.suites import load
from benchmarks.suites.ours import CALLS
from benchmarks.workload import Workload

OF = ("temporal_attention", "pointwise")  # where each kernel stands alone


def workloads(size: str) -> list[Workload]:
    found = [only_ours(suite, workload) for suite in OF for workload in load(suite).workloads(size)]
    return [workload for workload in found if workload.forms]


def only_ours(suite: str, workload: Workload) -> Workload:
    costs = {"forward_backward": None}
    forms = {impl: make for impl, make in workload.forms.items() if impl in CALLS}
    return dataclasses.replace(workload, name=f"{suite}/{workload.name}", costs=costs, forms=forms)
