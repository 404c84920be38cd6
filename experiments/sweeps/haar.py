"""Does a Haar transform in front of the video tokenizer help, or do its convolutions learn as much
from the pixels of a block?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    return Sweep(
        config="experiments/configs/video_tokenizer.py",
        trials=prod(param("tokenizer.haar", {"Haar": True, "pixels": False}), seeds(3)),
        always={"train.steps": 1000, "validation.clips": 128},
        match="steps",
    )
