"""Forecast of the time and memory of a fine-tuning's trainings, before the first of them begins."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.models.cost import quantity
from sora_jax.training.run import Run
from sora_jax.training.tokenizer_run import TokenizerRun
from sora_jax.tuning import cost

COST = "cost.json"
FORWARD = 1 / 3  # time of a forward pass, as a fraction of a training step's
PASSES = 3  # forward passes of a step of the sampler with guidance


@dataclasses.dataclass(frozen=True)
class Forecast:
    """The predicted time and memory of a fine-tuning's trainings.

    Attributes:
        seconds: seconds of all trainings, with their compilation, validation and previews.
        memory_bytes: the most bytes that this process will hold.
        free_bytes: bytes that may be allocated.
        clips: number of training clips.
        batch_size: clips of a step of the model's training.
        model: (steps, seconds of a step) of the model's training.
        tokenizer: (steps, seconds of a step) of the video tokenizer's training; None if it is not
            trained.
    """

    seconds: float
    memory_bytes: int
    free_bytes: int
    clips: int
    batch_size: int
    model: tuple[int, float]
    tokenizer: tuple[int, float] | None

    def sentence(self) -> str:
        """Returns the forecast as one line of text."""
        parts = {"tokenizer": self.tokenizer, "model": self.model}
        steps = ", ".join(
            f"{name} {one[0]} steps of {one[1]:.2f} s" for name, one in parts.items() if one
        )
        passes = self.model[0] * self.batch_size / self.clips
        return (
            f"to come: {self.seconds / 3600:.2f} hours ({steps}); memory "
            f"{quantity(self.memory_bytes, 'B')} of {quantity(self.free_bytes, 'B')}; "
            f"{passes:.0f} passes over {self.clips} clips"
        )


def calls(steps: int, every: int) -> int:
    """Returns how often something is done in a training of `steps` steps that does it every `every`
    steps and after the last; 0 if `every` is 0.
    """
    return math.ceil(steps / every) if every else 0


def forecast(
    folder: Path, run: Run, tokenizer: TokenizerRun | None, clips: int, memory: int
) -> Forecast:
    """Predicts the time and memory of trainings from a few steps of each.

    Args:
        folder: receives the file COST with the forecast.
        run: the configuration of the model's training.
        tokenizer: the configuration of the video tokenizer's training; None: it is not trained.
        clips: number of training clips.
        memory: bytes that may be allocated; 0 for the bytes that are free.

    Raises:
        UserError: a training needs more memory. The message names a batch size that fits, if any.
    """
    free = memory or cost.free_memory()
    seconds, most, of_tokenizer = 0.0, 0, None
    if tokenizer is not None:
        one = cost.tokenizer_cost(tokenizer, folder, free)
        steps, most = tokenizer.train.steps, one.step_bytes
        checks = calls(steps, tokenizer.validation.every)
        held_out = checks * tokenizer.validation.clips / tokenizer.train.batch_size
        seconds += one.compile_seconds + (steps + FORWARD * held_out) * one.step_seconds
        of_tokenizer = steps, one.step_seconds
    one = cost.model_cost(run, free)
    steps, size = run.train.steps, run.train.batch_size
    checks = calls(steps, run.validation.every)
    held_out = checks * run.validation.draws * -(-run.validation.clips // size)
    previews = calls(steps, run.sample.every) * len(run.sample.prompts)
    shown = previews * run.sample.steps * PASSES
    seconds += one.compile_seconds
    seconds += (steps + FORWARD * (held_out + shown / size)) * one.step_seconds
    found = Forecast(
        seconds,
        cost.resident_memory() + max(most, one.step_bytes),
        free,
        clips,
        size,
        (steps, one.step_seconds),
        of_tokenizer,
    )
    files.write(folder / COST, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    return found


def read_forecast(folder: Path) -> Forecast:
    """Returns the forecast that `forecast` wrote to a folder."""
    values: dict[str, Any] = json.loads((folder / COST).read_text(encoding="utf-8"))
    return Forecast(**values)
