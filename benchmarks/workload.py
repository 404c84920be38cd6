"""What is measured: a workload (shapes, inputs, specification, least cost) and the forms in which
it can be computed.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

DIRECTIONS = ("forward", "backward", "forward_backward")

# Every implementation that a row can name. Those in `CORE` leave out part of the work, in favour of
# themselves.
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
    """This machine, or this library, does not have an implementation. One line: the reason."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """The least that any implementation must do: bytes moved when each input is read and each
    result written once, and FLOPs of matrix products. The roofline is max(bytes / bandwidth, flops
    / peak).
    """

    bytes: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to compute a workload.

    how       the first part of a row's `ran`, in words; an implementation may have several forms,
              and its best one counts
    function  inputs (a dict) -> results (a pytree); of jax arrays, or of tensors where backend is
              "torch", or anything for "python"
    prepare   inputs -> inputs, not timed: core-only forms get their inputs normalised, rotated and
              laid out as they like them
    tracing   a context in which the function is traced, for instance under another choice of
              kernels
    expects   a part of the name of a custom call that the compiled program must have, so that a
              fallback is not mistaken for a kernel
    """

    how: str
    function: Callable[[dict], Any]
    prepare: Callable[[dict], dict] | None = None
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backend: str = "jax"  # "jax", "torch" or "python"
    tracing: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext
    expects: str | None = None


def always(*forms: Form) -> Callable[[], list[Form]]:
    """For `Workload.forms`: a function that returns these, whatever the machine."""
    return functools.partial(list, forms)


@dataclasses.dataclass(frozen=True)
class Workload:
    """One case of a suite.

    costs      direction -> Cost (None where there is no meaningful one); the directions that are
               measured unless others are asked for
    inputs     seed -> dict of arrays
    reference  inputs in float32 -> results, to which the results of every form are compared; None
               where there is nothing to compare
    forms      implementation -> function that returns its forms, or raises `Absent`
    wanted     the inputs that gradients flow into; may be nested dicts of arrays
    timer      "kernels": the sum of the kernels' own times where they can be had, as for single
               operations; "wall": whole programs
    carry      the input that each call gives away and replaces by its result of that name, as a
               training step its state
    """

    name: str
    costs: Mapping[str, Cost | None]
    inputs: Callable[[int], dict]
    reference: Callable[[dict], Any] | None
    forms: Mapping[str, Callable[[], Iterable[Form]]]
    wanted: tuple[str, ...] = ()
    timer: str = "kernels"
    carry: str | None = None
    items: int = 1  # what one call makes, of `unit`
    unit: str = ""
