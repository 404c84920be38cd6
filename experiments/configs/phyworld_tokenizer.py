"""The video tokenizer of PhyWorld's balls: a latent for 1 frame x 8 x 8 pixels.

Every frame has its own latent, so that a model can be given exactly three frames, as in PhyWorld
(Kang et al. 2024, arXiv:2411.02385).
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.tokenizers.video import VideoTokenizerConfig
from sora_jax.training.data_config import DataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.tokenizer_run import TokenizerRun


def get_config() -> ConfigDict:
    run = TokenizerRun(
        "video_tokenizer",
        # Half of the shipped tokenizer's width: the images are simple, and every frame is encoded.
        VideoTokenizerConfig(
            fine_width=64, coarse_width=96, noise=0.02, motion_weight=20.0, frames_per_latent=1
        ),
        data=DataConfig(format="phyworld", family="phyworld_uniform_30k", clips=16384),
        optim=OptimConfig(lr=4e-3, muon=True, warmup=50, weight_decay=0.0, ema=0.995),
        train=TrainConfig(steps=8000, batch_size=4),
    )
    return ConfigDict(dataclasses.asdict(run))
