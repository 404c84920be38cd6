"""The prologue of a causal convolution on NVIDIA GPUs, each direction in one pass over memory.

The equations and letters are those of `reference.py`. In the forward pass, a program writes a
number of neighbouring positions (the constant ROWS) of one frame of `past`, padding included, with
all their channels at once. It copies frames of the cache, and normalises and activates frames of
x. It writes the last K frames of past also as the next cache. Each input is therefore read once
and each output written once.

In the backward pass, dy, the gradient of y, and the gradient of the cache are that of past, plus
that of the next cache in the last K frames. The padding has no gradient. With s = sigmoid(u), and
x read again so that the forward pass saves nothing,

    du = dy s (1 + u (1 - s)),   dg = sum of du n over positions,   w = g du                     (1)
    dx = r (w - n mean_c(w n))                                                                   (2)

A program handles STEPS times ROWS positions of one frame and writes its partial sum of dg; XLA
adds the partial sums. No atomics are used, so the results are deterministic.
"""

import jax
import jax.numpy as jnp
import triton
import triton.language as tl

from kernels import tuning
from kernels.conv_prologue.reference import EPSILON
from kernels.conv_prologue.specs import Spec
from kernels.errors import Unsupported
from kernels.triton_call import Launch, cdiv, check_runnable

EPS = tl.constexpr(EPSILON)


@triton.jit
def _load(pointer, rows, exists, C: tl.constexpr, WIDE: tl.constexpr):
    """Loads C numbers from each offset in `rows` [ROWS] behind a pointer: float32 [ROWS, WIDE].

    The result is 0 in rows where `exists` [ROWS] is False, and in columns from C on.
    """
    c = tl.arange(0, WIDE)
    return tl.load(
        pointer + rows[:, None] + c[None, :], mask=exists[:, None] & (c < C)[None, :], other=0.0
    ).to(tl.float32)


@triton.jit
def _store(pointer, x, rows, exists, C: tl.constexpr, WIDE: tl.constexpr):
    c = tl.arange(0, WIDE)
    tl.store(
        pointer + rows[:, None] + c[None, :],
        x.to(pointer.dtype.element_ty),
        mask=exists[:, None] & (c < C)[None, :],
    )


@triton.jit
def forward_kernel(
    x_ptr,
    gain_ptr,
    cache_ptr,
    past_ptr,
    next_ptr,
    T: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    P: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Writes ROWS positions of one frame of past and, in the last K frames, of the next cache.

    x [B, T, H, W, C], gain [C] and cache [B, K, H, W, C] are inputs. past
    [B, K + T, H + 2 P, W + 2 P, C] and next [B, K, H, W, C] are outputs. WIDE is C rounded up to a
    power of two. Programs run over batch elements, frames of past and groups of ROWS positions.
    """
    ALL: tl.constexpr = (H + 2 * P) * (W + 2 * P)
    BLOCKS: tl.constexpr = (ALL + ROWS - 1) // ROWS
    program = tl.program_id(0)
    frame, batch = program // BLOCKS % (K + T), (program // (BLOCKS * (K + T))).to(tl.int64)
    i = program % BLOCKS * ROWS + tl.arange(0, ROWS)
    h, w = i // (W + 2 * P) - P, i % (W + 2 * P) - P
    inside = (h >= 0) & (h < H) & (w >= 0) & (w < W)
    rows = (h * W + w) * C
    if frame < K:
        y = _load(cache_ptr + (batch * K + frame) * (H * W * C), rows, inside, C, WIDE)
    else:
        # Padding positions load as zeros, and zeros stay zero through norm and SiLU.
        x = _load(x_ptr + (batch * T + frame - K) * (H * W * C), rows, inside, C, WIDE)
        c = tl.arange(0, WIDE)
        r = tl.rsqrt(tl.sum(x * x, 1) / C + EPS)
        u = x * r[:, None] * tl.load(gain_ptr + c, mask=c < C, other=0.0)[None, :]
        y = u * tl.sigmoid(u)
    _store(past_ptr + (batch * (K + T) + frame) * (ALL * C), y, i * C, i < ALL, C, WIDE)
    if frame >= T:
        _store(next_ptr + (batch * K + frame - T) * (H * W * C), y, rows, inside, C, WIDE)


@triton.jit
def backward_kernel(
    x_ptr,
    gain_ptr,
    dpast_ptr,
    dnext_ptr,
    dx_ptr,
    dgain_ptr,
    dcache_ptr,
    T: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    P: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Computes the gradients of x, gain and cache for STEPS times ROWS positions of one frame of
    past.

    x [B, T, H, W, C], gain [C], and dpast and dnext, the gradients of past and next with their
    shapes, are inputs. dx, dcache and dgain are outputs: the gradients of x and of the cache with
    their shapes, and this program's partial sum [C] of the gain's gradient, in float32. WIDE is C
    rounded up to a power of two.
    """
    BLOCKS: tl.constexpr = (H * W + STEPS * ROWS - 1) // (STEPS * ROWS)
    program = tl.program_id(0)
    block, frame, batch = (
        program % BLOCKS,
        program // BLOCKS % (K + T),
        (program // (BLOCKS * (K + T))).to(tl.int64),
    )
    # Some of these point before their array, but they are read and written only in their frames.
    x_ptr += (batch * T + frame - K) * (H * W * C)
    dx_ptr += (batch * T + frame - K) * (H * W * C)
    dpast_ptr += (batch * (K + T) + frame) * ((H + 2 * P) * (W + 2 * P) * C)
    dnext_ptr += (batch * K + frame - T) * (H * W * C)
    dcache_ptr += (batch * K + frame) * (H * W * C)
    c = tl.arange(0, WIDE)
    g = tl.load(gain_ptr + c, mask=c < C, other=0.0)[None, :]
    dg = tl.zeros((ROWS, WIDE), tl.float32)
    for step in range(0, STEPS):
        i = (block * STEPS + step) * ROWS + tl.arange(0, ROWS)
        exists = i < H * W
        dy = _load(dpast_ptr, ((i // W + P) * (W + 2 * P) + i % W + P) * C, exists, C, WIDE)
        if frame >= T:
            dy += _load(dnext_ptr, i * C, exists, C, WIDE)
        if frame < K:
            _store(dcache_ptr, dy, i * C, exists, C, WIDE)
        else:
            x = _load(x_ptr, i * C, exists, C, WIDE)
            r = tl.rsqrt(tl.sum(x * x, 1) / C + EPS)[:, None]
            n = x * r
            u = g * n
            s = tl.sigmoid(u)
            du = dy * s * (1 + u * (1 - s))
            dg += du * n
            w = g * du
            mean = tl.sum(w * n, 1)[:, None] / C
            _store(dx_ptr, r * (w - n * mean), i * C, exists, C, WIDE)
    if frame >= K:
        dgain_ptr += ((batch * T + frame - K) * BLOCKS + block) * C
        tl.store(dgain_ptr + c, tl.sum(dg, 0), mask=c < C)


def check(spec: Spec) -> None:
    """Raises `Unsupported`, with the remedy, if the GPU kernel cannot run `spec` here."""
    if spec.C > 2048 or spec.dtype not in ("float32", "float16", "bfloat16"):
        raise Unsupported(f"takes up to 2048 channels of float32, float16 or bfloat16, not {spec}")
    if (spec.H + 2 * spec.P) * (spec.W + 2 * spec.P) * spec.C >= 2**31:
        raise Unsupported(
            f"takes fewer than 2^31 numbers per frame, not {spec}; process it in tiles"
        )
    check_runnable()


def parameters(spec: Spec, kernel: str) -> dict[str, int]:
    """Returns the launch parameters of a kernel, "forward" or "backward": the heuristic below, or
    the values tuned on this device.

    Launch parameters:
        rows: positions that a program handles at a time, a power of two. Forward, they hold 4096
            numbers: 32 for each thread, which is 4 loads of 16 bytes in flight. Backward, half as
            many, because a position needs three times the registers.
        steps: of the backward kernel alone: number of groups of `rows` positions that share one
            partial sum of the gain's gradient. At most 8: 8 groups of 16 positions make the sums
            1 / 64 of the bytes moved.
        warps: warps of a program, 4. Half a warp reads a position of 96 channels, and no sum
            crosses warps.
    """
    wide = triton.next_power_of_2(spec.C)
    heuristic = {"rows": max(1, (4096 if kernel == "forward" else 2048) // wide), "warps": 4}
    if kernel == "backward":
        heuristic["steps"] = min(8, cdiv(spec.H * spec.W, heuristic["rows"]))
    return tuning.parameters("conv_prologue", heuristic, kernel=kernel, C=spec.C, dtype=spec.dtype)


def launches(spec: Spec) -> dict[str, Launch]:
    """Returns the Triton launches of `spec` by name: "forward" and "backward"."""

    def array(*shape, dtype=spec.dtype):
        return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))

    B, T, H, W, C, K, P = spec.B, spec.T, spec.H, spec.W, spec.C, spec.K, spec.P
    x, gain, cache = array(B, T, H, W, C), array(C, dtype="float32"), array(B, K, H, W, C)
    past = array(B, K + T, H + 2 * P, W + 2 * P, C)
    sizes = {"T": T, "H": H, "W": W, "C": C, "K": K, "P": P, "WIDE": triton.next_power_of_2(C)}

    p = parameters(spec, "forward")
    programs = B * (K + T) * cdiv((H + 2 * P) * (W + 2 * P), p["rows"])
    forward = Launch(
        forward_kernel,
        (x, gain, cache),
        (past, cache),
        programs,
        {**sizes, "ROWS": p["rows"]},
        num_warps=p["warps"],
    )

    p = parameters(spec, "backward")
    blocks = cdiv(H * W, p["steps"] * p["rows"])
    results = (x, array(B, T * blocks, C, dtype="float32"), cache)
    constants = {**sizes, "ROWS": p["rows"], "STEPS": p["steps"]}
    backward = Launch(
        backward_kernel,
        (x, gain, past, cache),
        results,
        B * (K + T) * blocks,
        constants,
        num_warps=p["warps"],
    )
    return {"forward": forward, "backward": backward}


def forward(
    spec: Spec, x: jax.Array, gain: jax.Array, cache: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Computes the prologue on an NVIDIA GPU: norm, SiLU, cached frames and zero padding.

    Args:
        spec: the shapes of the call.
        x: frames [B, T, H, W, C].
        gain: float32 [C].
        cache: the K frames before x, normalised and activated, [B, K, H, W, C].

    Returns:
        past [B, K + T, H + 2 P, W + 2 P, C], and the next cache [B, K, H, W, C].
    """
    past, next_cache = launches(spec)["forward"](x, gain, cache)
    return past, next_cache


def backward(
    spec: Spec, x: jax.Array, gain: jax.Array, dpast: jax.Array, dnext: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the gradients of `forward` on an NVIDIA GPU.

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
    dx, dgain, dcache = launches(spec)["backward"](x, gain, dpast, dnext)
    return dx, dgain.sum(1), dcache
