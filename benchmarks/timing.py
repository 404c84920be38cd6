"""Samples of running times, fairly taken: in turns, over rotated inputs, many of them.

A sample of a form is the time of `calls` calls issued back to back and waited for once, divided by
`calls`: enough of them that issuing and waiting do not show. Round r takes one sample of each form,
A B C, A B C, ..., so that clocks, heat and other processes touch all alike. What is reported are
percentiles 20, 50 and 80 over the rounds.
"""

import math
import time
from collections.abc import Callable, Mapping

import numpy as np

LEAST_ROUNDS = 5
LEAST_SAMPLE = 2e-3  # seconds that the calls of one sample should take together
MOST_CALLS = 50


def interleave(
    samplers: Mapping[str, Callable[[int], float]],
    rounds: int,
    seconds: float = math.inf,
    clock=time.perf_counter,
) -> dict:
    """{name: [sample of each round]}: samplers[name](r) for r = 0 .. rounds - 1, in turns.

    Ends early, after LEAST_ROUNDS or more, once `seconds` have passed.
    """
    samples, start = {name: [] for name in samplers}, clock()
    for r in range(rounds):
        if r >= LEAST_ROUNDS and clock() - start > seconds:
            break
        for name, sampler in samplers.items():
            samples[name].append(sampler(r))
    return samples


def percentiles(samples) -> tuple[float, float, float]:
    """Percentiles 20, 50 and 80, linear between samples."""
    return tuple(float(p) for p in np.percentile(samples, (20, 50, 80)))


def calls_per_sample(program, clock=time.perf_counter) -> int:
    """How many calls a sample needs, after a warm-up: the second of two single calls is timed."""
    wall_sample(program, 1, 0, clock)
    return min(
        max(math.ceil(LEAST_SAMPLE / max(wall_sample(program, 1, 1, clock), 1e-9)), 1), MOST_CALLS
    )


def wall_sample(program, calls: int, first: int, clock=time.perf_counter) -> float:
    """Seconds per call of `calls` calls, on input sets first, first + 1, ..."""
    start = clock()
    for i in range(first, first + calls):
        result = program.start(i)
    program.wait(result)
    return (clock() - start) / calls


def kernel_recorder():
    """What records the kernels that a GPU ran, as CUPTI timed them; None where there is none.

    Used as `kernel_sample`'s first argument.

    It is JAX's own (private there, hence the caution); it sees every kernel of the process,
    PyTorch's too, but not copies by the copy engine and not the gaps between kernels, which can
    only favour implementations of many kernels.
    """
    try:
        from jax._src.lib import mosaic_gpu  # private to JAX: may be absent

        extension = mosaic_gpu._mosaic_gpu_ext
        return extension if hasattr(extension, "_cupti_init") else None
    except (ImportError, AttributeError):
        return None


def kernel_sample(recorder, program, calls: int, first: int) -> tuple[float, list[str]]:
    """Seconds of kernels per call, and the names of the kernels of one call."""
    recorder._cupti_init()
    try:
        for i in range(first, first + calls):
            result = program.start(i)
        program.wait(result)
    finally:
        times = recorder._cupti_get_timings(False)
    return sum(ms for _, ms in times) / calls / 1e3, [
        name for name, _ in times[: len(times) // calls]
    ]
