"""A folder of procedural videos, a tiny model and tokenizers that go with it."""

import numpy as np
import pytest
from tiny_base import write_base

from experiments.videos import folder as own
from sora_jax.tuning import finetuning


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Twelve videos of three shots of 1.3 seconds."""
    folder = tmp_path_factory.mktemp("videos")
    own.write(folder, count=12, seconds=1.3)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A folder with nano.safetensors, video.safetensors and audio.safetensors."""
    return write_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def settings(base):
    """Settings of the smallest fine-tuning."""
    return {
        "base": str(base / "nano.safetensors"),
        "video_tokenizer": str(base / "video.safetensors"),
        "audio_tokenizer": str(base / "audio.safetensors"),
        "tokenizer_steps": 2,
        "steps": 2,
        "batch_size": 2,
        "previews": 2,
        "min_psnr": -100.0,
    }


@pytest.fixture(scope="session")
def made(videos, settings, tmp_path_factory):
    """A whole fine-tuning, and its folder."""
    workdir = tmp_path_factory.mktemp("run")
    return finetuning.finetune(videos, workdir, **settings), workdir


@pytest.fixture
def rng():
    return np.random.default_rng(0)
