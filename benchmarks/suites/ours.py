"""The project's kernels as forms of workloads, on machines that can run them."""

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

# Implementation -> (its platform, part of the name of its custom call in a compiled program).
CALLS = {"triton": ("gpu", "triton_kernel_call"), "pallas_tpu": ("tpu", "tpu_custom_call")}


def ours(
    op: str, spec: Any, function: Callable[..., Any], **options: Any
) -> dict[str, Callable[[], list[Form]]]:
    """Returns the project's implementations of an operation as forms, with the reference as "xla".

    Args:
        op: the operation's name.
        spec: the static description of its call. An implementation that does not support it raises
            `Absent`.
        function: calls the operation as function(inputs, implementation=NAME).
        options: further fields of the kernels' forms, by name.

    Returns:
        {implementation: function that returns its forms}, for `Workload.forms`.
    """
    forms = {
        impl: functools.partial(
            _kernel, op, impl, spec, functools.partial(function, implementation=impl), options
        )
        for impl in CALLS
    }
    reference = functools.partial(function, implementation="xla")
    return forms | {"xla": always(Form(f"the reference of kernels.{op}", reference))}


def _kernel(
    op: str, impl: str, spec: Any, function: Callable, options: dict[str, Any]
) -> list[Form]:
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


def program_forms(
    how: str, make: Callable[[], Callable[[dict], Any]]
) -> dict[str, Callable[[], list[Form]]]:
    """Returns the forms of a program of many operations, with and without the project's kernels.

    The implementation "xla" uses no kernel of the project. "triton" on GPUs and "pallas_tpu" on
    TPUs use the kernels that are selected by default, and must call at least one.

    Args:
        how: description of the program.
        make: returns a new function from the inputs to the results. It is called for each form,
            because JAX would reuse the trace of one function object under another choice of
            kernels.

    Returns:
        {implementation: function that returns its forms}, for `Workload.forms`.
    """

    def as_it_comes(impl: str) -> list[Form]:
        platform, call = CALLS[impl]
        if device.platform() != platform:
            raise Absent(f"chosen by itself on a {platform} only")
        return [Form(f"{how}, kernels by default", make(), expects=call)]

    def without_kernels() -> list[Form]:
        return [Form(f"{how}, no kernels", make(), tracing=no_kernels)]

    forms = {impl: functools.partial(as_it_comes, impl) for impl in CALLS}
    return forms | {"xla": without_kernels}


def no_kernels() -> contextlib.AbstractContextManager:
    """Context manager: operations are selected as on a CPU, without any kernel of the project."""
    return target.assume(target.CPU)
