"""Shapes of a `temporal_attention` call; named workloads of tests, benchmarks and tuning."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of a grid of tokens, T frames of rows and columns. Tokens of a window attend to each
    other. Windows do not wrap around: one at an edge may hold fewer tokens.

    Attributes:
        sides: frames, rows and columns of a window.
        columns: columns of a frame. A frame of S tokens has S / columns rows.
        shifted: whether windows begin half a side earlier along each axis that has several. Default
            False.
    """

    sides: tuple[int, int, int]
    columns: int
    shifted: bool = False

    def __str__(self) -> str:
        sides = "x".join(map(str, self.sides))
        return f"{sides} of {self.columns} columns" + " shifted" * self.shifted

    @property
    def tokens(self) -> int:
        """The tokens of a whole window."""
        return math.prod(self.sides)

    def grid(self, T: int, S: int) -> tuple[int, int, int]:
        """Returns the frames, rows and columns of T frames of S tokens."""
        return T, S // self.columns, self.columns

    def shifts(self, T: int, S: int) -> tuple[int, int, int]:
        """Returns the tokens along each axis by which windows begin earlier."""
        first, rows, columns = (
            side // 2 if self.shifted and side < length else 0
            for side, length in zip(self.sides, self.grid(T, S), strict=True)
        )
        return first, rows, columns

    def counts(self, T: int, S: int) -> tuple[int, int, int]:
        """Returns the number of windows along each axis."""
        axes = zip(self.grid(T, S), self.shifts(T, S), self.sides, strict=True)
        frames, rows, columns = (-(-(length + shift) // side) for length, shift, side in axes)
        return frames, rows, columns

    def index(self, T: int, S: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the tokens of each window, and the slot of each token.

        Returns:
            gather: int32 [windows, tokens of a window], the index of each token among the T S
            tokens; -1 in empty slots. place: int32 [T S], the inverse: the slot of each token.
        """
        grid, counts = self.grid(T, S), self.counts(T, S)
        position = np.stack(np.meshgrid(*map(np.arange, grid), indexing="ij"), -1).reshape(-1, 3)
        cell, inside = np.divmod(position + np.array(self.shifts(T, S)), self.sides)
        place = np.ravel_multi_index(cell.T, counts) * self.tokens
        place = (place + np.ravel_multi_index(inside.T, self.sides)).astype(np.int32)
        gather = np.full((math.prod(counts), self.tokens), -1, np.int32)
        gather.reshape(-1)[place] = np.arange(len(position))
        return gather, place


@dataclasses.dataclass(frozen=True)
class Spec:
    """The shapes, the dtype and the masks of a call of `temporal_attention`.

    Attributes:
        B: batch.
        T: frames.
        S: sites.
        H: heads.
        D: width of a head.
        A: shared keys. Default 0.
        dtype: dtype of q, k, v and the result. Default "bfloat16".
        causal: whether a frame attends only to itself and earlier frames. Default False.
        masked: whether the call has a `visible` mask. Default False.
        windows: windows of tokens that attend to each other. Default None: the frames of each site.
        turned: frames that have angles of their own, T, or 1 if all have the same. Read with
            `windows` only. Default 0: T.
    """

    B: int
    T: int
    S: int
    H: int
    D: int
    A: int = 0
    dtype: str = "bfloat16"
    causal: bool = False
    masked: bool = False
    windows: Windows | None = None
    turned: int = 0

    def __str__(self) -> str:
        more = f" A={self.A}" * bool(self.A) + " causal" * self.causal + " masked" * self.masked
        more += f" windows {self.windows}" * (self.windows is not None)
        return f"B={self.B} T={self.T} S={self.S} H={self.H} D={self.D} {self.dtype}{more}"

    @property
    def tokens(self) -> int:
        """The tokens that attend to each other: T at each site, or those of a window."""
        return self.T if self.windows is None else self.windows.tokens

    @property
    def turns(self) -> int:
        """The rows of the table of angles: T, or the tokens of `turned` frames with windows."""
        return self.T if self.windows is None else (self.turned or self.T) * self.S

    @property
    def groups(self) -> int:
        """The sites of a batch element, or its windows."""
        if self.windows is None:
            return self.S
        return math.prod(self.windows.counts(self.T, self.S))

    @property
    def array_bytes(self) -> int:
        """The bytes of q. k, v and the result have the same size."""
        return self.B * self.T * self.S * self.H * self.D * jnp.dtype(self.dtype).itemsize

    @property
    def forward_bytes(self) -> int:
        """The minimum bytes moved forward: q, k, v read and the result written.

        Shared keys and values are small and not counted.
        """
        return 4 * self.array_bytes

    @property
    def backward_bytes(self) -> int:
        """The minimum bytes moved backward: q, k, v and the result's gradient read, three gradients
        written.
        """
        return 7 * self.array_bytes

    @property
    def forward_flops(self) -> int:
        """The FLOPs of the two products, of N queries with N + A keys each, N = `tokens`; masks and
        empty slots of windows are not deducted.
        """
        return 4 * self.B * self.groups * self.H * self.tokens * (self.tokens + self.A) * self.D

    @property
    def backward_flops(self) -> int:
        """The FLOPs of the gradient's five products: q k^T again, and those for the gradients of v,
        p (the softmax), q and k.
        """
        return self.forward_flops * 5 // 2


@functools.partial(jax.jit, static_argnums=(0, 1))
def inputs(spec: Spec, seed: int = 0) -> dict[str, jax.Array]:
    """Returns random arguments of `temporal_attention` by name, all but `causal`.

    q, k, v and the shared keys and values are standard normal. The scales of the norms of q and k
    are near one. Frames are 0.25 s apart. A masked spec hides the last third of the frames in every
    other batch element.
    """
    keys = jax.random.split(jax.random.key(seed), 7)
    shape, shared = (spec.B, spec.T, spec.S, spec.H, spec.D), (spec.B, spec.A, spec.H, spec.D)
    given = {
        name: jax.random.normal(key, shape, jnp.float32)
        for name, key in zip("qkv", keys, strict=False)
    }
    if spec.A:
        given |= {
            name: jax.random.normal(key, shared, jnp.float32)
            for name, key in zip(("shared_k", "shared_v"), keys[3:], strict=False)
        }
    given = {name: array.astype(spec.dtype) for name, array in given.items()}
    for name, key in zip(("q_scale", "k_scale"), keys[5:], strict=True):
        given[name] = 1 + 0.2 * jax.random.normal(key, (spec.D,))
    rates = jnp.geomspace(20.0, 0.05, spec.D // 2)
    given["angles"] = 0.25 * jnp.arange(spec.T)[:, None] * rates
    if spec.windows is not None:
        given["angles"] = given["angles"][:, None] + 0.1 * jnp.arange(spec.S)[:, None] * rates
        given["angles"] = given["angles"][: spec.turned or spec.T]
    if spec.masked:
        hidden = (jnp.arange(spec.B) % 2 == 0)[:, None] & (
            jnp.arange(spec.T) >= spec.T - spec.T // 3
        )
        given["visible"] = ~hidden
    return given


SPECS = {
    # 256 x 256 pixels, 16 heads of 64: sizes of DiT-XL/2 rounded to powers of two. docs/results
    # reports t16.
    "t8": Spec(2, 8, 1024, 16, 64),
    "t16": Spec(2, 16, 1024, 16, 64),
    "t32": Spec(2, 32, 1024, 16, 64),
    "t64": Spec(2, 64, 1024, 16, 64),
    # The presets of sora_jax: XL at 720p (16 heads of 72, as Open-Sora 1.2), and 14B at 480p with
    # the 21 latent frames of an 81-frame video.
    "xl": Spec(1, 16, 3600, 16, 72),
    "wide": Spec(1, 21, 1560, 40, 128),
    # 64 shared audio tokens, read at every site.
    "t16_shared": Spec(2, 16, 1024, 16, 64, A=64),
    "xl_shared": Spec(1, 16, 3600, 16, 72, A=64),
    "wide_shared": Spec(1, 21, 1560, 40, 128, A=64),
    # Masks.
    "t16_causal": Spec(2, 16, 1024, 16, 64, causal=True),
    "t16_masked": Spec(2, 16, 1024, 16, 64, masked=True),
    # Within frames of 16 and of 64 tokens, and within windows of all frames and 2 x 2 sites.
    "frame16": Spec(2, 64, 16, 16, 64, windows=Windows((1, 4, 4), 4)),
    "frame64": Spec(2, 16, 64, 16, 64, windows=Windows((1, 8, 8), 8)),
    "t16_window": Spec(2, 16, 1024, 16, 64, windows=Windows((16, 2, 2), 32)),
    "t5_shifted": Spec(2, 5, 1024, 16, 64, windows=Windows((5, 2, 2), 32, shifted=True)),
    # Other dtypes; and nano, with heads of width 32.
    "t16_f16": Spec(2, 16, 1024, 16, 64, dtype="float16"),
    "t16_f32": Spec(2, 16, 1024, 16, 64, dtype="float32"),
    "nano": Spec(8, 5, 64, 6, 32, dtype="float32"),
}

# The workloads that matter most on a GPU. Tests bound the registers of their kernels, without
# spills (forward: 128); benchmarks time them first.
PRIMARY = ("t8", "t16", "t32", "t64", "xl", "wide", "t16_shared", "t16_causal", "t16_masked")
