"""A gated residual and its norm, and every gradient, against the reference and autodiff, and broken
ones caught.
"""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op, assert_caught, assert_conforms, broken

from kernels.errors import Unsupported
from kernels.gated_norm import gated_norm
from kernels.gated_norm.specs import Spec, inputs

OP = Op(
    "gated_norm",
    lambda given, spec, implementation: gated_norm(**given, implementation=implementation),
)
OTHERS = ["triton"]  # implementations held against the reference, on a CPU

FAST = [
    # Sites that fill a program's rows, or do not; widths that fill a tile, or do not; more than a
    # tile.
    Spec(2, 64, 64, dtype="float32"),
    Spec(3, 37, 192, dtype="float32"),
    Spec(2, 67, 72, dtype="float16"),
    Spec(1, 3, 1152, dtype="bfloat16"),
    Spec(2, 2, 5120, dtype="float32"),
    Spec(5, 1, 10, dtype="float32"),
]


SLOW = [
    Spec(4, 150, 33, dtype="float16"),
    Spec(1, 130, 768),
    Spec(2, 41, 5120),
    Spec(1, 9, 6144, dtype="float32"),
    Spec(3, 64, 384, dtype="float16"),
    Spec(1, 3, 8192),
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


def test_reference_is_its_equations():
    spec = Spec(2, 3, 8, dtype="float32")
    given = {name: np.asarray(x, np.float64) for name, x in inputs(spec).items()}
    gate, shift, scale = (given[name][:, None] for name in ("gate", "shift", "scale"))
    y = given["x"] + gate * given["f"]
    found = gated_norm(**inputs(spec), implementation="xla")
    np.testing.assert_allclose(found[0], y, atol=2e-6)
    np.testing.assert_allclose(
        found[1],
        (1 + scale) * y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6) + shift,
        atol=5e-6,
    )


def unrounded_norm(given, y):
    """z of equations (2) and (3) in float64, from a given y."""
    y = np.asarray(y, np.float64)
    n = y / np.sqrt((y**2).mean(-1, keepdims=True) + 1e-6)
    shift, scale = (np.asarray(given[name], np.float64)[:, None] for name in ("shift", "scale"))
    return (1 + scale) * n + shift


def test_norm_is_of_y_as_it_is_rounded(tmp_path, monkeypatch):
    """z is one rounding of float16 off the norm of the y that is returned."""
    given = inputs(Spec(2, 5, 24, dtype="float16"))
    change = ("y = y.to(tl.float32)", "y = x + a * f")
    broken(OP, "triton", change, tmp_path, monkeypatch)
    within = {}
    for implementation in ("triton", "broken"):
        y, z = gated_norm(**given, implementation=implementation)
        want = unrounded_norm(given, y)
        within[implementation] = (np.abs(z - want) <= 2**-11 * np.abs(want) + 1e-5).all()
    assert within == {"triton": True, "broken": False}


@pytest.mark.parametrize("implementation", OTHERS)
def test_rows_may_be_float32_beside_a_bfloat16_stream(implementation):
    spec = Spec(2, 5, 24)
    given = inputs(spec)
    wide = {name: given[name].astype(jnp.float32) for name in ("gate", "shift", "scale")}

    def loss(given, implementation):
        results = gated_norm(**given, implementation=implementation)
        return sum(jnp.sin(out.astype(jnp.float32)).sum() for out in results)

    found = jax.jit(jax.grad(loss), static_argnums=1)(given | wide, implementation)
    want = jax.jit(jax.grad(loss), static_argnums=1)(given | wide, "xla")
    assert all(found[name].dtype == jnp.float32 for name in wide) and found["x"].dtype == spec.dtype
    for name in given:
        np.testing.assert_allclose(
            *(np.asarray(x[name], np.float32) for x in (found, want)), rtol=0.02, atol=0.02
        )


# A kernel with one line changed must not pass: what is replaced, and by what.
MUTATIONS = {
    "norm over padded numbers": ("squares / D", "squares / WIDE"),
    "norm without its projection": (" - n * (r * r * product / D)", ""),
    "no gradient past the norm": ("e = dy + r", "e = r"),
    "scale without its one": ("(1 + c) * dz", "c * dz"),
    "gate is left out": ("(a * e)", "e"),
    "rows of the first frame": ("gate_ptr + frame * D", "gate_ptr + 0 * frame"),
    "a site is left out": ("(s < S)", "(s < S - 1)"),
    "no gate forward": ("(x + a * f)", "(x + f)"),
    "norm over padded numbers forward": ("/ D + EPS)[:, None]", "/ WIDE + EPS)[:, None]"),
    "scale without its one forward": ("(1 + c) * n", "c * n"),
    "no shift": ("* n + b)", "* n)"),
    "shift of the first frame": ("shift_ptr + frame * D", "shift_ptr + 0 * frame"),
    "a frame too far": ("f_ptr + first, y_ptr + first", "f_ptr + first, y_ptr + first + D"),
    "sites of two programs": ("(i < EACH) &", "(i >= 0) &"),
    "sums of the last rows": ("db += dz", "db = dz"),
    "scale's gradient of y": ("dc += dz * n", "dc += dz * y"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    spec = Spec(2, 67, 100, dtype="float32")  # two programs a frame, of 34 sites and 33
    broken(OP, "triton", MUTATIONS[mutation], tmp_path, monkeypatch)
    assert_caught(OP, spec)


def test_no_atomics_in_the_kernels():
    assert "atomic_" not in inspect.getsource(importlib.import_module("kernels.gated_norm.triton"))


@pytest.mark.parametrize("implementation", OTHERS)
def test_batching_by_leading_axes_and_by_vmap(implementation):
    """Clips of frames [2, 3, S, D], and mapped, against frames [6, S, D]."""
    given = inputs(Spec(6, 5, 16, dtype="float32"))
    split = {name: x.reshape(2, 3, *x.shape[1:]) for name, x in given.items()}

    def loss(given):
        return sum(jnp.sin(out).sum() for out in gated_norm(**given, implementation=implementation))

    want = jax.jit(jax.grad(loss))(given)
    for function in (loss, lambda given: jax.vmap(loss)(given).sum()):
        got = jax.jit(jax.grad(function))(split)
        for name in given:
            np.testing.assert_allclose(got[name].reshape(want[name].shape), want[name], atol=1e-6)


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"x": jnp.zeros(8)}, r"x is \(8,\); give \[\.\.\., S, D\]"),
        (
            {"f": jnp.zeros((2, 3, 9))},
            r"f is \(2, 3, 9\); beside x \(2, 3, 8\) it must be \(2, 3, 8\)",
        ),
        ({"gate": jnp.zeros((2, 1, 8))}, r"gate is \(2, 1, 8\); .* it must be \(2, 8\)"),
        (
            {"scale": jnp.zeros((2, 8), jnp.bfloat16)},
            "x is float32 and scale bfloat16; give that dtype or float32",
        ),
        ({"f": jnp.zeros((2, 3, 8), jnp.bfloat16)}, "x is float32 and f bfloat16; give one dtype"),
        ({"implementation": "cudnn"}, "no implementation 'cudnn'; there are triton, xla"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(unchecked_shapes, changes, says):
    with pytest.raises(ValueError, match=says) as info:
        gated_norm(**{**inputs(Spec(2, 3, 8, dtype="float32")), **changes})
    assert "\n" not in str(info.value)


def test_asked_by_name_never_falls_back():
    spec = Spec(1, 1, 8193, dtype="float32")
    with pytest.raises(
        Unsupported,
        match=r"gated_norm, triton: takes widths up to 8192 of .*, not N=1 S=1 D=8193 float32",
    ):
        gated_norm(**inputs(spec), implementation="triton")
    assert gated_norm(**inputs(spec), implementation="xla")[1].shape == (1, 1, 8193)
