"""Profiling, peak memory and preview clips of a run.

Nothing here changes what a run computes, so none of it is part of what a run is (`workdir`): it
may be asked for when a run is continued.
"""

import dataclasses
import resource
import sys
from pathlib import Path
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """A window of JAX's profiler: `steps` steps from step `start` on, 0 for none.

    TensorBoard's profile page shows it.
    """

    start: int = 0
    steps: int = 5

    def __post_init__(self):
        if self.start < 0 or self.steps < 1:
            raise ValueError(
                f"profile.start={self.start}, profile.steps={self.steps}; give a step (0: "
                "none) and at least 1 step"
            )


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Clips of `prompts`, made by the averaged weights each `every` steps (0: never), in `steps`
    steps of the sampler.
    """

    every: int = 0
    steps: int = 20
    guidance: float = 2.0
    prompts: tuple[str, ...] = (
        "a large red ball is thrown to the left and bounces twice",
        "a small blue ball is dropped and bounces three times",
    )

    def __post_init__(self):
        if self.every < 0 or self.steps < 1:
            raise ValueError(
                f"sample.every={self.every}, sample.steps={self.steps}; give 0 or more, and at "
                "least 1"
            )
        if self.every and not all(prompt.strip() for prompt in self.prompts or ("",)):
            raise ValueError(
                f"sample.prompts={self.prompts}; give one prompt or more, none of them empty"
            )


class Profiler:
    """Starts and stops the trace of a `ProfileConfig` as the loop passes its steps."""

    def __init__(self, config: ProfileConfig, folder: Path):
        self._config, self._folder, self._running = config, folder, False

    def before(self, step: int) -> None:
        """`step` is about to run; the first is 1."""
        if step == self._config.start:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """`step` was given to the device; waits for its `results` where the window ends with it."""
        if self._running and step + 1 >= self._config.start + self._config.steps:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Ends a window that is open; nothing otherwise."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


def peak_memory() -> int:
    """Bytes: the most that the fullest device held so far; of a CPU the most that this process
    did.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if held := [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]:
        return max(held)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
