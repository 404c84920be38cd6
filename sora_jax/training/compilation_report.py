"""What is read from a compiled program: memory, FLOPs, collectives, a roofline; and its table."""

import importlib.metadata
from typing import Any

import jax

from sora_jax.models.cost import quantity
from sora_jax.parallel import topologies
from sora_jax.parallel.hlo import Program as Compiled
from sora_jax.training.run import Run


def report(
    run: Run,
    topology: str,
    kind: str,
    mesh: jax.sharding.Mesh,
    compiled: Any,
    seconds: dict[str, float],
    flops: float,
    plain: float,
) -> dict[str, Any]:
    """The report of a compiled step, as JSON values; bytes and FLOPs are of one device, but "all".

    Args:
        kind: "train" or "sample".
        compiled: of `jax.stages.Lowered.compile`.
        seconds: {"trace": ..., "compile": ...}.
        flops: of the program on all devices; plain: without what is recomputed.
    """
    device, text = topologies.generation(topology), Compiled(compiled.as_text())
    collectives, traffic = text.collectives(), text.traffic()
    times = {
        "FLOPs": flops / mesh.size / device.peak,
        "HBM": traffic / device.hbm_bw,
        "ICI": sum(c.sent for c in collectives.values()) / device.ici_bw,
    }
    bound = max(times, key=times.get)
    packages = ("jax", topologies.compiler(topology))
    return {
        "status": "compiled, not run",
        "topology": topology,
        "program": kind,
        "forms": "XLA forms of attention and norms"
        + " (one device trains with the kernels)" * (mesh.size == 1),
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


def _memory(memory: Any, available: int) -> dict[str, int]:
    arguments, outputs = memory.argument_size_in_bytes, memory.output_size_in_bytes
    in_place, temporaries = memory.alias_size_in_bytes, memory.temp_size_in_bytes
    held = arguments + outputs - in_place + temporaries
    return {
        "arguments": arguments,
        "outputs": outputs,
        "of them in place": in_place,
        "temporaries": temporaries,
        "held": held,
        "device": available,
        "headroom": available - held,
    }


def table(r: dict[str, Any]) -> str:
    """The printed form of a report."""
    mesh = " x ".join(f"{axis} {n}" for axis, n in r["mesh"].items())
    rows = [
        f"{r['topology']}, {r['program']} step: {mesh}, batch {r['batch_size']}; {r['forms']}; "
        f"{r['status']}"
    ]
    seconds, versions = (
        r["seconds"],
        " ".join(f"{name} {version}" for name, version in r["versions"].items()),
    )
    rows += [
        f"traced in {seconds['trace']:.0f} s, compiled in {seconds['compile']:.0f} s ({versions})",
        "",
        "memory of a device",
    ]
    rows += [
        f"  {name:34s}{'-' * (n < 0) + quantity(abs(n), 'B'):>12s}"
        for name, n in r["memory"].items()
    ]
    rows += ["", "FLOPs"] + [f"  {name:34s}{quantity(n):>12s}" for name, n in r["flops"].items()]
    rows += ["", f"{'collectives of a device':24s}{'count':>12s}{'sent':>12s}"]
    rows += [
        f"  {kind:22s}{c['count']:12d}{quantity(c['sent'], 'B'):>12s}"
        for kind, c in r["collectives"].items()
    ]
    rows += [
        "",
        f"{'HBM read and written':36s}{quantity(r['hbm_bytes'], 'B'):>12s}",
        "",
        "seconds of a step at least",
    ]
    rows += [f"  {name:34s}{t:12.4f}" for name, t in r["roofline"]["seconds"].items()]
    rows += [
        f"  {'bound by ' + r['roofline']['bound by']:34s}{r['roofline']['step']:12.4f}",
        f"{'MFU at most':36s}{r['mfu_bound']:12.3f}",
    ]
    return "\n".join(rows)
