"""Does a second pair of blocks, spatial and temporal, lower the loss within 50 steps?"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep():
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(param("model.depth", [1, 2]), seeds(2)),
        always={"train.steps": 50, "optim.warmup": 10, "optim.ema": 0.9, "data.clips": 64},
    )
