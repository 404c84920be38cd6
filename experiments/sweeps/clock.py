"""Should the positions of rotary embeddings be times in seconds or indices of latents, if a model
learns several frame rates?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds

RATES = ({"format": "nano"}, {"format": "nano", "fps": 16.0}, {"format": "nano", "fps": 24.0})


def get_sweep() -> Sweep:
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(
            param("model.clock", {"seconds": "seconds", "index": "index"}),
            seeds(3),
        ),
        always={
            "train.steps": 1500,
            "data.sets": tuple({"family": "room", "clips": 2048, **rate} for rate in RATES),
            "validation.clips": 128,
        },
    )
