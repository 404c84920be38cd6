"""What the trainings of a fine-tuning will take, told before the first of them begins."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sora_jax import files
from sora_jax.models.cost import quantity
from sora_jax.training.run import Run
from sora_jax.training.tokenizer_run import TokenizerRun
from sora_jax.tuning import cost

COST = "cost.json"
FORWARD = 1 / 3  # a forward pass, of a training step
PASSES = 3  # forward passes of a guided step of a sampler


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What trainings will take.

    Attributes:
        seconds: of all trainings, with validation and previews meanwhile.
        memory_bytes: the most that this process will hold.
        free_bytes: what may be allocated.
        clips: training clips.
        model: (steps, seconds of a step) of the model, and its batch_size.
        tokenizer: (steps, seconds of a step) of the video tokenizer; None if it is not trained.
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


def forecast(
    folder: Path, run: Run, tokenizer: TokenizerRun | None, clips: int, memory: int
) -> Forecast:
    """Measures what trainings will take, and writes it to COST.

    Args:
        folder: receives the file.
        run: the training of the model.
        tokenizer: that of the video tokenizer; None for none.
        clips: training clips.
        memory: bytes that may be allocated; 0 for those that are free.

    Raises:
        UserError: a training needs more memory; it names what fits.
    """
    free = memory or cost.free_memory()
    seconds, most, of_tokenizer = 0.0, 0, None
    if tokenizer is not None:
        one = cost.tokenizer_cost(tokenizer, folder, free)
        steps, most = tokenizer.train.steps, one.step_bytes
        checks = 1 + steps // tokenizer.validation.every
        held_out = checks * tokenizer.validation.clips / tokenizer.train.batch_size
        seconds += one.compile_seconds + (steps + FORWARD * held_out) * one.step_seconds
        of_tokenizer = steps, one.step_seconds
    one = cost.model_cost(run, free)
    steps, size = run.train.steps, run.train.batch_size
    checks = 1 + steps // run.validation.every
    held_out = checks * run.validation.draws * -(-run.validation.clips // size)
    shown = (1 + steps // run.sample.every) * len(run.sample.prompts) * run.sample.steps * PASSES
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
