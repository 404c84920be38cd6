"""Attention along time, with QK-norm and rotation: our kernels, XLA, and drop-in library forms."""

import functools
import math

import jax

from benchmarks.suites import attention, attention_torch
from benchmarks.suites.ours import ours
from benchmarks.workload import Cost, Form, Workload, always
from kernels.temporal_attention import reference, temporal_attention
from kernels.temporal_attention.api import IMPLEMENTATIONS
from kernels.temporal_attention.specs import PRIMARY, SPECS, Spec, Windows, inputs

DIFFERENTIABLE = ("q", "k", "v", "q_scale", "k_scale", "shared_k", "shared_v")
CPU = {
    "t8_small": Spec(1, 8, 256, 4, 64, dtype="float32"),
    "t16_small": Spec(1, 16, 256, 4, 64, dtype="float32"),
}
TINY = {
    "tiny": Spec(1, 3, 4, 2, 16, A=2, dtype="float32", causal=True, masked=True),
    "tiny_windows": Spec(1, 3, 4, 2, 16, dtype="float32", windows=Windows((3, 2, 1), 2)),
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    on_gpu = {"t16": SPECS["t16"]} | {name: SPECS[name] for name in (*PRIMARY, *SPECS)}
    sizes = {"tiny": TINY, "cpu": {**CPU, "nano": SPECS["nano"]}, "gpu": on_gpu}
    along = {"tiny": ("tiny",), "cpu": ("t16_small",), "gpu": ("t16", "xl", "t16_shared")}
    return [workload(name, spec) for name, spec in sizes[size].items()] + [
        forward_mode(name, sizes[size][name]) for name in along[size]
    ]


def workload(name: str, spec: Spec) -> Workload:
    """Returns the workload of attention along time, of shapes `spec`, in all forms."""
    layout = attention.Layout("time", spec.causal, spec.windows)

    def operation(x: dict, implementation: str) -> jax.Array:
        return temporal_attention(**x, **masks, implementation=implementation)

    def attend(x: dict) -> jax.Array:
        return reference.attend(**x, **masks)

    masks = {"causal": spec.causal, "windows": spec.windows}
    forms = ours("temporal_attention", spec, operation)
    if spec.windows is None or math.prod(spec.counts) * spec.tokens == spec.T * spec.S:
        # Libraries have no windows that edges cut.
        how = "jax.nn.dot_product_attention with norm, rotation and layout"
        forms["xla_best"] = always(Form(how, attention.drop_in(layout, attention.library("xla"))))
        masked = spec.masked or (spec.causal and spec.A > 0)
        forms |= attention.forms(layout, spec.dtype, spec.D)
        forms |= attention_torch.forms(layout, masked)
    return Workload(
        name=name,
        costs={
            "forward": Cost(spec.forward_bytes, spec.forward_flops),
            "backward": Cost(spec.backward_bytes, spec.backward_flops),
        },
        inputs=functools.partial(inputs, spec),
        reference=attend,
        forms=forms,
        differentiable=DIFFERENTIABLE,
    )


def forward_mode(name: str, spec: Spec) -> Workload:
    """Returns the workload of attention along time and its tangent, of shapes `spec`, by our
    kernel and by XLA. It is named NAME_jvp.
    """

    def operation(x: dict, implementation: str) -> tuple:
        fixed = x["primals"]
        masks = {"causal": spec.causal, "windows": spec.windows, "implementation": implementation}

        def attend(free: dict) -> jax.Array:
            return temporal_attention(**(fixed | free), **masks)

        free = {key: fixed[key] for key in x["tangents"]}
        return jax.jvp(attend, (free,), (x["tangents"],))

    def along(seed: int) -> dict:
        primals, others = inputs(spec, seed), inputs(spec, seed + 1)
        tangents = {key: others[key] for key in DIFFERENTIABLE if key in primals}
        return {"primals": primals, "tangents": tangents}

    forms = ours("temporal_attention", spec, operation)
    return Workload(
        name=f"{name}_jvp",
        costs={"forward": Cost(spec.jvp_bytes, 3 * spec.forward_flops)},
        inputs=along,
        reference=functools.partial(operation, implementation="xla"),
        forms={
            form: forms[form]
            for form, one in IMPLEMENTATIONS.items()
            if one.jvp or one.platform is None
        },
    )
