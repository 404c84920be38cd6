"""Fifteen minutes on a new GPU: measure the kernels, then train a model.

    python -m benchmarks.short_run --stage=measure --minutes=5.5 --output=DIR
    python -m benchmarks.short_run --stage=train --minutes=7 --output=DIR
    python -m benchmarks.adopt DIR

A stage ends in time, even if one of its parts hangs or crashes: a watchdog runs the parts in a
child process. The results so far stay in DIR: at most 8 files for both stages, of at most 16 MiB
each. `benchmarks.adopt` copies the valid ones into the repository, on any machine.

Stage measure: tests whether kernels launch and give correct results, compares their speed to
XLA, cuDNN and PyTorch, and searches launch parameters. Rows go to DIR/rows.jsonl and
DIR/tuning.jsonl.

Stage train: draws, renders and encodes scenes, keeps their latents on the device, and trains the
model of --config on them until the time is over. The averaged weights are saved to DIR every
minute.

Stage compile: compiles every program of stage measure at full size for an H100 that is absent,
and prints the seconds. It needs no GPU, no --output and no --minutes.

--size=tiny runs the stages on any machine with small shapes, as a test:

    python -m benchmarks.short_run --stage=train --size=tiny --minutes=2 --output=outputs/tiny
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks import short_plan, watchdog
from sora_jax import files
from sora_jax.cli import import_flags, run_main
from sora_jax.errors import UserError

BEGUN = time.monotonic()  # before the imports that take seconds
RESULTS = {"measure": "rows.jsonl", "train": "weights.safetensors"}  # main result of a stage

_STAGE = flags.DEFINE_enum(
    "stage", None, ["measure", "train", "compile"], "The stage to run. Required."
)
_MINUTES = flags.DEFINE_float(
    "minutes", None, "Minutes that the stage may take, from start to exit.", lower_bound=0.01
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the results. It must not hold a run of the same stage."
)
_SIZE = flags.DEFINE_enum(
    "size", "gpu", ["gpu", "tiny"], "gpu: full shapes; tiny: small shapes, for any machine."
)
_CONFIG = flags.DEFINE_string(
    "config",
    "experiments/configs/playhouse_short.py",
    "Stage train: Python file with get_config(), as of experiments.train.",
)
_INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Stage train: weights to start from. Default: random initial weights."
)
_FAMILY = flags.DEFINE_string(
    "family", "room", "Stage train: family of the scenes, such as room or film."
)
_CLIPS = flags.DEFINE_integer(
    "clips", 60_000, "Stage train: largest number of training clips.", lower_bound=1
)
_PARTS = flags.DEFINE_list(
    "parts", None, "Internal: the parts that a child process of this command runs."
)


def main(_: Sequence[str]) -> None:
    stage, size = _STAGE.value, _SIZE.value
    if stage is None:
        raise UserError("--stage is missing; give measure, train or compile")
    short_plan.check_packages("measure" if stage == "compile" else stage)
    if stage == "compile":
        from benchmarks import short_compile  # needs Triton, which may be absent

        short_compile.main(short_plan.BUDGETS["measure"])
        return
    if _OUTPUT.value is None or _MINUTES.value is None:
        raise UserError("--output and --minutes are missing; give a folder, and the time there is")
    begun, seconds = time.monotonic(), 60 * _MINUTES.value
    if _PARTS.value:
        run_child(stage, size, Path(_OUTPUT.value), seconds, _PARTS.value)
        return
    short_plan.check_gpu(size)
    fitting = short_plan.fitting_parts(stage, size, seconds)
    output = files.check_output("output", _OUTPUT.value)
    record = output / f"{stage}.json"
    if record.exists():
        raise UserError(f"{output} holds another run of stage {stage}; give another --output")
    identity = {"stage": stage, "size": size, "minutes": _MINUTES.value, "parts": fitting}
    files.write(record, json.dumps(identity, indent=1) + "\n")
    budgets = short_plan.scaled_budgets(stage, size, fitting, seconds)
    # The watchdog's limit has a margin: a part that keeps to its budget ends well before it.
    parts = [watchdog.Part(name, 2.2 * budgets[name] + 5) for name in fitting]
    left = seconds - (time.monotonic() - begun)
    try:
        ended = watchdog.supervise(child_command, parts, left, output / "run.log")
    except UserError:
        if not (output / RESULTS[stage]).exists():
            record.unlink()  # the corrected command may use the folder
        raise
    files.write(record, json.dumps(identity | {"ended": ended}, indent=1) + "\n")
    for name, how in ended.items():
        print(f"{name:16s}{how}")
    print(f"{output}; then: python -m benchmarks.adopt {output}")


def child_command(names: Sequence[str], seconds: float) -> list[str]:
    """Returns a child's command line: this command, for the parts `names` and the seconds left."""
    given = {
        "stage": _STAGE.value,
        "size": _SIZE.value,
        "output": _OUTPUT.value,
        "config": _CONFIG.value,
        "init_from": _INIT_FROM.value,
        "family": _FAMILY.value,
        "clips": _CLIPS.value,
        "minutes": seconds / 60,
        "parts": ",".join(names),
    }
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [sys.executable, "-u", "-m", "benchmarks.short_run", *import_flags(), *options]


def run_child(stage: str, size: str, output: Path, seconds: float, names: list[str]) -> None:
    """Runs the parts `names` of a stage in this process, until `seconds` after the process started.

    Args:
        stage: "measure" or "train".
        size: "gpu" or "tiny".
        output: folder of the results.
        seconds: time of the process.
        names: names of the parts.
    """
    # By default JAX preallocates most of a GPU's memory, which would leave too little for PyTorch.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if size == "tiny" and stage == "measure" and shutil.which("nvidia-smi") is None:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    if stage == "train":
        from benchmarks import short_train  # loads JAX, after the variables are set

        left = seconds - (time.monotonic() - BEGUN)
        short_train.main(
            output, size, left, _CONFIG.value, _INIT_FROM.value, _FAMILY.value, _CLIPS.value
        )
        return
    from benchmarks.short_measure import Stage  # loads JAX and Triton, after the variables are set

    left = seconds - (time.monotonic() - BEGUN)
    Stage(output, size, names, short_plan.scaled_budgets(stage, size, names, left)).run()


if __name__ == "__main__":
    run_main(main)
