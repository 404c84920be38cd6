"""Preset 14B at 61 frames of 512 px, for a pod of 512 TPUs.

Untrained; for experiments.compile_only.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import xl
from sora_jax.models.presets import PRESETS
from sora_jax.parallel.mesh import MeshConfig


def get_config() -> ConfigDict:
    config = xl.get_config()
    config.model = dataclasses.asdict(PRESETS["14B"])
    config.optim.update(lr=1e-4)
    config.mesh = dataclasses.asdict(MeshConfig(fsdp=256))
    return config
