"""Every implementation of the prologue of a causal convolution against the reference, forward and
backward, and broken ones caught.
"""

import functools
import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op, assert_caught, assert_conforms, broken

from kernels.conv_prologue import conv_prologue
from kernels.conv_prologue.specs import Spec, inputs
from kernels.errors import Unsupported


def call(given, spec, implementation):
    return conv_prologue(**given, padding=spec.P, implementation=implementation)


OP = Op("conv_prologue", call)
OTHERS = ["triton"]  # implementations held against the reference, on a CPU

FAST = [
    # More frames than the cache holds, as many, and fewer, so that some of it stays; channels that
    # fill a tile, or do not.
    Spec(2, 3, 5, 7, 96, dtype="float32"),
    Spec(1, 2, 9, 4, 20, P=1, dtype="float32"),
    Spec(2, 1, 6, 5, 64, K=3, P=2, dtype="float32"),
    Spec(1, 4, 3, 3, 192, K=1, dtype="float16"),
    Spec(1, 2, 5, 8, 384, P=1, dtype="bfloat16"),
    Spec(1, 1, 1, 1, 3, K=1, dtype="float32"),
]


SLOW = [
    Spec(1, 5, 17, 3, 130, K=4, P=2, dtype="float16"),
    Spec(2, 1, 1, 19, 7, P=1),
    Spec(1, 3, 8, 8, 1000, dtype="float32"),
    Spec(1, 2, 13, 11, 192, P=1),
    Spec(2, 5, 9, 9, 96, dtype="float16"),
    Spec(1, 1, 3, 2, 2048, K=3),
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


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_reference_is_its_equations(spec):
    """Position by position in float64."""
    given = {name: np.asarray(x, np.float64) for name, x in inputs(spec).items()}
    past, after = conv_prologue(**inputs(spec), padding=spec.P, implementation="xla")
    u = given["x"] / np.sqrt((given["x"] ** 2).mean(-1, keepdims=True) + 1e-6) * given["gain"]
    want = np.concatenate([given["cache"], u / (1 + np.exp(-u))], 1)
    tolerance = 3 * float(jnp.finfo(spec.dtype).eps)
    np.testing.assert_allclose(
        np.asarray(after, np.float64), want[:, -spec.K :], rtol=tolerance, atol=tolerance
    )
    P = spec.P
    np.testing.assert_allclose(
        np.asarray(past, np.float64)[:, :, P : P + spec.H, P : P + spec.W],
        want,
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.parametrize("implementation", ["xla", *OTHERS])
def test_to_the_bit(implementation):
    """What is moved arrives as it was: the cache, zeros around.

    What is computed differs by how exp is made: by 1e-6 at most.
    """
    spec = FAST[2]
    given = inputs(spec)
    call = lambda which: jax.jit(functools.partial(conv_prologue, padding=2, implementation=which))(
        **given
    )
    past, after = jax.tree.map(np.asarray, call(implementation))
    inside = past[:, :, 2:-2, 2:-2]
    np.testing.assert_array_equal(inside[:, :3], given["cache"])
    np.testing.assert_array_equal(inside[:, 1:], after)
    around = past.copy()
    around[:, :, 2:-2, 2:-2] = 0
    assert not around.any()
    np.testing.assert_allclose(past, call("xla")[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("implementation", ["xla", *OTHERS])
def test_pieces_are_the_whole(implementation):
    spec = Spec(1, 7, 4, 5, 24, dtype="float32", P=1)
    given = inputs(spec)
    call = jax.jit(functools.partial(conv_prologue, padding=1, implementation=implementation))
    whole, after = call(**given)
    cache, parts = given["cache"], []
    for start, stop in ((0, 1), (1, 2), (2, 5), (5, 7)):
        past, cache = call(given["x"][:, start:stop], given["gain"], cache)
        parts.append(past if start == 0 else past[:, spec.K :])
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), whole)
    np.testing.assert_array_equal(cache, after)


# A kernel with one line changed must not pass: what is replaced, and by what.
MUTATIONS = {
    "norm over padded channels": (
        "tl.sum(x * x, 1) / C + EPS)\n",
        "tl.sum(x * x, 1) / WIDE + EPS)\n",
    ),
    "no activation": ("y = u * tl.sigmoid(u)", "y = u"),
    "no gain": ("tl.load(gain_ptr + c, mask=c < C, other=0.0)[None, :]\n        y", "1\n        y"),
    "one frame late": (
        "(batch * T + frame - K) * (H * W * C), rows",
        "(batch * T + tl.maximum(frame - K - 1, 0)) * (H * W * C), rows",
    ),
    "the cache's frames backwards": (
        "(batch * K + frame - T) * (H * W * C), y",
        "(batch * K + K - 1 + T - frame) * (H * W * C), y",
    ),
    "shifted by a column": ("i % (W + 2 * P) - P", "i % (W + 2 * P) - P + 1"),
    "a position is left out": ("exists = i < H * W", "exists = i < H * W - 1"),
    "the cache gets no gradient": ("dy += _load(dnext_ptr", "dy += 0 * _load(dnext_ptr"),
    "activation without its slope": ("s * (1 + u * (1 - s))", "s"),
    "norm without its projection": ("(w - n * mean)", "w"),
    "gain's gradient of one step": ("dg += du * n", "dg = du * n"),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    spec = Spec(1, 3, 9, 17, 20, P=1, dtype="float32")
    broken(OP, "triton", MUTATIONS[mutation], tmp_path, monkeypatch)
    assert_caught(OP, spec)


def test_no_atomics_in_the_kernels():
    assert "atomic_" not in inspect.getsource(
        importlib.import_module("kernels.conv_prologue.triton")
    )


@pytest.mark.parametrize("implementation", OTHERS)
def test_batching_by_leading_axes_and_by_vmap(implementation):
    """[2, 2, T, H, W, C], and mapped, against [4, T, H, W, C]; the gain gets the sum over all."""
    spec = Spec(4, 2, 3, 2, 16, dtype="float32")
    given = inputs(spec)
    gain = given.pop("gain")
    split = {name: x.reshape(2, 2, *x.shape[1:]) for name, x in given.items()}

    def loss(given, gain):
        return sum(
            jnp.sin(out).sum()
            for out in conv_prologue(**given, gain=gain, implementation=implementation)
        )

    want, want_gain = jax.jit(jax.grad(loss, argnums=(0, 1)))(given, gain)
    for function in (
        loss,
        lambda given, gain: jax.vmap(loss, in_axes=(0, None))(given, gain).sum(),
    ):
        got, got_gain = jax.jit(jax.grad(function, argnums=(0, 1)))(split, gain)
        for name in given:
            np.testing.assert_allclose(got[name].reshape(want[name].shape), want[name], atol=1e-6)
        np.testing.assert_allclose(got_gain, want_gain, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    "changes,says",
    [
        ({"x": jnp.zeros((4, 8))}, r"x is \(4, 8\); give \[\.\.\., T, H, W, C\]"),
        ({"gain": jnp.ones(7)}, r"gain is \(7,\); beside x \(1, 3, 4, 5, 8\) it must be \(8,\)"),
        (
            {"cache": jnp.zeros((1, 2, 4, 4, 8))},
            r"cache is \(1, 2, 4, 4, 8\); .* it must be \(1, 2, 4, 5, 8\)",
        ),
        (
            {"cache": jnp.zeros((1, 2, 4, 5, 8), jnp.bfloat16)},
            "x is float32 and cache bfloat16; give one dtype",
        ),
        ({"cache": jnp.zeros((1, 0, 4, 5, 8))}, "give one frame or more of both"),
        ({"padding": -1}, "padding is -1; give 0 or more"),
        (
            {"implementation": "cudnn"},
            "no implementation 'cudnn'; there are triton, pallas_tpu, xla",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(unchecked_shapes, changes, says):
    with pytest.raises(ValueError, match=says) as info:
        conv_prologue(**{**inputs(Spec(1, 3, 4, 5, 8, dtype="float32")), **changes})
    assert "\n" not in str(info.value)


def test_asked_by_name_never_falls_back():
    spec = Spec(1, 1, 1, 1, 2049, dtype="float32")
    with pytest.raises(
        Unsupported,
        match=r"conv_prologue, triton: takes up to 2048 channels of .*, not B=1 T=1 H=1 W=1 C=2049",
    ):
        conv_prologue(**inputs(spec), implementation="triton")
    assert conv_prologue(**inputs(spec), implementation="xla")[0].shape == (1, 3, 1, 1, 2049)
    with pytest.raises(Unsupported, match=r"fewer than 2\^31 numbers per frame.*tiles"):
        importlib.import_module("kernels.conv_prologue.triton").check(Spec(1, 1, 2**12, 2**12, 128))
