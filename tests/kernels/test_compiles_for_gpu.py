"""What Triton's compiler makes of the kernels for an H200 (sm_90), without one: no spills, few
registers, wide accesses, wgmma.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.temporal_attention.specs import PRIMARY, SPECS

FIRST = {
    "temporal_attention": ["t16"],
    "cross_attention": ["words64"],
    "conv_prologue": ["wan_480_full"],
    "gated_norm": ["t16"],
}
# One workload for each way in which sizes shape a program.
REST = {
    "temporal_attention": [
        "t8",
        "t64",
        "xl",
        "wide",
        "t16_shared",
        "t16_causal",
        "t16_masked",
        "xl_shared",
        "wide_shared",
        "t16_f32",
        "nano",
        "frame16",
        "t16_window",
        "t5_shifted",
    ],
    "cross_attention": [
        "words128",
        "audio64",
        "xl",
        "xl_audio",
        "wide",
        "shots",
        "words64_f32",
        "nano",
        "nano_audio",
    ],
    "conv_prologue": [
        "wan_704_half",
        "wan_704_quarter",
        "fine_256",
        "coarse_256",
        "fine_nano",
        "wan_480_f16",
        "wan_480_f32",
    ],
    "gated_norm": ["s", "m", "wide", "t16_f16", "t16_f32", "nano"],
}

# Float32 operands fill the registers; what is spilled are addresses and parts of rows.
SPILLS = {
    "temporal_attention t16_f32 backward": 128,
    "temporal_attention t16_f32 jvp": 448,
    "temporal_attention nano jvp": 96,
}
# 16 bytes at a time, but for gains, scales, angles and sums; halves of 36 numbers begin at
# multiples of 8 bytes.
WIDE = {
    "temporal_attention": 0.6,
    "cross_attention": 0.5,
    "gated_norm": 0.5,
    "conv_prologue": 0.7,
}
WIDE |= {f"temporal_attention {name}": 0.3 for name in ("xl", "xl_shared", "nano")}
WIDE |= {"cross_attention xl": 0.4} | {f"cross_attention {n}": 0.1 for n in ("nano", "nano_audio")}


def most_registers(op, name, kernel):
    """A processor has 65536 registers: 128 a thread are 4 programs of 4 warps or 2 of 8, 168 are 3
    of 4 warps, 255 are 2 or 1.

    Three programs of the backward pass of temporal attention have 96 KiB of reads in flight,
    several times what keeps a processor's share of memory busy; held to 128 (maxnreg) it spills 128
    bytes a thread, a traffic in the cache of over half of what it moves in memory.
    """
    if op == "cross_attention":  # the gradients of keys stay in registers over a chunk of tiles
        return 128 if kernel == "forward" and name in ("words64", "words128", "audio64") else 255
    if op != "temporal_attention" or (kernel == "forward" and name in PRIMARY):
        return 128
    return 168 if kernel in ("backward", "jvp") and name in PRIMARY and SPECS[name].D <= 64 else 255


# A process of its own, since the interpreter is chosen when triton is imported.
COMPILE = """
import importlib, json, re, sys
from kernels.triton_call import compile_for
for op, names in json.loads(sys.argv[1]).items():
    specs = importlib.import_module(f"kernels.{op}.specs")
    triton = [importlib.import_module(f"kernels.{op}.triton")]
    if op == "temporal_attention":
        triton.append(importlib.import_module(f"kernels.{op}.triton_jvp"))
    of_operands = r"(?:ld|st)\\.global\\S*"
    if op in ("temporal_attention", "cross_attention"):
        of_operands = r"ld\\.global\\S*\\.b(?:32|16)"
    for name in names:
        spec = specs.SPECS[name]
        launches = [launch for module in triton for launch in module.launches(spec).items()]
        for kernel, launch in launches:
            r = compile_for(launch, 90)
            accesses = re.findall(of_operands, r.ptx)
            print(json.dumps({
                "op": op, "name": name, "kernel": kernel,
                "registers": r.registers, "spilled": r.spilled, "shared": r.shared,
                "wgmma": "wgmma.mma_async" in r.ptx,
                "wide": sum(".v4" in access for access in accesses) / len(accesses),
            }), flush=True)
"""


def compile_all(names):
    environment = {**os.environ, "TRITON_INTERPRET": "0", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", COMPILE, json.dumps(names)]
    result = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert result.returncode == 0, result.stderr
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(f["op"], f["name"]) for f in found} == {
        (op, name) for op in names for name in names[op]
    }
    return found


def check(found):
    print(found)
    op, case = found["op"], f"{found['op']} {found['name']}"
    assert found["spilled"] <= SPILLS.get(f"{case} {found['kernel']}", 0)
    assert found["registers"] <= most_registers(op, found["name"], found["kernel"])
    assert found["shared"] <= 232448  # bytes a program may have
    assert found["wide"] > WIDE.get(case, WIDE[op])
    if op == "temporal_attention" or (op == "cross_attention" and not small_tiles(found)):
        assert found["wgmma"]


def small_tiles(found):
    """Whether it is the backward pass of float32, whose tiles of 16 rows no wgmma takes."""
    return found["kernel"] == "backward" and found["name"] in ("words64_f32", "nano", "nano_audio")


@pytest.mark.parametrize("op", FIRST)
def test_the_first_workload(op):
    for found in compile_all({op: FIRST[op]}):
        check(found)


@pytest.mark.slow
@pytest.mark.parametrize("op", REST)
def test_every_workload(op):
    for found in compile_all({op: REST[op]}):
        check(found)
