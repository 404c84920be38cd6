"""An operation of four primitives under JAX's transformations, against the same function in plain
JAX. Its kernels are plain JAX too, so that only the rules are tested here.
"""

import dataclasses
import functools
from contextvars import copy_context

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import target
from kernels.batching import fold_vmap
from kernels.both_modes import Operation
from kernels.errors import Unsupported

RAN = []


def plain(x, w, c, s):
    """sin(x) w c + s, of x [B, N], w and c [N] and perhaps s [B, N]. c is a constant."""
    out = jnp.sin(x) * w * jax.lax.stop_gradient(c)
    return out if s is None else out + s


def forward(*arrays):
    RAN.append("forward")
    return plain(*arrays)


def joint(tangents, *arrays):
    RAN.append("joint")
    dx, dw, dc, ds = tangents
    x, w, c, s = arrays
    assert dc is None and (ds is None) == (s is None)
    dout = jnp.cos(x) * dx * w * c + jnp.sin(x) * dw * c
    return plain(*arrays), dout if s is None else dout + ds


def rows(g, x, w, c):
    RAN.append("backward")
    return g * jnp.cos(x) * w * c, g * jnp.sin(x) * c


def operation():
    """A new one, which JAX has not traced."""
    of_rows = fold_vmap(rows, (True, True, False, False), "wave, kernel")

    def backward(g, x, w, c, s):
        dx, dw = of_rows(g, x, w, c)
        return dx, dw.sum(0), None, None if s is None else g

    has_batch, varies = (True, False, False, True), (True, True, False, True)
    return Operation("wave, kernel", forward, joint, backward, has_batch, varies)


OPERATION = operation()
X, W, C, S = (
    jax.random.normal(key, shape)
    for key, shape in zip(
        jax.random.split(jax.random.key(0), 4), ((2, 3), (3,), (3,), (2, 3)), strict=True
    )
)


def once(f, x, w):
    return f(x, w, C, S)


def twice(f, x, w):
    return f(f(x, w, C, None), 2 * w, C, None)


def scanned(f, x, w, keep=None):
    step = (lambda x, w: (f(x, w, C, S), None)) if keep is None else keep(f)
    return jax.lax.scan(step, x, jnp.stack([w, -w, 0.5 * w]))[0]


def kept(policy):
    def keep(f):
        return jax.checkpoint(lambda x, w: (f(x, w, C, S), None), policy=policy)

    return functools.partial(scanned, keep=keep)


def mapped(f, x, w):
    over = jnp.stack([x, 2 * x, 3 * x], 1)
    return jax.vmap(lambda x: f(x, w, C, S), in_axes=1, out_axes=1)(over).sum(1)


def branched(f, x, w):
    return jax.lax.cond(x.sum() < 1e9, lambda: f(x, w, C, S), lambda: f(x, 2 * w, C, S))


NETWORKS = {
    "once": once,
    "twice": twice,
    "scanned": scanned,
    "recomputed": kept(None),
    "products kept": kept(jax.checkpoint_policies.dots_saveable),
    "everything kept": kept(jax.checkpoint_policies.everything_saveable),
    "mapped": mapped,
    "branched": branched,
    "in jit": lambda f, x, w: jax.jit(lambda x, w: f(x, w, C, S))(x, w),
}


def value(net, f):
    return net(f, X, W)


def tangent(net, f):
    """Forward mode, along both arguments and along one."""
    both = jax.jvp(functools.partial(net, f), (X, W), (S, C))
    return both, jax.jvp(lambda x: net(f, x, W), (X,), (S,)), jax.jacfwd(lambda x: net(f, x, W))(X)


def gradient(net, f):
    """Reverse mode, by both arguments and by one; along a batch of directions."""

    def loss(x, w):
        return jnp.sin(net(f, x, w)).sum()

    alone = jax.grad(lambda w: loss(X, w))(W)
    return jax.value_and_grad(loss, (0, 1))(X, W), alone, jax.jacrev(lambda w: net(f, X, w))(W)


def linearized(net, f):
    result, along = jax.linearize(lambda x: net(f, x, W), X)
    return result, along(S), jax.linear_transpose(along, X)(S)


def meanflow(net, f, stop=jax.lax.stop_gradient):
    """The gradient of a loss whose target holds a tangent that is stopped."""

    def loss(w):
        u, du = jax.jvp(lambda x: net(f, x, w), (X,), (S,))
        return ((u - stop(S - du)) ** 2).sum()

    return jax.value_and_grad(loss)(W)


@pytest.mark.parametrize("use", [value, tangent, gradient, linearized, meanflow])
@pytest.mark.parametrize("name", NETWORKS)
def test_transformations(name, use):
    found, want = (jax.jit(functools.partial(use, NETWORKS[name], f))() for f in (OPERATION, plain))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5), found, want)


@pytest.mark.parametrize("use", [value, tangent, gradient, meanflow])
def test_transformations_without_jit(use):
    found, want = (use(once, f) for f in (OPERATION, plain))
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5), found, want)


def hessian(net, f):
    return jax.grad(lambda x: jax.grad(lambda x: net(f, x, W).sum())(x).sum())(X)


def along_and_along(net, f):
    def slope(x):
        return jax.jvp(lambda x: net(f, x, W), (x,), (S,))[1]

    return jax.jvp(slope, (X,), (S,))


def slope_of_gradient(net, f):
    return jax.jvp(jax.grad(lambda x: net(f, x, W).sum()), (X,), (S,))


@pytest.mark.parametrize(
    "use",
    [
        hessian,
        along_and_along,
        slope_of_gradient,
        functools.partial(meanflow, stop=lambda x: x),
    ],
    ids=["hessian", "along and along", "slope of gradient", "tangent not stopped"],
)
@pytest.mark.parametrize("name", ["once", "scanned", "recomputed", "mapped"])
def test_a_second_derivative_is_refused(name, use):
    with pytest.raises(Unsupported, match=r"wave, kernel: differentiates once; .*'xla'") as refusal:
        jax.jit(functools.partial(use, NETWORKS[name], OPERATION))()
    assert "\n" not in str(refusal.value)


def along(f):
    return jax.jvp(functools.partial(once, f), (X, W), (S, C))


@pytest.mark.parametrize(
    ("use", "kernels"),
    [
        (functools.partial(value, once), ["forward"]),
        (along, ["joint"]),
        (lambda f: along(f)[0], ["forward"]),
        (functools.partial(meanflow, once), ["backward", "joint"]),
        (lambda f: jax.value_and_grad(lambda x: once(f, x, W).sum())(X), ["backward", "forward"]),
    ],
    ids=["value", "tangent", "unused tangent", "meanflow", "gradient"],
)
def test_each_mode_runs_the_fewest_kernels(use, kernels):
    RAN.clear()
    jax.jit(functools.partial(use, operation())).lower()
    assert sorted(RAN) == kernels


def test_kernels_keep_the_settings_of_their_creation():
    """A program may be lowered after the context of its settings has ended."""
    seen = []

    def kernel(*arrays):
        seen.append(target.current())
        return plain(*arrays)

    with target.assume(target.H200):
        chosen = dataclasses.replace(operation(), forward=kernel, context=copy_context())
        traced = jax.jit(functools.partial(once, chosen)).trace(X, W)
    traced.lower()
    assert seen == [target.H200]


def test_what_has_no_batch_is_not_mapped():
    with pytest.raises(NotImplementedError, match=r"wave, kernel under jax\.vmap maps what has"):
        jax.vmap(lambda w: OPERATION(X, w, C, S))(jnp.stack([W, W]))
