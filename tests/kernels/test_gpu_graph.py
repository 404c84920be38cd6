"""Kernels and bytes of XLA's compiled graphs for an H200 that is absent: ours move what they must,
and XLA no more than it did.
"""

import functools
import importlib

import pytest

from kernels import gpu_graph

predict = functools.cache(gpu_graph.predict)
needs_compiler = pytest.mark.skipif(
    not gpu_graph.installed(),
    reason="no CUDA plugin; python -m kernels.gpu_graph --install=build/gpu_compiler downloads it",
)


def test_counts_by_hand():
    text = """HloModule m
ENTRY %main (a: bf16[4,8], b: f32[8]) -> (f32[4,8], f32[8]) {
  %b = f32[8]{0} parameter(1)
  %a = bf16[4,8]{1,0} parameter(0)
  %fusion.1 = f32[4,8]{1,0} fusion(%a, %b), kind=kLoop, calls=%f
  %call.2 = (f32[8]{0}, s8[1024]{0}) custom-call(%fusion.1, %fusion.1, /*index=2*/%b), custom_call_target="conv"
  %part = f32[8]{0} get-tuple-element(%call.2), index=0
  ROOT %tuple = (f32[4,8]{1,0}, f32[8]{0}) tuple(%fusion.1, %part)
}
"""  # noqa: E501
    first, second = 64 + 32 + 128, 128 + 32 + 32
    assert gpu_graph.read(text) == gpu_graph.Graph(2, first + second)


# Bytes over the least, and kernels: partial sums over programs are added up by XLA, and angles and
# rows of modulation are made ready by it.
OURS = {
    ("temporal_attention", "t16", "forward"): (1.01, 2),
    ("temporal_attention", "t16_shared", "forward"): (1.01, 2),
    ("temporal_attention", "t16", "jvp"): (1.01, 2),
    ("temporal_attention", "t16_shared", "jvp"): (1.01, 2),
    ("temporal_attention", "xl", "backward"): (1.1, 5),
    ("temporal_attention", "frame16", "forward"): (1.01, 2),
    ("temporal_attention", "frame16", "backward"): (1.05, 5),
    ("temporal_attention", "t16_window", "forward"): (1.05, 2),
    ("temporal_attention", "t16_window", "backward"): (1.05, 5),
    ("temporal_attention", "t5_shifted", "forward"): (1.1, 3),
    ("cross_attention", "words64", "forward"): (1.05, 2),
    ("cross_attention", "words64", "backward"): (1.5, 6),
    ("cross_attention", "xl", "forward"): (1.05, 2),
    ("cross_attention", "xl", "backward"): (1.5, 6),
    ("conv_prologue", "wan_480_full", "forward"): (1.01, 1),
    ("conv_prologue", "wan_480_full", "backward"): (1.02, 3),
    ("gated_norm", "t16", "forward"): (1.01, 4),
    ("gated_norm", "t16", "backward"): (1.04, 2),
}
XLA = {
    ("cross_attention", "words64", "forward"): (6.6, 8),
    ("cross_attention", "xl", "backward"): (20, 24),
    ("temporal_attention", "t16", "forward"): (6.3, 15),
    ("temporal_attention", "xl", "backward"): (10.5, 36),
    ("temporal_attention", "t16", "jvp"): (11.5, 40),
    ("conv_prologue", "wan_480_full", "forward"): (2.0, 3),
    ("gated_norm", "t16", "forward"): (1.6, 2),
    ("gated_norm", "t16", "backward"): (2.0, 6),
}


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize(("implementation", "limits"), [("triton", OURS), ("xla", XLA)])
def test_graphs_stay_small(implementation, limits):
    found = {}
    for (op, case, direction), (_, kernels) in limits.items():
        spec = importlib.import_module(f"kernels.{op}.specs").SPECS[case]
        graph = predict(op, case, direction, implementation)
        found[op, case, direction] = (
            graph.bytes / getattr(spec, f"{direction}_bytes"),
            graph.kernels,
            graph.kernels <= kernels,
        )
        assert graph.bytes >= getattr(spec, f"{direction}_bytes")
    print(found)
    assert all(few and times <= limits[key][0] for key, (times, _, few) in found.items()), found
