"""Cross-attention on TPUs: one pass over q forward, over q and do backward.

The equations are those of `reference.py`. Keys are few and queries are many, so all that can be
done to a key instead of a query is done to the key. With r = 1 / sqrt(mean q^2 + eps), the scalar
of the norm of a query, n(q) = r q, and rotation and gain move to the keys, for each frame t:

    y_tu = (log2(e) / sqrt(D)) g R(-phi_t) k_u                                                   (1)
    s = r (y . q) = l log2(e),   e = 2^(s - m),   z = sum of e over keys,   p = e / z            (2)
    o = sum of p v over keys                                                                     (3)

Queries are read as they are in memory, and neither normalised nor rotated. Logits are [key, query],
keys down and queries across, so sums over keys are sums over rows, and r is a row of numbers. The
backward pass recomputes all of this, so only the arguments are saved between the passes:

    dp = v . do,   delta = sum of p dp over keys,   ds = p (dp - delta),   a = sum of ds s       (4)
    dv = sum of p do over queries,   dy_t = sum of r ds q over the queries of frame t            (5)
    dq = (r sum of ds y over keys - q r^2 a / D) / log2(e)                                       (6)
    dk = sum of R(phi_t) (g dy_t) over frames / sqrt(D)                                          (7)
    dg = sum of (R(-phi_t) k) dy_t over frames and keys / sqrt(D)                                (8)

A program handles some sites of one frame. Programs of one batch element and block of heads run in
order over frames and sites: the first of a frame computes y, the last adds (7) and (8) to sums in
fast memory, and the last of all writes them. No atomics are used, so the results are deterministic.

Heads narrower than 128 lanes share registers as a slab (two heads of 64). Rows of keys are then
stacked by head, each with zeros in the lanes of the others, and one product serves all heads of a
slab. Sums of squares and (6)'s second term are products with ones: the matrix unit is otherwise
idle, and it turns lanes into rows.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from kernels import pallas_call
from kernels.cross_attention.specs import Spec
from kernels.cross_attention.tpu_tiling import Tiling, folded, tiling
from kernels.errors import Unsupported
from kernels.temporal_attention.pallas_tpu import _NN, _NT, _TN, LOG2_E, MEMORY, _dot, _iota
from kernels.temporal_attention.reference import EPSILON

HEAD_ROWS = 8  # rows of a table with a row for each head of a slab; a slab has at most 8 heads


def _slab(tl: Tiling, x, slab):
    """Returns a slab of [rows, heads D] numbers, [rows, width], with zeros in absent lanes."""
    x = x[:, slab * tl.lanes : (slab + 1) * tl.lanes]
    return x if tl.width == tl.lanes else jnp.pad(x, ((0, 0), (0, tl.width - tl.lanes)))


def _queries(tl: Tiling, ref, slab):
    """Returns a slab of an argument's sites, [rows, width], with zeros for absent sites."""
    x = _slab(tl, ref[0, 0], slab)
    if tl.spec.S % tl.rows == 0:
        return x
    exists = pl.program_id(3) * tl.rows + _iota(x.shape, 0) < tl.spec.S
    return jnp.where(exists, x.astype(jnp.float32), 0.0).astype(x.dtype)


def _of_head(tl: Tiling, x, head):
    """Returns x with zeros in the lanes of the other heads."""
    lane = _iota(x.shape, 1)
    return jnp.where((lane >= head * tl.spec.D) & (lane < (head + 1) * tl.spec.D), x, 0.0)


def _by_head(tl: Tiling, x):
    """Stacks the heads of a slab: [keys, width] -> [(head, key), width]."""
    return jnp.concatenate([_of_head(tl, x, head) for head in range(tl.group)], 0)


def _from_heads(tl: Tiling, x):
    """Takes from each head its own lanes: [(head, key), width] -> [keys, width]."""
    heads = [x[head * tl.keys : (head + 1) * tl.keys] for head in range(tl.group)]
    return functools.reduce(jnp.add, [_of_head(tl, part, i) for i, part in enumerate(heads)])


def _turn(tl: Tiling, x, turn_ref, sign):
    """Rotates the heads of x [rows, width] by R(sign phi_t), in float32."""
    if not tl.spec.turned:
        return x
    half = tl.spec.D // 2
    first = lax.rem(_iota(x.shape, 1), tl.spec.D) < half
    other = jnp.where(first, pltpu.roll(x, tl.width - half, 1), pltpu.roll(x, half, 1))
    return x * turn_ref[0, :1] + other * (sign * turn_ref[0, 1:2])


def _prepare(tl: Tiling, refs, y_ref, w_ref):
    """Writes y of equation (1) at the first program of a frame, and the values stacked by head at
    the first of all.
    """
    k_ref, v_ref, gain_ref, turn_ref = refs

    @pl.when(pl.program_id(3) == 0)
    def _():
        for slab in range(tl.slabs):
            k = _slab(tl, k_ref[0], slab).astype(jnp.float32)
            y = _turn(tl, k, turn_ref, -1) * (gain_ref[:1] * (LOG2_E / tl.spec.D**0.5))
            y_ref[slab] = _by_head(tl, y).astype(y_ref.dtype)

    @pl.when((pl.program_id(2) == 0) & (pl.program_id(3) == 0))
    def _():
        for slab in range(tl.slabs):
            v = _slab(tl, v_ref[0], slab).astype(jnp.float32)
            w_ref[slab] = _by_head(tl, v).astype(w_ref.dtype)


def _softmax(tl: Tiling, q, y, heads_ref, visible_ref) -> tuple[Any, Any, Any]:
    """Computes equation (2) for a slab.

    Returns:
        p and s [head, key, query], and r [head, 1, query].
    """
    squares = _dot(heads_ref[:HEAD_ROWS], q * q, _NT)[: tl.group]
    r = lax.rsqrt(squares / tl.spec.D + EPSILON)[:, None]
    s = _dot(y, q, _NT).reshape(tl.group, tl.keys, -1) * r
    shown = jnp.broadcast_to(visible_ref[0, 0] > 0, s.shape[1:])
    e = jnp.where(shown, s, -jnp.inf) if _hides(tl.spec) else s
    m = jnp.max(e, axis=1, keepdims=True)
    m = jnp.where(m == -jnp.inf, 0.0, m) if tl.spec.masks else m
    e = jnp.exp2(e - m)
    z = jnp.sum(e, axis=1, keepdims=True)
    return e * (jnp.where(z > 0, 1 / z, 0.0) if tl.spec.masks else 1 / z), s, r


def _hides(spec: Spec) -> bool:
    """Returns whether some rows of keys are hidden, by a mask or because they are padding."""
    return bool(spec.masks) or spec.M % 16 > 0


def _forward_kernel(tl: Tiling, *refs):
    q_ref, k_ref, v_ref, gain_ref, turn_ref, heads_ref, visible_ref, o_ref, y_ref, w_ref = refs
    _prepare(tl, (k_ref, v_ref, gain_ref, turn_ref), y_ref, w_ref)
    for slab in range(tl.slabs):
        q = _queries(tl, q_ref, slab)
        p, _, _ = _softmax(tl, q, y_ref[slab], heads_ref, visible_ref)
        p = p.reshape(tl.group * tl.keys, -1).astype(q.dtype)
        o = _dot(p, w_ref[slab], _TN)[:, : tl.lanes].astype(q.dtype)
        o_ref[0, 0, :, slab * tl.lanes : (slab + 1) * tl.lanes] = o


def _backward_kernel(tl: Tiling, *refs):
    q_ref, k_ref, v_ref, gain_ref, turn_ref, heads_ref, visible_ref, do_ref = refs[:8]
    dq_ref, dk_ref, dv_ref, dgain_ref, y_ref, w_ref, dy_ref, dw_ref, dk32_ref = refs[8:]
    dtype, D = q_ref.dtype, tl.spec.D
    frame, block = pl.program_id(2), pl.program_id(3)
    _prepare(tl, (k_ref, v_ref, gain_ref, turn_ref), y_ref, w_ref)

    @pl.when(block == 0)
    def _():
        dy_ref[...] = jnp.zeros(dy_ref.shape, jnp.float32)

    @pl.when((frame == 0) & (block == 0))
    def _():
        for ref in (dw_ref, dk32_ref, dgain_ref):
            ref[...] = jnp.zeros(ref.shape, jnp.float32)

    for slab in range(tl.slabs):
        q, do = _queries(tl, q_ref, slab), _queries(tl, do_ref, slab)
        p, s, r = _softmax(tl, q, y_ref[slab], heads_ref, visible_ref)
        dp = _dot(w_ref[slab], do, _NT).reshape(p.shape)
        ds = p * (dp - jnp.sum(p * dp, axis=1, keepdims=True))
        a = jnp.sum(ds * s, axis=1)
        p, rds = (x.reshape(tl.group * tl.keys, -1).astype(dtype) for x in (p, ds * r))
        dw_ref[slab] += _dot(p, do, _NN)
        dy_ref[slab] += _dot(rds, q, _NN)
        along = _columns(tl, a * r[:, 0] ** 2 / D, heads_ref)
        dq = (_dot(rds, y_ref[slab], _TN) - q.astype(jnp.float32) * along) / LOG2_E
        dq_ref[0, 0, :, slab * tl.lanes : (slab + 1) * tl.lanes] = dq[:, : tl.lanes].astype(dtype)

    @pl.when(block == pl.num_programs(3) - 1)
    def _():
        for slab in range(tl.slabs):
            dy = _from_heads(tl, dy_ref[slab]) / D**0.5
            k = _turn(tl, _slab(tl, k_ref[0], slab).astype(jnp.float32), turn_ref, -1)
            dk32_ref[slab] += _turn(tl, dy * gain_ref[:1], turn_ref, 1)
            dgain_ref[0, 0] += (k * dy).reshape(-1, 8, tl.width).sum(0)

    @pl.when((frame == pl.num_programs(2) - 1) & (block == pl.num_programs(3) - 1))
    def _():
        for slab in range(tl.slabs):
            lanes = slice(slab * tl.lanes, (slab + 1) * tl.lanes)
            dk_ref[0, :, lanes] = dk32_ref[slab][:, : tl.lanes].astype(dtype)
            dv_ref[0, :, lanes] = _from_heads(tl, dw_ref[slab])[:, : tl.lanes].astype(dtype)


def _columns(tl: Tiling, x, heads_ref):
    """Returns a number of each head and query, [head, query] in float32, in all lanes of its head:
    [query, width]. In 16 bits it is a sum of two numbers, which keeps 16 bits of it.
    """
    x = jnp.pad(x, ((0, HEAD_ROWS - tl.group), (0, 0)))
    high = x.astype(heads_ref.dtype)
    low = (x - high.astype(jnp.float32)).astype(heads_ref.dtype)
    return _dot(jnp.concatenate([high, low], 0), heads_ref[...], _TN)


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the supported range, if the TPU kernel cannot run `spec` here."""
    pallas_call.check_runnable()
    widths = 16 <= spec.D <= 256 and spec.D % 8 == 0
    if not (spec.M <= 1024 and widths and spec.dtype in ("float32", "bfloat16")):
        raise Unsupported(
            "takes up to 1024 keys, heads of 16 to 256 numbers in steps of 8, float32 or bfloat16, "
            f"not {spec}"
        )
    if folded(spec).S < 8:
        raise Unsupported(
            f"takes 8 sites or more of frames with masks or angles of their own, not {spec}"
        )
    if (memory := tiling(folded(spec)).memory) > MEMORY:
        raise Unsupported(
            f"needs {memory / 2**20:.0f} MiB of fast memory for {spec}, and has "
            f"{MEMORY >> 20}; fewer keys or heads need less"
        )


def _call(tl: Tiling, kernel, name, arrays, more, results, result_specs, scratch):
    """Calls a kernel.

    arrays are q, k, v, q_scale, angles and visible, and more are other arrays of q's shape. Frames
    are folded already.
    """
    q, k, v, q_scale, angles, visible = arrays
    spec = tl.spec
    block, keys = _blocks(tl)
    gain = jnp.pad(jnp.tile(q_scale, tl.group), (0, tl.width - tl.lanes))
    gain = jnp.broadcast_to(gain, (8, tl.width))
    angles = jnp.zeros((1, spec.D // 2), jnp.float32) if angles is None else angles
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    turns = [jnp.tile(x, (1, tl.group)) for x in (jnp.hstack([cos, cos]), jnp.hstack([-sin, sin]))]
    turns = jnp.pad(jnp.stack(turns, 1), ((0, 0), (0, 6), (0, tl.width - tl.lanes)))
    lane = jnp.arange(tl.width) // spec.D
    heads = jnp.tile(jnp.arange(HEAD_ROWS)[:, None] == lane, (2, 1)).astype(q.dtype)
    if visible is None:
        visible = jnp.ones((spec.B, 1, spec.M), bool)
    visible = visible.reshape(spec.B, -1, spec.M).astype(jnp.float32)
    visible = jnp.pad(visible, ((0, 0), (0, 0), (0, tl.keys - spec.M)))[..., None]
    k, v = (jnp.pad(_flat(x), ((0, 0), (0, tl.keys - spec.M), (0, 0))) for x in (k, v))
    each_turn, each_mask = int(turns.shape[0] > 1), int(visible.shape[1] > 1)
    return pl.pallas_call(
        functools.partial(kernel, tl),
        name=name,
        grid=tl.grid,
        interpret=pallas_call.interpreter() or False,
        in_specs=[
            block,
            keys,
            keys,
            pl.BlockSpec(gain.shape, lambda b, h, t, s: (0, 0)),
            pl.BlockSpec((1, 8, tl.width), lambda b, h, t, s: (t * each_turn, 0, 0)),
            pl.BlockSpec(heads.shape, lambda b, h, t, s: (0, 0)),
            pl.BlockSpec((1, 1, tl.keys, 1), lambda b, h, t, s: (b, t * each_mask, 0, 0)),
            *(block for _ in more),
        ],
        out_specs=result_specs,
        out_shape=results,
        scratch_shapes=scratch,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary", "arbitrary"),
            vmem_limit_bytes=MEMORY,
        ),
    )(q, k, v, gain, turns, heads, visible, *more)


def _blocks(tl: Tiling) -> tuple[pl.BlockSpec, pl.BlockSpec]:
    """Returns the blocks of queries and of keys."""
    numbers = tl.heads * tl.spec.D
    return (
        pl.BlockSpec((1, 1, tl.rows, numbers), lambda b, h, t, s: (b, t, s, h)),
        pl.BlockSpec((1, tl.keys, numbers), lambda b, h, t, s: (b, 0, h)),
    )


def _flat(x):
    return x.reshape(*x.shape[:-2], -1)


def _rows(spec: Spec, x):
    """Returns queries [B, T, S, H, D] as [B, T', S', H D], with the frames of `folded`."""
    return x.reshape(spec.B, spec.T, spec.S, -1)


def forward(spec: Spec, q: jax.Array, *arguments) -> tuple[jax.Array, tuple[()]]:
    """Returns cross-attention on a TPU, [B, T, S, H, D], and nothing else to save.

    Args:
        spec: the shapes of the call.
        q: queries, as for `cross_attention`, with one batch axis.
        arguments: k, v, q_scale, angles and visible, likewise.
    """
    tl = tiling(folded(spec))
    x = _rows(tl.spec, q)
    o = _call(
        tl,
        _forward_kernel,
        "cross_attention_forward",
        (x, *arguments),
        (),
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        _blocks(tl)[0],
        [pltpu.VMEM(tl.stacked, x.dtype)] * 2,
    )
    return o.reshape(q.shape), ()


def backward(
    spec: Spec, o: jax.Array, saved: tuple[()], do: jax.Array, q: jax.Array, *arguments
) -> tuple[jax.Array, ...]:
    """Returns the gradients of q, k, v and q_scale on a TPU; q_scale's is [B, D], per batch
    element.

    Args:
        spec: the shapes of the call.
        o: result of `forward`; not read.
        saved: result of `forward`.
        do: gradient of o, [B, T, S, H, D].
        q: as for `forward`.
        arguments: as for `forward`.
    """
    tl = tiling(folded(spec))
    x, (k, *_) = _rows(tl.spec, q), arguments
    block, keys = _blocks(tl)
    of_keys = jax.ShapeDtypeStruct((spec.B, tl.keys, spec.H * spec.D), x.dtype)
    of_gain = (spec.B, tl.grid[1], 8, tl.width)
    stacked = [pltpu.VMEM(tl.stacked, dtype) for dtype in (x.dtype, jnp.float32) for _ in range(2)]
    dq, dk, dv, dgain = _call(
        tl,
        _backward_kernel,
        "cross_attention_backward",
        (x, *arguments),
        (_rows(tl.spec, do),),
        [
            jax.ShapeDtypeStruct(x.shape, x.dtype),
            of_keys,
            of_keys,
            jax.ShapeDtypeStruct(of_gain, jnp.float32),
        ],
        [block, keys, keys, pl.BlockSpec((1, 1, *of_gain[2:]), lambda b, h, t, s: (b, h, 0, 0))],
        [*stacked, pltpu.VMEM((tl.slabs, tl.keys, tl.width), jnp.float32)],
    )
    dk, dv = (d[:, : spec.M].reshape(k.shape) for d in (dk, dv))
    dgain = dgain.sum((1, 2))[:, : tl.lanes].reshape(spec.B, tl.group, spec.D).sum(1)
    return dq.reshape(q.shape), dk, dv, dgain
