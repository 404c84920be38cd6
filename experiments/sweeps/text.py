"""Does a model that attends to the words of the prompt learn more than one that is only modulated
by the pooled prompt (adaLN), at equal training FLOPs?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    attends = param("model.text_attention", {"attention to words": True, "adaLN alone": False})
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(attends, seeds(3)),
        always={"train.steps": 1000, "data.clips": 4096, "validation.clips": 256},
        match="steps",
        suites=("facts",),  # whether clips show what the words say
        prompts=64,
    )
