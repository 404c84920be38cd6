"""The shipped audio tokenizer: 1.35M parameters, trained in 15 minutes on one CPU core."""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.tokenizers.audio import AudioTokenizerConfig
from sora_jax.training.data_config import DataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.tokenizer_run import TokenizerRun


def get_config() -> ConfigDict:
    run = TokenizerRun(
        "audio_tokenizer",
        AudioTokenizerConfig(latent_noise=0.2, latent_weight=5e-4),
        data=DataConfig(clips=4096),
        optim=OptimConfig(lr=2e-3, warmup=100, weight_decay=0.0, ema=0.99),
        train=TrainConfig(steps=3000, batch_size=16, log_every=50, checkpoint_minutes=2.0),
    )
    return ConfigDict(dataclasses.asdict(run))
