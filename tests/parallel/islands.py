"""A program that compiles the gradient of a small model for devices that are absent, with kernels
and without. Prints a line of JSON each: forms, calls of kernels, and collectives by kind.

python islands.py TOPOLOGY MESH ATTENTION        MESH: JSON, [data, fsdp, seq, tensor]

The process must be started with `topologies.environment`.
"""

import dataclasses
import json
import re
import sys

import jax
from factorisations import CONFIG, example, loss_and_gradients
from flax import nnx

from kernels import dispatch
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import rules, topologies
from sora_jax.parallel.hlo import COLLECTIVES
from sora_jax.parallel.mesh import MeshConfig, traced_for, traced_without_kernels
from sora_jax.training.compilation_report import KERNEL
from sora_jax.training.state import split_module


def main():
    topology, sizes, attention = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
    mesh = MeshConfig(*sizes).make(topologies.devices(topology))
    # With `full` attention, 320 tokens: splash attention takes 128 or more.
    config = dataclasses.replace(
        CONFIG, width=256, attention=attention, patch=2 - (attention == "full"), dtype="bfloat16"
    )
    params, merge = split_module(nnx.eval_shape(lambda: STDiT(config, nnx.Rngs(0))))
    where, batch = rules.place(params, params, mesh), example(2 * sizes[0] * sizes[1])
    for traced in (traced_for, traced_without_kernels):
        jax.clear_caches()  # a trace depends on the devices, which are no key of the cache
        step = jax.jit(
            lambda params, batch: loss_and_gradients(params, merge, batch, mesh),
            in_shardings=(where, rules.batch_sharding(mesh)),
            out_shardings=(None, where),
        )
        with traced(mesh), dispatch.recorded() as forms:
            traced_step = step.trace(params, batch)
            platform = topologies.platform(topology)
            lowered = traced_step.lower(lowering_platforms=(platform,))
        text = lowered.compile(compiler_options=topologies.options(topology)).as_text()
        row = {
            "forms": {op: sorted(names) for op, names in forms.items()},
            "kernels": len(KERNEL.findall(text)),
            # Each counts once, however often its loop runs.
            "collectives": {
                kind: len(re.findall(rf" {kind}(?:-start)?\(", text)) for kind in COLLECTIVES
            },
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
