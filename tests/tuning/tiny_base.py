"""Weights of a tiny model and of its tokenizers, random, for clips of five frames of 16 pixels."""

import math
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from sora_jax import weights
from sora_jax.modality import ClipFormat
from sora_jax.models.st_dit import STDiT, STDiTConfig
from sora_jax.tokenizers.audio import AudioTokenizer, AudioTokenizerConfig
from sora_jax.tokenizers.video import VideoTokenizer, VideoTokenizerConfig

FORMAT = ClipFormat(frames=5, fps=8, height=16, width=16)
WORDS = ("a", "ball", "red", "white")
MODEL = STDiTConfig(
    depth=1,
    width=16,
    heads=1,
    mlp_ratio=1.0,
    audio_width=16,
    audio_heads=1,
    exchange_width=8,
    exchange_heads=1,
    frame_tokens=1,
    text_width=8,
    text_heads=1,
    text_layers=1,
    vocabulary=1 + len(WORDS) + 16,
)
VIDEO = VideoTokenizerConfig(8, 8, 0, 1, 1, 0)
AUDIO = AudioTokenizerConfig(bands=16, width=16, encoder_blocks=1, decoder_blocks=1, iterations=2)


def random_state(module, config):
    """The stored state of a module, drawn by NumPy: JAX would compile a program for each shape."""
    shapes = nnx.eval_shape(lambda: module(config, rngs=nnx.Rngs(0)))
    params, rest = nnx.split(shapes, nnx.Param, weights.STORED, ...)[1:3]
    rng = np.random.default_rng(0)

    def draw(x):
        return rng.normal(0, math.prod(x.shape[-2:-1]) ** -0.5, x.shape).astype(np.float32)

    ones = jax.tree.map(lambda x: np.ones(x.shape, np.float32), rest)
    return nnx.merge_state(jax.tree.map(draw, params), ones)


def write_base(folder: Path) -> Path:
    made = {
        "video_tokenizer": ("video", VIDEO, VideoTokenizer),
        "audio_tokenizer": ("audio", AUDIO, AudioTokenizer),
        "st_dit": ("nano", MODEL, STDiT),
    }
    fingerprints = {}
    for kind, (name, config, module) in made.items():
        metadata = {
            "formats": [FORMAT.to_dict()],
            "tokenizers": dict(fingerprints),
            "words": list(WORDS),
            "text_length": 16,
        }
        state = random_state(module, config)
        fingerprints[kind] = weights.save_weights(
            folder / f"{name}.safetensors", kind, state, config, metadata
        )
    return folder
