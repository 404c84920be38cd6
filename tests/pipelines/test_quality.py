"""The shipped model makes what it made: eight prompts, read by the oracles.

A change that ruins the model, a tokenizer, the sampler or an oracle is seen here. After a change
that is meant to alter the clips: python tests/pipelines/test_quality.py records them anew.
"""

import json
import os
import platform
import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest

import sora_jax

HERE = Path(__file__).parent
RECORD, LATENTS = HERE / "quality.json", HERE / "quality.npz"
PROMPTS = (
    "a large red ball is thrown to the left and bounces twice",
    "a small blue ball is dropped and bounces three times",
    "a large green ball rolls to the right without bouncing",
    "a small purple ball is tossed to the right and bounces once",
    "a large orange ball falls and bounces twice",
    "a small yellow ball rolls to the left and does not bounce",
    "a large blue ball is dropped and bounces once",
    "a small red ball flies to the left bouncing twice",
)
SLACK = 2  # facts fewer than recorded that pass: another processor rounds otherwise


def machine() -> dict[str, str | int]:
    """What the bits depend on beside the code."""
    name = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        told = dict(x.split("\t", 1) for x in cpuinfo.read_text().splitlines() if "\t" in x)
        instructions = zlib.crc32(told.get("flags", "").encode())
        name = f"{told.get('model name', name).strip(': ')} {instructions:08x}"
    return {"processor": name, "cores": len(os.sched_getaffinity(0)), "jax": jax.__version__}


def made() -> tuple[str, dict[str, np.ndarray], list[int]]:
    """Fingerprint of the model, latents by modality [8, ...], and facts met of each prompt."""
    pipe = sora_jax.load_pipeline()
    requests = [sora_jax.Request(prompt, seed=i) for i, prompt in enumerate(PROMPTS)]
    clips = pipe.generate_batch(requests)
    latents = {m: np.stack([clip.latents[m] for clip in clips]) for m in ("video", "audio")}
    met = [sum(bool(line["met"]) for line in clip.verdict["facts"]) for clip in clips]
    return pipe.fingerprints["model"], latents, met


@pytest.fixture(scope="module")
def clips():
    return made()


def test_the_oracles_read_the_facts_that_were_asked(clips):
    recorded, (fingerprint, _, met) = json.loads(RECORD.read_text()), clips
    assert fingerprint == recorded["model"], "other weights are shipped: record their clips"
    assert sum(met) >= sum(recorded["met"]) - SLACK, (met, recorded["met"])


def test_the_latents_are_those_recorded(clips):
    recorded, (_, latents, _) = json.loads(RECORD.read_text()), clips
    with np.load(LATENTS) as file:
        for name, x in latents.items():
            error = np.abs(x - file[name].astype(np.float32))
            # float16 keeps 11 bits, and an error is seen beside the size of a latent
            assert (error <= 1e-3 * np.maximum(np.abs(x), 1.0)).all(), (name, float(error.max()))
            if machine() == recorded["machine"]:
                np.testing.assert_array_equal(x.astype(np.float16), file[name], err_msg=name)


if __name__ == "__main__":
    fingerprint, latents, met = made()
    np.savez_compressed(LATENTS, **{m: x.astype(np.float16) for m, x in latents.items()})
    record = {"model": fingerprint, "met": met, "machine": machine()}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{sum(met)} facts met: {met}", file=sys.stderr)
