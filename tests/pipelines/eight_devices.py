"""A program for eight fake devices: batches of a pipeline against its clips one by one. Prints a
line of JSON a batch.

python eight_devices.py WEIGHTS        WEIGHTS: the folder of the fixture `folder`
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines import codec
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request

SAMPLER = SamplerConfig(steps=3)
PROMPTS = ("a small blue ball", "a large red ball is dropped", "a green ball rolls to the left")


def difference(a, b):
    """The largest absolute difference of the frames, samples and latents of two clips."""
    pairs = [(a.frames, b.frames), (a.samples, b.samples)]
    pairs += [(a.latents[name], b.latents[name]) for name in a.latents]
    return max(float(np.abs(x - y).max()) for x, y in pairs)


def main():
    folder = Path(sys.argv[1])
    pipeline = load_pipeline(*(folder / f"{n}.safetensors" for n in ("nano", "video", "audio")))
    format, random = pipeline.format, np.random.default_rng(0)
    video = random.random((format.frames, format.height, format.width, 3), np.float32)
    texts = [Request(prompt, seed=seed, sampler=SAMPLER) for seed, prompt in enumerate(PROMPTS * 3)]
    mixed = [*texts[:2], Request(None, given_video=video, sampler=SAMPLER)]
    shards, decode = [], codec.decode_chunk

    def watched(tokenizer, latents, cache):
        shards.append(latents.sharding.shard_shape(latents.shape)[0])
        return decode(tokenizer, latents, cache)

    codec.decode_chunk = watched
    for name, requests, size in (
        ("three", texts[:3], 0),
        ("nine", texts, 0),
        ("padded", texts[:2], 16),
        ("given", mixed, 0),
    ):
        singles = [pipeline.generate(request) for request in requests]
        shards.clear()
        clips = pipeline.generate_batch(requests, size=size)
        row = {"batch": name, "clips": len(clips), "shards": list(shards)}
        row["error"] = max(map(difference, clips, singles))
        # A clip of a batch is continued on one device, from its own cache.
        longer = [
            pipeline.generate(Request(continued=clip, seconds=1.0, sampler=SAMPLER))
            for clip in (clips[-1], singles[-1])
        ]
        row["continued"] = difference(*longer)
        print(json.dumps(row), flush=True)
    print(json.dumps({"devices": len(jax.devices())}))


if __name__ == "__main__":
    main()
