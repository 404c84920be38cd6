"""Teaches a model a family of scenes by low-rank updates, and measures what it learned and lost.

The facts of clips are those that the oracles read. Old prompts are generated twice, by the base and
by the updated model, with the same seeds, so their difference has little noise.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax import files, weights
from sora_jax import lora as lora_files
from sora_jax.evaluation.statistics import interval
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.loss import FlowConfig
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.flow.timesteps import TimestepConfig
from sora_jax.models.presets import PRESETS
from sora_jax.oracles.facts import KINDS, ball_facts, compare
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.training.adapt import AdaptConfig
from sora_jax.training.data_config import ModelDataConfig
from sora_jax.training.loop import TrainConfig
from sora_jax.training.optim import OptimConfig
from sora_jax.training.run import Run
from sora_jax.training.train import train
from sora_jax.worlds.playhouse.draw import Take, draw
from sora_jax.worlds.playhouse.families import FAMILIES

BATCH = 16  # clips generated at a time


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is taught, and how it is measured.

    Attributes:
        family: of the new scenes, a registered one.
        clips: of the family that are learnt from. Default 32.
        rank: of the updates. Default 4.
        steps: of the training. Default 500.
        lr: learning rate. Default 2e-3.
        new: prompts of the family's split val. Default 64.
        old: prompts of rooms, each generated before and after. Default 1,024.
        sampler_steps: of the sampler. Default 30.
    """

    family: str
    clips: int = 32
    rank: int = 4
    steps: int = 500
    lr: float = 2e-3
    new: int = 64
    old: int = 1024
    sampler_steps: int = 30


def lesson_run(lesson: Lesson) -> Run:
    """Returns the training of a lesson from the shipped model."""
    model = PRESETS["nano"]
    words = FAMILIES[lesson.family].words
    return Run(
        model=model,
        flow=FlowConfig(output=model.output, timesteps=TimestepConfig(shift=2.0)),
        data=ModelDataConfig(family=lesson.family, clips=lesson.clips, text_length=48, words=words),
        optim=OptimConfig(lr=lesson.lr, warmup=20, ema=0.98),
        train=TrainConfig(steps=lesson.steps, batch_size=16),
        adapt=AdaptConfig(lora_rank=lesson.rank),
    )


def teach(lesson: Lesson, workdir: Path) -> dict[str, Any]:
    """Trains and measures, writes WORKDIR/lesson.json, and returns its values.

    Args:
        lesson: what is taught.
        workdir: the run's folder, new or begun.
    """
    begun = time.monotonic()
    trained = train(lesson_run(lesson), workdir / "lora", init_from=weights.shipped("nano"))
    assert trained is not None
    seconds = time.monotonic() - begun
    before, after = load_pipeline(), load_pipeline(lora=trained.weights)
    sampler = SamplerConfig(steps=lesson.sampler_steps, guidance=Guidance(text=2.0))
    new = facts_of(after, takes(lesson.family, lesson.new), sampler)
    rooms = takes("room", lesson.old)
    lost = _lost(*(facts_of(pipeline, rooms, sampler) for pipeline in (before, after)))
    sizes = trained.weights.stat().st_size, weights.shipped("nano").stat().st_size
    values = {
        "lesson": dataclasses.asdict(lesson),
        "seconds": seconds,
        "new": {kind: _share(of) for kind, of in new.items()},
        "old_lost": lost,
        "file_share": sizes[0] / sizes[1],
        "merged_difference": merged_difference(trained.weights, workdir / "merged.safetensors"),
    }
    files.write(workdir / "lesson.json", json.dumps(values, indent=1) + "\n")
    return values


def takes(family: str, count: int) -> list[Take]:
    """Returns the first takes of a family's split val."""
    return [draw("val", i, family=family) for i in range(count)]


def facts_of(
    pipeline: Pipeline, asked: Sequence[Take], sampler: SamplerConfig
) -> dict[str, list[float | None]]:
    """Returns for each kind of fact, and "all", whether the clip of each take's caption has it;
    None where the caption has no such fact.

    Args:
        pipeline: generates the clips; clip i has seed i.
        asked: takes whose captions are the prompts.
        sampler: of the pipeline.
    """
    found: dict[str, list[float | None]] = {kind: [] for kind in (*KINDS, "all")}
    for first in range(0, len(asked), BATCH):
        some = asked[first : first + BATCH]
        requests = [
            Request(take.captions[0], seed=first + i, sampler=sampler)
            for i, take in enumerate(some)
        ]
        for take, clip in zip(some, pipeline.generate_batch(requests, size=BATCH), strict=True):
            reading = Reading(clip)
            match = compare(reading.facts, ball_facts(take), reading.coherent)
            for kind in found:
                value = match[kind]
                found[kind].append(None if value is None else float(value))
    return found


def _share(values: Sequence[float | None]) -> dict[str, float]:
    """Returns the share of clips that have a fact, with its 95 % interval."""
    known = [x for x in values if x is not None]
    low, high = interval(known)
    return {"value": float(np.mean(known)), "low": low, "high": high, "n": len(known)}


def _lost(
    before: dict[str, list[float | None]], after: dict[str, list[float | None]]
) -> dict[str, dict[str, float]]:
    """Returns how much of each kind of fact was lost over pairs of clips, with 95 % intervals."""
    found = {}
    for kind, values in before.items():
        pairs = zip(values, after[kind], strict=True)
        fall = np.array([a - b for a, b in pairs if a is not None and b is not None])
        error = 1.96 * fall.std(ddof=1) / np.sqrt(len(fall)) if len(fall) > 1 else 1.0
        mean = float(fall.mean())
        known = [x for x in values if x is not None]
        found[kind] = {
            "before": float(np.mean(known)),
            "lost": mean,
            "low": mean - float(error),
            "high": mean + float(error),
            "n": len(fall),
        }
    return found


def merged_difference(lora: Path, merged: Path) -> float:
    """Merges updates into the shipped model, and returns the largest difference of the outputs of
    the merged file and of both files together, over random latents of unit deviation.

    Args:
        lora: the file of updates.
        merged: the file to write.
    """
    lora_files.merge(lora, merged)
    models = [lora_files.load_model(None, lora)[0], weights.load_model(merged)[0]]
    format, key = load_pipeline().format, jax.random.key(0)
    config = models[0].config
    shapes = {
        "video": (2, format.video_latents, *format.latent_sides, config.video_channels),
        "audio": (2, format.audio_latents, config.audio_channels),
    }
    z = {name: jax.random.normal(key, shape) for name, shape in shapes.items()}
    levels = {name: jnp.full(x.shape[:2], 0.5) for name, x in z.items()}
    tokens = jax.random.randint(key, (2, 48), 1, config.vocabulary)
    text = {"tokens": tokens, "mask": tokens > 0}
    outputs = [model(z, levels, text, format.latent_times()) for model in models]
    return max(float(abs(a - b).max()) for a, b in zip(*(o.values() for o in outputs), strict=True))
