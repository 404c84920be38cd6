"""Compares every kernel of the project on every named workload, forward and backward, with its
specification in float32.

A wrong result makes the command fail. Run this suite first on a new device. Its timings are a
by-product.
"""

import dataclasses
from typing import Any

from benchmarks.suites import cross_attention, load, pointwise, temporal_attention
from benchmarks.suites.ours import CALLS
from benchmarks.workload import Workload
from kernels.conv_prologue import specs as prologues
from kernels.cross_attention import specs as few_keys
from kernels.gated_norm import specs as norms
from kernels.temporal_attention import specs as temporal

# Suites whose workloads are single kernels.
SOURCES = ("temporal_attention", "cross_attention", "pointwise")
SITES = 256  # largest number of sites in the cases of `varied`
TEMPORAL = ("t16", "t64", "xl", "wide", "t16_shared", "t16_causal", "t16_masked", "t16_f32")
TEMPORAL += ("frame16", "t16_window", "t5_shifted")
CROSS = ("words64", "audio64", "xl", "shots")
PROLOGUES = ("wan_480_full", "wan_704_half")


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    found = [
        only_ours(suite, workload) for suite in SOURCES for workload in load(suite).workloads(size)
    ]
    return [workload for workload in found if workload.forms and workload.differentiable]


def _smaller(spec: Any, **sizes: int) -> Any:
    """Returns the spec with each size in `sizes` limited to that maximum."""
    limited = {name: min(getattr(spec, name), maximum) for name, maximum in sizes.items()}
    return dataclasses.replace(spec, **limited)


def varied() -> list[Workload]:
    """Returns a case for each way that shapes change the code of the Triton kernels, with at most
    SITES sites.
    """
    sites, small = {"S": SITES}, {"H": 64, "W": 64}
    cases = [
        ("temporal_attention", temporal_attention.workload, temporal.SPECS, TEMPORAL, sites),
        ("cross_attention", cross_attention.workload, few_keys.SPECS, CROSS, sites),
        ("pointwise", pointwise.prologue, prologues.SPECS, PROLOGUES, small),
        ("pointwise", pointwise.gate, norms.SPECS, ("t16", "wide"), sites),
    ]
    return [
        only_ours(suite, make(name, _smaller(specs[name], **limits)))
        for suite, make, specs, names, limits in cases
        for name in names
    ]


def only_ours(suite: str, workload: Workload) -> Workload:
    """Returns a workload with only the project's kernels as implementations, measured forward and
    backward. It is named SUITE/NAME.
    """
    costs = {"forward_backward": None}
    forms = {impl: make for impl, make in workload.forms.items() if impl in CALLS}
    return dataclasses.replace(workload, name=f"{suite}/{workload.name}", costs=costs, forms=forms)
