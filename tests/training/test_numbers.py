"""Numbers that cannot train: each is refused by its name, in Python and in a configuration."""

import dataclasses
import math

import pytest

from sora_jax import config
from sora_jax.errors import UserError
from sora_jax.flow.conditioning import TaskMixture
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.timesteps import TimestepConfig
from sora_jax.models.st_dit_config import STDiTConfig
from sora_jax.tokenizers.audio import AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizerConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.run import Run
from sora_jax.training.watch import SampleConfig

OUTSIDE = [
    (OptimConfig, {"lr": -1e-3}, "lr=-0.001; give a number above 0"),
    (OptimConfig, {"lr": 0.0}, "lr=0.0; give a number above 0"),
    (OptimConfig, {"clip": 0.0}, "clip=0.0; give a number above 0"),
    (OptimConfig, {"eps": 0.0}, "eps=0.0; give a number above 0"),
    (OptimConfig, {"b1": 1.0}, "b1=1.0; give a number in [0, 1)"),
    (OptimConfig, {"b2": 1.0}, "b2=1.0; give a number in [0, 1)"),
    (OptimConfig, {"b2": -0.1}, "b2=-0.1; give a number in [0, 1)"),
    (OptimConfig, {"ema": 1.0}, "ema=1.0; give a number in [0, 1)"),
    (OptimConfig, {"ema": 1.5}, "ema=1.5; give a number in [0, 1)"),
    (OptimConfig, {"final": 1.1}, "final=1.1; give a number in [0, 1]"),
    (OptimConfig, {"weight_decay": -0.1}, "weight_decay=-0.1; give 0 or more"),
    (OptimConfig, {"warmup": -1}, "warmup=-1; give 0 or more"),
    (OptimConfig, {"accumulate": 0}, "accumulate=0; give 1 or more"),
    (OptimConfig, {"muon_stacked": True}, "muon_stacked=True changes nothing without Muon"),
    (FlowConfig, {"text_dropout": 1.5}, "text_dropout=1.5; give a number in [0, 1]"),
    (FlowConfig, {"history_noise": -0.1}, "history_noise=-0.1; give a number in [0, 1]"),
    (FlowConfig, {"audio_weight": -1.0}, "audio_weight=-1.0; give 0 or more"),
    (FlowConfig, {"first_latents": 0}, "first_latents=0; give 1 or more"),
    (TimestepConfig, {"shift": 0.0}, "shift=0.0; give a number above 0"),
    (TimestepConfig, {"uniform": 2.0}, "uniform=2.0; give a number in [0, 1]"),
    (TaskMixture, {"backward": -0.1}, "backward=-0.1; give 0 or more"),
    (
        TaskMixture,
        dict.fromkeys((f.name for f in dataclasses.fields(TaskMixture)), 0.0),
        "the weights of all tasks are 0",
    ),
    (VideoTokenizerConfig, {"fine_width": 0}, "fine_width=0; give 1 or more"),
    (AudioTokenizerConfig, {"latent_noise": -0.1}, "latent_noise=-0.1; give 0 or more"),
]


@pytest.mark.parametrize("cls, values, message", OUTSIDE)
def test_a_number_out_of_range_is_refused_by_name(cls, values, message):
    with pytest.raises(ValueError) as error:
        cls(**values)
    assert message in str(error.value)
    with pytest.raises(UserError) as refusal:
        config.from_dict(cls, values, "config.part")
    assert f"config.part: {message}" in str(refusal.value)


CONFIGS = (OptimConfig, FlowConfig, TimestepConfig, TaskMixture, TrainConfig, SampleConfig)
CONFIGS += (STDiTConfig, VideoTokenizerConfig, AudioTokenizerConfig)
FLOATS = [
    (cls, f.name) for cls in CONFIGS for f in dataclasses.fields(cls) if f.type in (float, "float")
]


@pytest.mark.parametrize("cls, name", FLOATS)
def test_nan_and_infinity_are_refused_in_every_field(cls, name):
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"{name}={value}; give "):
            cls(**{name: value})
        with pytest.raises(UserError, match=f"config.{name}={value} is not a finite number"):
            config.from_dict(cls, {name: value})
    with pytest.raises(UserError, match="is not a finite number"):
        config.from_dict(cls, {name: 10**400})


def test_the_numbers_of_the_defaults_pass():
    assert config.from_dict(Run, config.to_dict(Run())) == Run()
    assert len(FLOATS) > 25
