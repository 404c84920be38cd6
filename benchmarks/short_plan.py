"""Plans a short run (`benchmarks.short_run`): the parts of a stage that fit into its time, and the
packages and device that they need.
"""

import importlib.util
import math
import shutil
import subprocess
from collections.abc import Sequence

from sora_jax.errors import UserError

# Seconds of each part: (full size on a GPU with 16 cores, tiny size on two cores).
BUDGETS: dict[str, dict[str, tuple[float, float]]] = {
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
        "torch": (38, 25),
        "words": (12, 12),
    },
    "train": {"train": (420, 60)},
}
NEEDED = {  # imported module -> package that contains it
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
SHORTEST_TRAINING = {"gpu": 90.0, "tiny": 5.0}  # size -> least seconds of stage train


def nominal(stage: str, size: str) -> dict[str, float]:
    """Returns {part: seconds} of a stage ("measure" or "train") at a size ("gpu" or "tiny")."""
    column = {"gpu": 0, "tiny": 1}[size]
    return {name: float(both[column]) for name, both in BUDGETS[stage].items()}


def fitting_parts(stage: str, size: str, seconds: float) -> list[str]:
    """Returns the names of the parts of a stage, from the first on, that fit into `seconds`.

    Raises:
        UserError: the time is too short for stage train, or for the part correctness of stage
            measure.
    """
    if stage == "train":
        minimum = SHORTEST_TRAINING[size]
        if seconds < minimum:
            raise UserError(
                f"--minutes={seconds / 60:g} is too short to train; give at least "
                f"{_minutes(minimum)}"
            )
        return list(BUDGETS[stage])
    fitting, total = [], 0.0
    for name, budget in nominal(stage, size).items():
        total += budget
        if total > seconds + 1e-6:
            break
        fitting.append(name)
    left_out = [name for name in BUDGETS[stage] if name not in fitting]
    if "correctness" not in fitting:
        budgets = nominal(stage, size)
        names = list(budgets)
        minimum = sum(budgets[name] for name in names[: names.index("correctness") + 1])
        names_text = ", ".join(fitting) or "no part"
        raise UserError(
            f"--minutes={seconds / 60:g} is too short: {names_text} would fit; give at least "
            f"{_minutes(minimum)} to include correctness, or {_minutes(sum(budgets.values()))} "
            "for all"
        )
    if left_out:
        print(f"no time for {', '.join(left_out)}")
    return fitting


def _minutes(seconds: float) -> str:
    """Formats seconds as tenths of a minute, rounded up, so that the result is enough."""
    return f"{math.ceil(seconds / 6) / 10:g}"


def scaled_budgets(stage: str, size: str, names: Sequence[str], seconds: float) -> dict[str, float]:
    """Returns {part: seconds} of the parts `names`, scaled so that they sum to `seconds`."""
    budgets = nominal(stage, size)
    factor = seconds / sum(budgets[name] for name in names)
    return {name: factor * budgets[name] for name in names}


def check_packages(stage: str) -> None:
    """Raises UserError if a package that the stage imports is missing."""
    missing = [
        package
        for module, package in NEEDED[stage].items()
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise UserError(
            f"stage {stage} needs {', '.join(missing)}; pip install {' '.join(missing)}"
        )


def check_gpu(size: str) -> None:
    """Raises UserError if JAX can use no GPU, unless the size is tiny."""
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
