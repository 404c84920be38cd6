"""Evaluates a model: its suites run, and the report of all that was measured in a folder."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from sora_jax import config, files
from sora_jax.errors import UserError, expect
from sora_jax.evaluation import scoreboard
from sora_jax.evaluation.report import report
from sora_jax.evaluation.results import claim, sign
from sora_jax.evaluation.suites import SUITES
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Pipeline

DEFAULT = ("facts", "sync", "tokenizers")


def evaluate(
    pipeline: Pipeline,
    output: str | os.PathLike,
    suites: Sequence[str] = DEFAULT,
    *,
    sampler: SamplerConfig | None = None,
    seed: int = 0,
    num_prompts: int = 64,
    batch: int = 16,
    nearest_pool: int = 1024,
    sheets: int = 4,
) -> dict:
    """Scores a model in `suites`, or in all of them for ("all",).

    Args:
        output: a folder: new, or that of the same measurement, which then goes on.
        num_prompts: scenes of each part of a suite; made `batch` at a time, with seeds `seed`, ...
        nearest_pool: training scenes among which the nearest to a prompt is looked for.
        sheets: clips of each part that are drawn.

    Returns: {suite: {metric: {value, low, high, floor, ceiling, n, unit, ...}}} of all suites that
    the folder holds (`scoreboard`); also in scores.json there, with report.md and made_with.json.

    Raises: UserError for an unknown suite, and for a folder of another measurement.
    """
    expect(pipeline, Pipeline, "pipeline", "give a Pipeline; load_pipeline reads one from files")
    expect(suites, (list, tuple), "suites", 'give a list of names, as ["facts"]')
    names, folder = chosen(suites), Path(output)
    for name, value, least in (
        ("num_prompts", num_prompts, 2),
        ("batch", batch, 1),
        ("nearest_pool", nearest_pool, 1),
        ("sheets", sheets, 0),
    ):
        if value < least:
            raise UserError(f"{name}={value}; give at least {least}", field=name)
    folder.mkdir(parents=True, exist_ok=True)
    sampler = sampler or SamplerConfig()
    settings = {"clips": num_prompts, "seed": seed, "batch": batch, "pool": nearest_pool}
    settings["sheets"] = sheets
    measured = {"measured": "model", **pipeline.fingerprints, **settings}
    claim(folder, measured | {"sampler": dataclasses.asdict(sampler)})
    board = scoreboard.Scoreboard(folder, pipeline, pipeline.trained_on, sampler, **settings)
    for name in names:
        board.run(name)
    scores = scoreboard.write(folder, SUITES)
    files.write(folder / "report.md", report(pipeline, scores, num_prompts))
    sign(folder)
    if set(scores) == set(SUITES):
        scoreboard.forget_clips(folder)
    return scores


def chosen(suites: Sequence[str]) -> list[str]:
    """The names of suites, in the order of SUITES. Raises UserError for one that does not exist."""
    for name in suites:
        if name not in (*SUITES, "all"):
            raise UserError(
                f"no suite {name!r}; {config.nearest(name, (*SUITES, 'all'))} (there are "
                f"{', '.join(SUITES)}, and all)"
            )
    return [name for name in SUITES if name in suites or "all" in suites]
