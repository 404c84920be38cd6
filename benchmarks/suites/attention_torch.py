"""Attention by PyTorch and xformers, extended to drop-in replacements of our operations.

Rows [N, L, H, D] are those of `benchmarks.suites.attention`. FlexAttention and xformers also see
them packed: many rows are one long sequence, and a block-diagonal mask keeps them apart. So a block
of queries spans several rows, as in our kernels.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any

from benchmarks import device
from benchmarks.suites.attention import Layout, mask_of
from benchmarks.workload import Absent, Form
from kernels.temporal_attention.reference import EPSILON

PACKED = 2048  # tokens of a packed sequence of FlexAttention, at most


def forms(layout: Layout, masked: bool = False) -> dict[str, Callable[[], list[Form]]]:
    """Returns the forms of the operation by PyTorch and xformers: {implementation: function that
    returns its forms}, for `Workload.forms`.

    Args:
        layout: the conversion to rows.
        masked: whether the inputs need a mask of each batch element. Default False.
    """
    return {
        "torch_sdpa": functools.partial(_sdpa, layout),
        "torch_compile": functools.partial(_compiled, layout),
        "torch_flex": functools.partial(_flex, layout, masked),
        "xformers": functools.partial(_xformers, layout, masked),
    }


def torch_or_absent() -> ModuleType:
    """Returns the module torch if it computes on JAX's platform; raises `Absent` otherwise."""
    if importlib.util.find_spec("torch") is None:
        raise Absent("not installed; pip install -e '.[parity]'")
    import torch  # may be absent

    if device.platform() != ("gpu" if torch.cuda.is_available() else "cpu"):
        raise Absent(
            f"this PyTorch {torch.__version__} does not compute on the {device.platform()}"
        )
    # By default, torch.compile runs a function eagerly from its ninth shape on, without an error.
    limits: Any = importlib.import_module("torch._dynamo.config")
    limits.recompile_limit, limits.fail_on_recompile_limit_hit = 1000, True
    return torch


def turn_torch(torch: ModuleType, x: Any, scale: Any, angles: Any | None) -> Any:
    """Returns what `normalise_and_rotate` does of a PyTorch tensor x [..., D], float32."""
    x = x.float()
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPSILON) * scale
    if angles is None:
        return x
    a, b = x.chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


def drop_in(torch: ModuleType, layout: Layout, core: Callable) -> Callable[[dict], Any]:
    """Returns a drop-in replacement of the project's operation, from its inputs, a dict, to its
    result [B, T, S, H, D]. `core` is a function (q, k, v, mask) of rows [N, L, H, D] to rows.
    """

    def function(x: dict) -> Any:
        shape, angles = x["q"].shape, layout.angles(x["angles"])
        q, k = (turn_torch(torch, x[n], x[f"{n}_scale"], angles).to(x["v"].dtype) for n in "qk")
        q, k, v = layout.rows(q), layout.rows(k), layout.rows(x["v"])
        if "shared_k" in x:
            k, v = (
                torch.cat([a, x[n].repeat_interleave(shape[2], 0)], 1)
                for a, n in ((k, "shared_k"), (v, "shared_v"))
            )
        return layout.back(core(q, k, v, mask_of(layout, x, torch)), shape)

    return function


def heads_first(core: Callable) -> Callable:
    """Returns `core`, a function of arrays [N, H, L, D], as one of arrays [N, L, H, D]."""

    def function(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return core(*(a.transpose(1, 2) for a in (q, k, v)), mask).transpose(1, 2)

    return function


def _sdpa_core(torch: ModuleType, layout: Layout) -> Callable:
    def core(q: Any, k: Any, v: Any, mask: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=layout.causal and mask is None
        )

    return heads_first(core)


def _products_core(torch: ModuleType, layout: Layout) -> Callable:
    def core(q: Any, k: Any, v: Any, mask: Any) -> Any:
        logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if layout.causal and mask is None:
            mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).tril()
        if mask is not None:
            logits = logits.masked_fill(~mask, -torch.inf)
        return logits.float().softmax(-1).to(v.dtype) @ v

    return heads_first(core)


def _sdpa(layout: Layout) -> list[Form]:
    torch = torch_or_absent()
    function = drop_in(torch, layout, _sdpa_core(torch, layout))
    how = "scaled_dot_product_attention with norm, rotation and layout"
    return [Form(how, function, backend="torch")]


def _compiled(layout: Layout) -> list[Form]:
    torch = torch_or_absent()
    cores = {
        "torch.compile around scaled_dot_product_attention": _sdpa_core,
        "torch.compile of products and softmax": _products_core,
    }
    return [
        Form(
            how,
            torch.compile(drop_in(torch, layout, core(torch, layout)), dynamic=False),
            backend="torch",
        )
        for how, core in cores.items()
    ]


def _flex(layout: Layout, masked: bool) -> list[Form]:
    torch = torch_or_absent()
    if masked:
        raise Absent("no block mask is made for masks of each batch element")
    flex = importlib.import_module("torch.nn.attention.flex_attention")

    @functools.cache
    def block_mask(rows: int, queries: int, keys: int, on: str) -> Any:
        def sees(_batch: Any, _head: Any, q: Any, k: Any) -> Any:
            same = q // queries == k // keys
            return same & (q % queries >= k % keys) if layout.causal else same

        return flex.create_block_mask(sees, None, None, rows * queries, rows * keys, device=on)

    def core(q: Any, k: Any, v: Any, _: Any) -> Any:
        (N, L, H, D), M = q.shape, k.shape[1]
        rows = next(n for n in range(max(1, PACKED // L), 0, -1) if N % n == 0)
        q, k, v = (x.reshape(N // rows, -1, H, D).transpose(1, 2) for x in (q, k, v))
        mask = block_mask(rows, L, M, str(q.device))
        out = attend(q, k, v, block_mask=mask)
        return out.transpose(1, 2).reshape(N, L, H, D)

    # The mask is made outside of what is compiled.
    attend = torch.compile(flex.flex_attention, dynamic=False)
    how = "torch.compile of flex_attention of packed rows, with norm, rotation and layout"
    return [Form(how, drop_in(torch, layout, core), backend="torch")]


def _xformers(layout: Layout, masked: bool) -> list[Form]:
    if importlib.util.find_spec("xformers") is None:
        raise Absent("not installed; pip install xformers")
    torch = torch_or_absent()
    if device.platform() != "gpu":
        raise Absent("xformers' attention is for GPUs")
    if masked:
        raise Absent("BlockDiagonalMask has no masks of each batch element")
    ops = importlib.import_module("xformers.ops")

    @functools.cache
    def block_mask(rows: int, queries: int, keys: int, on: str) -> Any:
        make = ops.fmha.BlockDiagonalMask.from_seqlens
        mask = make([queries] * rows, [keys] * rows, device=on)
        return mask.make_causal() if layout.causal else mask

    def core(q: Any, k: Any, v: Any, _: Any) -> Any:
        (N, L, H, D), M = q.shape, k.shape[1]
        mask = block_mask(N, L, M, str(q.device))
        q, k, v = (x.reshape(1, -1, H, D) for x in (q, k, v))
        return ops.memory_efficient_attention(q, k, v, attn_bias=mask).reshape(N, L, H, D)

    how = "memory_efficient_attention with BlockDiagonalMask, with norm, rotation and layout"
    return [Form(how, drop_in(torch, layout, core), backend="torch")]
