"""Does a Haar wavelet transform before the video tokenizer help, or do the tokenizer's convolutions
learn as much from the pixels themselves?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    return Sweep(
        config="experiments/configs/video_tokenizer.py",
        trials=prod(param("tokenizer.haar", {"Haar": True, "pixels": False}), seeds(3)),
        always={"train.steps": 1000, "validation.clips": 128},
        match="steps",
    )
