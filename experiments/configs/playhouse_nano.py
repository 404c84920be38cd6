"""Preset nano on rooms of Playhouse, the synthetic world, for two CPU cores.

The shipped model was trained by two runs of it, the second from the weights of the first
(sora_jax/shipped/README.md). Every key can be overridden on the command line:
--config.train.steps=200.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig
from sora_jax.models.presets import PRESETS
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.adapt import AdaptConfig
from sora_jax.training.data_config import ModelDataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.run import TextConfig
from sora_jax.training.watch import ProfileConfig, SampleConfig, ValidationConfig


def get_config() -> ConfigDict:
    model = PRESETS["nano"]
    return ConfigDict(
        {
            "model": dataclasses.asdict(model),
            # A shift of 2 moves the noise levels of training towards noise: a clip's content is
            # decided at high noise, and a short run should concentrate there.
            "flow": dataclasses.asdict(
                FlowConfig(output=model.output, timesteps=TimestepConfig(shift=2.0))
            ),
            # path: latents of experiments.precompute. If empty, the latents of `clips` Playhouse
            # clips are computed once into WORKDIR/data. With source="video_folder", path may also
            # be a folder of videos, or a set of experiments.build_data.
            # --config.data.width=96 --config.data.fps=24 change the format.
            "data": dataclasses.asdict(ModelDataConfig(text_length=48)),
            "optim": dataclasses.asdict(OptimConfig(lr=5e-3, muon=True, warmup=100, ema=0.998)),
            "train": dataclasses.asdict(TrainConfig(steps=7500, batch_size=16)),
            # --config.adapt.lora_rank=4: low-rank updates of the weights of --init_from
            "adapt": dataclasses.asdict(AdaptConfig()),
            # --config.text.t5=FOLDER: features of the text encoder T5 in place of word tokens
            "text": dataclasses.asdict(TextConfig()),
            # --config.mesh.fsdp=8: the same run on eight devices
            "mesh": dataclasses.asdict(MeshConfig()),
            # --config.profile.start=50: JAX's profiler records some steps from step 50 on
            "profile": dataclasses.asdict(ProfileConfig()),
            # --config.validation.every=500: the loss on held-out clips
            "validation": dataclasses.asdict(ValidationConfig()),
            # --config.sample.every=500: clips sampled during training
            "sample": dataclasses.asdict(SampleConfig()),
        }
    )
