"""Flags of a training run, shared by the commands that train: configuration, folder and start.

They are defined here once; a command adopts them as its own (`flags.adopt_module_key_flags`).
"""

from absl import flags
from ml_collections import config_flags

from sora_jax.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with get_config(); override keys as --config.train.steps=200"
)
WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run, for checkpoints, metrics and weights: new, or that of a stopped run. "
    "Required.",
)
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Weights of the same config to start from. Default: random initial weights."
)
CONTINUE_FROM = flags.DEFINE_string(
    "continue_from",
    None,
    "Weights that this run wrote earlier, in another workdir: the run goes on at their step, with "
    "new moments of the optimizer. Default: none.",
)
EXPORT = flags.DEFINE_bool(
    "export",
    False,
    "Write WORKDIR/weights.safetensors from the newest checkpoint, and train no further.",
)


def folder_and_start() -> tuple[str, str | None, str | None, bool]:
    """Returns the values of --workdir, --init_from, --continue_from and --export. Raises UserError
    without a workdir.
    """
    if not WORKDIR.value:
        raise UserError(
            "--workdir is missing; give a directory for checkpoints, metrics and weights"
        )
    return WORKDIR.value, INIT_FROM.value, CONTINUE_FROM.value, EXPORT.value
