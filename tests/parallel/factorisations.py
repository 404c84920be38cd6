"""A program for eight fake devices: loss and gradients of one batch on each mesh against one
device. Prints a line of JSON a mesh.

python factorisations.py MESHES [ATTENTION [gpu]]

MESHES: JSON, a list of [data, fsdp, seq, tensor]. With gpu the meshes use the kernels of an H200,
in Triton's interpreter (TRITON_INTERPRET=1), and a line has the forms that were selected.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from kernels import dispatch, target
from sora_jax.flow.loss import FlowConfig, flow_loss
from sora_jax.modality import ClipFormat
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import rules, sequence
from sora_jax.parallel.mesh import AXES, MeshConfig
from sora_jax.training.state import split_module
from sora_jax.tree import flatten

FORM = ClipFormat(frames=17, fps=8)
CONFIG = dataclasses.replace(
    PRESETS["nano"],
    depth=1,
    width=64,
    heads=8,
    mlp_ratio=2.0,
    audio_width=32,
    audio_heads=8,
    exchange_width=32,
    exchange_heads=8,
    text_width=32,
    text_heads=8,
    text_layers=1,
    unroll=1,
    memory=True,
    references=2,
)


def moved(params):
    """Gates and heads start at zero, and would hide what stands behind them."""
    keys = itertools.count()
    return jax.tree.map(
        lambda x: x + 0.05 * jax.random.normal(jax.random.key(next(keys)), x.shape), params
    )


def difference(got, wanted) -> float:
    return float(np.max(np.abs(np.asarray(got) - wanted)) / max(np.max(np.abs(wanted)), 1e-30))


def loss_and_gradients(params, merge, batch, mesh=None):
    times = {name: np.asarray(t, np.float32) for name, t in FORM.latent_times().items()}
    model = lambda params: sequence.on_mesh(merge(params), mesh) if mesh else merge(params)
    loss = lambda params, batch: flow_loss(
        model(params), batch, jax.random.key(3), times, FlowConfig(output=CONFIG.output)
    )[0]
    return jax.value_and_grad(loss)(params, batch)


def example(size: int):
    rng, (latents, _) = np.random.default_rng(0), FORM.latent_sides
    return {
        "video": rng.normal(size=(size, FORM.video_latents, latents, latents, 16)).astype(
            np.float32
        ),
        "audio": rng.normal(size=(size, FORM.audio_latents, 64)).astype(np.float32),
        "tokens": rng.integers(1, 40, (size, 12)).astype(np.int32),
        "text_mask": np.ones((size, 12), bool),
        "text_slots": rng.integers(0, 3, (size, 12)).astype(np.int8),
        "references": {
            "stills": rng.normal(size=(size, 2, 4, 4, 4, 16)).astype(np.float32),
            "voices": rng.normal(size=(size, 2, 5, 64)).astype(np.float32),
            "present": rng.integers(0, 2, (size, 2)).astype(bool),
            "heard": rng.integers(0, 2, (size, 2)).astype(bool),
        },
    }


def main():
    attention = sys.argv[2] if len(sys.argv) > 2 else "pure"
    on_gpu = "gpu" in sys.argv
    # kernels take heads of 16 features or more
    config = dataclasses.replace(CONFIG, width=128, exchange_width=128) if on_gpu else CONFIG
    params, merge = split_module(
        STDiT(dataclasses.replace(config, attention=attention, window=(3, 2, 2)), nnx.Rngs(0))
    )
    meshes = json.loads(sys.argv[1])
    # Every interpreted program takes its time, so with kernels a device has one clip.
    shares = [data * fsdp for data, fsdp, *_ in meshes] if on_gpu else [8]
    params, batch = moved(params), example(math.lcm(*shares))
    run = lambda mesh, params, batch: loss_and_gradients(params, merge, batch, mesh)
    wanted = flatten(
        jax.tree.map(
            np.asarray,
            dict(
                zip(
                    ("loss", "gradients"),
                    jax.jit(functools.partial(run, None))(params, batch),
                    strict=True,
                )
            ),
        )
    )
    for sizes in meshes:
        mesh = MeshConfig(*sizes).make()
        where = rules.place(params, params, mesh)
        assumed = target.assume(target.H200) if on_gpu else contextlib.nullcontext()
        with assumed, dispatch.recorded() as forms:
            placed = jax.jit(
                functools.partial(run, mesh),
                in_shardings=(where, rules.batch_sharding(mesh)),
                out_shardings=(None, where),
            )(params, batch)
        got = dict(zip(("loss", "gradients"), placed, strict=True))
        unplaced = [
            p
            for p, (x, s) in enumerate(
                zip(jax.tree.leaves(got["gradients"]), jax.tree.leaves(where), strict=True)
            )
            if x.sharding != s
        ]
        got = flatten(jax.tree.map(np.asarray, got))
        errors = {name: difference(got[name], x) for name, x in wanted.items()}
        worst = max(errors, key=errors.get)
        print(
            json.dumps(
                {
                    "mesh": dict(zip(AXES, sizes, strict=True)),
                    "worst": worst,
                    "error": errors[worst],
                    "unplaced": unplaced,
                    "forms": {op: sorted(names) for op, names in forms.items()},
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    assert jnp.ones(1).devices() and len(jax.devices()) == 8
    main()
