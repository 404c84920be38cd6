"""The cost of a study before anything is trained: FLOPs, memory and hours of each arm."""

import time
from collections.abc import Sequence

import jax
import numpy as np

from sora_jax import tables
from sora_jax.ablations.kinds import AnyRun, compiled_steps
from sora_jax.ablations.trial import Trial
from sora_jax.models.cost import quantity

STEPS = 3  # timed steps; the fastest counts


def table(trials: Sequence[Trial]) -> str:
    """Returns a table of the arms of trials, and the hours of all trials on this machine, as text.

    Memory is that of the compiled training step. Hours are those of one trial, the measured time of
    a step times the number of steps. Validation, scoring and making the latents are not included.
    The column "off" is the difference of the FLOPs from those of the first arm.
    """
    arms: dict[str, list[Trial]] = {}
    for trial in trials:
        arms.setdefault(trial.arm, []).append(trial)
    rows, total = [], 0.0
    for name, of in arms.items():
        one = of[0]
        memory, seconds = measured(one.run)
        hours = one.run.train.steps * seconds / 3600
        total += hours * len(of)
        rows.append(
            (
                name,
                str(len(of)),
                f"{one.run.train.steps:,}",
                quantity(one.flops),
                f"{one.flops / trials[0].flops - 1:+.1%}",
                quantity(memory, "B"),
                f"{seconds:.3g}",
                f"{hours:.3g}",
            )
        )
    header = ("arm", "seeds", "steps", "FLOPs", "off", "memory", "s/step", "hours")
    ending = (
        f"{len(trials)} trials, {total:.3g} hours of steps one after the other on this machine, "
        "and 1 to 3 minutes a trial to compile on two cores; latents and validation come on top"
    )
    return f"{tables.plain(header, rows)}\n{ending}"


def measured(run: AnyRun) -> tuple[float, float]:
    """Returns (bytes, seconds) of a compiled training step.

    For a mixture of sets they are the largest memory, and the mean time by the sets' weights.
    """
    memory, seconds = [], []
    for step, state, batch in compiled_steps(run):
        found = step.memory_analysis()
        memory.append(
            found.argument_size_in_bytes
            + found.output_size_in_bytes
            - found.alias_size_in_bytes
            + found.temp_size_in_bytes
        )
        times = []
        for _ in range(STEPS):
            begun = time.perf_counter()
            state, _ = jax.block_until_ready(step(state, batch))
            times.append(time.perf_counter() - begun)
        seconds.append(min(times))
    weights = list(run.data.weights.values())
    return float(max(memory)), float(np.average(seconds, weights=weights))
