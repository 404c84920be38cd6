"""Settings that change the trace of a function although they are not its arguments, such as the
target device or launch parameters that are tried out.

JAX caches traces by function and argument shapes. `held` sets a value and makes it part of the keys
of those caches, so that `jax.jit` traces again under another value. Code that itself caches a
function for JAX to trace includes `key()` in its own cache key.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax

T = TypeVar("T")

_all: list[Callable[[], Any]] = []
_traced_under = jax.make_user_context(())


def setting(name: str, default: T) -> contextvars.ContextVar[T]:
    """Returns a new context variable for a setting that changes traces. Its value becomes part of
    `key()`.

    Args:
        name: name of the variable.
        default: its value outside `held`.
    """
    variable = contextvars.ContextVar(name, default=default)
    watch(variable.get)
    return variable


def watch(get: Callable[[], Any]) -> None:
    """Makes the value of `get()` part of `key()`. The value's repr must identify it."""
    _all.append(get)


def key() -> tuple[str, ...]:
    """Returns the reprs of all settings that change traces, as a hashable cache key."""
    return tuple(repr(get()) for get in _all)


@contextlib.contextmanager
def held(variable: contextvars.ContextVar[T], value: T) -> Iterator[None]:
    """Context manager: gives a variable made by `setting` the value `value`."""
    token = variable.set(value)
    try:
        with _traced_under(key()):
            yield
    finally:
        variable.reset(token)
