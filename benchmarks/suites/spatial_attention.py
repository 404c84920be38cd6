"""Attention within each frame, with QK-norm and rotary embedding.

The sequences are frames, so libraries need no change of the layout in memory. This is the best case
for them.
"""

import functools

import jax

from benchmarks.suites import attention, attention_torch
from benchmarks.suites.ours import ours
from benchmarks.workload import Cost, Form, Workload, always
from kernels.spatial_attention import spatial_attention
from kernels.spatial_attention.specs import SPECS, Spec, inputs

SIZES = {
    "tiny": {"tiny": Spec(2, 5, 2, 8, "float32")},
    "cpu": {"s256": Spec(4, 256, 4, 64, "float32")},
    "gpu": {name: SPECS[name] for name in ("s1024", "xl", "wide", "frame16", "frame64")},
}
LAYOUT = attention.Layout("space")


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    return [workload(name, spec) for name, spec in SIZES[size].items()]


def workload(name: str, spec: Spec) -> Workload:
    """Returns the workload of attention within each frame at the shapes `spec`, in all forms.

    q, k and v are frames of one clip, [1, N, S, H, D].
    """

    def operation(x: dict, implementation: str) -> jax.Array:
        return spatial_attention(**x, implementation=implementation)

    def clip(seed: int) -> dict:
        return {name: x[None] if name in "qkv" else x for name, x in inputs(spec, seed).items()}

    forms = ours("spatial_attention", spec, operation)
    how = "jax.nn.dot_product_attention with norm and rotation"
    forms["xla_best"] = always(Form(how, attention.drop_in(LAYOUT, attention.library("xla"))))
    forms |= attention.forms(LAYOUT, spec.dtype, spec.D) | attention_torch.forms(LAYOUT)
    return Workload(
        name=name,
        costs={
            "forward": Cost(4 * spec.array_bytes, spec.forward_flops),
            "backward": Cost(7 * spec.array_bytes, spec.forward_flops * 5 // 2),
        },
        inputs=clip,
        reference=functools.partial(operation, implementation="xla"),
        forms=forms,
        differentiable=("q", "k", "v", "q_scale", "k_scale"),
    )
