"""Profiling, peak memory, validation and preview clips of a run.

None of this changes what a run computes, so it is not part of the run's identity (`workdir`).
It may be switched on or off when a run is continued.
"""

import dataclasses
import resource
import sys
from pathlib import Path
from typing import Any

import jax

from sora_jax.config import within


@dataclasses.dataclass(frozen=True)
class ProfileConfig:
    """The training steps to record with JAX's profiler. TensorBoard's profile page shows them.

    Attributes:
        start: the first step to profile. 0, the default, profiles nothing.
        steps: the number of steps. Default 5.
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
    """Preview clips, generated with the averaged weights during training.

    Attributes:
        every: training steps between previews, which are also made after the last step. 0, the
            default, makes none.
        steps: steps of the sampler. Default 20.
        guidance: scale of the text guidance; 1 is none. Default 2.
        prompts: the prompts; one clip is made for each. Default: two prompts.
        video_tokenizer, audio_tokenizer: files of the tokenizers that made the latents. Default "":
            the shipped ones.
    """

    every: int = 0
    steps: int = 20
    guidance: float = 2.0
    prompts: tuple[str, ...] = (
        "a large red ball is thrown to the left and bounces twice",
        "a small blue ball is dropped and bounces three times",
    )
    video_tokenizer: str = ""
    audio_tokenizer: str = ""

    def __post_init__(self):
        within(self, "(-inf, inf)", "guidance")
        if self.every < 0 or self.steps < 1:
            raise ValueError(
                f"sample.every={self.every}, sample.steps={self.steps}; give 0 or more, and at "
                "least 1"
            )
        if self.every and not all(prompt.strip() for prompt in self.prompts or ("",)):
            raise ValueError(
                f"sample.prompts={self.prompts}; give one prompt or more, none of them empty"
            )


@dataclasses.dataclass(frozen=True)
class ValidationConfig:
    """The loss on held-out clips during training (`training.validation`).

    Attributes:
        every: training steps between validations, which are also made after the last step. 0, the
            default, makes none.
        clips: held-out clips of each set, for a diffusion transformer rounded up to whole batches.
            Default 64.
        draws: draws of noise, noise levels and training tasks for each batch of a diffusion
            transformer. Default 4.
    """

    every: int = 0
    clips: int = 64
    draws: int = 4

    def __post_init__(self):
        within(self, "[0, inf)", "every")
        within(self, "[1, inf)", "clips", "draws")


class Profiler:
    """Records a trace of some steps of the training loop with jax.profiler.

    Call `before` and `after` around every step, and `close` at the end.

    Args:
        config: the steps to record; none if its `start` is 0.
        folder: where the trace is written.
    """

    def __init__(self, config: ProfileConfig, folder: Path):
        self._config, self._folder, self._running = config, folder, False

    def before(self, step: int) -> None:
        """Starts the trace if `step` is the first to profile. Call before each step; the first step
        is 1.
        """
        if step == self._config.start:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """Stops the trace if `step` is the last to profile. It first waits for `results`, the
        arrays that the step returned. Call after each step.
        """
        if self._running and step + 1 >= self._config.start + self._config.steps:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Stops the trace if it is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()


def peak_memory() -> int:
    """Returns the peak memory in bytes of the local device with the highest peak so far.

    On a CPU it is the peak resident memory of this process.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if peaks := [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]:
        return max(peaks)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
