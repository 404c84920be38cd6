"""What a model is made of and what it costs, before anything is trained: parameters, tokens, FLOPs, memory.

    python -m experiments.describe --preset=nano
    python -m experiments.describe --preset=XL --format=S --batch_size=8
    python -m experiments.describe --config=experiments/configs/playhouse_nano.py --config.model.pairs=4

Of a config file it reads `model`, `data.format`, `data.text_length` and `train.batch_size`; the other flags override those.
FLOPs count matrix products (`sora_jax.flops`). Nothing is allocated: a model of 14B parameters is described on a laptop.
"""

from absl import flags
from ml_collections import config_flags

from sora_jax import config as config_lib
from sora_jax.errors import UserError, run_main
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.models.cost import report
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiTConfig

_CONFIG = config_flags.DEFINE_config_file("config", None, "Python file with get_config(); keys as --config.model.pairs=4")
_PRESET = flags.DEFINE_string("preset", None, f"a named size instead of a config file: {', '.join(PRESETS)}")
_FORMAT = flags.DEFINE_string("format", None, f"clip format: {', '.join(FORMATS)}; by default the config's, or the preset's own, or nano")
_BATCH = flags.DEFINE_integer("batch_size", None, "clips in a training step", lower_bound=1)


def read_flags() -> tuple[STDiTConfig, ClipFormat, int, int]:
    """Model, format, batch size and text length from the flags. Raises UserError for what does not exist."""
    if (_PRESET.value is None) == (_CONFIG.value is None):
        raise UserError("nothing to describe, or two things; give either --preset=nano or --config=experiments/configs/NAME.py")
    if _PRESET.value is not None:
        if _PRESET.value not in PRESETS:
            raise UserError(f"--preset={_PRESET.value} does not exist; {config_lib.nearest(_PRESET.value, PRESETS)}")
        model, data, train = PRESETS[_PRESET.value], {}, {}
    else:
        values = config_lib.from_flag(_CONFIG)
        if "model" not in values:
            raise UserError(f"--config has no model, only {', '.join(values)}; describe a config of experiments.train")
        model = config_lib.from_dict(STDiTConfig, values["model"], "config.model")
        data, train = values.get("data", {}), values.get("train", {})
    name = _FORMAT.value or data.get("format") or (_PRESET.value if _PRESET.value in FORMATS else "nano")
    if name not in FORMATS:
        raise UserError(f"format {name!r} does not exist; {config_lib.nearest(name, FORMATS)}")
    return model, FORMATS[name], _BATCH.value or train.get("batch_size", 32), data.get("text_length", 64)


def main(_):
    try:
        print(report(*read_flags()))
    except ValueError as error:
        raise UserError(f"this model does not fit the format: {error}; change config.model.patch or --format") from error


if __name__ == "__main__":
    run_main(main)
