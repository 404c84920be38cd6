"""Sets of latents without tokenizers: smooth random numbers under a caption of Playhouse."""

import json
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from sora_jax.data.latents.record import DESCRIPTION, pack
from sora_jax.modality import ClipFormat


def write_latents(directory: Path, format: ClipFormat, count: int = 48, **description) -> Path:
    """Writes a set in the layout of experiments.precompute; a quarter of the clips is silent."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    writer = ArrayRecordWriter(str(directory / "shard"), "group_size:1")
    for i in range(count):
        video = rng.normal(size=(format.video_latents, *format.latent_sides, 16))
        audio = rng.normal(size=(format.audio_latents, 64))
        captions = ["a red ball is dropped"]
        writer.write(pack(np.cumsum(video, 1) / 3, audio, captions, i % 4 > 0, f"{i}"))
    writer.close()
    known = {
        "format": format.to_dict(),
        "tokenizers": {"video_tokenizer": "made up", "audio_tokenizer": "made up"},
        "source": "made up",
        "count": count,
        "complete": True,
        "shards": ["shard"],
    }
    (directory / DESCRIPTION).write_text(json.dumps(known | description))
    return directory
