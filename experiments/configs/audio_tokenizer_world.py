"""An audio tokenizer for all families of scenes: impacts, background sounds and voices.

    python -m experiments.train_tokenizer --config=experiments/configs/audio_tokenizer_world.py \
        --workdir=runs/audio_tokenizer --init_from=sora_jax/shipped/audio_tokenizer.safetensors
"""

from ml_collections import ConfigDict

from experiments.configs import audio_tokenizer


def get_config() -> ConfigDict:
    config = audio_tokenizer.get_config()
    sets = (
        {"family": "room", "weight": 1.0},
        {"family": "court", "weight": 0.5},
        {"family": "film", "weight": 1.0},
        {"family": "talk", "format": "S", "weight": 3.0},
        {"family": "story", "format": "story3", "batch_size": 6, "weight": 2.0},
    )
    config.data = ConfigDict({"sets": tuple({"clips": 4096, **one} for one in sets)})
    config.train.steps = 20_000
    # Warmup, constant rate, decay: a run can be extended from the checkpoint before the decay.
    config.optim.schedule = "wsd"
    config.validation.every, config.validation.clips = 1000, 32
    return config
