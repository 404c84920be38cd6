"""A program for eight fake devices: sampling, encoding and decoding on each mesh against one
device. Prints a line of JSON a mesh and program.

python clips.py MESHES        MESHES: JSON, a list of [data, fsdp, seq, tensor]
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from factorisations import CONFIG, FORM, difference, example, moved
from flax import nnx

from sora_jax.flow.sampler import SamplerConfig, sample
from sora_jax.models.st_dit import STDiT
from sora_jax.parallel import halo, rules, sequence
from sora_jax.parallel.mesh import AXES, MeshConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.training.state import split_module

CLIPS = 8


def sampled(merge, params, mesh=None):
    """Latents of two Euler steps, on a mesh or on one device."""
    model = sequence.on_mesh(merge(params), mesh) if mesh else merge(params)
    batch = example(CLIPS)
    shapes = {name: batch[name].shape for name in ("video", "audio")}
    start = {name: jnp.ones(shape[:2]) for name, shape in shapes.items()}
    given = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    text = {"tokens": batch["tokens"], "mask": batch["text_mask"]}
    none = {"tokens": jnp.zeros_like(batch["tokens"]), "mask": jnp.zeros_like(batch["text_mask"])}
    return sample(
        model,
        jax.random.key(5),
        shapes,
        start,
        given,
        text,
        none,
        FORM.latent_times(),
        SamplerConfig(steps=2),
    )


def main():
    params, merge = split_module(STDiT(CONFIG, nnx.Rngs(0)))
    params = moved(params)
    tokenizer = VideoTokenizer(
        VideoTokenizerConfig(fine_width=16, coarse_width=16, channels=4), rngs=nnx.Rngs(1)
    )
    # 9 latents: no `seq` above 1 divides them
    frames = jax.random.uniform(jax.random.key(2), (CLIPS, 1 + 4 * 8, 16, 24, 3))
    wanted = {"sample": sampled(merge, params), "encode": jax.jit(tokenizer.encode)(frames)}
    wanted["decode"] = {"video": jax.jit(tokenizer.decode)(wanted["encode"])}
    wanted["encode"] = {"video": wanted["encode"]}
    wanted = jax.tree.map(np.asarray, wanted)
    for sizes in json.loads(sys.argv[1]):
        mesh = MeshConfig(*sizes).make()
        clips = rules.batch_sharding(mesh)
        got = {
            "sample": sampled(
                merge, jax.device_put(params, rules.place(params, params, mesh)), mesh
            ),
            "encode": {
                "video": jax.jit(
                    functools.partial(halo.encode, tokenizer, mesh=mesh), in_shardings=clips
                )(frames)
            },
            "decode": {
                "video": jax.jit(
                    functools.partial(halo.decode, tokenizer, mesh=mesh), in_shardings=clips
                )(wanted["encode"]["video"])
            },
        }
        for program, arrays in got.items():
            error = max(difference(arrays[name], x) for name, x in wanted[program].items())
            print(
                json.dumps(
                    {
                        "mesh": dict(zip(AXES, sizes, strict=True)),
                        "program": program,
                        "error": error,
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
