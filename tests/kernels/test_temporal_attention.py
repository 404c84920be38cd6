"""Every implementation of temporal attention against the reference, forward and backward, and a
broken one that must be caught.

The reference in turn is held against JAX's own attention, site by site.
"""

import dataclasses
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op, assert_caught, assert_conforms, broken, expected, run

from kernels.errors import Unsupported
from kernels.temporal_attention import temporal_attention
from kernels.temporal_attention.reference import normalise_and_rotate
from kernels.temporal_attention.specs import PRIMARY, SPECS, Spec, Windows, inputs


def call(given, spec, implementation):
    masks = {"causal": spec.causal, "windows": spec.windows}
    return temporal_attention(**given, **masks, implementation=implementation)


OP = Op("temporal_attention", call, fixed=("angles", "visible", "shifted"))
OTHERS = ["triton"]  # implementations held against the reference, on a CPU

SHIFTED = Spec(
    1,
    5,
    12,
    1,
    16,
    A=3,
    dtype="float32",
    masked=True,
    causal=True,
    windows=Windows((2, 2, 2), 4),
    shifted=True,
)
FAST = [
    # Frames fill the tile, or leave rows over; the last tile of sites is full, or not.
    Spec(2, 16, 4, 1, 64, dtype="float32"),
    Spec(1, 5, 13, 2, 32, dtype="float32", masked=True),
    Spec(1, 21, 4, 1, 72, dtype="float32", causal=True),
    Spec(2, 13, 5, 2, 64, A=5, dtype="float32", masked=True, causal=True),
    Spec(1, 16, 5, 1, 64, A=70, dtype="float16"),
    Spec(1, 64, 1, 1, 128, dtype="bfloat16", causal=True),
    Spec(1, 1, 3, 1, 16, dtype="float32"),
    # Within frames; and windows that the edges cut.
    Spec(1, 5, 16, 1, 16, dtype="float32", windows=Windows((1, 4, 4), 4), turned=1),
    SHIFTED,
]


# The workloads of SPECS whose sizes shape the program in a way of their own, with two tiles of
# sites, the second nearly empty.
NAMED = ("t8", "t64", "xl", "wide", "xl_shared", "wide_shared", "nano")
SLOW = [
    *(dataclasses.replace(SPECS[name], B=1, S=64 // SPECS[name].T + 1, H=1) for name in NAMED),
    Spec(2, 3, 23, 2, 40, A=9, dtype="float16", masked=True, causal=True),
    Spec(1, 32, 3, 2, 128, A=100, dtype="float32"),
    Spec(1, 47, 2, 1, 72, A=1, dtype="float16", masked=True),
    Spec(2, 16, 5, 1, 64, dtype="float16"),
    Spec(1, 11, 7, 1, 16, masked=True, causal=True),
    Spec(2, 3, 64, 2, 40, dtype="float16", windows=Windows((1, 8, 8), 8)),
    Spec(2, 5, 24, 1, 64, A=5, windows=Windows((5, 2, 2), 6), shifted=True),
]


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("spec", FAST, ids=str)
def test_conforms(spec, implementation):
    assert_conforms(OP, spec, implementation)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_conforms_at_other_sizes(spec, implementation):
    assert_conforms(OP, spec, implementation)


def test_reference_is_attention():
    """Site by site, `jax.nn.dot_product_attention` of normalised, rotated queries and keys, under
    the mask written as a table.
    """
    spec = Spec(2, 7, 3, 2, 16, 4, "float32", causal=True, masked=True)
    given = inputs(spec)

    def turned(x, scale):
        x = x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-6) * scale
        z = (x[..., : spec.D // 2] + 1j * x[..., spec.D // 2 :]) * jnp.exp(1j * given["angles"])[
            :, None, None
        ]
        return jnp.concatenate([z.real, z.imag], -1)

    q, k, v = turned(given["q"], given["q_scale"]), turned(given["k"], given["k_scale"]), given["v"]
    sees = np.zeros((spec.B, spec.T, spec.T + spec.A), bool)
    given["visible"] = np.asarray(given["visible"])
    for b, t, u in np.ndindex(spec.B, spec.T, spec.T):
        sees[b, t, u] = u <= t and given["visible"][b, u]
    sees[..., spec.T :] = True
    out = jax.jit(lambda g: temporal_attention(**g, causal=spec.causal, implementation="xla"))(
        given
    )
    attend = jax.jit(
        lambda *qkv: jax.nn.dot_product_attention(*qkv, mask=jnp.asarray(sees)[:, None])
    )
    for s in range(spec.S):
        keys, values = k[:, :, s], v[:, :, s]
        keys, values = (
            jnp.concatenate([keys, given["shared_k"]], 1),
            jnp.concatenate([values, given["shared_v"]], 1),
        )
        np.testing.assert_allclose(out[:, :, s], attend(q[:, :, s], keys, values), atol=3e-6)


def test_reference_within_windows():
    """`jax.nn.dot_product_attention` of all tokens under a mask: keys of the same window, that are
    visible and of no later frame. The first frame is hidden and a window of its own.
    """
    spec = dataclasses.replace(SHIFTED, A=0)
    given = inputs(spec)
    given["visible"] = given["visible"].at[0, 0].set(False)
    position = np.array(list(np.ndindex(5, 3, 4)))
    cell, frame = (position + 1) // 2, position[:, 0]
    sees = (cell[:, None] == cell).all(-1) & (frame[:, None] >= frame)
    sees &= np.asarray(given["visible"])[0, frame]

    def flat(x):
        return x.reshape(1, 60, 1, 16)

    @jax.jit
    def attend(given):
        angles = given["angles"].reshape(60, 1, 8)
        q, k = (
            normalise_and_rotate(flat(given[name]), given[f"{name}_scale"], angles) for name in "qk"
        )
        return jax.nn.dot_product_attention(q, k, flat(given["v"]), mask=sees[None, None])

    got = flat(run(OP, spec, "xla", given)["result 0"])
    some = sees.any(1)
    assert some.any() and not some.all()
    np.testing.assert_allclose(got[:, some], attend(given)[:, some], atol=3e-6)
    assert (got[:, ~some] == 0).all()


@pytest.mark.parametrize("implementation", ["xla", "triton"])
def test_unshifted_by_its_flag(implementation):
    """A flag that says no gives what no flag does, though windows are counted for both."""
    given = dict(inputs(SHIFTED))
    want = expected(OP, dataclasses.replace(SHIFTED, shifted=False))
    found = run(OP, SHIFTED, implementation, given | {"shifted": jnp.array(False)})
    for name in want:
        np.testing.assert_allclose(found[name], want[name], atol=2e-5)


# A kernel with one line changed must not pass: what is replaced, by what, and a spec that shows it.
PLAIN, CAUSAL = (
    Spec(1, 5, 13, 1, 32, dtype="float32"),
    Spec(1, 5, 13, 1, 32, A=3, dtype="float32", causal=True),
)
MUTATIONS = {
    "sites see each other": (
        "(window[:, None] == window[None, :]) & shown[None, :]",
        "shown[None, :] & (window >= 0)[:, None]",
        PLAIN,
    ),
    "sees one frame ahead": (
        "frame[None, :] <= frame[:, None]",
        "frame[None, :] <= frame[:, None] + 1",
        CAUSAL,
    ),
    "hidden frames are seen": (
        "tl.load(visible_ptr + frame) != 0",
        "tl.load(visible_ptr + frame) >= 0",
        dataclasses.replace(PLAIN, masked=True),
    ),
    "another scale": ("LOG2_E * D**-0.5, D", "LOG2_E * D**-0.45, D", PLAIN),
    "turned backwards": ("(a * cos - b * sin)", "(a * cos + b * sin)", PLAIN),
    "a site is left out": (
        "exists = exists & (w < WINDOWS)",
        "exists = exists & (w < WINDOWS - 1)",
        PLAIN,
    ),
    "a shared key too many": ("tl.where(mask, s, float", "tl.where(mask | True, s, float", CAUSAL),
    "delta is left out": ("(p * (dp - delta[:, None]))", "(p * dp)", PLAIN),
    "norm without its projection": ("(ua * ga - a * (mean * r * r))", "(ua * ga)", PLAIN),
    "windows wrap around": ("(x >= 0) & (x < COLUMNS)", "(x < COLUMNS)", SHIFTED),
    "windows are not shifted": ("x -= shifted * SHIFTS[2]", "x -= 0", SHIFTED),
    "windows of one frame": ("if COUNTS[0] > 1:", "if COUNTS[0] > 99:", SHIFTED),
    "rows of windows mixed up": ("// SIDES[2] % SIDES[1]", "% SIDES[1]", SHIFTED),
    "angles of the first frame": ("frame % TURNS[0] * TURNS[1]", "0", SHIFTED),
    "angles of the first site": ("+ site % TURNS[1]", "+ 0", SHIFTED),
    "shared gradient of one chunk": (
        "da += _dot(ds, qa)",
        "da += _dot(ds, qa) * (chunk == 0)",
        dataclasses.replace(CAUSAL, S=40),
    ),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    *change, spec = MUTATIONS[mutation]
    broken(OP, "triton", change, tmp_path, monkeypatch)
    assert_caught(OP, spec)


def test_same_gradients_every_time():
    """Scales are shared by all programs, and shared keys by all sites: sums whose order must not
    change.
    """
    spec = Spec(2, 13, 9, 1, 16, A=3)
    first, second = (run(OP, spec, "triton", inputs(spec)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_no_atomics_in_the_kernels():
    assert "atomic_" not in inspect.getsource(
        importlib.import_module("kernels.temporal_attention.triton")
    )


def assert_sees_nothing(found):
    assert (found["result 0"][0] == 0).all() and (found["result 0"][1] != 0).all()
    gradients = [found[f"gradient of {name}"] for name in "qkv"]
    assert all((g[0] == 0).all() and np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("implementation", ["xla", "triton"])
def test_a_query_that_sees_nothing_gives_nothing(implementation):
    spec = Spec(2, 5, 3, 1, 16, dtype="float32", masked=True)
    given = inputs(spec) | {"visible": jnp.zeros((2, 5), bool).at[1].set(True)}
    assert_sees_nothing(run(OP, spec, implementation, given))


def test_shared_keys_alone_however_unlikely():
    """All frames hidden, one shared key: it gets all the weight, though its logits are far below
    where 2^s is zero.
    """
    spec = Spec(1, 5, 3, 1, 16, A=1, dtype="float32")
    given = inputs(spec) | {"visible": jnp.zeros((1, 5), bool)}
    given["shared_k"] = 1000 * given["shared_k"]
    out = temporal_attention(**given, implementation="triton")
    np.testing.assert_allclose(
        out, jnp.broadcast_to(given["shared_v"][:, None], out.shape), rtol=1e-6
    )


def test_angles_are_constants():
    given = inputs(FAST[1])
    for implementation in ("xla", "triton"):
        run = lambda angles, i=implementation: temporal_attention(
            **{**given, "angles": angles}, implementation=i
        ).sum()
        assert (jax.jit(jax.grad(run))(given["angles"]) == 0).all()


def test_a_second_derivative_is_refused():
    spec = Spec(1, 2, 1, 1, 16, dtype="float32")
    given = inputs(spec)

    def slope(q):
        return jax.grad(lambda q: jnp.sin(call({**given, "q": q}, spec, "triton")).sum())(q).sum()

    with pytest.raises(Unsupported, match=r"triton: differentiates once; .*'xla'"):
        jax.eval_shape(jax.grad(slope), given["q"])


@pytest.mark.slow
@pytest.mark.parametrize("implementation", OTHERS)
def test_batching_by_leading_axes_and_by_vmap(implementation):
    """[2, 3, T, S, H, D], and [3, T, S, H, D] mapped twice, against [6, T, S, H, D]; scales get the
    sum over all.
    """
    spec = Spec(6, 5, 3, 2, 16, A=2, dtype="float32", masked=True)
    given = inputs(spec)
    visible, angles = given.pop("visible"), given.pop("angles")
    scales = {name: given.pop(name) for name in ("q_scale", "k_scale")}
    split = {name: x.reshape(2, 3, *x.shape[1:]) for name, x in given.items()}

    def loss(arrays, scales, visible):
        return jnp.sin(
            temporal_attention(
                **arrays, **scales, angles=angles, visible=visible, implementation=implementation
            )
        ).sum()

    def mapped(arrays, scales, visible):
        return jax.vmap(loss, in_axes=(0, None, 0))(arrays, scales, visible).sum()

    want = jax.jit(jax.grad(loss, argnums=(0, 1)))(given, scales, visible)
    for function in (loss, mapped):
        got, got_scales = jax.jit(jax.grad(function, argnums=(0, 1)))(
            split, scales, visible.reshape(2, 3, -1)
        )
        for name in given:
            np.testing.assert_allclose(
                got[name].reshape(given[name].shape), want[0][name], atol=2e-6
            )
        for name in scales:
            np.testing.assert_allclose(got_scales[name], want[1][name], rtol=2e-5, atol=2e-6)


def test_primary_workloads_are_named():
    assert set(PRIMARY) <= set(SPECS)
