"""Temporal attention on NVIDIA GPUs: one pass over q, k, v forward, over q, k, v, do backward.

The equations are those of `reference.py`. The N tokens of a window (by default the T frames of a
site) are too few rows for a tensor core, and these problems are bound by memory bandwidth. A
program therefore handles one head of P = 64 // N neighbouring windows and puts them into one tile
of 64 rows. Row i is token i % N of window i // N, read in place from [B, T, S, H, D], D numbers at
a time. All pairs of rows are multiplied, and pairs of different windows are masked. This wastes
only products, which are not the bottleneck. With s = l log2(e), a factor that is folded into q',
the softmax is

    e_ij = 2^(s_ij - m_i),   m_i = max_j s_ij,   z_i = sum_j e_ij,   p_ij = e_ij / z_i           (1)

The backward pass recomputes everything, so only the arguments are saved between the passes:

    dp = do v^T,   delta_i = sum_j p_ij dp_ij,   ds = p (dp - delta)                             (2)
    dv = p^T do,   dq' = ds k' / sqrt(D),   dk' = ds^T q' / sqrt(D)                              (3)

and through rotation and normalisation, with u = R(-phi) dq', n = q r, r = 1 / sqrt(mean q^2 +
eps), w = g u:

    dg = sum of u n over rows,   dq = r (w - n mean(w n))                                        (4)

The same holds for k. Token j of window w of n_t x n_y x n_x, with the sides and shifts of equation
(6) of the reference, is in frame t, row y and column x:

    t = w // (n_y n_x) a + j // (b c) - a'
    y = w // n_x % n_y b + j // c % b - b',       x = w % n_x c + j % c - c'                     (5)

Sums over programs (dg; the gradients of shared keys, in a second kernel)
are written as partial sums, which XLA adds. No atomics are used, so the results are
deterministic. Planes are (x_i, x_{i + D/2}), so q and k are held as two halves, each padded in
registers to a power of two; v, o and do are whole.
"""

# Triton types the calls of functions under @triton.jit as never returning.
# pyright: reportGeneralTypeIssues=false

import math
from typing import Any

import jax
import jax.numpy as jnp
import triton
import triton.language as tl

from kernels import tuning
from kernels.errors import Unsupported
from kernels.temporal_attention.reference import EPSILON
from kernels.temporal_attention.specs import Spec
from kernels.triton_call import Launch, cdiv, check_runnable

EPS = tl.constexpr(EPSILON)
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _place(
    tile, shifted_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, N: tl.constexpr,
    SIDES: tl.constexpr, SHIFTS: tl.constexpr, COUNTS: tl.constexpr, COLUMNS: tl.constexpr,
    TURNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Locates the rows of tile `tile` by equation (5), relative to one batch element's first head.

    Returns, for each row: the offset of its first number, its frame, the number of its angles in
    `turns`, its window within the tile, and whether it exists.
    """
    P: tl.constexpr = ROWS // N
    WINDOWS: tl.constexpr = COUNTS[0] * COUNTS[1] * COUNTS[2]
    i = tl.arange(0, ROWS)
    j, window = i % N, i // N
    w = tile * P + window
    exists = i < P * N
    if WINDOWS % P > 0:  # the last tile has fewer
        exists = exists & (w < WINDOWS)
    frame = j // (SIDES[1] * SIDES[2])
    if COUNTS[0] > 1:
        frame += w // (COUNTS[1] * COUNTS[2]) * SIDES[0]
    y = w // COUNTS[2] % COUNTS[1] * SIDES[1] + j // SIDES[2] % SIDES[1]
    x = w % COUNTS[2] * SIDES[2] + j % SIDES[2]
    if SHIFTS[0] + SHIFTS[1] + SHIFTS[2] > 0:
        shifted = tl.load(shifted_ptr)  # 0 or 1
        frame -= shifted * SHIFTS[0]
        y -= shifted * SHIFTS[1]
        x -= shifted * SHIFTS[2]
    if WINDOWS * N > T * S:  # edges cut windows
        exists = exists & (frame >= 0) & (frame < T) & (y >= 0) & (y < S // COLUMNS)
        exists = exists & (x >= 0) & (x < COLUMNS)
    frame, site = tl.where(exists, frame, 0), tl.where(exists, y * COLUMNS + x, 0)
    # The angles of one frame, or one site, hold for all.
    turn = frame % TURNS[0] * TURNS[1] + site % TURNS[1]
    return (frame * S + site) * (H * D), frame, turn, window, exists


@triton.jit
def _load(pointer, rows, exists, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Loads WIDTH numbers from each offset in `rows`: [ROWS, PADDED], 0 where masked."""
    c = tl.arange(0, PADDED)
    return tl.load(
        pointer + rows[:, None] + c[None, :], mask=exists[:, None] & (c < WIDTH)[None, :], other=0.0
    )


@triton.jit
def _store(pointer, x, rows, exists, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    """Stores WIDTH numbers of each row of x [ROWS, PADDED] at the offsets `rows`, if it exists."""
    c = tl.arange(0, PADDED)
    tl.store(
        pointer + rows[:, None] + c[None, :],
        x.to(pointer.dtype.element_ty),
        mask=exists[:, None] & (c < WIDTH)[None, :],
    )


@triton.jit
def _turn(turns_ptr, turn, TURNS: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr):
    """Loads cos and sin of each row's angles, [ROWS, HALF] each, from turns [2, *TURNS, D/2]."""
    everywhere = turn >= 0
    cos = _load(turns_ptr, turn * (D // 2), everywhere, D // 2, HALF)
    turns_ptr += TURNS[0] * TURNS[1] * (D // 2)
    return cos, _load(turns_ptr, turn * (D // 2), everywhere, D // 2, HALF)


@triton.jit
def _normalised(
    pointer, scale_ptr, rows, exists, cos, sin, factor, D: tl.constexpr, HALF: tl.constexpr
):
    """Computes q' or k' of the reference's equation (2), times `factor`, and r.

    The result is two halves [ROWS, HALF], rounded to the dtype of the tensor cores' operands.
    """
    a = _load(pointer, rows, exists, D // 2, HALF).to(tl.float32)
    b = _load(pointer + D // 2, rows, exists, D // 2, HALF).to(tl.float32)
    r = tl.rsqrt(tl.sum(a * a + b * b, 1) / D + EPS)
    c = tl.arange(0, HALF)
    a = a * (r * factor)[:, None] * tl.load(scale_ptr + c, mask=c < D // 2, other=0.0)[None, :]
    b = (
        b
        * (r * factor)[:, None]
        * tl.load(scale_ptr + D // 2 + c, mask=c < D // 2, other=0.0)[None, :]
    )
    dtype = pointer.dtype.element_ty
    return (a * cos - b * sin).to(dtype), (a * sin + b * cos).to(dtype), r


@triton.jit
def _through_norm(
    pointer, scale_ptr, turns_ptr, dx_ptr, dscale_ptr, rows, turn, exists, r, da, db, factor,
    TURNS: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Computes equation (4) and writes its results.

    The gradient of q' is `factor` (da, db). Writes the gradient of q, and this program's partial
    sum of the gradient of its scale.

    All arrays here are transposed, [HALF, ROWS], and inputs are read again, from the L1 cache.
    Without the transposition the compiler would convert q, cos and sin to the layout of products,
    each through shared memory, instead of converting da and db to the layout of loads. Keeping the
    inputs from their first use would cost registers.
    """
    da, db = tl.trans(da), tl.trans(db)
    c, rows, turn, r = tl.arange(0, HALF)[:, None], rows[None, :], turn[None, :], r[None, :]
    inside = c < D // 2
    exists = exists[None, :] & inside
    cos = tl.load(turns_ptr + turn * (D // 2) + c, mask=inside, other=0.0)
    turns_ptr += TURNS[0] * TURNS[1] * (D // 2)
    sin = tl.load(turns_ptr + turn * (D // 2) + c, mask=inside, other=0.0)
    ua, ub = da * cos + db * sin, db * cos - da * sin
    a = tl.load(pointer + rows + c, mask=exists, other=0.0).to(tl.float32)
    b = tl.load(pointer + D // 2 + rows + c, mask=exists, other=0.0).to(tl.float32)
    una, unb = ua * a, ub * b  # u n / r
    tl.store(dscale_ptr + c, factor * tl.sum(una * r, 1, keep_dims=True), mask=inside)
    tl.store(dscale_ptr + D // 2 + c, factor * tl.sum(unb * r, 1, keep_dims=True), mask=inside)
    ga = factor * tl.load(scale_ptr + c, mask=inside, other=0.0)
    gb = factor * tl.load(scale_ptr + D // 2 + c, mask=inside, other=0.0)
    mean = tl.sum(una * ga + unb * gb, 0)[None, :] / D  # of w n / r
    dtype = dx_ptr.dtype.element_ty
    tl.store(dx_ptr + rows + c, (r * (ua * ga - a * (mean * r * r))).to(dtype), mask=exists)
    tl.store(
        dx_ptr + D // 2 + rows + c, (r * (ub * gb - b * (mean * r * r))).to(dtype), mask=exists
    )


@triton.jit
def _dot(a, b):
    # float32 operands use three TF32 products, close to float32 precision; other dtypes ignore
    # input_precision.
    return tl.dot(a, b, input_precision="tf32x3")


@triton.jit
def _scores(qa, qb, ka, kb, mask):
    """Computes s of equation (1): [ROWS, keys], -inf where `mask` is false."""
    s = _dot(qa, tl.trans(ka)) + _dot(qb, tl.trans(kb))
    return tl.where(mask, s, float("-inf"))


@triton.jit
def _mask(
    visible_ptr, frame, window, exists, T: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr
):
    """Returns the attention mask, [ROWS, ROWS].

    A row attends to rows of its own window; to none of a later frame if causal; only to visible
    frames if masked.
    """
    shown = exists
    if MASKED:
        shown = shown & (tl.load(visible_ptr + frame) != 0)
    mask = (window[:, None] == window[None, :]) & shown[None, :]
    if CAUSAL:
        mask = mask & (frame[None, :] <= frame[:, None])
    return mask


@triton.jit
def _powers(s, m):
    """Computes 2^(s - m). A row without any key, where m is -inf, gives zeros instead of NaN."""
    return tl.exp2(s - tl.where(m == float("-inf"), 0.0, m)[:, None])


@triton.jit
def _shared(
    k_ptr,
    v_ptr,
    first,
    A: tl.constexpr,
    H: tl.constexpr,
    D: tl.constexpr,
    HALF: tl.constexpr,
    WIDE: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Loads KEYS shared keys as two halves, their values, and whether each exists."""
    a = first + tl.arange(0, KEYS)
    rows = a * (H * D)
    ka = _load(k_ptr, rows, a < A, D // 2, HALF)
    kb = _load(k_ptr + D // 2, rows, a < A, D // 2, HALF)
    return ka, kb, _load(v_ptr, rows, a < A, D, WIDE), a < A


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, k_scale_ptr, turns_ptr, visible_ptr, shared_k_ptr,
    shared_v_ptr, shifted_ptr, o_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    N: tl.constexpr, TURNS: tl.constexpr, SIDES: tl.constexpr, SHIFTS: tl.constexpr,
    COUNTS: tl.constexpr, COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    HALF: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Computes attention for one head of one tile of ROWS // N windows.

    q, k, v, the scales, visible, the shared keys and values and shifted are inputs in the layouts
    of `temporal_attention`, and o is the output, like q. turns is an input [2, *TURNS, D/2], cos
    and sin of the angles of TURNS frames and sites. Windows have SIDES, N tokens in all; there are
    COUNTS along each axis, in frames of COLUMNS columns. KEYS shared keys are read at a time. HALF
    and WIDE are D / 2 and D rounded up to powers of two.
    """
    # Heads vary fastest, so that concurrent programs read neighbouring memory.
    program = tl.program_id(0)
    TILES: tl.constexpr = (COUNTS[0] * COUNTS[1] * COUNTS[2] + ROWS // N - 1) // (ROWS // N)
    head, tile, batch = program % H, program // H % TILES, (program // (H * TILES)).to(tl.int64)
    rows, frame, turn, window, exists = _place(
        tile, shifted_ptr, T, S, H, D, N, SIDES, SHIFTS, COUNTS, COLUMNS, TURNS, ROWS
    )
    first = batch * (T * S * H * D) + head * D
    first_shared = batch * (A * H * D) + head * D

    cos, sin = _turn(turns_ptr, turn, TURNS, D, HALF)
    qa, qb, _ = _normalised(
        q_ptr + first, q_scale_ptr, rows, exists, cos, sin, LOG2_E * D**-0.5, D, HALF
    )
    ka, kb, _ = _normalised(k_ptr + first, k_scale_ptr, rows, exists, cos, sin, 1.0, D, HALF)
    v = _load(v_ptr + first, rows, exists, D, WIDE)
    s = _scores(
        qa, qb, ka, kb, _mask(visible_ptr + batch * T, frame, window, exists, T, CAUSAL, MASKED)
    )
    m = tl.max(s, 1)
    e = _powers(s, m)
    z = tl.sum(e, 1)
    o = _dot(e.to(v.dtype), v)
    # Online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867): a block with a higher maximum
    # rescales the sums so far by `shrink`.
    for start in range(0, A, KEYS):
        ca, cb, w, valid = _shared(
            shared_k_ptr + first_shared,
            shared_v_ptr + first_shared,
            start,
            A,
            H,
            D,
            HALF,
            WIDE,
            KEYS,
        )
        s_shared = _scores(qa, qb, ca, cb, valid[None, :])
        higher = tl.maximum(m, tl.max(s_shared, 1))
        shrink = tl.exp2(m - higher)
        e_shared = tl.exp2(s_shared - higher[:, None])
        z = z * shrink + tl.sum(e_shared, 1)
        o = o * shrink[:, None] + _dot(e_shared.to(w.dtype), w)
        m = higher
    _store(o_ptr + first, o * tl.where(z > 0, 1 / z, 0.0)[:, None], rows, exists, D, WIDE)


@triton.jit
def backward_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, k_scale_ptr, turns_ptr, visible_ptr, shared_k_ptr,
    shared_v_ptr, shifted_ptr, do_ptr, dq_ptr, dk_ptr, dv_ptr, dscale_ptr, sums_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    N: tl.constexpr, TURNS: tl.constexpr, SIDES: tl.constexpr, SHIFTS: tl.constexpr,
    COUNTS: tl.constexpr, COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    HALF: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Computes the gradients of q, k and v for one head of one tile of ROWS // N windows.

    The inputs are those of `forward_kernel` and the gradient do of its output. dq, dk and dv are
    outputs, like q. The program also writes its partial sums of the gradients of the scales to
    dscale and, with shared keys, `top` and `delta` of each row to sums, which
    `shared_backward_kernel` reads.
    """
    program = tl.program_id(0)
    TILES: tl.constexpr = (COUNTS[0] * COUNTS[1] * COUNTS[2] + ROWS // N - 1) // (ROWS // N)
    head, tile, batch = program % H, program // H % TILES, (program // (H * TILES)).to(tl.int64)
    rows, frame, turn, window, exists = _place(
        tile, shifted_ptr, T, S, H, D, N, SIDES, SHIFTS, COUNTS, COLUMNS, TURNS, ROWS
    )
    first = batch * (T * S * H * D) + head * D
    first_shared = batch * (A * H * D) + head * D

    cos, sin = _turn(turns_ptr, turn, TURNS, D, HALF)
    qa, qb, rq = _normalised(
        q_ptr + first, q_scale_ptr, rows, exists, cos, sin, LOG2_E * D**-0.5, D, HALF
    )
    ka, kb, rk = _normalised(k_ptr + first, k_scale_ptr, rows, exists, cos, sin, 1.0, D, HALF)
    v = _load(v_ptr + first, rows, exists, D, WIDE)
    do = _load(do_ptr + first, rows, exists, D, WIDE)
    s = _scores(
        qa, qb, ka, kb, _mask(visible_ptr + batch * T, frame, window, exists, T, CAUSAL, MASKED)
    )
    dp = _dot(do, tl.trans(v))
    m = tl.max(s, 1)
    p = _powers(s, m)
    z = tl.sum(p, 1)
    delta = tl.sum(p * dp, 1)
    m_frames = m  # p was computed with this maximum, before those of the shared keys
    # First pass over the shared keys: only the sums z and delta, which need all keys.
    for start in range(0, A, KEYS):
        ca, cb, w, valid = _shared(
            shared_k_ptr + first_shared,
            shared_v_ptr + first_shared,
            start,
            A,
            H,
            D,
            HALF,
            WIDE,
            KEYS,
        )
        s_shared = _scores(qa, qb, ca, cb, valid[None, :])
        higher = tl.maximum(m, tl.max(s_shared, 1))
        shrink = tl.exp2(m - higher)
        e = tl.exp2(s_shared - higher[:, None])
        z = z * shrink + tl.sum(e, 1)
        delta = delta * shrink + tl.sum(e * _dot(do, tl.trans(w)), 1)
        m = higher
    delta = tl.where(z > 0, delta / z, 0.0)
    top = tl.where(z > 0, m + tl.log2(z), 0.0)  # p = 2^(s - top)
    p = p * tl.exp2(m_frames - top)[:, None]
    dtype = v.dtype
    ds = (p * (dp - delta[:, None])).to(dtype)
    _store(dv_ptr + first, _dot(tl.trans(p.to(dtype)), do), rows, exists, D, WIDE)

    da, db = _dot(ds, ka), _dot(ds, kb)
    # Second pass: logits are computed again, since those of all keys do not fit into registers.
    for start in range(0, A, KEYS):
        ca, cb, w, valid = _shared(
            shared_k_ptr + first_shared,
            shared_v_ptr + first_shared,
            start,
            A,
            H,
            D,
            HALF,
            WIDE,
            KEYS,
        )
        p_shared = tl.exp2(_scores(qa, qb, ca, cb, valid[None, :]) - top[:, None])
        ds_shared = (p_shared * (_dot(do, tl.trans(w)) - delta[:, None])).to(dtype)
        da += _dot(ds_shared, ca)
        db += _dot(ds_shared, cb)
    dscale_ptr += program.to(tl.int64) * (2 * D)
    q_ptr, k_ptr, dq_ptr, dk_ptr = q_ptr + first, k_ptr + first, dq_ptr + first, dk_ptr + first
    _through_norm(
        q_ptr,
        q_scale_ptr,
        turns_ptr,
        dq_ptr,
        dscale_ptr,
        rows,
        turn,
        exists,
        rq,
        da,
        db,
        D**-0.5,
        TURNS,
        D,
        HALF,
    )
    # q' already contains the factor log2(e) / sqrt(D); equation (3) has 1 / sqrt(D).
    ds = tl.trans(ds)
    da, db = _dot(ds, qa), _dot(ds, qb)
    _through_norm(
        k_ptr,
        k_scale_ptr,
        turns_ptr,
        dk_ptr,
        dscale_ptr + D,
        rows,
        turn,
        exists,
        rk,
        da,
        db,
        1 / LOG2_E,
        TURNS,
        D,
        HALF,
    )
    if A > 0:
        i = tl.arange(0, ROWS)
        tl.store(sums_ptr + program.to(tl.int64) * (2 * ROWS) + i, top)
        tl.store(sums_ptr + program.to(tl.int64) * (2 * ROWS) + ROWS + i, delta)


@triton.jit
def shared_backward_kernel(
    q_ptr, q_scale_ptr, turns_ptr, shared_k_ptr, shared_v_ptr, shifted_ptr, do_ptr, sums_ptr,
    dk_ptr, dv_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    N: tl.constexpr, TURNS: tl.constexpr, SIDES: tl.constexpr, SHIFTS: tl.constexpr,
    COUNTS: tl.constexpr, COLUMNS: tl.constexpr, HALF: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CHUNKS: tl.constexpr,
):  # fmt: skip
    """Computes the gradients of KEYS shared keys and values from the tiles of one chunk of tiles.

    The inputs are those of `backward_kernel`, and the sums that it wrote. dk and dv are outputs,
    the sums of one of CHUNKS chunks of tiles, which XLA adds.
    """
    program = tl.program_id(0)
    TILES: tl.constexpr = (COUNTS[0] * COUNTS[1] * COUNTS[2] + ROWS // N - 1) // (ROWS // N)
    BLOCKS: tl.constexpr = (A + KEYS - 1) // KEYS
    EACH: tl.constexpr = (TILES + CHUNKS - 1) // CHUNKS
    head, block, chunk = program % H, program // H % BLOCKS, program // (H * BLOCKS) % CHUNKS
    batch = (program // (H * BLOCKS * CHUNKS)).to(tl.int64)
    first = batch * (T * S * H * D) + head * D
    first_shared = batch * (A * H * D) + head * D

    ca, cb, w, valid = _shared(
        shared_k_ptr + first_shared,
        shared_v_ptr + first_shared,
        block * KEYS,
        A,
        H,
        D,
        HALF,
        WIDE,
        KEYS,
    )
    # Gradients of the keys' halves (da, db) and of the values (dw), summed over the chunk's tiles.
    da, db = tl.zeros((KEYS, HALF), tl.float32), tl.zeros((KEYS, HALF), tl.float32)
    dw = tl.zeros((KEYS, WIDE), tl.float32)
    i = tl.arange(0, ROWS)
    for step in range(0, EACH):
        tile = chunk * EACH + step
        rows, _frame, turn, _window, exists = _place(
            tile, shifted_ptr, T, S, H, D, N, SIDES, SHIFTS, COUNTS, COLUMNS, TURNS, ROWS
        )
        exists = exists & (tile < TILES)
        cos, sin = _turn(turns_ptr, turn, TURNS, D, HALF)
        qa, qb, _ = _normalised(
            q_ptr + first, q_scale_ptr, rows, exists, cos, sin, LOG2_E * D**-0.5, D, HALF
        )
        do = _load(do_ptr + first, rows, exists, D, WIDE)
        sums = sums_ptr + ((batch * TILES + tile) * H + head) * (2 * ROWS)
        top, delta = (
            tl.load(sums + i, mask=exists, other=0.0),
            tl.load(sums + ROWS + i, mask=exists, other=0.0),
        )
        p = tl.exp2(_scores(qa, qb, ca, cb, exists[:, None] & valid[None, :]) - top[:, None])
        ds = tl.trans((p * (_dot(do, tl.trans(w)) - delta[:, None])).to(w.dtype))
        dw += _dot(tl.trans(p.to(w.dtype)), do)
        da += _dot(ds, qa)
        db += _dot(ds, qb)
    a = block * KEYS + tl.arange(0, KEYS)
    rows = ((batch * CHUNKS + chunk) * A + a) * (H * D) + head * D
    _store(dk_ptr, da / LOG2_E, rows, valid, D // 2, HALF)
    _store(dk_ptr + D // 2, db / LOG2_E, rows, valid, D // 2, HALF)
    _store(dv_ptr, dw, rows, valid, D, WIDE)


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the remedy, if the GPU kernel cannot run `spec` here."""
    limits = (
        "takes 1 to 64 frames or tokens of a window, heads of 16 to 128 numbers in steps of 8, "
        "float32, float16 or bfloat16"
    )
    if not (
        1 <= spec.tokens <= 64
        and 16 <= spec.D <= 128
        and spec.D % 8 == 0
        and spec.dtype in ("float32", "float16", "bfloat16")
    ):
        raise Unsupported(f"{limits}, not {spec}")
    if spec.T * spec.S * spec.H * spec.D >= 2**31:
        raise Unsupported(
            f"takes fewer than 2^31 numbers per batch element, not {spec}; shard its sites or heads"
        )
    check_runnable()


def parameters(spec: Spec, kernel: str) -> dict[str, int]:
    """Returns the launch parameters of a kernel: the heuristic below, or those tuned on this
    device.

    `kernel` is "forward", "backward", "shared_backward" or "jvp".

    Launch parameters:
        rows: rows of a tile, a power of two. 64 is the size of one wgmma. Smaller tiles would waste
            fewer products, but not fewer bytes.
        keys: shared keys at a time: 64, which are the rows of their gradient; 32 if registers are
            short.
        warps: 4, which fill one 64-row wgmma and need the fewest instructions per row. 8 for halves
            padded to 64 or 128 numbers and for float32 operands, whose registers would otherwise
            spill.
        chunks: chunks of tiles; each sums its gradient of the shared keys. Enough for 8 programs on
            each of 132 processors.
    """
    wide = spec.D > 64 or spec.dtype == "float32"
    heuristic = {
        "rows": 64,
        "keys": 32 if kernel in ("backward", "jvp") or (wide and kernel != "forward") else 64,
        "warps": 8 if wide else 4,
    }
    if kernel == "shared_backward":
        heuristic["rows"] = parameters(spec, "backward")["rows"]  # whose sums it reads
        heuristic["chunks"] = max(
            1,
            min(
                tiles(spec, heuristic["rows"]),
                1056 // (spec.B * spec.H * cdiv(spec.A, heuristic["keys"])),
            ),
        )
    return tuning.parameters(
        "temporal_attention",
        heuristic,
        kernel=kernel,
        T=spec.tokens,
        D=spec.D,
        shared=spec.A > 0,
        dtype=spec.dtype,
    )


def tiles(spec: Spec, rows: int) -> int:
    """Returns the tiles of `rows` rows in a batch element and head."""
    return cdiv(math.prod(spec.counts), rows // spec.tokens)


def _sizes(spec: Spec) -> dict[str, Any]:
    """Returns the constants that all kernels of `spec` have."""
    windows = spec.division
    return {
        "T": spec.T,
        "S": spec.S,
        "H": spec.H,
        "D": spec.D,
        "A": spec.A,
        "N": spec.tokens,
        "SIDES": windows.sides,
        "SHIFTS": windows.shifts(spec.T, spec.S) if spec.shifted else (0, 0, 0),
        "COUNTS": spec.counts,
        "COLUMNS": windows.columns,
        "TURNS": spec.turns,
        "HALF": max(16, triton.next_power_of_2(spec.D // 2)),  # 16: the least depth of a product
        "WIDE": triton.next_power_of_2(spec.D),
    }


def launches(spec: Spec) -> dict[str, Launch]:
    """Returns the Triton launches of `spec` by name.

    They are "forward", "backward" and, with shared keys, "shared_backward".
    """

    def array(*shape, dtype=spec.dtype):
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))

    B, T, S, H, D, A = spec.B, spec.T, spec.S, spec.H, spec.D, spec.A
    x, scale, turns = (
        array(B, T, S, H, D),
        array(D, dtype="float32"),
        array(2, *spec.turns, D // 2, dtype="float32"),
    )
    # A kernel always has all its parameters: an array that it does not read replaces an absent one.
    visible = array(B, T, dtype="int32") if spec.masked else scale
    shared = array(B, A, H, D) if A else x
    shifted = array(1, dtype="int32") if spec.shifted else scale
    arguments = (x, x, x, scale, scale, turns, visible, shared, shared, shifted)
    sizes = _sizes(spec)
    masks = {"CAUSAL": spec.causal, "MASKED": spec.masked}

    def launch(name, kernel, inputs, results, programs, **constants):
        p = parameters(spec, name)
        shape = {"ROWS": p["rows"], "KEYS": p["keys"]}
        return Launch(
            kernel,
            inputs,
            results(p),
            programs(p),
            {**sizes, **constants, **shape},
            num_warps=p["warps"],
        )

    def all_tiles(p):
        return B * H * tiles(spec, p["rows"])

    def forward_results(_):
        return (x,)

    def backward_results(p):
        count = tiles(spec, p["rows"])
        sums = array(B, count, H, 2, p["rows"], dtype="float32") if A else array(1, dtype="float32")
        return x, x, x, array(B, count * H, 2, D, dtype="float32"), sums

    found = {
        "forward": launch(
            "forward", forward_kernel, arguments, forward_results, all_tiles, **masks
        ),
        "backward": launch(
            "backward", backward_kernel, (*arguments, x), backward_results, all_tiles, **masks
        ),
    }
    if A:
        chunks = parameters(spec, "shared_backward")["chunks"]

        def shared_results(_):
            return (array(B, chunks, A, H, D, dtype="float32"),) * 2

        def shared_programs(p):
            return B * H * cdiv(A, p["keys"]) * chunks

        found["shared_backward"] = launch(
            "shared_backward",
            shared_backward_kernel,
            (x, scale, turns, shared, shared, shifted, x, found["backward"].results[4]),
            shared_results,
            shared_programs,
            CHUNKS=chunks,
        )
    return found


def kernel_arguments(q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v, shifted=None):
    """Returns the inputs of a kernel from the arguments of `forward`.

    An array that the kernel does not read replaces an absent one.
    """
    angles = angles[:, None] if angles.ndim == 2 else angles
    turns = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    visible = q_scale if visible is None else visible.astype(jnp.int32)
    shared_k, shared_v = (q, q) if shared_k is None else (shared_k, shared_v)
    shifted = q_scale if shifted is None else shifted.astype(jnp.int32)[None]
    return q, k, v, q_scale, k_scale, turns, visible, shared_k, shared_v, shifted


def forward(spec: Spec, *arguments) -> jax.Array:
    """Returns attention along time on an NVIDIA GPU, [B, T, S, H, D].

    Args:
        spec: the shapes of the call.
        arguments: q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v and shifted, as
            for `temporal_attention`, with one batch axis.
    """
    return launches(spec)["forward"](*kernel_arguments(*arguments))[0]


def backward(spec: Spec, do: jax.Array, *arguments) -> tuple[jax.Array | None, ...]:
    """Returns the gradients of q, k, v, q_scale, k_scale, shared_k and shared_v on an NVIDIA GPU.

    Gradients of the scales are [B, D], per batch element; those of absent shared keys are None.

    Args:
        spec: the shapes of the call.
        do: gradient of the result, [B, T, S, H, D].
        arguments: as for `forward`.
    """
    kernels = launches(spec)
    arguments = kernel_arguments(*arguments)
    dq, dk, dv, dscale, sums = kernels["backward"](*arguments, do)
    dscale = dscale.sum(1)
    dshared = (None, None)
    if spec.A:
        q, _, _, q_scale, _, turns, _, *shared = arguments
        partial = kernels["shared_backward"](q, q_scale, turns, *shared, do, sums)
        dshared = tuple(d.sum(1).astype(spec.dtype) for d in partial)
    return dq, dk, dv, dscale[:, 0], dscale[:, 1], *dshared
