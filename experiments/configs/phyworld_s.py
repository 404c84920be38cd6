"""Preset S on one data set of PhyWorld, for one GPU: 20,000 steps of 256 clips at 64 px.

PhyWorld (Kang et al. 2024, arXiv:2411.02385) has simulated balls in motion. Here a tokenizer of its
own makes one latent of each frame and 8 x 8 pixels, and the model is a rectified flow that predicts
clean latents x. The model S of the paper has 22.5M parameters, 128 px, the VAE of an image model
and 100,000 steps of DDPM. As in the paper, three frames are given. There is no text and no audio,
so those parts of the network are as small as possible: 25.5M parameters in all. Untrained. A step
is 18.7 TFLOP (`experiments.describe`), so training takes an estimated half hour at a fifth of an
H200's peak. `experiments.phyworld` trains the tokenizer and this model in one command.
"""

import dataclasses
import math

from ml_collections import ConfigDict

from experiments.configs import playhouse_nano
from sora_jax.flow.conditioning import TaskMixture
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig, shift_for_tokens
from sora_jax.modality import FORMATS
from sora_jax.models.presets import PRESETS
from sora_jax.oracles.phyworld import GIVEN
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig


def get_config() -> ConfigDict:
    model = dataclasses.replace(
        PRESETS["S"],
        audio_width=64,
        audio_heads=2,
        exchange_width=64,
        exchange_heads=2,
        frame_tokens=1,
        text_width=32,
        text_heads=1,
        text_layers=1,
        vocabulary=2,
        dtype="bfloat16",
    )
    format = FORMATS["phyworld"]
    tokens = format.video_latents * math.prod(model.grid(format.latent_sides))
    # One clip in twenty has no given frames, so that the scoreboard's unconditional row measures a
    # task that the model was trained on.
    tasks = TaskMixture(
        text=0.05,
        first_frame=0.95,
        continuation=0.0,
        backward=0.0,
        video_to_audio=0.0,
        audio_to_video=0.0,
    )
    flow = FlowConfig(
        output=model.output,
        timesteps=TimestepConfig(shift=shift_for_tokens(tokens)),
        tasks=tasks,
        history_noise=0.0,
        first_latents=GIVEN,
    )
    config = playhouse_nano.get_config()
    config.model = dataclasses.asdict(model)
    config.flow = dataclasses.asdict(flow)
    config.data.update(format="phyworld", path="latents", text_length=1)
    config.optim = dataclasses.asdict(OptimConfig(lr=5e-4, warmup=500, ema=0.9995))
    config.train = dataclasses.asdict(TrainConfig(steps=20_000, batch_size=256, log_every=100))
    return config
