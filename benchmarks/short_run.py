"""Fifteen minutes on a new GPU: measure the kernels, then train a model.

    python -m benchmarks.short_run --stage=measure --minutes=5.5 --output=DIR
    python -m benchmarks.short_run --stage=train --minutes=7 --output=DIR
    python -m benchmarks.adopt DIR

A stage ends in time, whatever hangs or crashes in it: a watchdog runs its parts in a child process.
What was measured or trained until then is in DIR, in at most 8 files of at most 16 MiB. `adopt`
takes over what is sound, on any machine.

Stage measure: can kernels be launched, are they right, how fast are they beside XLA, cuDNN and
PyTorch, which launch parameters are best. Rows go to DIR/rows.jsonl and DIR/tuning.jsonl.

Stage train: scenes are drawn, rendered and encoded, the latents stay on the device, and the model
of --config trains on them until the time is over. The averaged weights go to DIR every minute.

--stage=compile compiles every form of stage measure at full size for an H100 that is absent, and
prints the seconds. --size=tiny runs a stage on any machine, with small sizes: a test of the plumbing.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks import watchdog
from sora_jax import files
from sora_jax.errors import UserError, run_main

_STAGE = flags.DEFINE_enum("stage", None, ["measure", "train", "compile"], "What to do.")
_MINUTES = flags.DEFINE_float("minutes", None, "Time for the stage.", lower_bound=0.01)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for the results, without this stage's yet.")
_SIZE = flags.DEFINE_enum("size", "gpu", ["gpu", "tiny"], "tiny: small sizes, for any machine.")
_CONFIG = flags.DEFINE_string(
    "config", "experiments/configs/playhouse_short.py", "Stage train: a file with get_config()."
)
_INIT_FROM = flags.DEFINE_string("init_from", None, "Stage train: weights to begin with.")
_FAMILY = flags.DEFINE_string("family", "room", "Stage train: the family of scenes.")
_CLIPS = flags.DEFINE_integer("clips", 60_000, "Stage train: so many clips.", lower_bound=1)
_PARTS = flags.DEFINE_list("parts", None, "Of the child process: the parts to do.")

# Seconds of each part: at full size on a GPU with 16 cores, and tiny on two cores.
BUDGETS = {
    "measure": {
        "environment": (20, 12),
        "bridge ffi": (12, 12),
        "bridge legacy": (6, 8),
        "bridge torch": (8, 8),
        "correctness": (75, 25),
        "attention": (60, 25),
        "pointwise": (40, 25),
        "tuning": (35, 15),
        "decode": (24, 20),
        "torch": (50, 25),
    },
    "train": {"train": (420, 60)},
}
NEEDED = {  # modules that are imported, and the packages that bring them
    "measure": {"jax": "jax", "triton": "triton", "absl": "absl-py", "flax": "flax"},
    "train": {
        "jax": "jax",
        "flax": "flax",
        "optax": "optax",
        "orbax": "orbax-checkpoint",
        "ml_collections": "ml_collections",
        "safetensors": "safetensors",
        "tqdm": "tqdm",
    },
}
SHORTEST_TRAINING = {"gpu": 90.0, "tiny": 5.0}  # seconds


def main(_):
    stage, size = _STAGE.value, _SIZE.value
    if stage is None:
        raise UserError("--stage is missing; give measure, train or compile")
    check_packages("measure" if stage == "compile" else stage)
    if stage == "compile":
        from benchmarks import short_compile

        short_compile.main(BUDGETS["measure"])
        return
    if _OUTPUT.value is None or _MINUTES.value is None:
        raise UserError("--output and --minutes are missing; give a folder, and the time there is")
    if _PARTS.value:
        run_child(stage, size)
        return
    begun, seconds = time.monotonic(), 60 * _MINUTES.value
    check_gpu(size)
    fitting = fitting_parts(stage, size, seconds)
    output = files.check_output("output", _OUTPUT.value)
    record = output / f"{stage}.json"
    if record.exists():
        raise UserError(f"{output} holds another run of stage {stage}; give another --output")
    identity = {"stage": stage, "size": size, "minutes": _MINUTES.value, "parts": fitting}
    files.write(record, json.dumps(identity, indent=1) + "\n")
    budgets = scaled_budgets(stage, size, fitting, seconds)
    # A part that keeps to its time is over well before the watchdog would end it.
    parts = [watchdog.Part(name, 2.2 * budgets[name] + 5) for name in fitting]
    left = seconds - (time.monotonic() - begun)
    ended = watchdog.supervise(child_command, parts, left, output / f"{stage}.log")
    files.write(record, json.dumps(identity | {"ended": ended}, indent=1) + "\n")
    for name, how in ended.items():
        print(f"{name:16s}{how}")
    print(f"{output}; then: python -m benchmarks.adopt {output}")


def child_command(names: Sequence[str], seconds: float) -> list[str]:
    """This command again, for the parts `names` within so many seconds."""
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
    return [sys.executable, "-u", "-m", "benchmarks.short_run", *options]


def run_child(stage: str, size: str) -> None:
    """Does the parts of --parts in this process."""
    # PyTorch has its own memory, of which JAX would otherwise take most.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if size == "tiny" and stage == "measure" and shutil.which("nvidia-smi") is None:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    output, seconds, names = Path(_OUTPUT.value), 60 * _MINUTES.value, _PARTS.value
    if stage == "train":
        from benchmarks import short_train

        short_train.main(
            output, size, seconds, _CONFIG.value, _INIT_FROM.value, _FAMILY.value, _CLIPS.value
        )
        return
    from benchmarks.short_measure import Stage

    Stage(output, size, names, scaled_budgets(stage, size, names, seconds)).run()


def nominal(stage: str, size: str) -> dict[str, float]:
    """Seconds of each part of a stage."""
    column = {"gpu": 0, "tiny": 1}[size]
    return {name: float(both[column]) for name, both in BUDGETS[stage].items()}


def fitting_parts(stage: str, size: str, seconds: float) -> list[str]:
    """The parts, from the first on, that fit into the time. Raises UserError where none is useful."""
    if stage == "train":
        least = SHORTEST_TRAINING[size]
        if seconds < least:
            raise UserError(
                f"--minutes={_MINUTES.value:g} is too little to train; give {least / 60:.2g} or more"
            )
        return list(BUDGETS[stage])
    fitting, total = [], 0.0
    for name, part in nominal(stage, size).items():
        total += part
        if total > seconds + 1e-6:
            break
        fitting.append(name)
    left_out = [name for name in BUDGETS[stage] if name not in fitting]
    if "correctness" not in fitting:
        budgets = nominal(stage, size)
        names = list(budgets)
        least = sum(budgets[name] for name in names[: names.index("correctness") + 1])
        there = ", ".join(fitting) or "no part"
        raise UserError(
            f"--minutes={_MINUTES.value:g} is too little: {there} would fit; give {least / 60:.2g}, "
            f"which takes correctness in, or {sum(budgets.values()) / 60:.2g} for all"
        )
    if left_out:
        print(f"no time for {', '.join(left_out)}")
    return fitting


def scaled_budgets(
    stage: str, size: str, names: Sequence[str], seconds: float
) -> dict[str, float]:
    """Seconds of the parts `names`, in proportion, so that together they take `seconds`."""
    budgets = nominal(stage, size)
    factor = seconds / sum(budgets[name] for name in names)
    return {name: factor * budgets[name] for name in names}


def check_packages(stage: str) -> None:
    """Raises UserError where a package that the stage imports is missing."""
    missing = [
        package
        for module, package in NEEDED[stage].items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise UserError(f"stage {stage} needs {', '.join(missing)}; pip install {' '.join(missing)}")


def check_gpu(size: str) -> None:
    """Raises UserError where there is no GPU that JAX can use, unless the size is tiny."""
    if size == "tiny":
        return
    if shutil.which("nvidia-smi") is None:
        raise UserError("no NVIDIA GPU here (no nvidia-smi); --size=tiny runs anywhere")
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True)
    if found.returncode or not found.stdout.strip():
        raise UserError("nvidia-smi finds no GPU; --size=tiny runs anywhere")
    plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin")
    if not any(importlib.util.find_spec(name) for name in plugins):
        name = found.stdout.splitlines()[0]
        raise UserError(
            f"JAX has no CUDA plugin for the {name}; pip install -e '.[cuda13]', "
            "or '.[cuda12]' for CUDA 12"
        )


if __name__ == "__main__":
    run_main(main)
