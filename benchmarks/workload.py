"""The types of a measurement: a workload and its forms.

A workload is a case of a benchmark: an operation at given shapes, with its inputs, its
specification and its minimum cost. A form is one way to compute it.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DIRECTIONS = ("forward", "backward", "forward_backward")

# Names of all implementations. Those in `CORE` omit part of the work, which makes them look faster.
IMPLEMENTATIONS = (
    "triton",
    "pallas_tpu",
    "xla",
    "xla_best",
    "cudnn",
    "cudnn_core",
    "torch_sdpa",
    "torch_compile",
    "torch_flex",
    "xformers",
    "tokamax",
)
CORE = ("cudnn_core",)


class Absent(Exception):
    """The error of an implementation that is unavailable on this machine or for this workload. Its
    message is one line, the reason.
    """


@dataclasses.dataclass(frozen=True)
class Cost:
    """The minimum work of any implementation of a workload.

    The least possible time of a workload on a device, its roofline, is
    max(bytes / bandwidth, flops / peak), with the device's bandwidth and peak FLOP/s.

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
        how: description, the first part of the field `ran` of a result row. An implementation may
            have several forms, of which the fastest counts.
        function: function from the inputs, a dict, to the results, a pytree: jax arrays, tensors if
            `backend` is "torch", anything if it is "python".
        prepare: function from inputs to the inputs of `function`. It is not timed. Implementations
            in CORE normalise, rotate and lay out their inputs here. Default None: unchanged.
        compiler_options: options of XLA's compiler by name. Default: none.
        backend: "jax" (default), "torch" or "python".
        tracing: returns a context manager in which the function is traced, for example one that
            selects other kernels. Default: one that does nothing.
        expects: part of the name of a custom call that the compiled program must contain. A program
            without it has fallen back from the kernel, and raises `Absent`. Default None.
    """

    how: str
    function: Callable[[dict], Any]
    prepare: Callable[[dict], dict] | None = None
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backend: str = "jax"
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
        name: name of the case.
        costs: {direction: minimum cost, or None if it has no meaningful one}. The keys are the
            directions that are measured by default.
        inputs: function of a seed that returns the inputs, a dict of arrays.
        reference: function from the inputs in float32 to the results, to which the results of every
            form are compared. None: nothing is compared.
        forms: {implementation: function without arguments that returns its forms, or raises
            `Absent`}.
        differentiable: names of the inputs that gradients flow into; each may be a nested dict of
            arrays. Default: none.
        timer: "kernels" (default) for single operations: the sum of the times of GPU kernels, where
            available. "wall" for whole programs.
        carry: name of an input that each call donates and replaces by its result of that name, for
            example the state of a training step. Default None.
        items: number of items, such as clips, that one call makes. Default 1.
        unit: name of these items, for a rate UNIT_per_second in the row. Default "": no rate.
    """

    name: str
    costs: Mapping[str, Cost | None]
    inputs: Callable[[int], dict]
    reference: Callable[[dict], Any] | None
    forms: Mapping[str, Callable[[], Iterable[Form]]]
    differentiable: tuple[str, ...] = ()
    timer: str = "kernels"
    carry: str | None = None
    items: int = 1
    unit: str = ""
