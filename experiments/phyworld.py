r"""Run PhyWorld's experiment on one set: train a tokenizer and model S, and score the model.

    python -m experiments.phyworld --task=uniform --size=30k --output=runs/phyworld_uniform_30k

Kang et al. 2024 (arXiv:2411.02385) ask whether a video model learns laws of motion. It is
trained on balls at some speeds and sizes, and must continue three frames at speeds and sizes
inside and outside the training range. The score is the error of the balls' velocity.

Four commands are run, printed, and can also be run alone. They train a tokenizer of 1 frame x 8 x 8
pixels at 64 px (`experiments/configs/phyworld_tokenizer.py`, 8,000 steps of 4 clips), compute
latents (2.3 GB for 30k clips, 23 GB for 300k), train the model
(`experiments/configs/phyworld_s.py`, 20,000 steps of 256 clips), and score it
(OUTPUT/scores/report.md). The steps are meant for one GPU: the model trains an estimated half hour
on an H200 (not measured). The same command continues a stopped experiment. --tokenizer and --model
change keys of the two configurations:

    python -m experiments.phyworld --task=parabola --size=30k --output=runs/short \
        --model=train.steps=2000,train.batch_size=64
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from sora_jax.cli import import_flags, run_main
from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.families import FAMILIES

_TASK = flags.DEFINE_enum(
    "task",
    "uniform",
    ["uniform", "collision", "parabola"],
    "Motion: uniform (one ball, constant velocity), collision (two balls), parabola (one falls).",
)
_SIZE = flags.DEFINE_enum("size", "30k", ["30k", "300k"], "Number of clips of the training set.")
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for tokenizer, latents, model and scores. Required."
)
_CLIPS = flags.DEFINE_integer(
    "num_clips",
    None,
    "Number of training clips, the first of the set. Default: the whole set.",
    lower_bound=1,
)
_PROMPTS = flags.DEFINE_integer(
    "num_prompts", 256, "Scenes of each split that the model is scored on.", lower_bound=2
)
_TOKENIZER = flags.DEFINE_list(
    "tokenizer",
    [],
    "Changes to experiments/configs/phyworld_tokenizer.py, such as train.steps=200.",
)
_MODEL = flags.DEFINE_list(
    "model", [], "Changes to experiments/configs/phyworld_s.py, such as train.steps=200."
)
_EVALUATE = flags.DEFINE_list(
    "evaluate", [], "Further flags of experiments.evaluate, such as steps=10."
)


def commands(output: Path) -> list[list[str]]:
    """Returns the arguments of `python -m` of the four commands, which write into `output`."""
    family = f"phyworld_{_TASK.value}_{_SIZE.value}"
    clips = min(filter(None, (_CLIPS.value, FAMILIES[family].train_size)))
    tokenizer, latents, model = (output / name for name in ("tokenizer", "latents", "model"))
    video = f"--video_tokenizer={tokenizer / 'weights.safetensors'}"
    configs = f"--config={Path(__file__).parent / 'configs' / 'phyworld_'}"
    return [
        [
            "experiments.train_tokenizer",
            f"{configs}tokenizer.py",
            f"--config.data.family={family}",
            f"--workdir={tokenizer}",
            *(f"--config.{key}" for key in _TOKENIZER.value),
        ],
        [
            "experiments.precompute",
            f"--family={family}",
            "--format=phyworld",
            f"--num_clips={clips}",
            video,
            f"--output={latents}",
        ],
        [
            "experiments.train",
            f"{configs}s.py",
            f"--config.data.path={latents}",
            f"--workdir={model}",
            *(f"--config.{key}" for key in _MODEL.value),
        ],
        [
            "experiments.evaluate",
            "--suite=phyworld",
            f"--weights={model / 'weights.safetensors'}",
            video,
            f"--num_prompts={_PROMPTS.value}",
            f"--output={output / 'scores'}",
            *(f"--{flag}" for flag in _EVALUATE.value),
        ],
    ]


def main(_: Sequence[str]) -> None:
    if not _OUTPUT.value:
        raise UserError("--output is missing; give a folder for all that is made and the scores")
    output = Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    for command in commands(output):
        print(f"\n$ python -m {shlex.join(command)}", flush=True)
        done = subprocess.run([sys.executable, "-m", *command, *import_flags()], check=False)
        if done.returncode:
            sys.exit(done.returncode)  # the failed step has printed its error


if __name__ == "__main__":
    run_main(main)
