"""7.9M parameters on Playhouse, for minutes on one GPU in `benchmarks.short_run --stage=train`.

The averaged weights take 15.0 MiB in float16. A step of 256 clips takes an estimated 18 ms on
an H100; not measured. `short_run` ignores `train.steps` and trains until its time is over.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import playhouse_nano
from sora_jax.models.presets import PRESETS
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig


def get_config() -> ConfigDict:
    # unroll=1: on a GPU unrolling gains nothing and compiles longer.
    sizes = {"depth": 4, "width": 256, "heads": 8, "mlp_ratio": 2.5, "unroll": 1}
    model = dataclasses.replace(PRESETS["nano"], **sizes)
    optim = OptimConfig(lr=5e-3, muon=True, muon_stacked=True, warmup=200, ema=0.998)
    config = playhouse_nano.get_config()
    config.model = dataclasses.asdict(model)
    config.optim = dataclasses.asdict(optim)
    config.train = dataclasses.asdict(TrainConfig(batch_size=256))
    return config
