"""Library implementations of attention, extended to drop-in replacements of our operations.

Libraries compute attention within rows of an array [N, L, H, D]: N independent sequences of L
tokens. Our operations take q, k, v [B, T, S, H, D] before QK-norm and rotary embedding. A drop-in
replacement therefore also normalises, rotates and lays out its inputs, and brings the result back
to [B, T, S, H, D]. `Layout` makes the rows. A row holds the frames of a site or the tokens of a
window, which moves all data in memory, or the sites of a frame, which moves none.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks import device
from benchmarks.workload import Absent, Form
from kernels.temporal_attention.reference import normalise_and_rotate
from kernels.temporal_attention.specs import Windows


@dataclasses.dataclass(frozen=True)
class Layout:
    """Conversion between the project's arrays [B, T, S, H, D] and a library's rows [N, L, H, D].

    `rows` and `back` accept jax arrays and PyTorch tensors.

    Attributes:
        along: the axis of attention, "time" (L = T) or "space" (L = S).
        causal: whether a frame attends only to itself and earlier frames. Default False.
        windows: windows that take the place of `along` and divide the video evenly. Default None.
    """

    along: str  # "time" or "space"
    causal: bool = False
    windows: Windows | None = None

    def rows(self, x: Any) -> Any:
        """Converts x [B, T, S, H, D] to rows [N, L, H, D]: [B S, T, H, D] along time,
        [B T, S, H, D] along space, and one row for each window with windows.
        """
        B, T, S, H, D = x.shape
        if self.windows is not None:
            x = permute(x.reshape(B, *self._cells(T, S), H, D), (0, 1, 3, 5, 2, 4, 6, 7, 8))
            return x.reshape(-1, self.windows.tokens, H, D)
        return (
            swap(x).reshape(B * S, T, H, D) if self.along == "time" else x.reshape(B * T, S, H, D)
        )

    def back(self, y: Any, shape: tuple[int, ...]) -> Any:
        """Converts rows y [N, L, H, D] back to `shape` [B, T, S, H, D]; inverts `rows`."""
        B, T, S, H, D = shape
        if self.windows is not None:
            frames, rows, columns = self.windows.counts(T, S, False)
            y = y.reshape(B, frames, rows, columns, *self.windows.sides, H, D)
            return permute(y, (0, 1, 4, 2, 5, 3, 6, 7, 8)).reshape(shape)
        return swap(y.reshape(B, S, T, H, D)) if self.along == "time" else y.reshape(shape)

    def angles(self, angles: Any) -> Any:
        """Adds axes to rotation angles, so that they broadcast against [B, T, S, H, D/2]. Angles
        are [T, D/2] along time, [S, D/2] along space, and [T or 1, S, D/2] with windows.
        """
        if self.windows is not None:
            return angles[:, :, None]
        return angles[:, None, None] if self.along == "time" else angles[:, None]

    def _cells(self, T: int, S: int) -> list[int]:
        """Returns, for frames, rows and columns, the number of windows and the side of one."""
        assert self.windows is not None
        counts = self.windows.counts(T, S, False)
        return [n for pair in zip(counts, self.windows.sides, strict=True) for n in pair]


def permute(x: Any, axes: tuple[int, ...]) -> Any:
    """Permutes the axes of a jax array or a PyTorch tensor."""
    return x.transpose(axes) if isinstance(x, jax.Array) else x.permute(axes)


def swap(x: Any) -> Any:
    """Swaps time and sites of x: [B, T, S, H, D] <-> [B, S, T, H, D]."""
    return permute(x, (0, 2, 1, 3, 4))


def ready(layout: Layout, inputs: dict) -> dict:
    """Returns the inputs of a library's attention: q, k, v [N, L or L + A, H, D], and a mask if
    needed.

    q and k are normalised, rotated and laid out as rows. Shared keys and values are appended to
    each row.

    Args:
        layout: the conversion to rows.
        inputs: arguments of the project's operation by name: q, k, v [B, T, S, H, D], the gains
            q_scale and k_scale [D], angles [L, D/2], and perhaps visible [B, T], False for padding
            frames, and shared_k and shared_v [B, A, H, D], which every site attends to.
    """
    q, k, v = (inputs[name] for name in "qkv")
    S = q.shape[2]
    angles = layout.angles(inputs["angles"])
    q = normalise_and_rotate(q, inputs["q_scale"], angles).astype(v.dtype)
    k = normalise_and_rotate(k, inputs["k_scale"], angles).astype(v.dtype)
    q, k, v = layout.rows(q), layout.rows(k), layout.rows(v)
    shared = inputs.get("shared_k")
    if shared is not None:
        k, v = (
            jnp.concatenate([x, jnp.repeat(inputs[name], S, 0)], 1)
            for x, name in ((k, "shared_k"), (v, "shared_v"))
        )
    return {"q": q, "k": k, "v": v} | (
        {} if (mask := mask_of(layout, inputs, jnp)) is None else {"mask": mask}
    )


def mask_of(layout: Layout, inputs: dict, np: ModuleType) -> Any:
    """Returns the mask of attention, bool [N, 1, T, T + A], True where a query attends to a key.

    Returns None if every query attends to all keys, or if the library's causal flag suffices. `np`
    is jax.numpy or torch.
    """
    visible, shared = inputs.get("visible"), inputs.get("shared_k")
    if visible is None and not (layout.causal and shared is not None):
        return None
    B, T, S, *_ = inputs["q"].shape
    device = {} if np is jnp else {"device": inputs["q"].device}
    mask = np.ones((B, T, T), dtype=np.bool_ if np is jnp else np.bool, **device)
    if visible is not None:
        mask = mask & visible[:, None, :]
    if layout.causal:
        mask = np.tril(mask)
    if shared is not None:
        shared_mask = np.ones((B, T, shared.shape[1]), dtype=mask.dtype, **device)
        mask = np.concatenate([mask, shared_mask], -1)
    mask = mask[:, None]
    return np.repeat(mask, S, 0) if np is jnp else mask.repeat_interleave(S, 0)


def drop_in(layout: Layout, core: Callable) -> Callable[[dict], jax.Array]:
    """Returns a drop-in replacement of the project's operation: norm, rotation and layout around a
    library's attention. It is a function from the operation's inputs, a dict, to its result
    [B, T, S, H, D].

    Args:
        layout: the conversion to rows.
        core: the library's attention, a function (layout, result of `ready`) -> rows
            [N, L, H, D].
    """

    def function(inputs: dict) -> jax.Array:
        return layout.back(core(layout, ready(layout, inputs)), inputs["q"].shape)

    return function


def library(implementation: Literal["xla", "cudnn"]) -> Callable:
    """Returns attention by an implementation of jax.nn.dot_product_attention, as a function
    (layout, result of `ready`) -> rows [N, L, H, D].
    """

    def core(layout: Layout, x: dict) -> jax.Array:
        causal = layout.causal and "mask" not in x
        return jax.nn.dot_product_attention(
            x["q"],
            x["k"],
            x["v"],
            mask=x.get("mask"),
            is_causal=causal,
            implementation=implementation,
        )

    return core


def cudnn_form(dtype: str, head: int, name: str, form: Callable) -> list[Form]:
    """Returns a form by cuDNN; raises `Absent` where it cannot compute heads of this width."""
    if device.platform() != "gpu":
        raise Absent("cuDNN is for NVIDIA GPUs")
    if dtype == "float32" or head % 8:
        raise Absent(
            f"cuDNN's attention takes 16-bit numbers and heads of a multiple of 8, not {dtype} "
            f"and {head}"
        )
    return [form(how=name, expects="cudnn")]


def forms(layout: Layout, dtype: str, head: int) -> dict[str, Callable[[], list[Form]]]:
    """Returns the forms of the operation by libraries: {implementation: function that returns its
    forms}, for `Workload.forms`.

    "cudnn_core" is attention alone, which starts from rows of normalised and rotated q, k, v.

    Args:
        layout: the conversion to rows.
        dtype: dtype of q, k and v.
        head: width of a head.
    """
    cudnn = functools.partial(cudnn_form, dtype, head)
    full = functools.partial(Form, function=drop_in(layout, library("cudnn")))
    core = functools.partial(
        Form,
        function=functools.partial(library("cudnn"), layout),
        prepare=functools.partial(ready, layout),
    )
    return {
        "cudnn": functools.partial(
            cudnn, "jax.nn.dot_product_attention with norm, rotation and layout", full
        ),
        "cudnn_core": functools.partial(cudnn, "jax.nn.dot_product_attention alone", core),
        "tokamax": functools.partial(_tokamax, layout),
    }


def _tokamax(layout: Layout) -> list[Form]:
    if importlib.util.find_spec("tokamax") is None:
        raise Absent("not installed; pip install tokamax")
    import tokamax  # may be absent

    def core(layout: Layout, x: dict) -> jax.Array:
        causal = layout.causal and "mask" not in x
        return tokamax.dot_product_attention(
            x["q"], x["k"], x["v"], mask=x.get("mask"), is_causal=causal
        )

    return [
        Form("tokamax.dot_product_attention with norm, rotation and layout", drop_in(layout, core))
    ]
