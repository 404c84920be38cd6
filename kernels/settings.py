"""Settings that a trace depends on beside its arguments: the target, parameters on trial, ...

JAX keeps what it traced by function and shapes, and does not see these. So whoever caches a
function that JAX will trace makes `key()` a part of the cache's key.
"""

import contextvars
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_all: list[Callable[[], Any]] = []


def setting(name: str, default: T) -> contextvars.ContextVar[T]:
    """A context variable that `key` tells."""
    variable = contextvars.ContextVar(name, default=default)
    watch(variable.get)
    return variable


def watch(get: Callable[[], Any]) -> None:
    """Makes what `get()` returns, which must have a faithful repr, a part of `key`."""
    _all.append(get)


def key() -> tuple[str, ...]:
    """All settings as they are now, hashable."""
    return tuple(repr(get()) for get in _all)
