r"""Describe a model without running it: parameters, tokens, FLOPs and memory of a training step.

    python -m experiments.describe --preset=nano
    python -m experiments.describe --preset=XL --format=S --batch_size=8
    python -m experiments.describe --config=experiments/configs/playhouse_nano.py \
        --config.model.depth=4
    python -m experiments.describe --config=experiments/configs/xl.py --devices=512

Nothing is allocated, so a laptop can describe a model of 14B parameters. FLOPs are those of matrix
products (`sora_jax.flops`). The optimizer's update is included: that of Muon has some, that of
AdamW none.

--format and --batch_size override those of a config file. A mixture is described for one of its
data sets (--set). A preset has no optimizer and is described with AdamW. --devices adds a list of
every parameter with its shape, its sharding on the config's mesh and its bytes on each device.
Memory is the sum of parameters, gradients, optimizer state and the activations kept for the
backward pass. `experiments.compile_only` gives the memory of a compiled step.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from sora_jax import config as config_lib
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.models.cost import report
from sora_jax.models.presets import PRESETS
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.optim import make_optimizer
from sora_jax.training.placement import placement
from sora_jax.training.run import Run

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with get_config(); override keys as --config.model.depth=4"
)
_PRESET = flags.DEFINE_string(
    "preset", None, f"Model of a named size, instead of a config file: {', '.join(PRESETS)}."
)
_FORMAT = flags.DEFINE_string(
    "format",
    None,
    f"Clip format: {', '.join(FORMATS)}. Default: the config's; of a preset the format of its "
    "name, else nano.",
)
_DEVICES = flags.DEFINE_integer(
    "devices",
    None,
    "Number of devices: list every parameter with its sharding on a mesh of them (config.mesh).",
    lower_bound=1,
)
_BATCH = flags.DEFINE_integer(
    "batch_size",
    None,
    "Clips of a training step, of a mixture those of its first set. Default: the config's, or 32.",
    lower_bound=1,
)
_SET = flags.DEFINE_string(
    "set", "", "Set of a mixture to describe, such as film@nano. Default: its first."
)


def read_flags() -> Run:
    """Returns the run that the flags select, with a single data set.

    Raises:
        UserError: the preset, format or set does not exist, or the config has no model.
    """
    if (_PRESET.value is None) == (_CONFIG.value is None):
        raise UserError(
            "nothing to describe, or two things; give either --preset=nano or "
            "--config=experiments/configs/NAME.py"
        )
    values: dict[str, Any] = {}
    if _CONFIG.value is not None:
        values = config_lib.from_flag(_CONFIG)
        if "model" not in values:
            raise UserError(
                f"--config has no model, only {', '.join(values)}; describe a config of "
                "experiments.train"
            )
    elif (preset := _PRESET.value or "") not in PRESETS:
        raise UserError(f"--preset={preset} does not exist; {config_lib.nearest(preset, PRESETS)}")
    # Where the data are does not change what a model costs.
    data = {**values.get("data", {}), "source": "playhouse", "path": ""}
    format = _FORMAT.value or (_PRESET.value in FORMATS and _PRESET.value)
    data |= {"format": format} if format else {}
    train = values.get("train", {}) | ({"batch_size": _BATCH.value} if _BATCH.value else {})
    run = config_lib.from_dict(Run, {**values, "data": data, "train": train})
    if _PRESET.value:
        run = dataclasses.replace(run, model=PRESETS[_PRESET.value])
    return run.on_set(_SET.value)


def main(_: Sequence[str]) -> None:
    run = read_flags()
    (one,) = run.data.mixture
    settings = run.model, one.clip_format, run.train.batch_size
    optimizer = make_optimizer(run.optim, steps=1)  # FLOPs do not depend on the number of steps
    try:
        layout = placement(*settings, run.mesh, _DEVICES.value) if _DEVICES.value else ""
        if not layout and run.mesh != MeshConfig():
            layout = "the mesh of the config was ignored; to see it, give --devices=512"
        text = report(*settings, run.data.text_length, optimizer)
    except ValueError as error:
        raise UserError(
            f"this model does not fit the format: {error}; change config.model.patch or --format"
        ) from error
    print(
        "\n\n".join(filter(None, (f"set: {one.name}\n\n{text}" if run.data.sets else text, layout)))
    )


if __name__ == "__main__":
    run_main(main)
