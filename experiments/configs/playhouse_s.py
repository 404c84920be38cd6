"""Preset S on rooms of Playhouse at 33 frames of 64 px and 16 fps, for one GPU.

--config.data.path may be latents of experiments.precompute --format=S. By default, the latents of
20,000 clips are computed first.
"""

import dataclasses
import math

from ml_collections import ConfigDict

from experiments.configs import playhouse_nano
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig, shift_for_tokens
from sora_jax.modality import FORMATS
from sora_jax.models.presets import PRESETS
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig


def get_config() -> ConfigDict:
    model, format = PRESETS["S"], FORMATS["S"]
    tokens = format.video_latents * math.prod(model.grid(format.latent_sides))
    config = playhouse_nano.get_config()
    config.model = dataclasses.asdict(model)
    config.flow = dataclasses.asdict(
        FlowConfig(output=model.output, timesteps=TimestepConfig(shift=shift_for_tokens(tokens)))
    )
    config.data.update(format="S", clips=20_000)
    config.optim = dataclasses.asdict(OptimConfig(lr=5e-4, warmup=1000, ema=0.9995))
    config.train = dataclasses.asdict(TrainConfig(steps=100_000, batch_size=128, log_every=100))
    return config
