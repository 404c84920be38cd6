"""Our own kernels as forms, where the operation is written and the machine runs it."""

import contextlib
import functools
import importlib
from collections.abc import Callable
from typing import Any

from benchmarks import device
from benchmarks.workload import Absent, Form, always
from kernels import target
from kernels.dispatch import select
from kernels.errors import Unsupported

# What a compiled program calls when one of our kernels is in it; the platform on which it does.
CALLS = {"triton": ("gpu", "triton_kernel_call"), "pallas_tpu": ("tpu", "tpu_custom_call")}


def ours(
    op: str, spec: Any, function: Callable[..., Any], **options
) -> dict[str, Callable[[], list[Form]]]:
    """The implementations of an operation as forms: function(inputs, implementation=...) calls it
    with that name. The reference is "xla"; `options` are further fields of our kernels' forms.
    """
    forms = {
        impl: functools.partial(
            _kernel, op, impl, spec, functools.partial(function, implementation=impl), options
        )
        for impl in CALLS
    }
    reference = functools.partial(function, implementation="xla")
    return forms | {"xla": always(Form(f"the reference of kernels.{op}", reference))}


def _kernel(op, impl, spec, function, options) -> list[Form]:
    implementations = importlib.import_module(f"kernels.{op}.api").IMPLEMENTATIONS
    if impl not in implementations:
        raise Absent(f"{op} has no such implementation yet")
    try:
        select(op, implementations, spec, impl)
    except Unsupported as refusal:
        raise Absent(str(refusal).removeprefix(f"{op}, {impl}: ")) from None
    platform, call = CALLS[impl]
    return [
        Form(
            f"kernels.{op}.{impl}",
            function,
            expects=call if device.platform() == platform else None,
            **options,
        )
    ]


def whole(
    how: str, make: Callable[[], Callable[[dict], Any]]
) -> dict[str, Callable[[], list[Form]]]:
    """A program of many operations: "xla" with no kernel of ours, and as it comes on an
    accelerator, which must then call one. `make` builds the function anew, since what JAX has
    traced under one choice of kernels it would use again under another.
    """

    def as_it_comes(impl):
        platform, call = CALLS[impl]
        if device.platform() != platform:
            raise Absent(f"chosen by itself on a {platform} only")
        return [Form(f"{how}, kernels by default", make(), expects=call)]

    def without_kernels():
        return [Form(f"{how}, no kernels", make(), tracing=no_kernels)]

    forms = {impl: functools.partial(as_it_comes, impl) for impl in CALLS}
    return forms | {"xla": without_kernels}


def no_kernels() -> contextlib.AbstractContextManager:
    """Operations choose as for a CPU, where no kernel of ours is chosen."""
    return target.assume(target.CPU)
