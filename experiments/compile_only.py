r"""Compile a run for TPUs or GPUs that are absent: memory, traffic and a bound on speed.

    python -m experiments.compile_only --config=experiments/configs/xl.py --topology=v5p:8x8x8
    python -m experiments.compile_only --config=experiments/configs/xl.py --topology=v5e:16x16 \
        --config.mesh.fsdp=32 --output=xl.json
    python -m experiments.compile_only --config=experiments/configs/xl.py --topology=v6e:16x16 \
        --program=sample
    python -m experiments.compile_only --config=experiments/configs/xl.py --topology=v5e:16x16 \
        --suggest_batch
    python -m experiments.compile_only --config=experiments/configs/playhouse_s.py \
        --topology=h200:8 --config.mesh.fsdp=8

Nothing is run. The program is the training step of experiments.train, or one step of the
sampler. libtpu's own compiler (pip install -e '.[tpu]'), or that of JAX's CUDA plugin (python
-m kernels.gpu_graph --install=build/gpu_compiler), compiles it on this machine's CPU, in a
separate process. The report is for one device of the topology:

    memory        bytes of arguments, outputs and temporaries; what is left of the device's memory
    FLOPs         of the jaxpr (sora_jax/flops.py), with and without recomputation, divided by the
                  number of devices
    collectives   by kind: how many run, and the bytes that a device sends; those in loops count
                  once for each iteration (sora_jax/parallel/hlo.py)
    roofline      the longest of FLOPs / peak, HBM bytes / bandwidth, and bytes sent / bandwidth of
                  the links (sora_jax/parallel/topologies.py), as if they overlapped completely: a
                  lower bound on the time of a step (except for programs so small that a GPU's
                  cache holds their arrays)
    MFU bound     FLOPs without recomputation / (roofline time x peak): an upper bound on the model
                  FLOPs utilisation

Attention and norms are compiled as experiments.train runs them, with fused kernels where the device
has them; the report names the implementations, and counts the calls of kernels in the program.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from sora_jax import config as config_lib
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.parallel import topologies
from sora_jax.training import compilation, compilation_report
from sora_jax.training.run import Run

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with get_config(); override keys as --config.mesh.fsdp=64"
)
_TOPOLOGY = flags.DEFINE_string(
    "topology",
    None,
    "Devices to compile for, with their number or grid, such as "
    f"{', '.join(d.example for d in topologies.DEVICES.values())}. Required.",
)
_PROGRAM = flags.DEFINE_enum(
    "program",
    "train",
    compilation.PROGRAMS,
    "train: a training step; sample: a step of the sampler with text guidance.",
)
_SET = flags.DEFINE_string(
    "set", "", "Set of a mixture whose batch is compiled, such as film@nano. Default: its first."
)
_SUGGEST = flags.DEFINE_boolean(
    "suggest_batch",
    False,
    "Compile with one and with two clips on each device, and print how many clips fit.",
)
_OUTPUT = flags.DEFINE_string("output", None, "JSON file for the report. Default: only printed.")


def main(_: Sequence[str]) -> None:
    if not _TOPOLOGY.value:
        raise UserError(
            "--topology is missing; give one as "
            f"{', '.join(d.example for d in topologies.DEVICES.values())}"
        )
    topologies.generation(_TOPOLOGY.value)
    values = config_lib.from_flag(_CONFIG)
    if "model" not in values:
        raise UserError(
            f"--config has no model, only {', '.join(values)}; compile a config of "
            "experiments.train"
        )
    run = config_lib.from_dict(Run, values).on_set(_SET.value)
    if _SUGGEST.value:
        if _OUTPUT.value or _PROGRAM.value != "train":
            raise UserError(
                "--suggest_batch prints how many clips a step of training has room for; leave "
                "--output and --program=sample out"
            )
        print(compilation.micro_batch(run, _TOPOLOGY.value))
        return
    report = compilation.in_child(run, _TOPOLOGY.value, _PROGRAM.value)
    print(compilation_report.table(report))
    if _OUTPUT.value:
        files.write(Path(_OUTPUT.value), json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    run_main(main)
