"""Settings that change the trace of a function although they are not its arguments, such as the
target device or launch parameters that are tried out.

JAX caches traces by function and argument shapes, and does not know these settings. Code that
caches a function for JAX to trace must therefore include `key()` in its own cache key.
"""

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_all: list[Callable[[], Any]] = []


def setting(name: str, default: T) -> contextvars.ContextVar[T]:
    """Returns a new context variable for a setting that changes traces. Its value becomes part of
    `key()`.

    Args:
        name: name of the variable.
        default: its value before one is set.
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
