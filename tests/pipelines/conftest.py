"""A tiny model and tokenizers with random weights on disk: every part is real, and nothing they
make means anything.
"""

import pytest
from flax import nnx
from toy_formats import FORM, STORY, WIDE
from toy_weights import random_state

from sora_jax import weights
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.pipelines.load import load_pipeline
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig
from sora_jax.worlds.playhouse.captions import WORDS


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with nano.safetensors, video.safetensors and audio.safetensors."""
    path = tmp_path_factory.mktemp("weights")
    model = STDiTConfig(
        depth=1,
        width=32,
        heads=2,
        mlp_ratio=1.0,
        audio_width=32,
        audio_heads=2,
        exchange_width=16,
        exchange_heads=1,
        frame_tokens=1,
        text_width=16,
        text_heads=1,
        text_layers=1,
        vocabulary=1 + len(WORDS) + 16,
    )
    video = VideoTokenizerConfig(8, 16, 1, 1, 1, 1)
    audio = AudioTokenizerConfig(
        bands=16, width=16, encoder_blocks=1, decoder_blocks=1, iterations=2
    )
    made = {
        "video_tokenizer": ("video", video, lambda: VideoTokenizer(video, rngs=nnx.Rngs(0))),
        "audio_tokenizer": ("audio", audio, lambda: AudioTokenizer(audio, rngs=nnx.Rngs(0))),
        "st_dit": ("nano", model, lambda: STDiT(model, rngs=nnx.Rngs(0))),
    }
    fingerprints = {}
    for seed, (kind, (name, config, make)) in enumerate(made.items()):
        metadata = {}
        if kind == "st_dit":
            run = {"flow": {"timesteps": {"shift": 1.5}}}
            metadata = {
                "formats": [format.to_dict() for format in (FORM, WIDE, STORY)],
                "tokenizers": dict(fingerprints),
                "words": list(WORDS),
                "run": run,
            }
        fingerprints[kind] = weights.save_weights(
            path / f"{name}.safetensors", kind, random_state(make, seed), config, metadata
        )
    return path


@pytest.fixture(scope="session")
def pipeline(folder):
    return load_pipeline(*(folder / f"{name}.safetensors" for name in ("nano", "video", "audio")))
