"""The shipped audio tokenizer: 1.35M parameters, nine minutes on one CPU core."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "kind": "audio_tokenizer",
            "tokenizer": {"latent_noise": 0.2, "latent_weight": 5e-4},
            "data": {
                "source": "playhouse",
                "path": "",
                "format": "nano",
                # 0: those of the format
                "height": 0,
                "width": 0,
                "fps": 0.0,
                "seconds": 0.0,
                "clips": 4096,
                "family": "room",
            },
            "optim": {"lr": 2e-3, "warmup": 100, "weight_decay": 0.0, "ema": 0.99, "clip": 1.0},
            "train": {
                "steps": 3000,
                "batch_size": 16,
                "seed": 0,
                "log_every": 50,
                "checkpoint_minutes": 2.0,
            },
        }
    )
