"""A video tokenizer for all families of scenes: 3.1M parameters, hours on two CPU cores.

    python -m experiments.train_tokenizer --config=experiments/configs/video_tokenizer_world.py \
        --workdir=runs/video_tokenizer --init_from=sora_jax/shipped/video_tokenizer.safetensors

Batch sizes are chosen so that all batches hold about the same number of frames: a clip has 33
frames in the family talk, 51 in story and 17 in the others.
"""

from ml_collections import ConfigDict

from experiments.configs import video_tokenizer


def get_config() -> ConfigDict:
    config = video_tokenizer.get_config()
    sets = (
        {"family": "room", "weight": 1.0},
        {"family": "court", "weight": 2.0},  # its small balls take longest to learn
        {"family": "film", "weight": 1.5},
        {"family": "occlude", "weight": 1.0},
        {"family": "talk", "format": "S", "batch_size": 2, "weight": 2.0},
        {"family": "story", "format": "story3", "batch_size": 2, "weight": 2.0},
    )
    config.data = ConfigDict({"sets": tuple({"clips": 4096, **one} for one in sets)})
    config.train.steps = 20_000
    # Warmup, constant rate, decay: a run can be extended from the checkpoint before the decay.
    config.optim.schedule = "wsd"
    config.validation.every, config.validation.clips = 1000, 32
    return config
