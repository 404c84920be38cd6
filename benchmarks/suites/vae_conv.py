"""A residual layer of a causal video decoder: x + conv(pad(cache, silu(gain rms(x)))).

pad puts the K cached frames before those of x and zeros around each frame (`conv_prologue`). The
convolution's kernel is 3 x 3 x 3; the layer also returns the next cache. FLOPs limit the speed of
the convolution. Norm, activation, concatenation, padding and layout changes are overhead on top of
it.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import device
from benchmarks.suites.attention_torch import torch_or_absent
from benchmarks.suites.ours import ours
from benchmarks.workload import Absent, Cost, Form, Workload, always
from kernels.conv_prologue import conv_prologue, specs
from kernels.conv_prologue.reference import EPSILON
from kernels.conv_prologue.specs import SPECS, Spec

NHWC = {"xla_gpu_force_conv_nhwc": True}  # by default XLA lays 3-D convolutions out as NCDHW


TINY = Spec(1, 3, 4, 6, 16, P=1, dtype="float32")
SIZES = {
    "tiny": {"tiny": TINY},
    "cpu": {"fine_nano": dataclasses.replace(SPECS["fine_nano"], P=1)},
    "gpu": {name: SPECS[name] for name in ("wan_480_full", "wan_704_half", "wan_704_quarter")},
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    return [workload(name, spec) for name, spec in SIZES[size].items()]


def workload(name: str, spec: Spec) -> Workload:
    """Returns the workload of the layer at the shapes `spec` of its prologue."""
    one = jnp.dtype(spec.dtype).itemsize
    frame, weights = spec.B * spec.H * spec.W * spec.C * one, 27 * spec.C**2 * one
    flops = 2 * 27 * spec.C * spec.B * spec.T * spec.H * spec.W * spec.C
    # Forward reads x, the cache and the kernel, and writes the result and the next cache. Backward
    # reads two gradients more, and writes three.
    forward = Cost((2 * spec.T + 2 * spec.K) * frame + weights, flops)
    backward = Cost((3 * spec.T + 3 * spec.K) * frame + 2 * weights, 2 * flops)
    by_name = functools.partial(layer, padding=spec.P, conv=volume)
    options = {"compiler_options": NHWC} if device.platform() == "gpu" else {}
    return Workload(
        name=name,
        costs={"forward": forward, "backward": backward},
        inputs=functools.partial(inputs, spec),
        reference=functools.partial(by_name, implementation="xla"),
        forms={
            **ours("conv_prologue", spec, by_name, **options),
            "xla": always(Form("3-D convolution that pads", unpadded(padding_volume))),
            "xla_best": functools.partial(best, spec),
            "torch_compile": functools.partial(_torch, spec),
        },
        differentiable=("x", "cache", "gain", "kernel"),
    )


def inputs(spec: Spec, seed: int) -> dict[str, jax.Array]:
    """Returns random inputs of `layer` by name: "x", "gain" and "cache", arguments of
    `conv_prologue`, and "kernel" [3, 3, 3, C, C], scaled so that the convolution preserves the
    variance.
    """
    kernel = (
        jax.random.normal(jax.random.key(seed + 1000), (3, 3, 3, spec.C, spec.C))
        * (27 * spec.C) ** -0.5
    )
    return {**specs.inputs(spec, seed), "kernel": kernel.astype(spec.dtype)}


def layer(
    x: dict, implementation: str, padding: int, conv: Callable
) -> tuple[jax.Array, jax.Array]:
    """Returns (result [B, T, H, W, C] of the layer, cache [B, K, H, W, C] for the next piece of the
    video).

    Args:
        x: the result of `inputs`.
        implementation: name of the implementation of `conv_prologue`.
        padding: rows and columns of zeros that the prologue adds.
        conv: function (past, kernel) -> [B, T, H, W, C], the convolution.
    """
    past, cache = conv_prologue(
        x["x"], x["gain"], x["cache"], padding=padding, implementation=implementation
    )
    return x["x"] + conv(past, x["kernel"]), cache


def volume(past: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves past [B, T + 2, H + 2, W + 2, C] -> [B, T, H, W, C] as one 3-D convolution without
    padding.

    kernel is [3, 3, 3, C, C].
    """
    return jax.lax.conv_general_dilated(
        past, kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def padding_volume(past: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves past [B, T + 2, H, W, C] -> [B, T, H, W, C] as one 3-D convolution that pads rows
    and columns itself.

    kernel is [3, 3, 3, C, C].
    """
    padding = ((0, 0), (1, 1), (1, 1))
    return jax.lax.conv_general_dilated(
        past, kernel, (1, 1, 1), padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def folded(past: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves past [B, T + 2, H, W, C] -> [B, T, H, W, C] as a 2-D convolution, with time folded
    into channels.

    kernel is [3, 3, 3, C, C]. XLA lays 2-D convolutions out as NHWC by default.
    """
    B, T, H, W, C = past.shape
    taps = jnp.concatenate([past[:, i : i + T - 2] for i in range(3)], -1).reshape(-1, H, W, 3 * C)
    flat = kernel.transpose(1, 2, 0, 3, 4).reshape(3, 3, 3 * C, -1)
    out = jax.lax.conv_general_dilated(
        taps, flat, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return out.reshape(B, T - 2, H, W, -1)


def unpadded(conv: Callable) -> Callable[[dict], tuple[jax.Array, jax.Array]]:
    """Returns the layer by XLA, as a function from the result of `inputs` to that of `layer`, whose
    convolution `conv` takes past without padding.
    """
    return functools.partial(layer, implementation="xla", padding=0, conv=conv)


def best(spec: Spec) -> list[Form]:
    """Returns forms of the layer by XLA that may be faster than the default one, "xla"."""
    forms = [Form("time folded into channels, 2-D convolution", unpadded(folded))]
    if device.platform() == "gpu":
        forms.append(
            Form(
                "3-D convolution, xla_gpu_force_conv_nhwc",
                unpadded(padding_volume),
                compiler_options=NHWC,
            )
        )
    return forms


def _torch(spec: Spec) -> list[Form]:
    torch = torch_or_absent()

    def torch_layer(x: dict) -> tuple:
        wide = x["x"].float()
        h = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON) * x["gain"]
        past = torch.cat([x["cache"], torch.nn.functional.silu(h).to(x["x"].dtype)], 1)
        # Channels last in memory, seen as [B, C, T, H, W]: torch's channels_last_3d.
        kernel = x["kernel"].permute(4, 3, 0, 1, 2).contiguous(memory_format=torch.channels_last_3d)
        y = torch.nn.functional.conv3d(past.permute(0, 4, 1, 2, 3), kernel, padding=(0, 1, 1))
        return x["x"] + y.permute(0, 2, 3, 4, 1), past[:, -spec.K :].contiguous()

    if spec.dtype == "bfloat16" and device.platform() == "cpu":
        raise Absent("bfloat16 convolutions are not measured on a CPU")
    return [
        Form(
            "torch.compile, channels_last_3d",
            torch.compile(torch_layer, dynamic=False),
            backend="torch",
        )
    ]
