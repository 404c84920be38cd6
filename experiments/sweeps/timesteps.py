"""How should the noise levels of training be distributed, and should the video and the audio of a
clip share one level?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    shift = param("flow.timesteps.shift", [1.0, 2.0, 4.0])
    shared = param("flow.shared_level", {"own levels": 0.0, "half shared": 0.5, "shared": 1.0})
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(shift, shared, seeds(3)),
        always={"train.steps": 1500, "data.clips": 8192, "validation.clips": 256},
        suites=("facts", "sync"),  # losses over different noise levels cannot be compared
        prompts=64,
    )
