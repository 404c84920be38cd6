"""What every implementation of an operation must pass: its values and gradients are the
reference's, and a broken kernel's are not.

A test file binds its operation as an `Op` and lists the sizes that show most.
"""

import dataclasses
import functools
import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kernels.dispatch import Implementation

# Relative to a number and the deviation of its array together. Half precision rounds operands and
# results to 5e-4 (bfloat16: 4e-3) of themselves, and gradients are sums of a few such numbers of
# either sign.
TOLERANCE = {"float32": 5e-6, "float16": 5e-3, "bfloat16": 4e-2}


# Compiling takes most of the time here.


@dataclasses.dataclass(frozen=True)
class Op:
    """An operation of `kernels`: its folder; call(arguments, spec, implementation) -> its results;
    arguments without a gradient.
    """

    name: str
    call: Callable[[dict, Any, str], Any]
    fixed: tuple[str, ...] = ()

    def module(self, part: str):
        return importlib.import_module(f"kernels.{self.name}.{part}")

    @functools.cache  # noqa: B019  # every Op lives as long as the tests
    def inputs(self, spec) -> dict[str, jax.Array]:
        return jax.jit(self.module("specs").inputs.__wrapped__, static_argnums=0)(spec)


def run(op: Op, spec, implementation: str, arguments: dict) -> dict[str, np.ndarray]:
    """The results, and the gradients of a random projection of them by all that has one, as
    float32.
    """
    fixed = {name: arguments[name] for name in op.fixed if name in arguments}

    @jax.jit
    def both(free):
        out, pull_back = jax.vjp(
            lambda free: jax.tree.leaves(op.call(free | fixed, spec, implementation)), free
        )
        keys = jax.random.split(jax.random.key(17), len(out))
        weights = [
            jax.random.normal(key, o.shape).astype(spec.dtype).astype(o.dtype)
            for key, o in zip(keys, out, strict=True)
        ]
        return out, pull_back(weights)[0]

    free = {name: array for name, array in arguments.items() if name not in fixed}
    out, gradients = both(free)
    assert {name: g.dtype for name, g in gradients.items()} == {
        name: x.dtype for name, x in free.items()
    }
    named = {f"result {i}": o for i, o in enumerate(out)} | {
        f"gradient of {name}": g for name, g in gradients.items()
    }
    return {name: np.asarray(x, np.float32) for name, x in named.items()}


@functools.cache
def expected(op: Op, spec) -> dict[str, np.ndarray]:
    """From the reference, on the arguments as they are rounded but in float32 from there on."""
    wide = {
        name: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x
        for name, x in op.inputs(spec).items()
    }
    return run(op, spec, "xla", wide)


def errors(op: Op, spec, implementation: str) -> dict[str, float]:
    """The largest error of each array, in units of what is tolerable; infinite where a number is
    not finite.
    """
    found, beyond = run(op, spec, implementation, op.inputs(spec)), {}
    for name, want in expected(op, spec).items():
        assert found[name].shape == want.shape, name
        error = (
            np.abs(found[name] - want)
            / (TOLERANCE[spec.dtype] * (np.abs(want) + max(want.std(), 0.1)))
        ).max()
        beyond[name] = float(error) if np.isfinite(found[name]).all() else np.inf
    return beyond


def assert_conforms(op: Op, spec, implementation: str) -> None:
    beyond = {
        name: error for name, error in errors(op, spec, implementation).items() if not error < 1
    }
    assert not beyond, f"{spec}: {beyond}"


def broken(op: Op, implementation: str, change: tuple[str, str], tmp_path, monkeypatch):
    """The module of `implementation` with one piece of its text replaced, chosen by the name
    "broken".
    """
    (right, wrong), sound = change, op.module("api").IMPLEMENTATIONS[implementation]
    source = inspect.getsource(importlib.import_module(sound.module))
    assert right in source
    (tmp_path / "broken.py").write_text(source.replace(right, wrong))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    monkeypatch.setitem(
        op.module("api").IMPLEMENTATIONS, "broken", Implementation("broken", sound.platform)
    )
    return importlib.import_module("broken")


def assert_caught(op: Op, spec) -> None:
    assert max(errors(op, spec, "broken").values()) > 3
