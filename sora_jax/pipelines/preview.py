"""Clips of a model while it trains: written where its run is, and handed on as pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from sora_jax import media
from sora_jax.contact_sheet import contact_sheet
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Pipeline, Request
from sora_jax.train.watch import SampleConfig


def preview(pipeline: Pipeline, config: SampleConfig, folder: Path) -> dict[str, np.ndarray]:
    """Makes the clips of `config.prompts`, with seeds 0, 1, ..., and writes their mp4 and contact
    sheets into `folder`.

    Returns {"clip_0": the sheet, uint8 [H, W, 3], ...}. Raises UserError where the model's numbers
    are not finite.
    """
    sampler = SamplerConfig(steps=config.steps, guidance=Guidance(text=config.guidance))
    requests = [Request(prompt, seed=i, sampler=sampler) for i, prompt in enumerate(config.prompts)]
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {}
    for i, clip in enumerate(pipeline.generate_batch(requests)):
        name = f"clip_{i}"
        media.write_mp4(folder / f"{name}.mp4", clip, clip.provenance)
        contact_sheet(folder / f"{name}.png", clip, requests[i].prompt)
        sheets[name] = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
    return sheets
