"""Fair samples of running times: implementations in turns, on several sets of inputs.

A form is one way to compute a workload. A sample of a form is the time of `calls` calls, issued
back to back and waited for once, divided by `calls`. `calls` is large enough to hide the cost of
issuing and waiting. Each round takes one sample of each form (A B C, A B C, ...), so that clock
rates, temperature and other processes affect all forms alike. Results are the percentiles 20, 50
and 80 over the rounds.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

MIN_ROUNDS = 5
MIN_SAMPLE = 2e-3  # seconds that the calls of one sample should take together
MAX_CALLS = 50


def interleave(
    samplers: Mapping[Any, Callable[[int], float]],
    rounds: int,
    seconds: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Takes samples of running times of all forms in turns, one of each form in every round.

    Args:
        samplers: {name of a form: function that takes the number of a round, from 0, and returns a
            sample in seconds}.
        rounds: number of rounds.
        seconds: time after which sampling ends, once MIN_ROUNDS rounds are complete. Default: no
            limit.
        clock: returns the time in seconds. Default: `time.perf_counter`.

    Returns:
        {name of a form: its samples, one for each round}.
    """
    samples, start = {name: [] for name in samplers}, clock()
    for r in range(rounds):
        if r >= MIN_ROUNDS and clock() - start > seconds:
            break
        for name, sampler in samplers.items():
            samples[name].append(sampler(r))
    return samples


def percentiles(samples: Sequence[float]) -> tuple[float, float, float]:
    """Returns the percentiles 20, 50 and 80 of samples, interpolated linearly between them."""
    p20, p50, p80 = (float(p) for p in np.percentile(samples, (20, 50, 80)))
    return p20, p50, p80


def calls_per_sample(program: Any, clock: Callable[[], float] = time.perf_counter) -> int:
    """Returns how many calls of a program one sample needs: enough for MIN_SAMPLE seconds, at most
    MAX_CALLS.

    The number follows from the time of one call, after one warm-up call. `clock` returns the time
    in seconds.
    """
    wall_sample(program, 1, 0, clock)
    return min(
        max(math.ceil(MIN_SAMPLE / max(wall_sample(program, 1, 1, clock), 1e-9)), 1), MAX_CALLS
    )


def wall_sample(
    program: Any, calls: int, first: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Returns the wall seconds per call of a program.

    Args:
        program: the program.
        calls: number of calls, issued back to back.
        first: index of the first call's set of inputs; later calls use the sets after it.
        clock: returns the time in seconds. Default: `time.perf_counter`.
    """
    start = clock()
    for i in range(first, first + calls):
        result = program.start(i)
    program.wait(result)
    return (clock() - start) / calls


def kernel_recorder() -> Any:
    """Returns a recorder of GPU kernel times for `kernel_sample`, or None if this JAX has none.

    It uses NVIDIA's CUPTI through a private module of JAX. It records every kernel of the process,
    PyTorch's included. It omits copies by the copy engine and the gaps between kernels; the latter
    can only favour implementations of many kernels.
    """
    try:
        from jax._src.lib import mosaic_gpu  # private to JAX: may be absent

        extension = getattr(mosaic_gpu, "_mosaic_gpu_ext", None)
    except (ImportError, AttributeError):
        return None
    return extension if hasattr(extension, "_cupti_init") else None


def kernel_sample(recorder: Any, program: Any, calls: int, first: int) -> tuple[float, list[str]]:
    """Returns (seconds of GPU kernels per call, names of the kernels of one call) of a program.

    Args:
        recorder: the result of `kernel_recorder`, not None.
        program: the program.
        calls: number of calls, issued back to back.
        first: index of the first call's set of inputs; later calls use the sets after it.
    """
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
