"""A video tokenizer of the whole world: all families, 3.1M parameters, hours on two CPU cores.

    python -m experiments.train_tokenizer --config=experiments/configs/video_tokenizer_world.py \
        --workdir=runs/video_tokenizer --init_from=sora_jax/shipped/video_tokenizer.safetensors

Batches hold about the same number of frames: characters speak at 16 frames/s, 33 to a clip,
and a story has three shots of 17 frames.
"""

from ml_collections import ConfigDict

from experiments.configs import video_tokenizer


def get_config() -> ConfigDict:
    config = video_tokenizer.get_config()
    sets = (
        {"family": "room", "weight": 1.0},
        {"family": "court", "weight": 2.0},  # small balls need the longest
        {"family": "film", "weight": 1.5},
        {"family": "occlude", "weight": 1.0},
        {"family": "talk", "format": "S", "batch_size": 2, "weight": 2.0},
        {"family": "story", "format": "story3", "batch_size": 2, "weight": 2.0},
    )
    config.data = ConfigDict({"sets": tuple({"clips": 4096, **one} for one in sets)})
    config.train.steps = 20_000
    config.optim.schedule = "wsd"  # a run of hours can be made longer
    config.validation.every, config.validation.clips = 1000, 32
    return config
