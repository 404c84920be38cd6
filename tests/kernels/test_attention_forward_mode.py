"""The tangent of temporal attention in forward mode against `jax.jvp` of the reference, and broken
kernels that must be caught.
"""

import dataclasses
import functools
import importlib
import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import Op

from kernels.temporal_attention import api, temporal_attention
from kernels.temporal_attention.specs import Spec, Windows, inputs

# Relative to a number and the deviation of its array together, as in `conformance.py`. A tangent is
# a difference of sums.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 8e-2}
FIXED = ("angles", "visible", "shifted")
PLAIN = Spec(1, 5, 13, 1, 32, dtype="float32")
CAUSAL = Spec(2, 5, 6, 2, 16, A=3, dtype="float32", causal=True, masked=True)
SHIFTED = Spec(
    1, 5, 12, 1, 16, A=3, dtype="float32", masked=True, causal=True,
    windows=Windows((2, 2, 2), 4), shifted=True,
)  # fmt: skip
FAST = [PLAIN, CAUSAL, SHIFTED, Spec(1, 16, 5, 1, 64, A=40, dtype="float16")]
SLOW = [
    Spec(1, 16, 9, 2, 64, dtype="float32"),
    Spec(2, 21, 4, 1, 72, dtype="float32", causal=True),
    Spec(1, 64, 2, 1, 128, A=70),
    Spec(2, 13, 5, 2, 64, A=5, masked=True),
    Spec(1, 5, 16, 1, 16, dtype="float32", windows=Windows((1, 4, 4), 4), turned=1),
    Spec(1, 1, 3, 1, 16, dtype="float32"),
]


def operation(given, spec, implementation):
    masks = {"causal": spec.causal, "windows": spec.windows}
    return temporal_attention(**given, **masks, implementation=implementation)


OP = Op("temporal_attention", operation)


def divided(given):
    """What has a derivative, and what has none."""
    free = {name: x for name, x in given.items() if name not in FIXED}
    return free, {name: x for name, x in given.items() if name in FIXED}


def directions(free, seed=3):
    keys = jax.random.split(jax.random.key(seed), len(free))
    return {
        name: jax.random.normal(key, x.shape).astype(x.dtype)
        for key, (name, x) in zip(keys, sorted(free.items()), strict=True)
    }


def along(spec, implementation, given, only=None):
    """The result and its tangent along random tangents of all arguments, or of one."""
    free, fixed = divided(given)
    dots = directions(free)
    if only is not None:
        fixed, free, dots = given, {only: free[only]}, {only: dots[only]}

    @jax.jit
    def both(free, dots):
        return jax.jvp(lambda x: operation(fixed | x, spec, implementation), (free,), (dots,))

    return [np.asarray(x, np.float32) for x in both(free, dots)]


@functools.cache
def expected(spec, only=None):
    wide = {
        name: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for name, x in OP.inputs(spec).items()
    }
    rounded = directions(divided(OP.inputs(spec))[0])
    free, fixed = divided(wide)
    dots = {name: dot.astype(jnp.float32) for name, dot in rounded.items()}
    if only is not None:
        fixed, free, dots = wide, {only: free[only]}, {only: dots[only]}

    @jax.jit
    def both(free, dots):
        return jax.jvp(lambda x: operation(fixed | x, spec, "xla"), (free,), (dots,))

    return [np.asarray(x) for x in both(free, dots)]


def error(spec, only=None):
    """The largest error of the result and the tangent, in units of what is tolerable."""
    found, largest = along(spec, "triton", OP.inputs(spec), only), 0.0
    for got, want in zip(found, expected(spec, only), strict=True):
        if not np.isfinite(got).all():
            return np.inf
        scale = TOLERANCE[spec.dtype] * (np.abs(want) + max(want.std(), 0.1))
        largest = max(largest, float((np.abs(got - want) / scale).max()))
    return largest


@pytest.mark.parametrize("spec", FAST, ids=str)
def test_is_the_tangent_of_the_reference(spec):
    assert error(spec) < 1


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=str)
def test_is_the_tangent_of_the_reference_at_other_sizes(spec):
    assert error(spec) < 1


@pytest.mark.parametrize("only", ["q", "v", "k_scale", "shared_k", "shared_v"])
def test_along_one_argument(only):
    assert error(CAUSAL, only) < 1


# A kernel with one line changed must not pass: what is replaced, by what, and a spec that shows it.
MUTATIONS = {
    "norm is not differentiated": ("(da - a * along)", "da", PLAIN),
    "mean over padded numbers": ("/ D * r * r", "/ HALF * r * r", PLAIN),
    "constant gain": ("dga * a + ga", "ga", PLAIN),
    "constant keys": ("+ _dot(qa, dka) + _dot(qb, dkb)", "", PLAIN),
    "logits in powers of two": (") / LOG2_E", ")", PLAIN),
    "softmax is not normalised": (" - o * (mu * over_z)[:, None]", "", PLAIN),
    "constant values": ("do += _dot(e.to(dtype), _load(", "_dot(e.to(dtype), _load(", PLAIN),
    "tangent is not divided": ("do = do * over_z[:, None]", "do = do", PLAIN),
    "tangents of the first batch element": ("dk_ptr + first", "dk_ptr + head * D", CAUSAL),
    "constant shared keys": ("cb, dca, dcb, valid", "cb, dca * 0, dcb * 0, valid", CAUSAL),
    "constant shared values": ("do += _dot(e_shared.to(dtype), dw)", "do += 0", CAUSAL),
    "shared keys do not rescale": ("do = do * shrink[:, None]", "do = do", CAUSAL),
    "mean without shared keys": ("mu * shrink + tl.sum(edl_shared, 1)", "mu * shrink", CAUSAL),
    "no mask": ("tl.where(mask, s, float", "tl.where(mask | True, s, float", CAUSAL),
    "angles of the first frame": ("_turn(turns_ptr, turn,", "_turn(turns_ptr, turn * 0,", SHIFTED),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_broken_kernel_is_caught(mutation, tmp_path, monkeypatch):
    right, wrong, spec = MUTATIONS[mutation]
    source = inspect.getsource(importlib.import_module(api.IMPLEMENTATIONS["triton"].jvp))
    assert right in source
    (tmp_path / "broken_jvp.py").write_text(source.replace(right, wrong))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_jvp", raising=False)
    changed = dataclasses.replace(api.IMPLEMENTATIONS["triton"], jvp="broken_jvp")
    monkeypatch.setitem(api.IMPLEMENTATIONS, "triton", changed)
    assert error(spec) > 3


def meanflow(q, given, spec, implementation):
    """A loss whose target holds the tangent, stopped."""

    def attend(v):
        return operation(given | {"q": q, "v": v}, spec, implementation)

    u, du = jax.jvp(attend, (given["v"],), (jnp.cos(given["v"]),))
    return ((u - jax.lax.stop_gradient(given["k"] - du)) ** 2).sum()


def test_gradient_of_a_loss_with_a_stopped_tangent():
    given = inputs(CAUSAL)
    found, want = (
        jax.jit(jax.value_and_grad(meanflow), static_argnums=(2, 3))(
            given["q"], given, CAUSAL, implementation
        )
        for implementation in ("triton", "xla")
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-5), found, want)


def test_a_query_that_sees_nothing_gives_nothing():
    spec = Spec(2, 5, 3, 1, 16, dtype="float32", masked=True)
    given = inputs(spec) | {"visible": jnp.zeros((2, 5), bool).at[1].set(True)}
    for found in along(spec, "triton", given):
        assert (found[0] == 0).all() and (found[1] != 0).all()


@pytest.mark.slow
def test_mapped_and_sharded():
    """Tangents [3, ...] mapped, and a mesh of one device."""
    spec = dataclasses.replace(CAUSAL, S=2, H=1, A=0)
    given = inputs(spec)
    dots = jnp.stack([directions({"q": given["q"]}, seed)["q"] for seed in range(3)])
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("a", "b"))
    sharding = jax.NamedSharding(mesh, jax.P("a", None, "b"))

    def tangents(implementation, **options):
        masks = {"causal": spec.causal, "implementation": implementation, **options}
        attend = lambda q: temporal_attention(**{**given, "q": q}, **masks)
        one = lambda dot: jax.jvp(attend, (given["q"],), (dot,))[1]
        return jax.jit(jax.vmap(one))(dots)

    want = tangents("xla")
    for options in ({}, {"sharding": sharding}):
        np.testing.assert_allclose(tangents("triton", **options), want, atol=1e-5)
