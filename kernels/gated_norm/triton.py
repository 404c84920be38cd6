"""A gated residual and its modulated norm on NVIDIA GPUs, each direction in one pass.

The equations of the forward pass are those of `reference.py`, and so are the letters: gate a, shift
b, scale c. The norm is that of y as it is rounded. XLA alone needs two passes, because the mean
over channels must be known before z is written.

In the backward pass dy and dz are the gradients of the results y and z. n = y r is recomputed from
y, which the model keeps anyway:

    w = (1 + c) dz,   e = dy + r (w - n mean_d(w n))                                             (1)
    dx = e,   df = a e                                                                           (2)
    da = sum_s e f,   db = sum_s dz,   dc = sum_s dz n                                           (3)

The constants EACH and ROWS are numbers of sites. A program handles EACH neighbouring sites of one
frame, ROWS at a time, with all their channels at once. Forward it keeps the rows a, b and c of the
frame in registers. Backward it accumulates the sums of equation (3) in registers and writes each
once; XLA adds these partial sums. No atomics are used, so the results are deterministic. XLA alone
needs several passes, because it sums over sites and over channels in different kernels.
"""

import jax
import jax.numpy as jnp
import triton
import triton.language as tl

from kernels import tuning
from kernels.errors import Unsupported
from kernels.gated_norm.reference import EPSILON
from kernels.gated_norm.specs import Spec
from kernels.triton_call import Launch, cdiv, check_runnable

EPS = tl.constexpr(EPSILON)


@triton.jit
def _row(pointer, D: tl.constexpr, WIDE: tl.constexpr):
    """Loads gate, shift or scale of a frame: float32 [1, WIDE], 0 from D on."""
    d = tl.arange(0, WIDE)
    return tl.load(pointer + d, mask=d < D, other=0.0).to(tl.float32)[None, :]


@triton.jit
def forward_kernel(
    x_ptr, f_ptr, gate_ptr, shift_ptr, scale_ptr,
    y_ptr, z_ptr,
    S: tl.constexpr, D: tl.constexpr, EACH: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Computes y and z for EACH sites of one frame.

    x and f are inputs [frames, S, D], gate, shift and scale inputs [frames, D]. y and z are outputs
    [frames, S, D]. Programs and constants are those of `backward_kernel`.
    """
    CHUNKS: tl.constexpr = (S + EACH - 1) // EACH
    program = tl.program_id(0)
    chunk, frame = program % CHUNKS, (program // CHUNKS).to(tl.int64)
    first = frame * (S * D)
    x_ptr, f_ptr, y_ptr, z_ptr = x_ptr + first, f_ptr + first, y_ptr + first, z_ptr + first
    d = tl.arange(0, WIDE)
    a = _row(gate_ptr + frame * D, D, WIDE)
    b = _row(shift_ptr + frame * D, D, WIDE)
    c = _row(scale_ptr + frame * D, D, WIDE)
    dtype = y_ptr.dtype.element_ty
    for start in range(0, EACH, ROWS):
        i = start + tl.arange(0, ROWS)
        s = chunk * EACH + i
        at = s[:, None] * D + d[None, :]
        exists = ((i < EACH) & (s < S))[:, None] & (d < D)[None, :]
        x = tl.load(x_ptr + at, mask=exists, other=0.0).to(tl.float32)
        f = tl.load(f_ptr + at, mask=exists, other=0.0).to(tl.float32)
        y = (x + a * f).to(dtype)
        tl.store(y_ptr + at, y, mask=exists)
        y = y.to(tl.float32)
        n = y * tl.rsqrt(tl.sum(y * y, 1) / D + EPS)[:, None]
        tl.store(z_ptr + at, ((1 + c) * n + b).to(dtype), mask=exists)


@triton.jit
def backward_kernel(
    y_ptr, f_ptr, gate_ptr, scale_ptr, dy_ptr, dz_ptr,
    dx_ptr, df_ptr, sums_ptr,
    S: tl.constexpr, D: tl.constexpr, EACH: tl.constexpr, ROWS: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Computes the gradients of x and f, and partial sums of those of gate, shift and scale, for
    EACH sites of one frame.

    y, f, dy and dz are inputs [frames, S, D], gate and scale inputs [frames, D]. dx and df are
    outputs [frames, S, D], and sums an output [frames, chunks, 3, D] in float32. Programs run over
    frames and chunks of EACH sites, ROWS sites at a time; WIDE is D rounded up to a power of two.
    """
    CHUNKS: tl.constexpr = (S + EACH - 1) // EACH
    program = tl.program_id(0)
    chunk, frame = program % CHUNKS, (program // CHUNKS).to(tl.int64)
    first = frame * (S * D)
    y_ptr, f_ptr, dy_ptr, dz_ptr, dx_ptr, df_ptr = (
        y_ptr + first,
        f_ptr + first,
        dy_ptr + first,
        dz_ptr + first,
        dx_ptr + first,
        df_ptr + first,
    )
    d = tl.arange(0, WIDE)
    zeros = tl.zeros((ROWS, WIDE), tl.float32)
    da, db, dc = zeros, zeros, zeros
    for start in range(0, EACH, ROWS):
        i = start + tl.arange(0, ROWS)
        s = chunk * EACH + i
        at = s[:, None] * D + d[None, :]
        exists = ((i < EACH) & (s < S))[:, None] & (d < D)[None, :]
        # Arrays are loaded just before their first use, and sums are taken early: with all arrays
        # live at once, rows of 5120 numbers would spill registers. Scale and gate are reloaded from
        # the cache in each step.
        y = tl.load(y_ptr + at, mask=exists, other=0.0).to(tl.float32)
        dz = tl.load(dz_ptr + at, mask=exists, other=0.0).to(tl.float32)
        c = _row(scale_ptr + frame * D, D, WIDE)
        w = (1 + c) * dz
        squares, product = tl.sum(y * y, 1)[:, None], tl.sum(w * y, 1)[:, None]
        r = tl.rsqrt(squares / D + EPS)
        n = y * r
        db += dz
        dc += dz * n
        dy = tl.load(dy_ptr + at, mask=exists, other=0.0).to(tl.float32)
        e = dy + r * w - n * (r * r * product / D)
        f = tl.load(f_ptr + at, mask=exists, other=0.0).to(tl.float32)
        da += e * f
        a = _row(gate_ptr + frame * D, D, WIDE)
        tl.store(df_ptr + at, (a * e).to(df_ptr.dtype.element_ty), mask=exists)
        tl.store(dx_ptr + at, e.to(dx_ptr.dtype.element_ty), mask=exists)
    sums_ptr += program.to(tl.int64) * (3 * D)
    tl.store(sums_ptr + d, tl.sum(da, 0), mask=d < D)
    tl.store(sums_ptr + D + d, tl.sum(db, 0), mask=d < D)
    tl.store(sums_ptr + 2 * D + d, tl.sum(dc, 0), mask=d < D)


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the remedy, if the GPU kernel cannot run `spec` here."""
    if spec.D > 8192 or spec.dtype not in ("float32", "float16", "bfloat16"):
        raise Unsupported(f"takes widths up to 8192 of float32, float16 or bfloat16, not {spec}")
    if spec.S * spec.D >= 2**31:
        raise Unsupported(f"takes fewer than 2^31 numbers per frame, not {spec}; shard its sites")
    check_runnable()


def parameters(spec: Spec, kernel: str) -> dict[str, int]:
    """Returns the launch parameters of a kernel: the heuristic below, or those tuned on this
    device.

    `kernel` is "forward" or "backward".

    Launch parameters:
        rows: sites that a program handles at a time, a power of two. They hold 2048 numbers, so
            that each thread loads 8 numbers (16 bytes) at once. One site if D is more than that.
        warps: warps of a program: 8, or 16 if D is more than 2048, since all numbers of a site are
            in registers at once.
        each: sites of a program. There are then enough programs for 4 on each of 132 processors. At
            least 32 sites, which keeps the array of partial sums small.
    """
    wide = triton.next_power_of_2(spec.D)
    rows = max(1, 2048 // wide)
    chunks = max(1, min(cdiv(528, spec.N), spec.S // 32))
    heuristic = {
        "rows": rows,
        "warps": 8 if wide <= 2048 else 16,
        "each": cdiv(spec.S, chunks),
    }
    return tuning.parameters("gated_norm", heuristic, kernel=kernel, D=spec.D, dtype=spec.dtype)


def launches(spec: Spec) -> dict[str, Launch]:
    """Returns the Triton launches of `spec` by name: "forward" and "backward"."""
    x = jax.ShapeDtypeStruct((spec.N, spec.S, spec.D), jnp.dtype(spec.dtype))
    row = jax.ShapeDtypeStruct((spec.N, spec.D), jnp.float32)

    def launch(name, kernel, inputs, results):
        p = parameters(spec, name)
        chunks = cdiv(spec.S, p["each"])
        constants = {
            "S": spec.S,
            "D": spec.D,
            "EACH": p["each"],
            "ROWS": p["rows"],
            "WIDE": triton.next_power_of_2(spec.D),
        }
        programs, warps = spec.N * chunks, p["warps"]
        return Launch(kernel, inputs, results(chunks), programs, constants, num_warps=warps)

    def forward_results(_):
        return x, x

    def backward_results(chunks):
        return x, x, jax.ShapeDtypeStruct((spec.N, chunks, 3, spec.D), jnp.float32)

    return {
        "forward": launch("forward", forward_kernel, (x, x, row, row, row), forward_results),
        "backward": launch("backward", backward_kernel, (x, x, row, row, x, x), backward_results),
    }


def forward(spec: Spec, *arguments: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns y and z of `gated_norm`, each [N, S, D] in the dtype of x.

    Args:
        spec: the shapes of the call.
        arguments: x and f, [N, S, D], and gate, shift and scale, float32 [N, D].
    """
    y, z = launches(spec)["forward"](*arguments)
    return y, z


def backward(
    spec: Spec,
    y: jax.Array,
    f: jax.Array,
    gate: jax.Array,
    scale: jax.Array,
    dy: jax.Array,
    dz: jax.Array,
) -> tuple[jax.Array, ...]:
    """Returns the gradients of `gated_norm`: of x and f [N, S, D] in their dtype, and of gate,
    shift and scale [N, D] in float32.

    Args:
        spec: the shapes of the call.
        y: the first result, [N, S, D].
        f: output of the branch, [N, S, D].
        gate: float32 [N, D].
        scale: float32 [N, D].
        dy: gradient of y, [N, S, D].
        dz: gradient of the second result z, [N, S, D].
    """
    dx, df, sums = launches(spec)["backward"](y, f, gate, scale, dy, dz)
    return dx, df, *jnp.moveaxis(sums.sum(1), 1, 0)
