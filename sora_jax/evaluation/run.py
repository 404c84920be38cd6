"""Evaluates a model: runs its suites and writes the report to a folder."""

import dataclasses
import os
from collections.abc import Sequence

from sora_jax import config, files
from sora_jax.config import known_keywords
from sora_jax.errors import UserError, expect
from sora_jax.evaluation import scoreboard
from sora_jax.evaluation.report import report
from sora_jax.evaluation.results import claim, sign
from sora_jax.evaluation.suites import SUITES
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.pipelines.generate import Pipeline

DEFAULT = ("facts", "sync", "tokenizers")


@known_keywords
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
    """Scores a model in suites (groups of metrics with the prompts to generate) and writes the
    results to a folder.

    Args:
        pipeline: the model and its tokenizers.
        output: folder of the results: new, or of the same measurement, which then resumes.
        suites: names in SUITES; ("all",) for all of them. Default: facts, sync and tokenizers.
        sampler: settings of the sampler. Default: SamplerConfig().
        seed: seed of the first clip; later clips use `seed` + 1, ... Default 0.
        num_prompts: scenes of each part of a suite. Default 64.
        batch: scenes generated at a time. Default 16.
        nearest_pool: number of training scenes among which the baseline "nearest training clip"
            searches. Default 1024.
        sheets: clips of each part of which pictures are written. Default 4.

    Returns:
        {suite: {metric: {value, low, high, floor, ceiling, n, unit, ...}}} of all suites that the
        folder holds; `scoreboard.py` explains the keys. The folder also holds them in scores.json,
        with report.md and made_with.json.

    Raises:
        UserError: a suite is unknown, a number is too small, or the folder holds another
            measurement.
    """
    expect(pipeline, Pipeline, "pipeline", "give a Pipeline; load_pipeline reads one from files")
    expect(suites, (list, tuple), "suites", 'give a list of names, as ["facts"]')
    names, folder = chosen(suites), files.user_path(output)
    for name, value, minimum in (
        ("num_prompts", num_prompts, 2),
        ("batch", batch, 1),
        ("nearest_pool", nearest_pool, 1),
        ("sheets", sheets, 0),
    ):
        if value < minimum:
            raise UserError(f"{name}={value}; give at least {minimum}", field=name)
    folder = files.check_output("output", str(folder))
    sampler = sampler or SamplerConfig()
    settings = {"clips": num_prompts, "seed": seed, "batch": batch, "pool": nearest_pool}
    settings["sheets"] = sheets
    format = pipeline.format.to_dict()
    measured = {"measured": "model", "format": format, **pipeline.fingerprints, **settings}
    with files.locked(folder, "evaluating"):
        claim(folder, measured | {"sampler": dataclasses.asdict(sampler)})
        board = scoreboard.Scoreboard(folder, pipeline, pipeline.trained_on, sampler, **settings)
        for name in names:
            board.run(name)
        scores = scoreboard.write(folder, list(SUITES))
        files.write(folder / "report.md", report(pipeline, scores, num_prompts))
        sign(folder)
        if set(scores) == set(SUITES):
            scoreboard.forget_clips(folder)
    return scores


def chosen(suites: Sequence[str]) -> list[str]:
    """Returns the names of the chosen suites, once each, in the order of SUITES; "all" chooses all.

    Raises:
        UserError: a suite does not exist.
    """
    for name in suites:
        if name not in (*SUITES, "all"):
            raise UserError(f"no suite {name!r}; {config.nearest(name, (*SUITES, 'all'))}")
    return [name for name in SUITES if name in suites or "all" in suites]
