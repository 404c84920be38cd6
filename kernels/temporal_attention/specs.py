"""Shapes of a `temporal_attention` call; named workloads of tests, benchmarks and tuning."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Windows:
    """Windows of the tokens of a video: T frames of S tokens in rows and columns. Tokens of the
    same window attend to each other. Windows do not wrap around: one at an edge may hold fewer
    tokens.

    Attributes:
        sides: frames, rows and columns of a window.
        columns: columns of a frame. A frame of S tokens has S / columns rows.
    """

    sides: tuple[int, int, int]
    columns: int

    def __str__(self) -> str:
        return "x".join(map(str, self.sides)) + f" of {self.columns} columns"

    @property
    def tokens(self) -> int:
        """The tokens of a whole window."""
        return math.prod(self.sides)

    def grid(self, T: int, S: int) -> tuple[int, int, int]:
        """Returns the frames, rows and columns of T frames of S tokens."""
        return T, S // self.columns, self.columns

    def shifts(self, T: int, S: int) -> tuple[int, int, int]:
        """Returns the tokens along each axis by which shifted windows begin earlier: half a side,
        or 0 where one window has the whole axis.
        """
        axes = zip(self.sides, self.grid(T, S), strict=True)
        frames, rows, columns = (side // 2 if side < length else 0 for side, length in axes)
        return frames, rows, columns

    def counts(self, T: int, S: int, shifted: bool) -> tuple[int, int, int]:
        """Returns the number of windows along each axis, enough for shifted ones if `shifted`."""
        axes = zip(self.sides, self.grid(T, S), self.shifts(T, S), strict=True)
        frames, rows, columns = (
            -(-(length + shift * shifted) // side) for side, length, shift in axes
        )
        return frames, rows, columns


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
        windows: the windows; tokens of the same one attend to each other. Default None: attention
            along time, whose windows are the frames of a site.
        shifted: whether the call has a `shifted` flag. Default False.
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
    shifted: bool = False
    turned: int = 0

    def __str__(self) -> str:
        more = f" A={self.A}" * bool(self.A) + " causal" * self.causal + " masked" * self.masked
        more += f" windows {self.windows}" * (self.windows is not None) + " shifted" * self.shifted
        return f"B={self.B} T={self.T} S={self.S} H={self.H} D={self.D} {self.dtype}{more}"

    @property
    def division(self) -> Windows:
        """`windows`, or the default: windows of all frames and one site."""
        return self.windows or Windows((self.T, 1, 1), self.S)

    @property
    def tokens(self) -> int:
        """The tokens of a window."""
        return self.division.tokens

    @property
    def counts(self) -> tuple[int, int, int]:
        """The windows along each axis of a batch element."""
        return self.division.counts(self.T, self.S, self.shifted)

    @property
    def turns(self) -> tuple[int, int]:
        """The frames and the sites that have angles of their own; 1 where all have the same."""
        return (self.T, 1) if self.windows is None else (self.turned or self.T, self.S)

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
    def jvp_bytes(self) -> int:
        """The minimum bytes moved in forward mode: q, k, v and their tangents read, the result and
        its tangent written.
        """
        return 8 * self.array_bytes

    @property
    def forward_flops(self) -> int:
        """The FLOPs of the two products, of N queries with N + A keys each, N = `tokens`; masks and
        empty slots of windows are not deducted.
        """
        return (
            4
            * self.B
            * math.prod(self.counts)
            * self.H
            * self.tokens
            * (self.tokens + self.A)
            * self.D
        )

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
    if spec.shifted:
        given["shifted"] = jnp.array(True)
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
    "frame16": Spec(2, 64, 16, 16, 64, windows=Windows((1, 4, 4), 4), turned=1),
    "frame64": Spec(2, 16, 64, 16, 64, windows=Windows((1, 8, 8), 8), turned=1),
    "t16_window": Spec(2, 16, 1024, 16, 64, windows=Windows((16, 2, 2), 32)),
    "t5_shifted": Spec(2, 5, 1024, 16, 64, windows=Windows((5, 2, 2), 32), shifted=True),
    # Other dtypes; and nano, with heads of width 32.
    "t16_f16": Spec(2, 16, 1024, 16, 64, dtype="float16"),
    "t16_f32": Spec(2, 16, 1024, 16, 64, dtype="float32"),
    "nano": Spec(8, 5, 64, 6, 32, dtype="float32"),
}

# The workloads that matter most on a GPU. Tests bound the registers of their kernels, without
# spills (forward: 128); benchmarks time them first.
PRIMARY = ("t8", "t16", "t32", "t64", "xl", "wide", "t16_shared", "t16_causal", "t16_masked")
