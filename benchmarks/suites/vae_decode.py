"""Decoding a clip's latents into frames with the video tokenizer.

The weights are random initial ones, which does not affect the speed.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks import device
from benchmarks.suites.ours import no_kernels, program_forms
from benchmarks.suites.vae_conv import NHWC
from benchmarks.workload import Cost, Form, Workload, always
from sora_jax.flops import count_flops
from sora_jax.modality import PIXELS_PER_LATENT, VIDEO_CHANNELS
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig

# Size -> shapes of the latents: (clips, latent frames, rows, columns).
SIZES = {
    "tiny": [(1, 2, 2, 2)],
    "cpu": [(8, 5, 8, 8)],
    # 61 frames of 704 x 1280 and of 256 x 256 pixels; 64 clips of the format nano
    "gpu": [(1, 16, 88, 160), (1, 16, 32, 32), (64, 5, 8, 8)],
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    config = VideoTokenizerConfig(8, 16, 1, 1, 1, 1) if size == "tiny" else VideoTokenizerConfig()
    return [workload(config, shape) for shape in SIZES[size]]


def workload(config: VideoTokenizerConfig, shape: tuple[int, int, int, int]) -> Workload:
    """Returns the workload of decoding latents to frames, with a tokenizer of `config`.

    shape is (clips, latent frames, rows, columns) of the latents.
    """
    B, T, rows, columns = shape

    def tokenizer() -> VideoTokenizer:
        return VideoTokenizer(config, rngs=nnx.Rngs(0))

    graphdef, abstract = nnx.split(nnx.eval_shape(tokenizer))

    def decode(x: dict) -> jax.Array:
        return nnx.merge(graphdef, x["state"]).decode(x["latents"])

    def new_decode() -> Callable:
        return functools.partial(decode)  # a new function object, for a new trace

    def without_kernels(x: dict) -> jax.Array:
        with no_kernels():
            return decode(x)

    def inputs(seed: int) -> dict:
        state = nnx.split(tokenizer())[1]
        return {
            "state": state,
            "latents": jax.random.normal(jax.random.key(seed), (*shape, VIDEO_CHANNELS)),
        }

    latents = jax.ShapeDtypeStruct((*shape, VIDEO_CHANNELS), jnp.float32)
    frames = 1 + config.frames_per_latent * (T - 1)
    numbers = latents.size + B * frames * rows * columns * PIXELS_PER_LATENT**2 * 3
    numbers += sum(x.size for x in jax.tree.leaves(abstract))
    with no_kernels():  # kernel calls hide their FLOPs
        flops = count_flops(decode, {"state": abstract, "latents": latents})
    forms = program_forms("decode in float32", new_decode)
    if device.platform() == "gpu":
        how = "decode in float32, no kernels, xla_gpu_force_conv_nhwc"
        forms["xla_best"] = always(
            Form(how, new_decode(), compiler_options=NHWC, tracing=no_kernels)
        )
    return Workload(
        name=f"b{B}_{frames}f_{rows * PIXELS_PER_LATENT}x{columns * PIXELS_PER_LATENT}",
        costs={"forward": Cost(4 * numbers, flops)},
        inputs=inputs,
        reference=without_kernels,
        forms=forms,
        timer="wall",
        items=B * frames,
        unit="frames",
    )
