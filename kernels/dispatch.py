"""Chooses the implementation of an operation for the current platform.

Each operation has an ordered list of implementations. Without a name, `select` takes the first
one that supports the call and logs its choice once. An implementation requested by name never
falls back to another.

An implementation is a module with

    check(spec)                 raises `Unsupported`, in one line, if the module cannot run `spec`
                                on the current target

and the functions that the operation's `api.py` calls. A spec is the static description of a call:
its shapes, dtypes and flags. The module is imported when it is first considered, so the packages
of unused implementations need not be installed. An implementation for one platform is chosen
automatically only on that platform. If it is requested by name, it also runs elsewhere, provided
that an interpreter for it is active.
"""

import contextlib
import dataclasses
import functools
import importlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import ModuleType
from typing import Any

from kernels import settings, target
from kernels.errors import Unsupported

# Commands that install the packages of a platform, for error messages.
INSTALL = {
    "gpu": "pip install -e '.[cuda13]', or '.[cuda12]' for CUDA 12",
    "tpu": "pip install -e '.[tpu]'",
}

_log = logging.getLogger("kernels")
_forward_mode: ContextVar[bool] = settings.setting("kernels_forward_mode", False)


@dataclasses.dataclass(frozen=True)
class Implementation:
    """One way to compute an operation, such as a Triton kernel.

    Attributes:
        module: import path of the module that implements it.
        platform: the platform that it is made for, "gpu" or "tpu". Default None: every platform;
            then JAX differentiates it in both modes.
        jvp: import path of the module of its kernel for forward mode, `jax.jvp`. Default None: a
            kernel has no forward mode.
    """

    module: str
    platform: str | None = None
    jvp: str | None = None


def select(
    op: str, implementations: Mapping[str, Implementation], spec: Any, name: str | None = None
) -> tuple[str, ModuleType]:
    """Selects the implementation of an operation for one call on the current platform.

    The choice is logged once for each distinct list of refusals: as a warning if a kernel for this
    platform was passed over, as info otherwise.

    Args:
        op: the operation's name, for messages.
        implementations: the candidates by name, in order of preference.
        spec: the static description of the call, see the operation's `specs.py`.
        name: the implementation to use. Default None: the first one for the current platform that
            supports `spec`.

    Returns:
        (name, module) of the implementation.

    Raises:
        ValueError: `name` is unknown.
        Unsupported: the named implementation, or every candidate, cannot run `spec`.
    """
    if name is not None:
        if name not in implementations:
            raise ValueError(
                f"{op}: no implementation {name!r}; there are {', '.join(implementations)}"
            )
        return name, _load(op, name, implementations[name], spec)
    refusals: list[str] = []
    for name, implementation in implementations.items():
        if implementation.platform not in (None, target.current().platform):
            continue
        try:
            chosen = _load(op, name, implementation, spec)
        except Unsupported as refusal:
            refusals.append(str(refusal))
        else:
            _say(op, name, tuple(refusals))
            if (forms := _forms.get()) is not None:
                forms.setdefault(op, set()).add(name)
            return name, chosen
    raise Unsupported("; ".join(refusals))


def _load(op: str, name: str, implementation: Implementation, spec: Any) -> ModuleType:
    try:
        if _forward_mode.get() and implementation.platform and not implementation.jvp:
            raise Unsupported("has no forward mode")
        module = importlib.import_module(implementation.module)
        module.check(spec)
    except Unsupported as refusal:
        raise Unsupported(f"{op}, {name}: {refusal}") from None
    except ImportError as missing:
        if implementation.platform is None:
            raise
        remedy = INSTALL[implementation.platform]
        raise Unsupported(f"{op}, {name}: {missing}; {remedy}") from missing
    return module


def forward_mode() -> contextlib.AbstractContextManager[None]:
    """Returns a context manager in which every operation supports `jax.jvp`. A kernel without
    forward mode is replaced by the next implementation that has it. Trace inside the context:

        with forward_mode():
            u, du = jax.jvp(model, (x,), (dx,))
    """
    return settings.held(_forward_mode, True)


_forms: ContextVar[dict[str, set[str]] | None] = ContextVar("kernels_forms", default=None)


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, set[str]]]:
    """Context manager: yields a dictionary {operation: names of implementations}. It is filled with
    the automatic choices for the programs that are traced inside the context.
    """
    forms: dict[str, set[str]] = {}
    token = _forms.set(forms)
    try:
        yield forms
    finally:
        _forms.reset(token)


@functools.cache
def _say(op: str, name: str, refusals: tuple[str, ...]) -> None:
    level = logging.WARNING if refusals else logging.INFO
    _log.log(level, "%s runs as %s%s", op, name, "".join(f" ({refusal})" for refusal in refusals))
