"""Temporal attention and its tangent on NVIDIA GPUs, in one pass over q, k, v and their tangents.

The tiles and the letters are those of `triton.py`; a dot marks a tangent. With n = q r and
equation (2) of the reference,

    n. = r (q. - q r^2 mean(q q.)),   q'. = R(phi) (g. n + g n.)                                 (1)

and likewise for k. The tangents of the logits, of the softmax p = e / z and of the result are

    l. = (q'. k'^T + q' k'.^T) / sqrt(D),   p. = p (l. - mu),   mu = sum_j p_j l._j              (2)
    o. = p. v + p v. = (sum_j e_j l._j v_j + e_j v._j) / z - mu o                                (3)

The sums of equation (3), z and that of mu go along with those of the forward pass: shared keys
rescale all of them. Each array is read once, and the result and its tangent are written once.
"""

# Triton types the calls of functions under @triton.jit as never returning.
# pyright: reportGeneralTypeIssues=false

import dataclasses

import jax
import triton
import triton.language as tl

from kernels.temporal_attention.specs import Spec
from kernels.temporal_attention.triton import (
    EPS,
    LOG2_E,
    _dot,
    _load,
    _mask,
    _place,
    _powers,
    _shared,
    _store,
    _turn,
    kernel_arguments,
    parameters,
    tiles,
)
from kernels.temporal_attention.triton import launches as forward_launches
from kernels.triton_call import Launch


@triton.jit
def _turned(a, b, cos, sin, dtype: tl.constexpr):
    """Rotates the halves a and b, and rounds them to the dtype of the products' operands."""
    return (a * cos - b * sin).to(dtype), (a * sin + b * cos).to(dtype)


@triton.jit
def _normalised(
    pointer, dot_ptr, scale_ptr, scale_dot_ptr, rows, exists, cos, sin, factor,
    D: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    """Computes q' or k' and its tangent by equation (1), both times `factor`.

    The result is the two halves of each, [ROWS, HALF].
    """
    a = _load(pointer, rows, exists, D // 2, HALF).to(tl.float32)
    b = _load(pointer + D // 2, rows, exists, D // 2, HALF).to(tl.float32)
    da = _load(dot_ptr, rows, exists, D // 2, HALF).to(tl.float32)
    db = _load(dot_ptr + D // 2, rows, exists, D // 2, HALF).to(tl.float32)
    r = tl.rsqrt(tl.sum(a * a + b * b, 1) / D + EPS)
    along = (tl.sum(a * da + b * db, 1) / D * r * r)[:, None]
    r = (r * factor)[:, None]
    c = tl.arange(0, HALF)
    inside = c < D // 2
    ga = tl.load(scale_ptr + c, mask=inside, other=0.0)[None, :]
    gb = tl.load(scale_ptr + D // 2 + c, mask=inside, other=0.0)[None, :]
    dga = tl.load(scale_dot_ptr + c, mask=inside, other=0.0)[None, :]
    dgb = tl.load(scale_dot_ptr + D // 2 + c, mask=inside, other=0.0)[None, :]
    da = r * (dga * a + ga * (da - a * along))
    db = r * (dgb * b + gb * (db - b * along))
    dtype = pointer.dtype.element_ty
    a, b = _turned(r * ga * a, r * gb * b, cos, sin, dtype)
    da, db = _turned(da, db, cos, sin, dtype)
    return a, b, da, db


@triton.jit
def _logits(qa, qb, dqa, dqb, ka, kb, dka, dkb, mask):
    """Computes s of equation (1) of `triton.py`, -inf where `mask` is false, and l. of (2)."""
    ka, kb, dka, dkb = tl.trans(ka), tl.trans(kb), tl.trans(dka), tl.trans(dkb)
    s = _dot(qa, ka) + _dot(qb, kb)
    # q' already contains the factor log2(e) / sqrt(D); equation (2) has 1 / sqrt(D).
    dl = (_dot(dqa, ka) + _dot(dqb, kb) + _dot(qa, dka) + _dot(qb, dkb)) / LOG2_E
    return tl.where(mask, s, float("-inf")), dl


@triton.jit
def jvp_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, k_scale_ptr, turns_ptr, visible_ptr, shared_k_ptr,
    shared_v_ptr, shifted_ptr, dq_ptr, dk_ptr, dv_ptr, dq_scale_ptr, dk_scale_ptr,
    dshared_k_ptr, dshared_v_ptr, o_ptr, do_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, A: tl.constexpr,
    N: tl.constexpr, TURNS: tl.constexpr, SIDES: tl.constexpr, SHIFTS: tl.constexpr,
    COUNTS: tl.constexpr, COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    HALF: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Computes attention and its tangent for one head of one tile of ROWS // N windows.

    The first inputs and the constants are those of `forward_kernel`. The tangents dq to dshared_v
    are inputs like their arrays, and the result's tangent do is an output like o.
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
    qa, qb, dqa, dqb = _normalised(
        q_ptr + first, dq_ptr + first, q_scale_ptr, dq_scale_ptr, rows, exists, cos, sin,
        LOG2_E * D**-0.5, D, HALF,
    )  # fmt: skip
    ka, kb, dka, dkb = _normalised(
        k_ptr + first, dk_ptr + first, k_scale_ptr, dk_scale_ptr, rows, exists, cos, sin, 1.0,
        D, HALF,
    )  # fmt: skip
    mask = _mask(visible_ptr + batch * T, frame, window, exists, T, CAUSAL, MASKED)
    s, dl = _logits(qa, qb, dqa, dqb, ka, kb, dka, dkb, mask)
    m = tl.max(s, 1)
    e = _powers(s, m)
    z = tl.sum(e, 1)
    edl = e * dl
    mu = tl.sum(edl, 1)
    v = _load(v_ptr + first, rows, exists, D, WIDE)
    dtype = v.dtype
    o = _dot(e.to(dtype), v)
    do = _dot(edl.to(dtype), v)
    do += _dot(e.to(dtype), _load(dv_ptr + first, rows, exists, D, WIDE))
    for start in range(0, A, KEYS):
        ca, cb, w, valid = _shared(
            shared_k_ptr + first_shared, shared_v_ptr + first_shared, start, A, H, D, HALF, WIDE,
            KEYS,
        )  # fmt: skip
        dca, dcb, dw, _valid = _shared(
            dshared_k_ptr + first_shared, dshared_v_ptr + first_shared, start, A, H, D, HALF, WIDE,
            KEYS,
        )  # fmt: skip
        s_shared, dl_shared = _logits(qa, qb, dqa, dqb, ca, cb, dca, dcb, valid[None, :])
        higher = tl.maximum(m, tl.max(s_shared, 1))
        shrink = tl.exp2(m - higher)
        e_shared = tl.exp2(s_shared - higher[:, None])
        edl_shared = e_shared * dl_shared
        z = z * shrink + tl.sum(e_shared, 1)
        mu = mu * shrink + tl.sum(edl_shared, 1)
        o = o * shrink[:, None] + _dot(e_shared.to(dtype), w)
        do = do * shrink[:, None] + _dot(edl_shared.to(dtype), w)
        do += _dot(e_shared.to(dtype), dw)
        m = higher
    over_z = tl.where(z > 0, 1 / z, 0.0)
    o *= over_z[:, None]
    _store(o_ptr + first, o, rows, exists, D, WIDE)
    do = do * over_z[:, None] - o * (mu * over_z)[:, None]
    _store(do_ptr + first, do, rows, exists, D, WIDE)


def launches(spec: Spec) -> dict[str, Launch]:
    """Returns the Triton launches of `spec` by name: "jvp" only."""
    forward, p = forward_launches(spec)["forward"], parameters(spec, "jvp")
    x, scale, shared = forward.inputs[0], forward.inputs[3], forward.inputs[7]
    launch = dataclasses.replace(
        forward,
        kernel=jvp_kernel,
        inputs=(*forward.inputs, x, x, x, scale, scale, shared, shared),
        results=(x, x),
        programs=spec.B * spec.H * tiles(spec, p["rows"]),
        constants={**forward.constants, "ROWS": p["rows"], "KEYS": p["keys"]},
        num_warps=p["warps"],
    )
    return {"jvp": launch}


def jvp(spec: Spec, tangents: tuple, *arguments) -> tuple[jax.Array, jax.Array]:
    """Returns attention along time and its tangent on an NVIDIA GPU, [B, T, S, H, D] each.

    Args:
        spec: the shapes of the call.
        tangents: of the arguments, each of its shape and dtype; None for absent and for constant
            ones.
        arguments: as for `triton.forward`.
    """
    dq, dk, dv, dq_scale, dk_scale, _, _, *dshared = tangents[:9]
    dshared = dshared if spec.A else (dq, dq)
    tangents = (dq, dk, dv, dq_scale, dk_scale, *dshared)
    o, do = launches(spec)["jvp"](*kernel_arguments(*arguments), *tangents)
    return o, do
