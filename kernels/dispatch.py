"""Choice of an implementation: down an ordered list, said once, and never instead of one that was
asked for by name.

An implementation is a module, imported when it is first considered so that nothing is needed for
what is not used, with

    check(spec)                 raises `Unsupported` with one line if it cannot do `spec` on the
                                current target

and whatever the operation's `api.py` calls. Made for one platform, it is chosen by itself only
there; by name it is also run where it can be interpreted.
"""

import dataclasses
import functools
import importlib
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from kernels import target
from kernels.errors import Unsupported

# What installs the packages of a platform.
INSTALL = {
    "gpu": "pip install -e '.[cuda13]', or '.[cuda12]' for CUDA 12",
    "tpu": "pip install -e '.[tpu]'",
}

_log = logging.getLogger("kernels")


@dataclasses.dataclass(frozen=True)
class Implementation:
    """A module, and the platform it is made for ("gpu", "tpu"; None: all)."""

    module: str
    platform: str | None = None


def select(
    op: str, implementations: Mapping[str, Implementation], spec: Any, name: str | None = None
) -> tuple[str, ModuleType]:
    """The implementation of `op` for `spec`: the one called `name`, or the first for this platform
    that can do it.

    Returns (name, module). Raises ValueError for an unknown name, `Unsupported` if the one that was
    named, or every one, cannot do `spec`. The choice is logged once per reason: as a warning where
    a kernel for this platform was passed over.
    """
    if name is not None:
        if name not in implementations:
            raise ValueError(
                f"{op}: no implementation {name!r}; there are {', '.join(implementations)}"
            )
        return name, _load(op, name, implementations[name], spec)
    refusals = []
    for name, implementation in implementations.items():
        if implementation.platform not in (None, target.current().platform):
            continue
        try:
            chosen = _load(op, name, implementation, spec)
        except Unsupported as refusal:
            refusals.append(str(refusal))
        else:
            _say(op, name, tuple(refusals))
            return name, chosen
    raise Unsupported("; ".join(refusals))


def _load(op: str, name: str, implementation: Implementation, spec: Any) -> ModuleType:
    try:
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


@functools.cache
def _say(op: str, name: str, refusals: tuple[str, ...]) -> None:
    level = logging.WARNING if refusals else logging.INFO
    _log.log(level, "%s runs as %s%s", op, name, "".join(f" ({refusal})" for refusal in refusals))
