"""Should the video and the audio stream of the model attend to each other, only one of them to the
other, or neither?
"""

from sora_jax.ablations.sweep import Sweep, param, prod, seeds


def get_sweep() -> Sweep:
    reads = {"both": "both", "video reads audio": "to_video", "audio reads video": "to_audio"}
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(param("model.exchange", {**reads, "neither": "none"}), seeds(3)),
        always={"train.steps": 1000, "data.clips": 4096, "validation.clips": 256},
        match="steps",
        suites=("sync", "facts"),  # a sound may have a low loss and still come at the wrong time
        prompts=64,
    )
