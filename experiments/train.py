r"""Train the diffusion transformer.

    python -m experiments.train --config=experiments/configs/playhouse_nano.py --workdir=runs/nano
    python -m experiments.train --config=experiments/configs/playhouse_nano.py \
        --config.train.steps=200 --workdir=runs/short
    python -m experiments.train --config=experiments/configs/playhouse_nano.py \
        --config.data.source=video_folder \
        --config.data.path=MY_VIDEOS --init_from=runs/nano/weights.safetensors --workdir=runs/mine

The same command continues a stopped run from its last checkpoint, bitwise as if it had not
stopped. At the end it writes WORKDIR/weights.safetensors: the averaged weights, with the
configuration, the loss curve and a description of the training data.

--config.adapt.lora_rank=4 trains only low-rank updates (LoRA) of the weights of --init_from, and
writes WORKDIR/lora.safetensors. --config.adapt.freeze="('audio',)" keeps parts of the model fixed.

tensorboard --logdir=WORKDIR/tensorboard (pip install -e '.[tensorboard]') shows losses by
modality and noise level, speed and memory. --config.profile.start=50 profiles five steps from
step 50 on with JAX's profiler. --config.sample.every=500 samples clips of a few prompts every
500 steps, and also writes them into WORKDIR/samples.

Several hosts: run the same command in each process. Under SLURM (experiments/launch/train.sbatch),
on GKE and on TPU pods add --coordinator=auto. Elsewhere add --coordinator=HOST:PORT of process 0,
--num_processes=N and --process_id=I. All processes must see the same WORKDIR and the same
data: the latents of config.data.path, or those that the run writes into WORKDIR/data.
"""

from collections.abc import Sequence

from absl import flags

from experiments import training_flags
from sora_jax import config as config_lib
from sora_jax.cli import run_main
from sora_jax.errors import UserError

flags.adopt_module_key_flags(training_flags)

_PARTLY = flags.DEFINE_bool(
    "partly",
    False,
    "Take of --init_from the parameters whose shapes agree, and list the others. Latents may be of "
    "other tokenizers.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "For several processes: HOST:PORT of process 0, or auto under SLURM, on GKE and on TPU pods. "
    "Default: one process.",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Number of processes; needed with --coordinator=HOST:PORT."
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Number of this process, from 0; needed with --coordinator=HOST:PORT."
)


def main(_: Sequence[str]) -> None:
    where = training_flags.folder_and_start()
    values = config_lib.from_flag(training_flags.CONFIG)
    if "kind" in values:
        raise UserError(
            f"--config is for the {values['kind']}; give it to experiments.train_tokenizer, or "
            "here one with a model"
        )
    # Imported after the flags are checked, so that a wrong flag is reported before JAX loads.
    from sora_jax.parallel import processes
    from sora_jax.training.run import Run
    from sora_jax.training.train import train

    run = config_lib.from_dict(Run, values)
    # Must come before any use of a device.
    processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    with processes.leaving_on_error():
        trained = train(run, *where, partly=_PARTLY.value)
        if trained:
            print(
                f"{trained.weights} ({trained.fingerprint}): {trained.steps} steps, "
                f"loss {trained.loss:.4f}"
            )


if __name__ == "__main__":
    run_main(main)
