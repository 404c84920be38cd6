"""Attention from all tokens to the same few keys, with QK-norm and rotation of the queries: our
kernels, XLA, and drop-in library forms.

Libraries start from queries that are normalised and rotated in a pass of their own.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks.suites import attention, attention_torch
from benchmarks.suites.ours import ours
from benchmarks.workload import Cost, Form, Workload, always
from kernels.cross_attention import cross_attention
from kernels.cross_attention.specs import SPECS, Spec, inputs
from kernels.temporal_attention.reference import normalise_and_rotate

SIZES = {
    "tiny": {"tiny": Spec(2, 3, 4, 2, 16, 5, "float32", masks=3, turned=True)},
    "cpu": {name: SPECS[name] for name in ("nano", "nano_audio")},
    "gpu": SPECS,
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    return [workload(name, spec) for name, spec in SIZES[size].items()]


def workload(name: str, spec: Spec) -> Workload:
    """Returns the workload of cross-attention, of shapes `spec`, in all forms."""

    def operation(x: dict, implementation: str) -> jax.Array:
        return cross_attention(**x, implementation=implementation)

    forms = ours("cross_attention", spec, operation)
    how = "jax.nn.dot_product_attention with norm and rotation"
    forms["xla_best"] = always(Form(how, functools.partial(_library, "xla")))
    cudnn = functools.partial(Form, function=functools.partial(_library, "cudnn"))
    forms["cudnn"] = functools.partial(attention.cudnn_form, spec.dtype, spec.D, how, cudnn)
    forms |= {impl: functools.partial(_torch, impl) for impl in ("torch_sdpa", "torch_compile")}
    return Workload(
        name=name,
        costs={
            "forward": Cost(spec.forward_bytes, spec.forward_flops),
            "backward": Cost(spec.backward_bytes, spec.backward_flops),
        },
        inputs=functools.partial(inputs, spec),
        reference=functools.partial(operation, implementation="xla"),
        forms=forms,
        differentiable=("q", "k", "v", "q_scale"),
    )


def _mask(x: dict, repeat: Callable[..., Any]) -> Any:
    """Returns the mask as libraries take it, [B, 1, L or 1, M] of L tokens; None without one.

    `repeat(mask, S)` repeats the mask of each frame for its S sites.
    """
    visible, S = x.get("visible"), x["q"].shape[2]
    if visible is None:
        return None
    return visible[:, None, None] if visible.ndim == 2 else repeat(visible, S)[:, None]


def _library(implementation: Literal["xla", "cudnn"], x: dict) -> jax.Array:
    q, angles = x["q"], x.get("angles")
    turned = None if angles is None else angles[:, None, None]
    rows = normalise_and_rotate(q, x["q_scale"], turned).astype(q.dtype)
    rows = rows.reshape(q.shape[0], -1, *q.shape[3:])
    mask = _mask(x, functools.partial(jnp.repeat, axis=1))
    return jax.nn.dot_product_attention(
        rows, x["k"], x["v"], mask=mask, implementation=implementation
    ).reshape(q.shape)


def _torch(impl: str) -> list[Form]:
    torch = attention_torch.torch_or_absent()

    def function(x: dict) -> Any:
        q, angles = x["q"], x.get("angles")
        turned = None if angles is None else angles[:, None, None]
        rows = attention_torch.turn_torch(torch, q, x["q_scale"], turned).to(q.dtype)
        rows = rows.reshape(q.shape[0], -1, *q.shape[3:])
        mask = _mask(x, functools.partial(torch.repeat_interleave, dim=1))
        rows, k, v = (a.transpose(1, 2) for a in (rows, x["k"], x["v"]))
        attend = torch.nn.functional.scaled_dot_product_attention
        return attend(rows, k, v, attn_mask=mask).transpose(1, 2).reshape(q.shape)

    if impl == "torch_compile":
        how = "torch.compile around scaled_dot_product_attention"
        return [Form(how, torch.compile(function, dynamic=False), backend="torch")]
    how = "scaled_dot_product_attention with norm and rotation"
    return [Form(how, function, backend="torch")]
