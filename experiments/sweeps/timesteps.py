"""How should training spread its noise levels, and should video and audio share one?"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    shift = param("flow.timesteps.shift", [1.0, 2.0, 4.0])
    shared = param("flow.shared_level", {"own levels": 0.0, "half shared": 0.5, "shared": 1.0})
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(shift, shared, seeds(3)),
        always={"train.steps": 1500, "data.clips": 8192, "validation.clips": 256},
        suites=("facts", "sync"),  # a loss over other levels is another measure: read the facts
        prompts=64,
    )
