"""Cross-attention on NVIDIA GPUs: one pass over q forward, over q, o and do backward.

The equations are those of `reference.py`. Forward, a program handles one head of ROWS neighbouring
tokens, read in place from [B, T, S, H, D], and reads the keys KEYS at a time. The last keys are a
smaller block of REST rows, so that 129 keys take 144 rows and not 192. With s = l log2(e), a factor
that is folded into q',

    e_iu = 2^(s_iu - m_i),   m_i = max_u s_iu,   z_i = sum_u e_iu,   o_i = sum_u e_iu v_u / z_i  (1)

top_i = m_i + log2 z_i is saved, so that p = 2^(s - top). Backward

    dp = do v^T,   delta_i = sum_d o_id do_id,   ds = p (dp - delta)                             (2)
    dv = p^T do,   dk = ds^T q' / sqrt(D),   dq' = ds k / sqrt(D)                                (3)

and dq through rotation and normalisation as in `kernels.temporal_attention.triton`, equation (4).

The gradients of keys sum over tokens, and that of a query over keys. For each chunk of tiles of
tokens there are n programs of n blocks of KEYS keys, which keep their sums over the chunk in
registers, and n programs that share the chunk's queries. They are neighbours in one launch, so they
run at the same time and read the same tiles: once from memory, then from the cache. Sums over
chunks are partial sums, which XLA adds. No atomics are used, so the results are deterministic.
"""

# Triton types the calls of functions under @triton.jit as never returning.
# pyright: reportGeneralTypeIssues=false

from typing import Any

import jax
import jax.numpy as jnp
import triton
import triton.language as tl

from kernels import tuning
from kernels.cross_attention.specs import Spec
from kernels.errors import Unsupported
from kernels.temporal_attention.triton import (
    LOG2_E,
    _dot,
    _load,
    _normalised,
    _powers,
    _scores,
    _store,
    _through_norm,
    _turn,
)
from kernels.triton_call import Launch, cdiv, check_runnable


@triton.jit
def _place(
    tile, T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr
):
    """Locates the rows of tile `tile`: neighbouring tokens of one batch element's first head.

    Returns, for each row: its token, the offset of its first number, its frame, and whether it
    exists.
    """
    i = tile * ROWS + tl.arange(0, ROWS)
    exists = i < T * S
    i = tl.where(exists, i, 0)
    return i, i * (H * D), i // S, exists


@triton.jit
def _keys(
    k_ptr, v_ptr, first, M: tl.constexpr, H: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr,
    WIDE: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Loads KEYS keys from number `first` on, as two halves, and their values."""
    u = first + tl.arange(0, KEYS)
    rows = u * (H * D)
    ka = _load(k_ptr, rows, u < M, D // 2, HALF)
    kb = _load(k_ptr + D // 2, rows, u < M, D // 2, HALF)
    return ka, kb, _load(v_ptr, rows, u < M, D, WIDE)


@triton.jit
def _seen(
    visible_ptr, first, frame, exists, M: tl.constexpr, MASKS: tl.constexpr, KEYS: tl.constexpr
):
    """Returns the mask of attention to KEYS keys from number `first` on, [ROWS, KEYS]."""
    u = first + tl.arange(0, KEYS)
    if MASKS == 0:
        return exists[:, None] & (u < M)[None, :]
    if MASKS == 1:
        shown = (u < M) & (tl.load(visible_ptr + u, mask=u < M, other=0) != 0)
        return exists[:, None] & shown[None, :]
    seen = exists[:, None] & (u < M)[None, :]
    at = frame[:, None] * M + u[None, :]
    return seen & (tl.load(visible_ptr + at, mask=seen, other=0) != 0)


@triton.jit
def _absorb(
    qa, qb, m, z, o, k_ptr, v_ptr, visible_ptr, first, frame, exists,
    M: tl.constexpr, H: tl.constexpr, D: tl.constexpr, MASKS: tl.constexpr, HALF: tl.constexpr,
    WIDE: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Adds KEYS keys to the sums m, z and o of equation (1).

    Online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867): a block with a higher maximum
    rescales the sums so far by `shrink`.
    """
    ka, kb, v = _keys(k_ptr, v_ptr, first, M, H, D, HALF, WIDE, KEYS)
    s = _scores(qa, qb, ka, kb, _seen(visible_ptr, first, frame, exists, M, MASKS, KEYS))
    higher = tl.maximum(m, tl.max(s, 1))
    e = _powers(s, higher)
    # No key so far: the sums are 0, and -inf - -inf would be NaN.
    shrink = tl.where(m == float("-inf"), 0.0, tl.exp2(m - higher))
    return higher, z * shrink + tl.sum(e, 1), o * shrink[:, None] + _dot(e.to(v.dtype), v)


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, turns_ptr, visible_ptr, o_ptr, top_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, M: tl.constexpr,
    TURNS: tl.constexpr, MASKS: tl.constexpr, HALF: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, REST: tl.constexpr,
):  # fmt: skip
    """Computes attention for one head of one tile of ROWS tokens.

    q, k, v, q_scale and visible are inputs in the layouts of `cross_attention`. turns is an input
    [2, *TURNS, D/2], cos and sin of the angles of TURNS[0] frames. There are MASKS masks of a batch
    element. o is an output like q, and top one [B, H, T S]. KEYS keys are read at a time, and REST
    at the end. HALF and WIDE are D / 2 and D rounded up to powers of two.
    """
    # Heads vary fastest, so that concurrent programs read neighbouring memory.
    program = tl.program_id(0)
    TILES: tl.constexpr = (T * S + ROWS - 1) // ROWS
    head, tile, batch = program % H, program // H % TILES, (program // (H * TILES)).to(tl.int64)
    i, rows, frame, exists = _place(tile, T, S, H, D, ROWS)
    first = batch * (T * S * H * D) + head * D
    of_keys = batch * (M * H * D) + head * D
    k_ptr, v_ptr = k_ptr + of_keys, v_ptr + of_keys
    visible_ptr += batch * (MASKS * M)

    cos, sin = _turn(turns_ptr, frame % TURNS[0], TURNS, D, HALF)
    qa, qb, _ = _normalised(
        q_ptr + first, q_scale_ptr, rows, exists, cos, sin, LOG2_E * D**-0.5, D, HALF
    )
    m = tl.full((ROWS,), float("-inf"), tl.float32)
    z = tl.zeros((ROWS,), tl.float32)
    o = tl.zeros((ROWS, WIDE), tl.float32)
    for start in range(0, M - REST, KEYS):
        m, z, o = _absorb(
            qa, qb, m, z, o, k_ptr, v_ptr, visible_ptr, start, frame, exists,
            M, H, D, MASKS, HALF, WIDE, KEYS,
        )  # fmt: skip
    if REST > 0:
        m, z, o = _absorb(
            qa, qb, m, z, o, k_ptr, v_ptr, visible_ptr, M // KEYS * KEYS, frame, exists,
            M, H, D, MASKS, HALF, WIDE, REST,
        )  # fmt: skip
    _store(o_ptr + first, o * tl.where(z > 0, 1 / z, 0.0)[:, None], rows, exists, D, WIDE)
    top_ptr += (batch * H + head) * (T * S)
    tl.store(top_ptr + i, tl.where(z > 0, m + tl.log2(z), 0.0), mask=exists)


@triton.jit
def _slopes(qa, qb, do, top, delta, ka, kb, v, seen):
    """Computes p and ds of equation (2) for the keys (ka, kb), in the dtype of products."""
    p = tl.exp2(_scores(qa, qb, ka, kb, seen) - top[:, None]).to(v.dtype)
    ds = p.to(tl.float32) * (_dot(do, tl.trans(v)) - delta[:, None])
    return p, ds.to(v.dtype)


@triton.jit
def _tile(
    q_ptr, q_scale_ptr, turns_ptr, o_ptr, top_ptr, do_ptr, i, rows, turn, exists,
    TURNS: tl.constexpr, D: tl.constexpr, HALF: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """Loads a tile for the backward pass: q' and r, do, top and delta."""
    do = _load(do_ptr, rows, exists, D, WIDE)
    o = _load(o_ptr, rows, exists, D, WIDE)
    delta = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    cos, sin = _turn(turns_ptr, turn, TURNS, D, HALF)
    qa, qb, r = _normalised(q_ptr, q_scale_ptr, rows, exists, cos, sin, LOG2_E * D**-0.5, D, HALF)
    return qa, qb, r, do, tl.load(top_ptr + i, mask=exists, other=0.0), delta


@triton.jit
def backward_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, turns_ptr, visible_ptr, o_ptr, top_ptr, do_ptr,
    dq_ptr, dscale_ptr, dk_ptr, dv_ptr,
    T: tl.constexpr, S: tl.constexpr, H: tl.constexpr, D: tl.constexpr, M: tl.constexpr,
    TURNS: tl.constexpr, MASKS: tl.constexpr, HALF: tl.constexpr, WIDE: tl.constexpr,
    ROWS: tl.constexpr, KEYS: tl.constexpr, CHUNKS: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """Computes the gradients of KEYS keys and values from one chunk of EACH tiles, or those of the
    queries of one share of that chunk.

    The inputs are those of `forward_kernel`, its results o and top, and the gradient do of o. dq is
    an output like q. dscale is one [B, CHUNKS EACH, H, D], the gradient of q_scale of each tile. dk
    and dv are outputs [B, CHUNKS, M, H, D], of each chunk.
    """
    program = tl.program_id(0)
    BLOCKS: tl.constexpr = (M + KEYS - 1) // KEYS
    head, part, chunk = program % H, program // H % (2 * BLOCKS), program // (2 * H * BLOCKS)
    batch, chunk = (chunk // CHUNKS).to(tl.int64), chunk % CHUNKS
    first = batch * (T * S * H * D) + head * D
    q_ptr, o_ptr, do_ptr, dq_ptr = q_ptr + first, o_ptr + first, do_ptr + first, dq_ptr + first
    of_keys = batch * (M * H * D) + head * D
    k_ptr, v_ptr = k_ptr + of_keys, v_ptr + of_keys
    visible_ptr += batch * (MASKS * M)
    top_ptr += (batch * H + head) * (T * S)
    if part < BLOCKS:  # a block of keys
        ka, kb, v = _keys(k_ptr, v_ptr, part * KEYS, M, H, D, HALF, WIDE, KEYS)
        # Gradients of the keys' halves and of the values, summed over the chunk's tiles.
        da, db = tl.zeros((KEYS, HALF), tl.float32), tl.zeros((KEYS, HALF), tl.float32)
        dv = tl.zeros((KEYS, WIDE), tl.float32)
        for step in range(0, EACH):
            i, rows, frame, exists = _place(chunk * EACH + step, T, S, H, D, ROWS)
            qa, qb, _, do, top, delta = _tile(
                q_ptr, q_scale_ptr, turns_ptr, o_ptr, top_ptr, do_ptr, i, rows, frame % TURNS[0],
                exists, TURNS, D, HALF, WIDE,
            )  # fmt: skip
            seen = _seen(visible_ptr, part * KEYS, frame, exists, M, MASKS, KEYS)
            p, ds = _slopes(qa, qb, do, top, delta, ka, kb, v, seen)
            dv += _dot(tl.trans(p), do)
            da += _dot(tl.trans(ds), qa)
            db += _dot(tl.trans(ds), qb)
        u = part * KEYS + tl.arange(0, KEYS)
        rows = ((batch * CHUNKS + chunk) * M + u) * (H * D) + head * D
        # q' contains the factor log2(e) / sqrt(D); equation (3) has 1 / sqrt(D).
        _store(dk_ptr, da / LOG2_E, rows, u < M, D // 2, HALF)
        _store(dk_ptr + D // 2, db / LOG2_E, rows, u < M, D // 2, HALF)
        _store(dv_ptr, dv, rows, u < M, D, WIDE)
    else:  # a share of the queries
        for step in range(0, EACH // BLOCKS):
            tile = chunk * EACH + step * BLOCKS + part - BLOCKS
            i, rows, frame, exists = _place(tile, T, S, H, D, ROWS)
            turn = frame % TURNS[0]
            qa, qb, r, do, top, delta = _tile(
                q_ptr, q_scale_ptr, turns_ptr, o_ptr, top_ptr, do_ptr, i, rows, turn,
                exists, TURNS, D, HALF, WIDE,
            )  # fmt: skip
            da, db = tl.zeros((ROWS, HALF), tl.float32), tl.zeros((ROWS, HALF), tl.float32)
            for start in range(0, M, KEYS):
                ka, kb, v = _keys(k_ptr, v_ptr, start, M, H, D, HALF, WIDE, KEYS)
                seen = _seen(visible_ptr, start, frame, exists, M, MASKS, KEYS)
                _, ds = _slopes(qa, qb, do, top, delta, ka, kb, v, seen)
                da += _dot(ds, ka)
                db += _dot(ds, kb)
            dscale = dscale_ptr + ((batch * (CHUNKS * EACH) + tile) * H + head) * D
            _through_norm(
                q_ptr, q_scale_ptr, turns_ptr, dq_ptr, dscale, rows, turn, exists, r, da, db,
                D**-0.5, TURNS, D, HALF,
            )  # fmt: skip


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the remedy, if the GPU kernel cannot run `spec` here."""
    if not (
        1 <= spec.M <= 1024
        and 16 <= spec.D <= 128
        and spec.D % 8 == 0
        and spec.dtype in ("float32", "float16", "bfloat16")
    ):
        raise Unsupported(
            "takes 1 to 1024 keys, heads of 16 to 128 numbers in steps of 8, float32, float16 or "
            f"bfloat16, not {spec}"
        )
    if spec.T * spec.S * spec.H * spec.D >= 2**31:
        raise Unsupported(
            f"takes fewer than 2^31 numbers per batch element, not {spec}; shard its tokens or "
            "heads"
        )
    check_runnable()


def parameters(spec: Spec, kernel: str) -> dict[str, int]:
    """Returns the launch parameters of a kernel: the heuristic below, or those tuned on this
    device.

    `kernel` is "forward" or "backward".

    Launch parameters:
        rows: rows of a tile, a power of two: 64, which is the size of one wgmma, or 128 for twice
            the warps. Backward fewer where registers would spill: float32 operands take three
            products of TF32 each.
        keys: keys at a time, a power of two: 64. Forward all, if they are fewer. Backward they are
            the rows of their gradient, and fewer where registers would spill.
        warps: 4, or 8 for halves padded to 64 numbers and for float32 operands.
        chunks: chunks of tiles of the backward pass: as many as give at most 4 programs on each of
            132 processors.
    """
    precise = spec.dtype == "float32"
    wide = spec.D > 64 or precise
    heuristic = {"rows": 128 if wide else 64, "keys": 64, "warps": 8 if wide else 4}
    if kernel == "forward":
        heuristic["keys"] = min(64, max(16, 1 << (spec.M - 1).bit_length()))
    else:
        if wide:
            heuristic |= {"rows": 64, "keys": 32}
        if precise:
            heuristic = {"rows": 16, "keys": 16, "warps": 4}
        programs = 2 * spec.B * spec.H * cdiv(spec.M, heuristic["keys"])
        heuristic["chunks"] = max(1, min(cdiv(spec.T * spec.S, heuristic["rows"]), 528 // programs))
    return tuning.parameters(
        "cross_attention", heuristic, kernel=kernel, D=spec.D, M=spec.M, dtype=spec.dtype
    )


def _rest(keys: int, block: int) -> int:
    """Returns the rows of the last block of keys: 0 if it is as large as the others, else a smaller
    power of two.
    """
    rest = max(16, 1 << (keys % block - 1).bit_length()) if keys % block else 0
    return rest if rest < block else 0


def launches(spec: Spec) -> dict[str, Launch]:
    """Returns the Triton launches of `spec` by name: "forward" and "backward"."""

    def array(*shape, dtype=spec.dtype):
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))

    B, T, S, H, D, M = spec.B, spec.T, spec.S, spec.H, spec.D, spec.M
    frames = T if spec.turned else 1
    x, keys, scale = array(B, T, S, H, D), array(B, M, H, D), array(D, dtype="float32")
    turns = array(2, frames, D // 2, dtype="float32")
    # A kernel always has all its parameters: an array that it does not read replaces an absent one.
    visible = array(B, spec.masks, M, dtype="int32") if spec.masks else scale
    top = array(B, H, T * S, dtype="float32")
    arguments = (x, keys, keys, scale, turns, visible)
    sizes: dict[str, Any] = {"T": T, "S": S, "H": H, "D": D, "M": M}
    sizes |= {
        "TURNS": (frames, 1),
        "MASKS": spec.masks,
        "HALF": max(16, triton.next_power_of_2(D // 2)),  # 16: the least depth of a product
        "WIDE": triton.next_power_of_2(D),
    }
    ahead, back = parameters(spec, "forward"), parameters(spec, "backward")
    blocks, count = cdiv(M, back["keys"]), cdiv(T * S, back["rows"])
    each = cdiv(count, back["chunks"] * blocks) * blocks  # n programs share a chunk's queries
    chunks = cdiv(count, each)
    partial = array(B, chunks, M, H, D, dtype="float32")
    tiles = {"ROWS": ahead["rows"], "KEYS": ahead["keys"], "REST": _rest(M, ahead["keys"])}
    parts = {"ROWS": back["rows"], "KEYS": back["keys"], "CHUNKS": chunks, "EACH": each}
    return {
        "forward": Launch(
            forward_kernel,
            arguments,
            (x, top),
            B * H * cdiv(T * S, ahead["rows"]),
            {**sizes, **tiles},
            num_warps=ahead["warps"],
        ),
        "backward": Launch(
            backward_kernel,
            (*arguments, x, top, x),
            (x, array(B, chunks * each, H, D, dtype="float32"), partial, partial),
            2 * B * H * blocks * chunks,
            {**sizes, **parts},
            num_warps=back["warps"],
            num_stages=1,  # loads ahead of their use would need registers that it lacks
        ),
    }


def _arguments(q, k, v, q_scale, angles, visible):
    # One turn by 0 stands for none: its cos and sin stay in the cache.
    angles = jnp.zeros((1, q.shape[-1] // 2), jnp.float32) if angles is None else angles
    turns = jnp.stack([jnp.cos(angles), jnp.sin(angles)])
    if visible is not None:
        visible = visible.astype(jnp.int32).reshape(q.shape[0], -1, k.shape[1])
    return q, k, v, q_scale, turns, q_scale if visible is None else visible


def forward(spec: Spec, *arguments) -> tuple[jax.Array, jax.Array]:
    """Returns cross-attention on an NVIDIA GPU, [B, T, S, H, D], and `top` [B, H, T S], float32.

    Args:
        spec: the shapes of the call.
        arguments: q, k, v, q_scale, angles and visible, as for `cross_attention`, with one batch
            axis.
    """
    o, top = launches(spec)["forward"](*_arguments(*arguments))
    return o, top


def backward(
    spec: Spec, o: jax.Array, top: jax.Array, do: jax.Array, *arguments
) -> tuple[jax.Array, ...]:
    """Returns the gradients of q, k, v and q_scale on an NVIDIA GPU; q_scale's is [B, D], per batch
    element.

    Args:
        spec: the shapes of the call.
        o: result of `forward`.
        top: result of `forward`.
        do: gradient of o, [B, T, S, H, D].
        arguments: as for `forward`.
    """
    dq, dscale, *partial = launches(spec)["backward"](*_arguments(*arguments), o, top, do)
    dk, dv = (d.sum(1).astype(spec.dtype) for d in partial)
    return dq, dk, dv, dscale.sum((1, 2))
