"""The report of a compiled program: memory, FLOPs, collectives and a roofline, and its table."""

import importlib.metadata
import re
from collections.abc import Collection, Mapping
from typing import Any

import jax

from sora_jax.models.cost import quantity
from sora_jax.parallel import topologies
from sora_jax.parallel.hlo import Program as Compiled
from sora_jax.tables import section
from sora_jax.training.run import Run

# calls of kernels in HLO: of Triton, of Mosaic and of cuDNN
KERNEL = re.compile(r'custom_call_target="(?:triton_kernel\w*|tpu_custom_call|__cudnn\$fmha\w*)"')


def report(
    run: Run,
    topology: str,
    kind: str,
    mesh: jax.sharding.Mesh,
    compiled: Any,
    seconds: dict[str, float],
    flops: float,
    plain: float,
    forms: Mapping[str, Collection[str]],
) -> dict[str, Any]:
    """Returns the report of a compiled step, as JSON values (`table` prints them).

    Bytes and FLOPs are those of one device, except the FLOPs named "all" and "without
    recomputation", which are those of all devices. The roofline's times, in seconds, are lower
    bounds: each divides work by a nominal peak of `topologies.DEVICES`. `mfu_bound` is the model
    FLOPs utilisation that the largest of these times allows.

    Args:
        run: the run.
        topology: the hardware, for example "v5p:8x8x8" (`parallel.topologies`).
        kind: "train" for a training step, "sample" for a step of the sampler.
        mesh: the mesh that the program was compiled for.
        compiled: the result of `jax.stages.Lowered.compile`.
        seconds: the time of tracing and of compilation, {"trace": ..., "compile": ...}.
        flops: FLOPs of the program on all devices.
        plain: FLOPs without those that rematerialisation recomputes, on all devices.
        forms: names of the implementations of each operation that were compiled
            (`kernels.dispatch.recorded`).
    """
    device, text = topologies.generation(topology), Compiled(compiled.as_text())
    collectives, traffic = text.collectives(), text.traffic()
    times = {
        "FLOPs": flops / mesh.size / device.peak,
        "HBM": traffic / device.hbm_bw,
        "ICI": sum(c.sent for c in collectives.values()) / device.ici_bw,
    }
    bound = max(times, key=times.__getitem__)
    packages = ("jax", topologies.compiler(topology))
    return {
        "status": "compiled, not run",
        "topology": topology,
        "program": kind,
        "forms": {op: sorted(names) for op, names in sorted(forms.items())},
        "kernels": len(KERNEL.findall(compiled.as_text())),
        "mesh": dict(mesh.shape),
        "devices": mesh.size,
        "batch_size": run.train.batch_size,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "seconds": seconds,
        "memory": _memory(compiled.memory_analysis(), device.hbm),
        "flops": {"device": flops / mesh.size, "all": flops, "without recomputation": plain},
        "collectives": {
            name: {"count": c.count, "sent": c.sent} for name, c in sorted(collectives.items())
        },
        "hbm_bytes": traffic,
        "roofline": {"seconds": times, "bound by": bound, "step": times[bound]},
        "mfu_bound": plain / mesh.size / device.peak / times[bound],
    }


def _memory(memory: Any, available: float) -> dict[str, float]:
    arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
    in_place, temporaries = memory.alias_size_in_bytes, memory.temp_size_in_bytes
    total = arguments + outputs - in_place + temporaries
    return {
        "arguments": arguments,
        "outputs": outputs,
        "of them in place": in_place,
        "temporaries": temporaries,
        "held": total,
        "device": available,
        "headroom": available - total,
    }


def table(r: dict[str, Any]) -> str:
    """Returns the report of a compiled step (`report`) as a table of text."""
    mesh = " x ".join(f"{axis} {n}" for axis, n in r["mesh"].items())
    forms = ", ".join(f"{op} as {' and '.join(names)}" for op, names in r["forms"].items())
    rows = [
        f"{r['topology']}, {r['program']} step: {mesh}, batch {r['batch_size']}; {r['status']}",
        f"{forms}; {r['kernels']} calls of kernels in the program",
    ]
    versions = " ".join(f"{name} {version}" for name, version in r["versions"].items())
    traced, compiled = (f"{r['seconds'][name]:.0f} s" for name in ("trace", "compile"))
    rows.append(f"traced in {traced}, compiled in {compiled} ({versions})")
    memory = [(name, "-" * (n < 0) + quantity(abs(n), "B")) for name, n in r["memory"].items()]
    moved = [
        (name, str(c["count"]), quantity(c["sent"], "B")) for name, c in r["collectives"].items()
    ]
    roofline = r["roofline"]
    times = [(name, f"{t:.4f}") for name, t in roofline["seconds"].items()]
    sections = [
        section("memory of a device", memory),
        section("FLOPs", [(name, quantity(n)) for name, n in r["flops"].items()]),
        section("HBM of a device", [("read and written", quantity(r["hbm_bytes"], "B"))]),
        section(
            "seconds of a step at least",
            [*times, (f"bound by {roofline['bound by']}", f"{roofline['step']:.4f}")],
        ),
        section("utilisation", [("MFU at most", f"{r['mfu_bound']:.3f}")]),
    ]
    if moved:
        sections.insert(2, section("collectives of a device", moved, ("count", "sent")))
    return "\n\n".join(["\n".join(rows), *sections])
