r"""Score a model on suites of calibrated oracles, between each metric's floor and ceiling.

  python -m experiments.evaluate --output=outputs/evaluation
  python -m experiments.evaluate --output=outputs/mine --weights=runs/nano/weights.safetensors \
      --guidance=3
  python -m experiments.evaluate --suite=all --num_prompts=16 --output=outputs/scoreboard

A suite is a set of held-out scenes, in one or several parts, with metrics. The model generates a
clip for each of the first scenes of every part. Oracles, calibrated programs that measure one
property of a clip each, read these clips. The report also has baselines: a tokenizer round trip of
the scenes' own renders, the nearest training scene, and others.

scores.json holds {suite: {metric: {value, low, high, floor, ceiling, n, unit, ...}}}. low and high
bound a 95 % interval of the value, over n clips. The floor is the score of the same clips paired
with other scenes, or with their frames or audio permuted; the ceiling is that of the scenes' own
renders. report.md shows tables, also by number of balls and by launch. A model is scored only on
families of scenes that its metadata list as trained; other suites show "not trained".

A folder belongs to one measurement: other weights or settings are refused. The same command
continues a stopped measurement from its last batch of clips. `experiments.calibrate` measures
how reliable the oracles are.
"""

from collections.abc import Sequence

from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError

flags.adopt_module_key_flags(generation)

_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "Folder for the report, the scores and the contact sheets: new, or that of the same "
    "measurement. Required.",
)
_SUITE = flags.DEFINE_list(
    "suite",
    ["facts", "sync", "tokenizers"],
    "Suites, with commas: physics, failed_actions, permanence, styles, sync, sound, speech, "
    "dialogue, likeness, soundscape, stories, persistence, facts, conditional, conditional_sync, "
    "edits, loops, tokenizers, phyworld, or a registered one; or all.",
)
_NUM_PROMPTS = flags.DEFINE_integer(
    "num_prompts",
    64,
    "Scenes of each part of a suite; one clip is generated for each.",
    lower_bound=2,
)
_BATCH = flags.DEFINE_integer("batch", 16, "Clips generated at a time.", lower_bound=1)
_POOL = flags.DEFINE_integer(
    "nearest_pool",
    1024,
    "Training scenes that the baseline of the nearest training scene searches.",
    lower_bound=1,
)
_SHEETS = flags.DEFINE_integer(
    "sheets", 4, "Clips of each part to write as mp4 and contact sheet.", lower_bound=0
)


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError(
            "--output is missing: nowhere to write the report; give --output=outputs/evaluation"
        )
    generation.check_weights()
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.evaluation import run

    run.chosen(_SUITE.value)
    folder = files.check_output("output", _OUTPUT.value)
    sampler = generation.sampler()
    run.evaluate(
        generation.load(),
        folder,
        _SUITE.value,
        sampler=sampler,
        seed=generation.SEED.value,
        num_prompts=_NUM_PROMPTS.value,
        batch=_BATCH.value,
        nearest_pool=_POOL.value,
        sheets=_SHEETS.value,
    )
    print((folder / "report.md").read_text(encoding="utf-8"))
    print(f"{folder / 'scores.json'}, {folder / 'report.md'}")


if __name__ == "__main__":
    run_main(main)
