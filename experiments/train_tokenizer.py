r"""Train a tokenizer on Playhouse or on your own videos, on any device.

    python -m experiments.train_tokenizer --config=experiments/configs/video_tokenizer.py \
        --workdir=runs/video_tokenizer
    python -m experiments.train_tokenizer --config=experiments/configs/audio_tokenizer.py \
        --workdir=runs/audio_tokenizer

Training starts from new weights, or from those of --init_from. Scenes are drawn on the host
and rendered inside the training step. With --config.data.source=video_folder, data.path is a
folder of two or more videos (read as by experiments.build_data, into WORKDIR/clips), or a data
set built before. A registered source (--import) also works: the tokenizer trains on
data.clips of its clips and is scored on its split val.

The same command continues a stopped run from its last checkpoint. At the end,
WORKDIR/weights.safetensors holds the averaged weights, with their latent statistics and
held-out scores, and WORKDIR/round_trip.png shows a held-out clip of each set before and after.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from sora_jax import config as config_lib
from sora_jax.cli import run_main
from sora_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Python file with get_config(); override keys as --config.train.steps=200"
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run, for checkpoints, metrics and weights: new, or that of a stopped run. "
    "Required.",
)
_INIT_FROM = flags.DEFINE_string(
    "init_from",
    None,
    "Weights of a tokenizer of the same config to start from. Default: random initial weights.",
)
_CONTINUE_FROM = flags.DEFINE_string(
    "continue_from",
    None,
    "Weights that this run wrote earlier, in another workdir: the run goes on at their step, with "
    "new moments of the optimizer. Default: none.",
)
_EXPORT = flags.DEFINE_bool(
    "export",
    False,
    "Write WORKDIR/weights.safetensors from the newest checkpoint, and train no further.",
)


def main(_: Sequence[str]) -> None:
    if not _WORKDIR.value:
        raise UserError(
            "--workdir is missing; give a directory for checkpoints, metrics and weights"
        )
    values = config_lib.from_flag(_CONFIG)
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.training.tokenizer import train_tokenizer
    from sora_jax.training.tokenizer_run import tokenizer_run

    trained = train_tokenizer(
        tokenizer_run(values), _WORKDIR.value, _INIT_FROM.value, _CONTINUE_FROM.value, _EXPORT.value
    )
    scores = ", ".join(f"{name} {value:.4g}" for name, value in trained.scores.items())
    print(f"{trained.weights} ({trained.fingerprint}): {scores}")


if __name__ == "__main__":
    run_main(main)
