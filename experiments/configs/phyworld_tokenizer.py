"""The video tokenizer of PhyWorld's balls, 1 x 8 x 8.

Every frame has its own latent, so that three frames can be given.
"""

import dataclasses

from ml_collections import ConfigDict

from sora_jax.tokenizers.video import VideoTokenizerConfig


def get_config() -> ConfigDict:
    # Half of the shipped tokenizer's width: the images are simple, and every frame is encoded.
    tokenizer = VideoTokenizerConfig(
        fine_width=64, coarse_width=96, noise=0.02, motion_weight=20.0, frames_per_latent=1
    )
    return ConfigDict(
        {
            "kind": "video_tokenizer",
            "tokenizer": dataclasses.asdict(tokenizer),
            "data": {
                "source": "playhouse",
                "path": "",
                "format": "phyworld",
                "family": "phyworld_uniform_30k",
                "clips": 16384,
            },
            "optim": {
                "lr": 4e-3,
                "muon": True,
                "warmup": 50,
                "weight_decay": 0.0,
                "ema": 0.995,
                "clip": 1.0,
            },
            "train": {
                "steps": 8000,
                "batch_size": 4,
                "seed": 0,
                "log_every": 20,
                "checkpoint_minutes": 5.0,
            },
        }
    )
