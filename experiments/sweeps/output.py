"""Should the network predict the clean latents x, or the velocity v?"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds, zip


def get_sweep() -> Sweep:
    output = zip(
        param("model.output", {"x": "x", "v": "v"}), param("flow.output", {"": "x", " ": "v"})
    )
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(output, seeds(3)),
        always={"train.steps": 1000, "data.clips": 4096, "validation.clips": 256},
        suites=("facts",),
        prompts=64,
    )
