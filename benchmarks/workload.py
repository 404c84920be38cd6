"""The types of a measurement: a workload and its forms.

A workload has shapes, inputs, a specification and a minimum cost. A form is one way to compute
it.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DIRECTIONS = ("forward", "backward", "forward_backward")

# Every implementation that a row can name. Those in `CORE` omit part of the work, which makes them
# look faster.
IMPLEMENTATIONS = (
    "triton",
    "pallas_tpu",
    "xla",
    "xla_best",
    "cudnn",
    "cudnn_core",
    "torch_sdpa",
    "torch_compile",
    "tokamax",
)
CORE = ("cudnn_core",)


class Absent(Exception):
    """The error of an implementation that is unavailable on this machine or in this library. Its
    one line is the reason.
    """


@dataclasses.dataclass(frozen=True)
class Cost:
    """The minimum work of any implementation of a workload.

    The least possible time, its roofline, is max(bytes / bandwidth, flops / peak).

    Attributes:
        bytes: bytes moved if each input is read once and each result written once.
        flops: FLOPs of matrix products.
    """

    bytes: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to compute a workload.

    Attributes:
        how: description, the first part of a row's `ran`. An implementation may have several forms;
            its fastest counts.
        function: inputs (a dict) -> results (a pytree): jax arrays, tensors if `backend` is
            "torch", anything if it is "python".
        prepare: inputs -> inputs, not timed. Core-only forms normalise, rotate and lay out their
            inputs here. Default None.
        compiler_options: options for XLA.
        backend: "jax" (default), "torch" or "python".
        tracing: a context for tracing the function, for example another choice of kernels.
        expects: part of the name of a custom call that the compiled program must contain; it
            detects a fallback from the kernel. Default None.
    """

    how: str
    function: Callable[[dict], Any]
    prepare: Callable[[dict], dict] | None = None
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backend: str = "jax"  # "jax", "torch" or "python"
    tracing: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    expects: str | None = None


def always(*forms: Form) -> Callable[[], list[Form]]:
    """Returns a function without arguments that returns `forms`, a value of `Workload.forms` for
    forms that exist on every machine.
    """
    return functools.partial(list, forms)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One case of a suite of benchmarks: shapes, inputs, a specification and the ways to compute
    it.

    Attributes:
        name: the case's name.
        costs: direction -> Cost, or None without a meaningful one. Its keys are the directions that
            are measured by default.
        inputs: seed -> dict of arrays.
        reference: inputs in float32 -> results, to which every form's results are compared. None:
            nothing is compared.
        forms: implementation -> function that returns its forms, or raises `Absent`.
        differentiable: names of the inputs that gradients flow into; each may be a nested dict of
            arrays.
        timer: "kernels" (default) for single operations: the sum of the kernels' times, where
            available. "wall" for whole programs.
        carry: name of an input that each call donates and replaces by its result of that name, for
            example the state of a training step. Default None.
        items: number of `unit`s that one call produces. Default 1.
        unit: name for the row's rate, for example "clips". Default "": no rate.
    """

    name: str
    costs: Mapping[str, Cost | None]
    inputs: Callable[[int], dict]
    reference: Callable[[dict], Any] | None
    forms: Mapping[str, Callable[[], Iterable[Form]]]
    differentiable: tuple[str, ...] = ()
    timer: str = "kernels"
    carry: str | None = None
    items: int = 1  # what one call makes, of `unit`
    unit: str = ""
