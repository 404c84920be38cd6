r"""Train a tokenizer on Playhouse or on your own videos, on any device.

    python -m experiments.train_tokenizer --config=experiments/configs/video_tokenizer.py \
        --workdir=runs/video_tokenizer
    python -m experiments.train_tokenizer --config=experiments/configs/audio_tokenizer.py \
        --workdir=runs/audio_tokenizer

Training starts from random weights, or from those of --init_from. Scenes of Playhouse, the
synthetic world, are drawn on the host and rendered inside the training step. With
--config.data.source=video_folder, --config.data.path is a folder of two or more videos (read as by
experiments.build_data, into WORKDIR/clips), or a data set that was built before. A registered
source (--import) also works: the tokenizer trains on the first data.clips of its clips and is
scored on its split val.

The same command continues a stopped run from its last checkpoint. At the end,
WORKDIR/weights.safetensors holds the averaged weights, with their latent statistics and
held-out scores, and WORKDIR/round_trip.png shows a held-out clip of each set before and after.
"""

from collections.abc import Sequence

from absl import flags

from experiments import training_flags
from sora_jax import config as config_lib
from sora_jax.cli import run_main

flags.adopt_module_key_flags(training_flags)


def main(_: Sequence[str]) -> None:
    where = training_flags.folder_and_start()
    values = config_lib.from_flag(training_flags.CONFIG)
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.training.tokenizer import train_tokenizer
    from sora_jax.training.tokenizer_run import tokenizer_run

    trained = train_tokenizer(tokenizer_run(values), *where)
    scores = ", ".join(f"{name} {value:.4g}" for name, value in trained.scores.items())
    print(f"{trained.weights} ({trained.fingerprint}): {scores}")


if __name__ == "__main__":
    run_main(main)
