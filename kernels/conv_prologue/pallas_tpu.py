"""The prologue of a causal convolution on TPUs, forward and backward, each in one pass over memory.

The equations and letters are those of `reference.py`. A frame is divided into blocks of `rows`
rows (`Tiling`), and in the forward pass one program writes one block of a frame of `past`. The
programs of a frame run in order, and so do the frames of a batch element, those of the cache
first. Padding moves every row down by P, so the last P rows of a block of x belong to the next
block of past. They wait in scratch memory, so nothing is read twice. Because of the padding, a
frame of past may have more blocks than one of x.

In the backward pass, a block of x needs rows of past's gradient that are P further down. A program
therefore writes the block before the one that it reads, and keeps the rows that are left in
scratch memory. dy is the gradient of y. With s = sigmoid(u), and x read again so that the forward
pass saves nothing,

    du = dy s (1 + u (1 - s)),   dg = sum of du n over positions,   w = g du                     (1)
    dx = r (w - n mean_c(w n))                                                                   (2)

dg is summed in order in one block of the result. No atomics are used, so the results are
deterministic.

The kernel supports multiples of 128 channels only, and XLA handles the other numbers. For those,
XLA puts the columns of a frame in the lanes of its registers, where they need less padding, and
would copy the frame for a kernel. A convolution, the prologue and another convolution moved 49.4X
with the kernel and 44.1X without it for 96 channels, and 34.4X and 68.4X for 384 channels. (X is
the bytes of x; compiled for v6e, `cost_analysis`, not run.)

The pipeline does not move a block again if its index stays the same. The index of x's block
therefore stays at the first one while frames of the cache pass, that of the cache's block stays at
the last one afterwards, and that of the next cache's block stays at the first one until its frames
come.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernels import pallas_call, tuning
from kernels.conv_prologue.reference import EPSILON
from kernels.conv_prologue.specs import Spec
from kernels.errors import Unsupported

# Bytes of fast memory (VMEM) that a program may use. Cores of the supported generations have 64 MiB
# or more.
MEMORY = 60 * 2**20
LANES = 128  # numbers of a row of a TPU's registers


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How the TPU kernel divides its work into programs: each handles a block of rows of a frame.

    Attributes:
        spec: the shapes of the call.
        rows: rows of a block.
    """

    spec: Spec
    rows: int

    @property
    def blocks(self) -> int:
        """The number of blocks of rows in a frame of x."""
        return -(-self.spec.H // self.rows)

    @property
    def padded_blocks(self) -> int:
        """The number of blocks of rows in a frame of the padded result `past`."""
        return -(-(self.spec.H + 2 * self.spec.P) // self.rows)

    @property
    def late(self) -> int:
        """The number of blocks by which the backward pass writes behind what it reads of past's
        gradient: 1 with padding, else 0.
        """
        return 1 if self.spec.P else 0

    @property
    def ragged(self) -> bool:
        """Whether the last block of x extends beyond the end of its frame."""
        return self.spec.H % self.rows > 0

    def shape(self, frames: int, padding: int = 0) -> tuple[int, ...]:
        """Returns the shape [B, frames, rows, columns, C] of an array of `frames` frames, each with
        `padding` rows and columns more on all sides. Default: 0.
        """
        spec = self.spec
        return spec.B, frames, spec.H + 2 * padding, spec.W + 2 * padding, spec.C

    @property
    def memory(self) -> int:
        """The bytes of VMEM (a TPU's fast memory) that one program of the grid needs.

        It is the sum of 13 blocks of `rows` rows of a frame (six arrays in two buffers each, and
        one block in use) and of 12 rows in float32 for intermediate results.
        """
        row = _up(self.spec.W + 2 * self.spec.P, 16) * _up(self.spec.C, LANES)
        return row * (13 * self.rows * jnp.dtype(self.spec.dtype).itemsize + 12 * 4)

    # Block indices of each array, for program (batch b, frame f of past, block i of its rows). An
    # index that stays the same costs no transfer, so arrays that a program does not use keep it.

    def of_x(self, b, f, i):
        """Returns the index of the block of x that the program of batch element b, frame f of past
        and block i reads: of frame f - K, and the first block while f < K.
        """
        return (
            b,
            jnp.maximum(f - self.spec.K, 0),
            jnp.where(f < self.spec.K, 0, jnp.clip(i, 0, self.blocks - 1)),
            0,
            0,
        )

    def of_cache(self, b, f, i):
        """Returns the index of the block of the cache that the program of batch element b, frame f
        of past and block i reads: of frame f, and the last block from f = K on.
        """
        last = self.blocks - 1
        return (
            b,
            jnp.minimum(f, self.spec.K - 1),
            jnp.where(f < self.spec.K, jnp.clip(i, 0, last), last),
            0,
            0,
        )

    def of_next(self, b, f, i):
        """Returns the index of the block of the next cache that the program of batch element b,
        frame f of past and block i writes: of frame f - T, and the first block while f < T.
        """
        return (
            b,
            jnp.maximum(f - self.spec.T, 0),
            jnp.where(f < self.spec.T, 0, jnp.clip(i, 0, self.blocks - 1)),
            0,
            0,
        )

    def of_past(self, b, f, i):
        """Returns the index of the block of past (or of its gradient) that the program of batch
        element b, frame f and block i writes (or reads).
        """
        return b, f, jnp.minimum(i, self.padded_blocks - 1), 0, 0

    def frame_block(self, place, late: int = 0) -> pl.BlockSpec:
        """Returns the Pallas BlockSpec of `rows` unpadded rows of a frame, [1, 1, rows, W, C].

        Args:
            place: function (b, f, i) -> index of the block, such as `of_x`.
            late: the block is that of the program `late` programs before. Default 0.
        """
        spec = self.spec
        return pl.BlockSpec(
            (1, 1, self.rows, spec.W, spec.C), lambda b, f, i: place(b, f, i - late)
        )

    def past_block(self) -> pl.BlockSpec:
        """Returns the Pallas BlockSpec of `rows` padded rows of past, [1, 1, rows, W + 2 P, C]."""
        spec = self.spec
        return pl.BlockSpec((1, 1, self.rows, spec.W + 2 * spec.P, spec.C), self.of_past)

    def gain_block(self) -> pl.BlockSpec:
        """Returns the Pallas BlockSpec of the whole gain, [1, C]."""
        return pl.BlockSpec((1, self.spec.C), lambda b, f, i: (0, 0))


def _normalised(x):
    """Returns the RMS-normalised row n [W, C] and r [W, 1], one over the root mean square (equation
    1 of the reference), for a row x, float32 [W, C].
    """
    r = lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + EPSILON)
    return x * r, r


def _over_rows(first: int, end: int, body) -> None:
    """Runs body(row) for the rows `first` to `end` - 1 of a block, in a loop: unrolled, the program
    would be too long.
    """
    lax.fori_loop(first, end, lambda r, _: body(r), None)


def _forward_kernel(tl: Tiling, x_ref, gain_ref, cache_ref, past_ref, next_ref, waiting_ref):
    spec, P = tl.spec, tl.spec.P
    f, i = pl.program_id(1), pl.program_id(2)
    if P:

        @pl.when(i == 0)
        def _():
            waiting_ref[...] = jnp.zeros(waiting_ref.shape, waiting_ref.dtype)

        past_ref[0, 0, :P] = waiting_ref[...]

    def put(r, y):
        """Writes row r of the block, [W, C], to past and to the next cache."""
        if tl.ragged or P:
            y = jnp.where(i * tl.rows + r < spec.H, y.astype(jnp.float32), 0.0)

        @pl.when((f >= spec.T) & (i < tl.blocks))
        def _():
            next_ref[0, 0, r] = y.astype(next_ref.dtype)

        if not P:
            past_ref[0, 0, r] = y.astype(past_ref.dtype)
            return
        # Shifted along sublanes in float32: two rows of 16-bit numbers share a sublane.
        side = jnp.zeros((P, spec.C), jnp.float32)
        padded = jnp.concatenate([side, y, side], 0).astype(past_ref.dtype)

        @pl.when(r + P < tl.rows)
        def _():
            past_ref[0, 0, r + P] = padded

        @pl.when(r + P >= tl.rows)
        def _():
            waiting_ref[r + P - tl.rows] = padded

    @pl.when(f < spec.K)
    def _():
        _over_rows(0, tl.rows, lambda r: put(r, cache_ref[0, 0, r]))

    @pl.when(f >= spec.K)
    def _():
        def activate(r):
            n, _ = _normalised(x_ref[0, 0, r].astype(jnp.float32))
            u = n * gain_ref[...]
            put(r, u * jax.nn.sigmoid(u))

        _over_rows(0, tl.rows, activate)


def _backward_kernel(
    tl: Tiling, x_ref, gain_ref, dpast_ref, dnext_ref, dx_ref, dgain_ref, dcache_ref, waiting_ref
):
    spec, P = tl.spec, tl.spec.P
    f, i = pl.program_id(1), pl.program_id(2)
    block = i - tl.late  # written now; block i of past's gradient is read

    @pl.when((f == 0) & (i == 0))
    def _():
        dgain_ref[...] = jnp.zeros(dgain_ref.shape, dgain_ref.dtype)

    def exists(r, x):
        # The last block may extend beyond the frame; garbage there must not enter the sum dgain.
        return jnp.where(block * tl.rows + r < spec.H, x, 0.0) if tl.ragged else x

    def pull_back(r, dpast):
        """Writes the gradients for row r of the block, given its row of past's gradient `dpast`,
        [W + 2 P, C].
        """
        dy = dpast.astype(jnp.float32)[P : P + spec.W]
        dy = exists(r, dy + jnp.where(f >= spec.T, dnext_ref[0, 0, r].astype(jnp.float32), 0.0))

        @pl.when(f < spec.K)
        def _():
            dcache_ref[0, 0, r] = dy.astype(dcache_ref.dtype)

        @pl.when(f >= spec.K)
        def _():
            n, root = _normalised(exists(r, x_ref[0, 0, r].astype(jnp.float32)))
            g = gain_ref[...]
            u = n * g
            s = jax.nn.sigmoid(u)
            du = dy * s * (1 + u * (1 - s))
            dgain_ref[0] += jnp.sum(du * n, axis=0, keepdims=True)
            w = g * du
            dx_ref[0, 0, r] = (root * (w - n * jnp.mean(w * n, axis=-1, keepdims=True))).astype(
                dx_ref.dtype
            )

    @pl.when(block >= 0)
    def _():
        # Rows of the block whose gradient the previous program read and left in scratch memory.
        kept = tl.rows - P if P else 0
        _over_rows(0, kept, lambda r: pull_back(r, waiting_ref[r]))
        _over_rows(kept, tl.rows, lambda r: pull_back(r, dpast_ref[0, 0, r - kept]))

    if P and tl.rows > P:
        waiting_ref[...] = dpast_ref[0, 0, P:]


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if the TPU kernel cannot run `spec` here."""
    pallas_call.check_runnable()
    if spec.dtype not in ("float32", "bfloat16"):
        raise Unsupported(f"takes float32 or bfloat16, not {spec}")
    if spec.C % LANES and pallas_call.interpreter() is None:
        raise Unsupported(
            f"takes channels in multiples of {LANES}, for others XLA alone moves less, not {spec}"
        )
    if (memory := _tiling(spec).memory) > MEMORY:
        raise Unsupported(
            f"needs {memory / 2**20:.0f} MiB of fast memory for {spec}, and has "
            f"{MEMORY >> 20}; process it in tiles"
        )


def parameters(spec: Spec) -> dict[str, int]:
    """Returns the launch parameters of a call: the heuristic below, or those tuned on this device.

    Launch parameters:
        rows: rows of a program. They hold at most 2^19 numbers, which take ten times as long to
            move as a program takes to start. At least P, because a row can wait only for the next
            block.
    """
    row = _up(spec.W, 8) * _up(spec.C, LANES)
    heuristic = {"rows": max(min(2**19 // row, spec.H), spec.P, 1)}
    return tuning.parameters(
        "conv_prologue", heuristic, kernel="pallas_tpu", C=spec.C, dtype=spec.dtype
    )


def _tiling(spec: Spec) -> Tiling:
    spec = _folded(spec)
    return Tiling(spec, parameters(spec)["rows"])


def _folded(spec: Spec) -> Spec:
    """Returns the spec with several short rows joined into one of at most 1024 columns.

    Rows can be joined if the frame is not padded, because it is then a list of positions. W must be
    a multiple of 16, so that the layout in memory stays the same. Otherwise returns `spec`.
    """
    if spec.P or spec.W % 16:
        return spec
    together = max(
        (n for n in range(1, spec.H + 1) if spec.H % n == 0 and n * spec.W <= 1024), default=1
    )
    return dataclasses.replace(spec, H=spec.H // together, W=spec.W * together)


def _call(tl: Tiling, kernel, direction, arrays, in_specs, results, out_specs, waiting):
    spec = tl.spec
    return pl.pallas_call(
        functools.partial(kernel, tl),
        name=f"conv_prologue_{direction}",
        interpret=pallas_call.interpreter() or False,
        grid=(
            spec.B,
            spec.K + spec.T,
            tl.padded_blocks if direction == "forward" else tl.blocks + tl.late,
        ),
        in_specs=in_specs,
        out_specs=out_specs,
        out_shape=results,
        scratch_shapes=[
            pltpu.VMEM((max(waiting, 1), spec.W + 2 * spec.P, spec.C), jnp.dtype(spec.dtype))
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
    )(*arrays)


def forward(
    spec: Spec, x: jax.Array, gain: jax.Array, cache: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes the prologue on a TPU: norm, SiLU, cached frames and zero padding.

    Args:
        spec: the shapes of the call.
        x: frames [B, T, H, W, C].
        gain: float32 [C].
        cache: the K frames before x, normalised and activated, [B, K, H, W, C].

    Returns:
        past [B, K + T, H + 2 P, W + 2 P, C], and the next cache [B, K, H, W, C].
    """
    tl = _tiling(spec)
    results = [
        jax.ShapeDtypeStruct(tl.shape(spec.K + spec.T, spec.P), x.dtype),
        jax.ShapeDtypeStruct(tl.shape(spec.K), x.dtype),
    ]
    past, after = _call(
        tl,
        _forward_kernel,
        "forward",
        (x.reshape(tl.shape(spec.T)), gain[None], cache.reshape(tl.shape(spec.K))),
        [tl.frame_block(tl.of_x), tl.gain_block(), tl.frame_block(tl.of_cache)],
        results,
        [tl.past_block(), tl.frame_block(tl.of_next)],
        spec.P,
    )
    past_shape = (spec.B, spec.K + spec.T, spec.H + 2 * spec.P, spec.W + 2 * spec.P, spec.C)
    return past.reshape(past_shape), after.reshape(cache.shape)


def backward(
    spec: Spec, x: jax.Array, gain: jax.Array, dpast: jax.Array, dnext: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the gradients of `forward` on a TPU.

    Args:
        spec: the shapes of the call.
        x: frames [B, T, H, W, C].
        gain: float32 [C].
        dpast: gradient of past, [B, K + T, H + 2 P, W + 2 P, C].
        dnext: gradient of the next cache, [B, K, H, W, C].

    Returns:
        The gradients of x [B, T, H, W, C], of the gain per batch element [B, C], and of the cache
        [B, K, H, W, C].
    """
    tl = _tiling(spec)
    results = [
        jax.ShapeDtypeStruct(tl.shape(spec.T), x.dtype),
        jax.ShapeDtypeStruct((spec.B, 1, spec.C), jnp.float32),
        jax.ShapeDtypeStruct(tl.shape(spec.K), x.dtype),
    ]
    dx, dgain, dcache = _call(
        tl,
        _backward_kernel,
        "backward",
        (
            x.reshape(tl.shape(spec.T)),
            gain[None],
            dpast.reshape(tl.shape(spec.K + spec.T, spec.P)),
            dnext.reshape(tl.shape(spec.K)),
        ),
        [
            tl.frame_block(tl.of_x, tl.late),
            tl.gain_block(),
            tl.past_block(),
            tl.frame_block(tl.of_next, tl.late),
        ],
        results,
        [
            tl.frame_block(tl.of_x, tl.late),
            pl.BlockSpec((1, 1, spec.C), lambda b, f, i: (b, 0, 0)),
            tl.frame_block(tl.of_cache, tl.late),
        ],
        tl.rows - spec.P if spec.P else 1,
    )
    return dx.reshape(x.shape), dgain[:, 0], dcache.reshape(dnext.shape)
