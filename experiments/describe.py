r"""Describe a model without running it: parameters, tokens, FLOPs and memory of a training step.

    python -m experiments.describe --preset=nano
    python -m experiments.describe --preset=XL --format=S --batch_size=8
    python -m experiments.describe --config=experiments/configs/playhouse_nano.py \
        --config.model.depth=4
    python -m experiments.describe --config=experiments/configs/xl.py --devices=512

Nothing is allocated: a laptop can describe a model of 14B parameters. FLOPs count matrix
products (`sora_jax.flops`): Muon's update has some; AdamW's has none and counts 0.

Of a config file the command reads `model`, `data.format`, `data.text_length`,
`train.batch_size`, `optim` and `mesh`; --format and --batch_size override these. A preset has
no optimizer and is described with AdamW. --devices adds a list of every parameter with its
shape, its sharding on the config's mesh and its bytes on each device. Memory is the sum of
parameters, gradients, optimizer state and the activations kept for the backward pass.
`experiments.compile_only` gives the memory of a compiled step.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from sora_jax import config as config_lib
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.cost import report
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiTConfig
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.data_config import ModelDataConfig
from sora_jax.training.optim import OptimConfig, make_optimizer
from sora_jax.training.placement import placement

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
    "batch_size", None, "Clips of a training step. Default: the config's, or 32.", lower_bound=1
)


def read_flags() -> tuple[tuple[STDiTConfig, ClipFormat, int, int], OptimConfig, MeshConfig]:
    """Returns (model, format, batch size, text length), optimizer and mesh from the flags.

    Raises:
        UserError: the preset or format does not exist, or the config has no model.
    """
    if (_PRESET.value is None) == (_CONFIG.value is None):
        raise UserError(
            "nothing to describe, or two things; give either --preset=nano or "
            "--config=experiments/configs/NAME.py"
        )
    if _PRESET.value is not None:
        if _PRESET.value not in PRESETS:
            raise UserError(
                f"--preset={_PRESET.value} does not exist; "
                f"{config_lib.nearest(_PRESET.value, PRESETS)}"
            )
        model, data, train = PRESETS[_PRESET.value], {}, {}
        optim, mesh = OptimConfig(), MeshConfig()
    else:
        values = config_lib.from_flag(_CONFIG)
        if "model" not in values:
            raise UserError(
                f"--config has no model, only {', '.join(values)}; describe a config of "
                "experiments.train"
            )
        model = config_lib.from_dict(STDiTConfig, values["model"], "config.model")
        data, train = values.get("data", {}), values.get("train", {})
        optim = config_lib.from_dict(OptimConfig, values.get("optim", {}), "config.optim")
        mesh = config_lib.from_dict(MeshConfig, values.get("mesh", {}), "config.mesh")
    if _PRESET.value in FORMATS:
        data = {**data, "format": _PRESET.value}
    if _FORMAT.value:
        data = {**data, "format": _FORMAT.value}
    # Where the data are does not change what a model costs.
    data = config_lib.from_dict(
        ModelDataConfig, {**data, "source": "playhouse", "path": ""}, "config.data"
    )
    batch_size = _BATCH.value or train.get("batch_size", 32)
    return (model, data.mixture[0].clip_format, batch_size, data.text_length), optim, mesh


def main(_: Sequence[str]) -> None:
    settings, optim, mesh = read_flags()
    optimizer = make_optimizer(optim, steps=1)  # FLOPs do not depend on the number of steps
    try:
        layout = placement(*settings[:3], mesh, _DEVICES.value) if _DEVICES.value else ""
        if not layout and mesh != MeshConfig():
            layout = (
                "the mesh of the config was ignored: give the number of devices, such as "
                "--devices=512"
            )
        print(report(*settings, optimizer) + f"\n\n{layout}" * bool(layout))
    except ValueError as error:
        raise UserError(
            f"this model does not fit the format: {error}; change config.model.patch or --format"
        ) from error


if __name__ == "__main__":
    run_main(main)
