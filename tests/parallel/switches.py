"""A program for eight fake devices: all-to-alls in the compiled model, by pairs of blocks.

Prints a line of JSON a program.
"""

import dataclasses
import json

import jax
import numpy as np
from factorisations import CONFIG, FORM, example
from flax import nnx

from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import rules, sequence
from sora_jax.parallel.hlo import Program
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.state import split_module

PAIRS = 3


def main():
    mesh = MeshConfig(data=2, seq=4).make()
    params, merge = split_module(
        nnx.eval_shape(lambda: STDiT(dataclasses.replace(CONFIG, depth=PAIRS), nnx.Rngs(0)))
    )
    batch = example(2)
    times = {name: np.asarray(t, np.float32) for name, t in FORM.latent_times().items()}

    def forward(params, batch):
        latents = {name: batch[name] for name in ("video", "audio")}
        levels = {name: np.full(x.shape[:2], 0.5, np.float32) for name, x in latents.items()}
        return sequence.on_mesh(merge(params), mesh)(
            latents, levels, {"tokens": batch["tokens"], "mask": batch["text_mask"]}, times
        )

    gradient = jax.grad(
        lambda params, batch: sum((x**2).mean() for x in forward(params, batch).values())
    )
    for name, function in (("forward", forward), ("gradient", gradient)):
        placed = jax.jit(
            function, in_shardings=(rules.place(params, params, mesh), rules.batch_sharding(mesh))
        )
        found = Program(placed.lower(params, batch).compile().as_text()).collectives()
        print(
            json.dumps(
                {"program": name, "pairs": PAIRS, **{kind: c.count for kind, c in found.items()}}
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
