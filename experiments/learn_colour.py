r"""Teach the shipped model a family of scenes by LoRA, and measure what it learned and lost.

    python -m experiments.learn_colour --import=docs/examples/own_colour.py --family=cyan \
        --workdir=runs/cyan

It trains low-rank updates on --clips clips of the family. Then it generates clips for --new prompts
of the family by the updated model, and for --old prompts of rooms by the model with and without the
updates. WORKDIR/lesson.json has the shares of facts that the clips show, with intervals; the size
of the file of updates as a share of the weights; the seconds; and the largest difference between
the outputs of merged weights and of weights with updates.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.files import check_output
from sora_jax.tuning.colour import Lesson, teach

_FAMILY = flags.DEFINE_string("family", None, "A family that --import registers. Required.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: new, or a begun one. Required.")
_CLIPS = flags.DEFINE_integer("clips", 32, "Clips to learn from.", lower_bound=1)
_RANK = flags.DEFINE_integer("rank", 4, "Rank of the updates.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 500, "Training steps.", lower_bound=1)
_LR = flags.DEFINE_float("lr", 2e-3, "Learning rate.")
_NEW = flags.DEFINE_integer("new", 64, "Prompts of the family.", lower_bound=2)
_OLD = flags.DEFINE_integer("old", 1024, "Prompts of rooms.", lower_bound=2)
_SAMPLER_STEPS = flags.DEFINE_integer("sampler_steps", 30, "Sampler steps.", lower_bound=1)


def main(_: Sequence[str]) -> None:
    family, folder = _FAMILY.value, _WORKDIR.value
    if not family or not folder:
        missing = _WORKDIR if family else _FAMILY
        raise UserError(f"--{missing.name} is missing; see --help")
    workdir = Path(check_output("workdir", folder))
    lesson = Lesson(
        family,
        _CLIPS.value,
        _RANK.value,
        _STEPS.value,
        _LR.value,
        _NEW.value,
        _OLD.value,
        _SAMPLER_STEPS.value,
    )
    values = teach(lesson, workdir)
    learned, lost = values["new"]["all"], values["old_lost"]["all"]
    said = (
        f"{values['seconds'] / 60:.1f} minutes",
        f"all facts of {lesson.family} {learned['value']:.2f}, 95 % from {learned['low']:.2f}",
        f"rooms lost {lost['lost']:.3f}, 95 % to {lost['high']:.3f}",
        f"file {100 * values['file_share']:.1f} % of the weights",
        f"merged differs by {values['merged_difference']:.1g}",
    )
    print("; ".join(said))


if __name__ == "__main__":
    run_main(main)
