"""Which attention pattern learns video best at equal training FLOPs: factorised into space and
time, factorised with a memory of all frames, within 3-D windows, or full? And does the answer
change when the model learns audio too?
"""

from sora_jax.ablations.sweep import Sweep, chain, param, prod, seeds, zip

SMALL = {  # 320 video tokens: full attention costs 1.3x of factorised
    "model.width": 128,
    "model.heads": 4,
    "model.patch": 1,
    "train.steps": 2500,
    "data.clips": 8192,
    "validation.clips": 256,
}
GPU = {  # 1,280 video tokens
    "model.width": 256,
    "model.heads": 8,
    "data.height": 128,
    "data.width": 128,
    "train.batch_size": 64,
    "train.steps": 10_000,
    "data.clips": 65_536,
    "optim.muon_stacked": True,
}


def get_sweep() -> Sweep:
    attention = chain(
        param("model.attention", {"factorised": "pure", "windows": "window", "full": "full"}),
        zip(
            param("model.attention", {"factorised": "pure"}),
            param("model.memory", {"memory": True}),
        ),
    )
    silent = zip(
        param("flow.audio_weight", {"silent": 0.0}), param("flow.couple_dropout", {"": 1.0})
    )
    sound = param("flow.audio_weight", {"sound": 1.0})
    return Sweep(
        config="experiments/configs/playhouse_nano.py",
        trials=prod(chain(sound, silent), attention, seeds(3)),
        always=SMALL,
        sizes={"gpu": GPU},
        measure="val/video_loss",
        within=("flow.audio_weight",),
        match="steps",
        suites=("facts",),
        prompts=64,
    )
