"""Settings that change a trace although they are not arguments: the target, trial parameters, ...

JAX caches traced functions by function and shapes and does not know these settings. Code that
caches a function for JAX to trace must therefore include `key()` in its own cache key.
"""

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_all: list[Callable[[], Any]] = []


def setting(name: str, default: T) -> contextvars.ContextVar[T]:
    """Returns a context variable for a setting that changes traces: its value is part of `key`.

    name and default are those of the variable.
    """
    variable = contextvars.ContextVar(name, default=default)
    watch(variable.get)
    return variable


def watch(get: Callable[[], Any]) -> None:
    """Adds the value of `get()` to the cache key of `key`. The value's repr must identify it."""
    _all.append(get)


def key() -> tuple[str, ...]:
    """Returns the values of all settings that change traces, as a hashable cache key."""
    return tuple(repr(get()) for get in _all)
