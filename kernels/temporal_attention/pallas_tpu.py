"""Temporal attention on TPUs: one pass over q, k, v forward, over q, k, v, do backward.

The equations are those of `reference.py`. A matrix unit needs 128 rows or more, and T frames
are fewer. P neighbouring sites (8, or 16 for up to 8 frames) therefore form one tile, and all
pairs of the tile's rows are multiplied. Arrays are [B, T, S, H D] in memory, sites beside each
other, and are read in this order: the queries of a tile are rows (t, p), frame major. Keys are
brought into rows (p, u), site major. The logits are then S [(p, u), (t, p')], of which only p
= p' is needed: the lanes of site p in block p of rows. These fit into one block:

    c_u,(t,p) = s_(p,u),(t,p)                                                                    (1)

c holds one in P of the numbers of S, without waste: keys down, queries across. The softmax is
computed on c, so its sums over keys are sums over rows. Shared keys and values are more rows
of the same columns. With y_q = log2(e) q' / sqrt(D), y_k = k'

    s = y_k y_q^T,   e = 2^(s - m),   m = max over rows,   z = sum of e over rows,   p = e / z   (2)
    o = E^T v,       E_(p,u),(t,p') = p_u,(t,p) if p = p' else 0                                 (3)

The backward pass recomputes everything, so only the arguments are saved between the passes:

    dp = v do^T,   delta = sum of p dp over rows,   ds = p (dp - delta)                          (4)
    dv = E do,   dy_k = F y_q,   dy_q = F^T y_k,    F as E, of ds                                (5)
    dq' = dy_q / sqrt(D),   dk' = dy_k / log2(e)                                                 (6)

and through rotation and normalisation, with u = R(-phi) dq', n = q r, r = 1 / sqrt(mean q^2 +
eps), w = g u:

    dg = sum of u n over rows,   dq = r (w - n mean(w n))                                        (7)

The same holds for k. Rotations are products with the matrices of R(phi_t), and means over a
head of 64 or fewer numbers are products with ones: the matrix unit is otherwise idle, the
vector unit is not. Heads narrower than 128 lanes share them (two heads of 64): their queries
are stacked, each with zeros in the lanes of the others. Sums over sites (dg, gradients of
shared keys) are taken in order in one block of the result. No atomics are used, so the results
are deterministic.

XLA tiles the last two axes of an array in memory. Reshaping [B, T, S, H, D] to [B, T, S, H D]
is free if it undoes the reshape after a projection. It is a copy if the five axes are those of
a program's argument.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernels import pallas_call
from kernels.errors import Unsupported
from kernels.temporal_attention.reference import EPSILON
from kernels.temporal_attention.specs import Spec
from kernels.temporal_attention.tpu_tiling import Tiling, tiling

LOG2_E = 1.4426950408889634
# Bytes of fast memory (VMEM) that a program may use. Cores of the supported generations have 64 MiB
# or more.
MEMORY = 60 * 2**20

# Contracted axes of a product: columns of both (N T), columns and rows (N N), rows of both (T N).
_NT, _NN, _TN = ((1,), (1,)), ((1,), (0,)), ((0,), (0,))


def _dot(a, b, dims):
    precision = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return lax.dot_general(
        a, b, (dims, ((), ())), precision=precision, preferred_element_type=jnp.float32
    )


def _iota(shape, axis):
    return lax.broadcasted_iota(jnp.int32, shape, axis)


def _frame(tl: Tiling, ref, t, slab):
    """Returns one frame, [sites, width], with zeros for absent sites and lanes."""
    x = ref[0, t, :, slab * tl.lanes : (slab + 1) * tl.lanes]
    if tl.spec.S % tl.sites:
        exists = pl.program_id(2) * tl.sites + _iota(x.shape, 0) < tl.spec.S
        x = jnp.where(exists, x.astype(jnp.float32), 0.0).astype(x.dtype)
    return x if tl.width == tl.lanes else jnp.pad(x, ((0, 0), (0, tl.width - tl.lanes)))


def _head_sums(tl: Tiling, x, ones_ref, dtype):
    """Sums each head's numbers, in all its lanes: [rows, width] -> float32 [rows, width or 1]."""
    if tl.group == 1:
        return jnp.sum(x.astype(jnp.float32), axis=1, keepdims=True)
    return _dot(x.astype(dtype), ones_ref[...], _NN)


def _normalise(tl: Tiling, refs, scale_ref, turn_ref, ones_ref, y_ref, r_ref=None):
    """Writes y_q and y_k into scratch memory, and r / sqrt(D) if `r_ref` is given.

    The scales contain the constants of equation (2).
    """
    T, D, n = tl.spec.T, tl.spec.D, tl.slabs * tl.sites
    x = [[_frame(tl, ref, t, slab) for ref in refs for slab in range(tl.slabs)] for t in range(T)]
    squares = jnp.concatenate([_squared(tl, piece) for pieces in x for piece in pieces], 0)
    r = lax.rsqrt(_head_sums(tl, squares, ones_ref, x[0][0].dtype) + D * EPSILON)
    scales = [
        jnp.broadcast_to(scale_ref[i, :1, :], (tl.sites, tl.width)).astype(x[0][0].dtype)
        for i in range(2)
    ]
    for t in range(T):
        scaled = [piece * scales[i // tl.slabs] for i, piece in enumerate(x[t])]
        rows = slice(t * 2 * n, (t + 1) * 2 * n)
        y = _dot(jnp.concatenate(scaled, 0), turn_ref[t], _NT) * r[rows]
        for i in range(2 * tl.slabs):
            piece = slice(i * tl.sites, (i + 1) * tl.sites)
            place = i // tl.slabs, i % tl.slabs, pl.ds(t * tl.pitch, tl.sites), slice(None)
            y_ref[place] = y[piece]
            if r_ref is not None:
                r_ref[place] = jnp.broadcast_to(r[rows][piece], (tl.sites, tl.width))


def _squared(tl: Tiling, x):
    # The vector unit sums in float32; the matrix unit takes the arguments' dtype.
    x = x.astype(jnp.float32) if tl.group == 1 else x
    return x * x


def _widen(tl: Tiling, ref, to_ref):
    """Copies an argument into float32 scratch memory, which allows access to single sites."""
    for slab in range(tl.slabs):
        for t in range(tl.spec.T):
            to_ref[slab, pl.ds(t * tl.pitch, tl.sites), :] = _frame(tl, ref, t, slab).astype(
                jnp.float32
            )


def _clear(tl: Tiling, *refs):
    """Writes zeros to the frames that pad T to U.

    Rows of keys beyond T are read, and their products with zero must not be NaN.
    """
    if tl.U > tl.spec.T:
        for ref in refs:
            rows = ref.shape[1] - tl.spec.T * tl.pitch
            for slab in range(tl.slabs):
                ref[slab, pl.ds(tl.spec.T * tl.pitch, rows), :] = jnp.zeros(
                    (rows, tl.width), jnp.float32
                )


def _frame_major(tl: Tiling, ref, slab, site, dtype):
    """Returns rows (t, p) of a tile, [L, width]."""
    rows = [ref[slab, pl.ds(t * tl.pitch + site, tl.P), :] for t in range(tl.spec.T)]
    if missing := tl.L - tl.spec.T * tl.P:
        rows.append(jnp.zeros((missing, tl.width), jnp.float32))
    return jnp.concatenate(rows, 0).astype(dtype)


def _site_major(tl: Tiling, ref, slab, site, dtype):
    """Returns rows (p, u) of a tile, [P U, width]."""
    of_slab = ref.at[slab]  # an integer beside a stride is more than Pallas's interpreter takes
    return jnp.concatenate(
        [of_slab[pl.ds(site + p, tl.U, stride=tl.pitch), :] for p in range(tl.P)], 0
    ).astype(dtype)


def _one_head(tl: Tiling, x, head):
    """Returns x with zeros in the lanes of the other heads."""
    if tl.group == 1:
        return x
    lane = _iota(x.shape, 1)
    return jnp.where(
        (lane >= head * tl.spec.D) & (lane < (head + 1) * tl.spec.D), x, jnp.zeros_like(x)
    )


def _by_head(tl: Tiling, x):
    """Stacks the heads of a slab: [rows, width] -> [(head, row), width]."""
    return jnp.concatenate([_one_head(tl, x, head) for head in range(tl.group)], 0)


def _fit(tl: Tiling, s):
    """Computes equation (1): [(p, u), (head, t, p')] -> [u, (head, t, p)]."""
    site = lax.rem(_iota((tl.U, s.shape[1]), 1), tl.P)
    c = s[: tl.U]
    for p in range(1, tl.P):
        c = jnp.where(site == p, s[p * tl.U : (p + 1) * tl.U], c)
    return c


def _spread(tl: Tiling, c, dtype):
    """Computes E of equation (3) from p, the inverse of `_fit`; pairs of different sites are 0."""
    site = lax.rem(_iota(c.shape, 1), tl.P)
    return jnp.concatenate([jnp.where(site == p, c, 0.0) for p in range(tl.P)], 0).astype(dtype)


def _down(tl: Tiling, e, x) -> Any:
    """Computes e^T x head by head: [rows, (head, t, p)], [rows, width] -> [(t, p), width]."""
    heads = range(tl.group)
    if e.shape[0] % 16:  # shared keys that do not fill registers cannot be stacked
        return sum(_dot(e[:, h * tl.L : (h + 1) * tl.L], _one_head(tl, x, h), _TN) for h in heads)
    return _dot(
        jnp.concatenate([e[:, h * tl.L : (h + 1) * tl.L] for h in heads], 0), _by_head(tl, x), _TN
    )


def _mask(tl: Tiling, visible_ref):
    """Returns the attention mask, bool [U, L]: which keys u each query (t, p) attends to.

    None if every query attends to every key.
    """
    spec = tl.spec
    u, mask = _iota((tl.U, tl.L), 0), None
    if tl.U > spec.T:
        mask = u < spec.T
    if spec.causal:
        mask = (
            u * tl.P <= _iota((tl.U, tl.L), 1)
            if mask is None
            else mask & (u * tl.P <= _iota((tl.U, tl.L), 1))
        )
    if spec.masked:
        shown = jnp.broadcast_to(visible_ref[0], (tl.U, tl.L)) > 0
        mask = shown if mask is None else mask & shown
    return mask


def _softmax(tl: Tiling, c, c_shared, mask) -> tuple[Any, Any]:
    """Computes equation (2): p [U, columns], and p of the shared keys [A, columns] or None.

    Columns without any visible key get zeros.
    """
    if mask is not None:
        c = jnp.where(jnp.concatenate([mask] * (c.shape[1] // tl.L), 1), c, -jnp.inf)
    m = jnp.max(c, axis=0, keepdims=True)
    if c_shared is not None:
        m = jnp.maximum(m, jnp.max(c_shared, axis=0, keepdims=True))
    m = jnp.where(m == -jnp.inf, 0.0, m) if tl.spec.masked else m
    e = jnp.exp2(c - m)
    z = jnp.sum(e, axis=0, keepdims=True)
    e_shared = None
    if c_shared is not None:
        e_shared = jnp.exp2(c_shared - m)
        z = z + jnp.sum(e_shared, axis=0, keepdims=True)
    one_by_z = jnp.where(z > 0, 1 / z, 0.0) if tl.spec.masked else 1 / z
    return e * one_by_z, None if e_shared is None else e_shared * one_by_z


def _slab(tl: Tiling, ref, slab):
    """Returns a slab's shared keys or values, [A, width]."""
    x = ref[0, :, slab * tl.lanes : (slab + 1) * tl.lanes]
    return x if tl.width == tl.lanes else jnp.pad(x, ((0, 0), (0, tl.width - tl.lanes)))


def _split(x, n: int) -> list[Any]:
    """Splits the columns into n equal parts; None gives n times None."""
    return (
        [None] * n
        if x is None
        else [x[:, i * (x.shape[1] // n) : (i + 1) * (x.shape[1] // n)] for i in range(n)]
    )


def _join(parts: list) -> Any:
    return None if parts[0] is None else jnp.concatenate(parts, 1)


def _forward_kernel(tl: Tiling, *refs):
    (
        q_ref,
        k_ref,
        v_ref,
        scale_ref,
        turn_ref,
        ones_ref,
        visible_ref,
        shared_k_ref,
        shared_v_ref,
        o_ref,
        y_ref,
        w_ref,
    ) = refs
    dtype = q_ref.dtype
    # y_ref holds y_q and y_k of equation (2), w_ref the values, both in float32.
    _clear(tl, y_ref.at[1], w_ref)
    _normalise(tl, (q_ref, k_ref), scale_ref, turn_ref, ones_ref, y_ref)
    _widen(tl, v_ref, w_ref)
    mask = _mask(tl, visible_ref)
    for tiles in tl.tile_batches():
        c, c_shared = [], []
        for slab, site in tiles:
            y_q = _by_head(tl, _frame_major(tl, y_ref.at[0], slab, site, dtype))
            c.append(_fit(tl, _dot(_site_major(tl, y_ref.at[1], slab, site, dtype), y_q, _NT)))
            c_shared.append(_dot(_slab(tl, shared_k_ref, slab), y_q, _NT) if tl.spec.A else None)
        p, p_shared = _softmax(tl, _join(c), _join(c_shared), mask)
        for (slab, site), p_tile, p_shared_tile in zip(
            tiles, _split(p, len(tiles)), _split(p_shared, len(tiles)), strict=True
        ):
            o = _down(tl, _spread(tl, p_tile, dtype), _site_major(tl, w_ref, slab, site, dtype))
            if tl.spec.A:
                o = o + _down(tl, p_shared_tile.astype(dtype), _slab(tl, shared_v_ref, slab))
            o = o[: tl.spec.T * tl.P, : tl.lanes].astype(dtype).reshape(tl.spec.T, tl.P, tl.lanes)
            o_ref[0, :, site : site + tl.P, slab * tl.lanes : (slab + 1) * tl.lanes] = o


def _backward_kernel(tl: Tiling, *refs):
    (
        q_ref,
        k_ref,
        v_ref,
        scale_ref,
        turn_ref,
        ones_ref,
        visible_ref,
        shared_k_ref,
        shared_v_ref,
        do_ref,
    ) = refs[:10]
    (
        dq_ref,
        dk_ref,
        dv_ref,
        dscale_ref,
        dshared_k_ref,
        dshared_v_ref,
        y_ref,
        r_ref,
        w_ref,
        do32_ref,
    ) = refs[10:]
    spec, dtype = tl.spec, q_ref.dtype

    # Programs of one (batch, heads) run in order over sites and add to the same blocks of these.
    @pl.when(pl.program_id(2) == 0)
    def _():
        for ref in (dscale_ref, dshared_k_ref, dshared_v_ref):
            ref[...] = jnp.zeros(ref.shape, ref.dtype)

    _clear(tl, y_ref.at[1], w_ref)
    _normalise(tl, (q_ref, k_ref), scale_ref, turn_ref, ones_ref, y_ref, r_ref)
    _widen(tl, v_ref, w_ref)
    _widen(tl, do_ref, do32_ref)
    mask = _mask(tl, visible_ref)
    for tiles in tl.tile_batches():
        c, dp, c_shared, dp_shared = [], [], [], []
        for slab, site in tiles:
            y_q, do = (
                _by_head(tl, _frame_major(tl, ref, slab, site, dtype))
                for ref in (y_ref.at[0], do32_ref)
            )
            c.append(_fit(tl, _dot(_site_major(tl, y_ref.at[1], slab, site, dtype), y_q, _NT)))
            dp.append(_fit(tl, _dot(_site_major(tl, w_ref, slab, site, dtype), do, _NT)))
            c_shared.append(_dot(_slab(tl, shared_k_ref, slab), y_q, _NT) if spec.A else None)
            dp_shared.append(_dot(_slab(tl, shared_v_ref, slab), do, _NT) if spec.A else None)
        dp, dp_shared = _join(dp), _join(dp_shared)
        p, p_shared = _softmax(tl, _join(c), _join(c_shared), mask)
        delta = jnp.sum(p * dp, axis=0, keepdims=True)
        if spec.A:
            delta = delta + jnp.sum(p_shared * dp_shared, axis=0, keepdims=True)
        ds = p * (dp - delta)
        ds_shared = p_shared * (dp_shared - delta) if spec.A else None
        # The softmax ran on all tiles side by side; equations (5) are products tile by tile.
        parts = (_split(x, len(tiles)) for x in (p, ds, p_shared, ds_shared))
        for (slab, site), p, ds, p_shared, ds_shared in zip(tiles, *parts, strict=True):
            y_q, do = (
                _by_head(tl, _frame_major(tl, ref, slab, site, dtype))
                for ref in (y_ref.at[0], do32_ref)
            )
            F = _spread(tl, ds, dtype)
            dv, dy_k = _dot(_spread(tl, p, dtype), do, _NN), _dot(F, y_q, _NN)
            dy_q = _down(tl, F, _site_major(tl, y_ref.at[1], slab, site, dtype))
            if spec.A:
                p_shared, ds_shared = p_shared.astype(dtype), ds_shared.astype(dtype)
                dy_q = dy_q + _down(tl, ds_shared, _slab(tl, shared_k_ref, slab))
                lanes = slice(slab * tl.lanes, (slab + 1) * tl.lanes)
                dshared_k_ref[0, :, lanes] += _dot(ds_shared, y_q, _NN)[:, : tl.lanes]
                dshared_v_ref[0, :, lanes] += _dot(p_shared, do, _NN)[:, : tl.lanes]
            # Each gradient overwrites its variable in scratch memory. dy_q is frame major, as y_q;
            # dy_k and dv are site major, so they are written with a stride.
            for t in range(spec.T):
                y_ref[0, slab, pl.ds(t * tl.pitch + site, tl.P), :] = dy_q[
                    t * tl.P : (t + 1) * tl.P
                ]
            for ref, x in ((y_ref.at[1, slab], dy_k), (w_ref.at[slab], dv)):
                for n in range(tl.P):
                    ref[pl.ds(site + n, spec.T, stride=tl.pitch), :] = x[
                        n * tl.U : n * tl.U + spec.T
                    ]
    for slab in range(tl.slabs):
        for t in range(spec.T):
            dv = w_ref[slab, pl.ds(t * tl.pitch, tl.sites), :]
            dv_ref[0, t, :, slab * tl.lanes : (slab + 1) * tl.lanes] = dv[:, : tl.lanes].astype(
                dtype
            )
    for i, (x_ref, dx_ref) in enumerate(((q_ref, dq_ref), (k_ref, dk_ref))):
        _through_norm(
            tl,
            i,
            x_ref,
            scale_ref,
            turn_ref,
            ones_ref,
            y_ref.at[i],
            r_ref.at[i],
            dx_ref,
            dscale_ref,
        )


def _through_norm(
    tl: Tiling, i, x_ref, scale_ref, turn_ref, ones_ref, dy_ref, r_ref, dx_ref, dscale_ref
):
    """Computes equation (7) from the gradient of y_q or y_k.

    dscale is summed over sites, but not over the sublanes and heads of a slab. In this code, r and
    n are those of equation (7) divided by sqrt(D), and u lacks the factors of equation (6). The
    scale g from `_constants` corrects all three.
    """
    T, dtype = tl.spec.T, x_ref.dtype
    g = scale_ref[2 + i, :1, :]
    u, n, r = [], [], []
    for t in range(T):
        rows = pl.ds(t * tl.pitch, tl.sites)
        dy = jnp.concatenate([dy_ref[slab, rows, :] for slab in range(tl.slabs)], 0)
        u.append(_dot(dy.astype(dtype), turn_ref[t], _NN))
        r.append(jnp.concatenate([r_ref[slab, rows, :] for slab in range(tl.slabs)], 0))
        x = jnp.concatenate([_frame(tl, x_ref, t, slab) for slab in range(tl.slabs)], 0)
        n.append(x.astype(jnp.float32) * r[t])
    un = [a * b for a, b in zip(u, n, strict=True)]
    dscale_ref[0, 0, i] += sum(un[1:], un[0]).reshape(-1, 8, tl.width).sum(0)
    means = _head_sums(tl, jnp.concatenate([x * g for x in un], 0), ones_ref, dtype)
    rows = tl.slabs * tl.sites
    for t in range(T):
        dx = r[t] * (u[t] * g - n[t] * means[t * rows : (t + 1) * rows])
        for slab in range(tl.slabs):
            piece = dx[slab * tl.sites : (slab + 1) * tl.sites, : tl.lanes].astype(dtype)
            dx_ref[0, t, :, slab * tl.lanes : (slab + 1) * tl.lanes] = piece


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if the TPU kernel cannot run `spec` here."""
    pallas_call.check_runnable()
    if spec.windows is not None:
        raise Unsupported(f"takes the frames of each site, not {spec}")
    if not (
        1 <= spec.T <= 64
        and 16 <= spec.D <= 256
        and spec.D % 8 == 0
        and spec.dtype in ("float32", "bfloat16")
    ):
        raise Unsupported(
            "takes 1 to 64 frames, heads of 16 to 256 numbers in steps of 8, float32 or "
            f"bfloat16, not {spec}"
        )
    if (memory := tiling(spec).memory) > MEMORY:
        raise Unsupported(
            f"needs {memory / 2**20:.0f} MiB of fast memory for {spec}, and has "
            f"{MEMORY >> 20}; fewer shared keys or heads need less"
        )


def _turns(tl: Tiling, angles, dtype):
    """Returns the matrices R(phi_t) for all heads of a slab, [T, width, width]: rotated = x R^T."""
    D = tl.spec.D
    half = jnp.eye(D // 2)
    a, b = jnp.cos(angles)[:, :, None] * half, jnp.sin(angles)[:, :, None] * half
    R = jnp.concatenate([jnp.concatenate([a, -b], 2), jnp.concatenate([b, a], 2)], 1)
    R = jnp.einsum("gh,tij->tgihj", jnp.eye(tl.group), R).reshape(tl.spec.T, tl.lanes, tl.lanes)
    rest = tl.width - tl.lanes
    return jnp.pad(R, ((0, 0), (0, rest), (0, rest))).astype(dtype)


def _lanes_of(tl: Tiling, *per_head):
    """Repeats rows of [D] numbers for every head of a slab, on 8 sublanes: [rows, 8, width]."""
    x = jnp.tile(jnp.stack(per_head), (1, tl.group))
    return jnp.tile(jnp.pad(x, ((0, 0), (0, tl.width - tl.lanes)))[:, None], (1, 8, 1))


def _constants(tl: Tiling, q_scale, k_scale, angles, visible):
    dtype = jnp.dtype(tl.spec.dtype)
    D = tl.spec.D
    # `_normalise` computes r / sqrt(D), so the scales of y_q and y_k (rows 0 and 1) are those of
    # equation (2) times sqrt(D). In the backward pass, g (rows 2 and 3) contains the factors of
    # equation (6), and another sqrt(D) that turns n sum(w n) into n mean(w n).
    scales = _lanes_of(tl, q_scale * LOG2_E, k_scale * D**0.5, q_scale, k_scale * D**0.5 / LOG2_E)
    heads = jnp.arange(tl.width) // D
    ones = (heads[:, None] == heads[None, :]).astype(dtype)
    visible = (
        jnp.ones((tl.spec.B, tl.spec.T), jnp.float32)
        if visible is None
        else visible.astype(jnp.float32)
    )
    visible = jnp.pad(visible, ((0, 0), (0, tl.U - tl.spec.T)))[:, :, None]
    return scales, _turns(tl, angles, dtype), ones, visible


def _origin(rank: int, *_) -> tuple[int, ...]:
    return (0,) * rank


def _call(tl: Tiling, kernel, name, arrays, constants, shared, results, result_specs, scratch):
    """Calls a kernel.

    arrays are [B, T, S, H D] and shared [B, A, H D], both in blocks. constants are whole in memory,
    except the last, visible.
    """
    spec = tl.spec
    lanes = tl.heads * spec.D
    x = _block(tl)
    whole = [pl.BlockSpec(a.shape, functools.partial(_origin, a.ndim)) for a in constants[:-1]]
    visible = pl.BlockSpec((1, tl.U, 1), lambda b, h, s: (b, 0, 0))
    shared_spec = pl.BlockSpec((1, shared[0].shape[1], lanes), lambda b, h, s: (b, 0, h))
    return pl.pallas_call(
        functools.partial(kernel, tl),
        name=name,
        grid=tl.grid,
        interpret=pallas_call.interpreter() or False,
        in_specs=[
            *(x for _ in arrays[:3]),
            *whole,
            visible,
            shared_spec,
            shared_spec,
            *(x for _ in arrays[3:]),
        ],
        out_specs=result_specs,
        out_shape=results,
        scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary"), vmem_limit_bytes=MEMORY
        ),
    )(*arrays[:3], *constants, *shared, *arrays[3:])


def _block(tl: Tiling):
    return pl.BlockSpec(
        (1, tl.spec.T, tl.sites, tl.heads * tl.spec.D), lambda b, h, s: (b, 0, s, h)
    )


def _flat(x):
    return x.reshape(*x.shape[:-2], -1)


def forward(
    spec: Spec, q, k, v, q_scale, k_scale, angles, visible, shared_k, shared_v, shifted=None
) -> jax.Array:
    """Returns attention along time on a TPU, [B, T, S, H, D].

    The arguments after spec are those of `temporal_attention`, with one batch axis; spec holds
    their shapes. shifted is not read, since `check` refuses windows.
    """
    tl = tiling(spec)
    x = _flat(q)
    # A kernel always has all its parameters: one row of zeros replaces absent shared keys.
    shared = [
        jnp.zeros((spec.B, 1, spec.H * spec.D), q.dtype) if c is None else _flat(c)
        for c in (shared_k, shared_v)
    ]
    o = _call(
        tl,
        _forward_kernel,
        "temporal_attention_forward",
        (x, _flat(k), _flat(v)),
        _constants(tl, q_scale, k_scale, angles, visible),
        shared,
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        _block(tl),
        [(2, *tl.scratch), tl.scratch],
    )
    return o.reshape(q.shape)


def backward(
    spec: Spec,
    do: jax.Array,
    q,
    k,
    v,
    q_scale,
    k_scale,
    angles,
    visible,
    shared_k,
    shared_v,
    shifted=None,
) -> tuple[jax.Array | None, ...]:
    """Returns the gradients of q, k, v, q_scale, k_scale, shared_k and shared_v on a TPU.

    Gradients of the scales are [B, D], per batch element; those of absent shared keys are None. do
    is the gradient of the result, [B, T, S, H, D]; the other arguments are those of `forward`.
    """
    tl = tiling(spec)
    x, lanes = _flat(q), tl.heads * spec.D
    shared = [
        jnp.zeros((spec.B, 1, spec.H * spec.D), q.dtype) if c is None else _flat(c)
        for c in (shared_k, shared_v)
    ]
    partial = jax.ShapeDtypeStruct((spec.B, tl.grid[1], 2, 8, tl.width), jnp.float32)
    dshared = jax.ShapeDtypeStruct(shared[0].shape, jnp.float32)
    shared_block = pl.BlockSpec((1, shared[0].shape[1], lanes), lambda b, h, s: (b, 0, h))
    partial_block = pl.BlockSpec((1, 1, 2, 8, tl.width), lambda b, h, s: (b, h, 0, 0, 0))
    dq, dk, dv, dscale, dshared_k, dshared_v = _call(
        tl,
        _backward_kernel,
        "temporal_attention_backward",
        (x, _flat(k), _flat(v), _flat(do)),
        _constants(tl, q_scale, k_scale, angles, visible),
        shared,
        [jax.ShapeDtypeStruct(x.shape, x.dtype)] * 3 + [partial, dshared, dshared],
        [_block(tl)] * 3 + [partial_block, shared_block, shared_block],
        [(2, *tl.scratch), (2, *tl.scratch), tl.scratch, tl.scratch],
    )
    dscale = dscale[..., : tl.lanes].reshape(spec.B, -1, 2, 8, tl.group, spec.D).sum((1, 3, 4))
    dq_scale, dk_scale = dscale[:, 0], dscale[:, 1] * (spec.D**0.5 / LOG2_E)
    dshared = (None, None)
    if spec.A:
        dshared = (
            (dshared_k / LOG2_E).reshape(shared_k.shape).astype(q.dtype),
            dshared_v.reshape(shared_v.shape).astype(q.dtype),
        )
    return (
        dq.reshape(q.shape),
        dk.reshape(q.shape),
        dv.reshape(q.shape),
        dq_scale,
        dk_scale,
        *dshared,
    )
