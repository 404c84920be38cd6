"""Preset XL at 61 frames of 512 px, for pods of 256 and 512 TPUs.

Untrained; for experiments.compile_only. The mesh axis `fsdp`, over which parameters are sharded,
has 64 devices, because 64 divides the widths of the video and the audio stream, 1152 and 576. The
other devices of a pod form the axis `data`, over which only the batch is sharded.
"""

import dataclasses
import math

from ml_collections import ConfigDict

from experiments.configs import playhouse_nano
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig, shift_for_tokens
from sora_jax.modality import FORMATS
from sora_jax.models.presets import PRESETS
from sora_jax.parallel.mesh import MeshConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig


def get_config() -> ConfigDict:
    model, format = PRESETS["XL"], FORMATS["XL"]
    tokens = format.video_latents * math.prod(model.grid(format.latent_sides))
    config = playhouse_nano.get_config()
    config.model = dataclasses.asdict(model)
    config.flow = dataclasses.asdict(
        FlowConfig(output=model.output, timesteps=TimestepConfig(shift=shift_for_tokens(tokens)))
    )
    config.data.update(source="video_folder", path="latents", format="XL", text_length=128)
    config.optim = dataclasses.asdict(OptimConfig(lr=2e-4, warmup=1000, ema=0.9999))
    config.train = dataclasses.asdict(
        TrainConfig(steps=400_000, batch_size=512, log_every=100, checkpoint_minutes=20.0)
    )
    config.mesh = dataclasses.asdict(MeshConfig(fsdp=64))
    return config
