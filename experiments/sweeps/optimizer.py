"""Does Muon learn more than AdamW at equal training FLOPs, and does its learning rate carry over
from one width to the next?
"""

from sora_jax.ablations.sweep import Sweep, chain, param, prod, seeds, zip


def get_sweep() -> Sweep:
    width = zip(
        param("model.width", [96, 192, 384]),
        param("model.heads", {"": 3, " ": 6, "  ": 12}),
    )
    rate = chain(
        zip(param("optim.muon", {"Muon": True}), param("optim.lr", {"5e-3": 5e-3})),
        zip(param("optim.muon", {"AdamW": False}), param("optim.lr", {"1e-3": 1e-3})),
        zip(param("optim.muon", {"AdamW": False}), param("optim.lr", {"3e-3": 3e-3})),
    )
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(width, rate, seeds(3)),
        always={"train.steps": 1500, "data.clips": 8192, "validation.clips": 256},
        within=("model.width",),
        match="steps",
    )
