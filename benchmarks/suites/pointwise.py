"""Operations between matrix products: gates, norms, modulation, activation, padding, rotation.

Memory bandwidth limits their speed, so their minimum cost counts bytes and no FLOPs.
"""

import functools
import operator
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.suites.attention_torch import torch_or_absent
from benchmarks.suites.ours import ours
from benchmarks.suites.vae_conv import TINY as TINY_PROLOGUE
from benchmarks.workload import Cost, Form, Workload, always
from kernels.conv_prologue import conv_prologue
from kernels.conv_prologue import specs as prologues
from kernels.gated_norm import gated_norm
from kernels.gated_norm import specs as norms
from kernels.spatial_attention.specs import Spec as RotationSpec

# All three operations have the same EPSILON.
from kernels.temporal_attention.reference import EPSILON, normalise_and_rotate

# Size -> specs by name, of conv_prologue, of gated_norm, and of norm with rotation. Workloads of
# the three operations alternate in this order.
SIZES: dict[str, tuple[Mapping[str, Any], ...]] = {
    "tiny": (
        {"tiny": TINY_PROLOGUE},
        {"tiny": norms.Spec(3, 5, 16, "float32")},
        {"tiny": RotationSpec(3, 4, 2, 8, "float32")},
    ),
    "cpu": (
        {"fine_nano": prologues.SPECS["fine_nano"]},
        {"nano": norms.SPECS["nano"]},
        {"small": RotationSpec(8, 256, 6, 64, "float32")},
    ),
    "gpu": (prologues.SPECS, norms.SPECS, {"t16": RotationSpec(2 * 16, 1024, 16, 64)}),
}
FIRST = ("wan_480_full", "t16")  # measured first


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    found = []
    for specs, make in zip(SIZES[size], (prologue, gate, rotation), strict=True):
        ordered = sorted(specs, key=lambda name: name not in FIRST)
        found += [(position, make(name, specs[name])) for position, name in enumerate(ordered)]
    return [workload for _, workload in sorted(found, key=operator.itemgetter(0))]


def prologue(name: str, spec: prologues.Spec) -> Workload:
    """Returns the workload of `conv_prologue` at the shapes `spec`: norm, SiLU, cached frames and
    padding before a causal convolution.
    """

    def operation(x: dict, implementation: str) -> Any:
        return conv_prologue(**x, padding=spec.P, implementation=implementation)

    return Workload(
        name=f"conv_prologue_{name}",
        costs={"forward": Cost(spec.forward_bytes, 0), "backward": Cost(spec.backward_bytes, 0)},
        inputs=functools.partial(prologues.inputs, spec),
        reference=functools.partial(operation, implementation="xla"),
        forms=ours("conv_prologue", spec, operation)
        | {"torch_compile": functools.partial(_torch, "conv_prologue", spec.P)},
        differentiable=("x", "gain", "cache"),
    )


def gate(name: str, spec: norms.Spec) -> Workload:
    """Returns the workload of `gated_norm` at the shapes `spec`: a gated residual, and the
    modulated norm of the sum.
    """

    def operation(x: dict, implementation: str) -> Any:
        return gated_norm(**x, implementation=implementation)

    return Workload(
        name=f"gated_norm_{name}",
        costs={"forward": Cost(spec.forward_bytes, 0), "backward": Cost(spec.backward_bytes, 0)},
        inputs=functools.partial(norms.inputs, spec),
        reference=functools.partial(operation, implementation="xla"),
        forms=ours("gated_norm", spec, operation)
        | {"torch_compile": functools.partial(_torch, "gated_norm")},
        differentiable=("x", "f", "gate", "shift", "scale"),
    )


def rotation(name: str, spec: RotationSpec) -> Workload:
    """Returns the workload of QK-norm and rotary embedding before spatial attention, at the shapes
    `spec`.

    Its input is the result of one projection, q, k, v packed as [N, S, 3, H, D]. Its results are
    the three, each [N, S, H, D]. The project has no kernel for it.
    """

    def split_and_rotate(x: dict) -> tuple:
        q, k, v = (x["qkv"][:, :, i] for i in range(3))
        angles = x["angles"][:, None]
        q, k = (
            normalise_and_rotate(a, x[f"{n}_scale"], angles).astype(v.dtype)
            for n, a in (("q", q), ("k", k))
        )
        return q, k, v

    def inputs(seed: int) -> dict:
        qkv, q_scale, k_scale = jax.random.split(jax.random.key(seed), 3)
        return {
            "qkv": jax.random.normal(qkv, (spec.N, spec.S, 3, spec.H, spec.D)).astype(spec.dtype),
            "q_scale": 1 + 0.2 * jax.random.normal(q_scale, (spec.D,)),
            "k_scale": 1 + 0.2 * jax.random.normal(k_scale, (spec.D,)),
            "angles": jnp.arange(spec.S)[:, None] * jnp.geomspace(1.0, 0.01, spec.D // 2),
        }

    return Workload(
        name=f"qk_norm_rope_{name}",
        # Forward reads and writes three arrays. Backward reads q, k and three gradients, and writes
        # three.
        costs={"forward": Cost(6 * spec.array_bytes, 0), "backward": Cost(8 * spec.array_bytes, 0)},
        inputs=inputs,
        reference=split_and_rotate,
        forms={
            "xla": always(Form("as XLA fuses it", split_and_rotate)),
            "torch_compile": functools.partial(_torch, "qk_norm_rope"),
        },
        differentiable=("qkv", "q_scale", "k_scale"),
    )


def _torch(name: str, padding: int = 0) -> list[Form]:
    torch = torch_or_absent()
    F = torch.nn.functional

    def rms(a: Any, scale: Any) -> Any:
        a = a.float()
        return a * torch.rsqrt(a.square().mean(-1, keepdim=True) + EPSILON) * scale

    def prologue(x: dict) -> tuple:
        past = torch.cat([x["cache"], F.silu(rms(x["x"], x["gain"])).to(x["x"].dtype)], 1)
        return F.pad(past, (0, 0, padding, padding, padding, padding)), past[
            :, -x["cache"].shape[1] :
        ].contiguous()

    def gate(x: dict) -> tuple:
        y = (x["x"].float() + x["gate"][:, None] * x["f"]).to(x["x"].dtype)
        return y, (rms(y, 1 + x["scale"][:, None]) + x["shift"][:, None]).to(y.dtype)

    def rotate(x: dict) -> tuple:
        q, k, v = x["qkv"].unbind(2)
        cos, sin = x["angles"][:, None].cos(), x["angles"][:, None].sin()

        def turn(a: Any, scale: Any) -> Any:
            a, b = rms(a, scale).chunk(2, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(v.dtype)

        return turn(q, x["q_scale"]), turn(k, x["k_scale"]), v.contiguous()

    function = {"conv_prologue": prologue, "gated_norm": gate, "qk_norm_rope": rotate}[name]
    return [Form("torch.compile", torch.compile(function, dynamic=False), backend="torch")]
