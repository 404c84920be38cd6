"""Calibrates oracles into a folder: calibration.json, report.md, made_with.json and pictures."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sora_jax import files
from sora_jax.contact_sheet import contact_sheet
from sora_jax.evaluation import calibrate
from sora_jax.evaluation.results import claim, sign
from sora_jax.modality import FORMATS, SAMPLE_RATE, ClipFormat
from sora_jax.oracles import examples, loudness, pictures
from sora_jax.oracles.base import DEGRADED, GROUND_TRUTH
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import Example
from sora_jax.oracles.onsets import true_impacts
from sora_jax.oracles.physics import read_gravity
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import lag
from sora_jax.oracles.verdict import say_impacts
from sora_jax.oracles.words import errors, said
from sora_jax.tables import markdown, number

SHIFTS = (-0.16, -0.08, -0.04, -0.02, 0.0, 0.02, 0.04, 0.08, 0.16)  # seconds


def calibrate_into(
    output: str | os.PathLike,
    num_clips: int = 96,
    split: str = "val",
    format: str = "nano",
    sheets: int = 4,
) -> tuple[calibrate.Scores, list[str]]:
    """Judges every oracle on scenes from number `calibrate.FIRST` on, which no constant was fitted
    to.

    Args:
        output: a folder: new, or that of an earlier calibration with the same settings.
        sheets: clips to draw, at most 4.

    Returns: {oracle: {condition: {score, n}}}, and a line for each score outside its limits.

    Raises: UserError for a folder of another measurement.
    """
    folder, form = Path(output), FORMATS[format]
    settings = {"num_clips": num_clips, "split": split, "format": format, "sheets": sheets}
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder, {"measured": "oracles", **settings})
    clips = examples.ground_truth(split, range(calibrate.FIRST, calibrate.FIRST + num_clips), form)
    steps = sum(map(len, calibrate.plan(tuple(ORACLES)).values()))
    with tqdm(total=steps, unit="condition", leave=False) as bar:

        def progress(name):
            bar.set_description(name)
            bar.update(1)

        scores = calibrate.calibrate(clips, progress)
    outside = calibrate.violations(scores)
    files.write(folder / "calibration.json", json.dumps(scores, indent=2) + "\n")
    text = report(clips, split, form, scores, outside)
    for i, clip in enumerate(clips[: min(4, sheets)]):
        text += _draw(folder, f"clip-{i:02d}", clip)
    files.write(folder / "report.md", "\n".join(text))
    sign(folder)
    return scores, outside


def score_table(scores: calibrate.Scores) -> str:
    """A row for each condition, a column for each oracle."""
    names = list(dict.fromkeys(condition for rows in scores.values() for condition in rows))
    lines = []
    for name in names:
        cells = [number(of[name]["score"]) if name in of else "" for of in scores.values()]
        clips = max(of[name]["n"] for of in scores.values() if name in of)
        lines.append([name, *cells, str(clips)])
    return markdown(["condition", *scores, "n"], lines)


def report(
    clips: list[Example], split: str, form: ClipFormat, scores: calibrate.Scores, outside: list[str]
) -> list[str]:
    """The paragraphs of report.md."""
    head = (
        f"# Calibration of the oracles\n\n{len(clips)} scenes of `{split}` from number "
        f"{calibrate.FIRST} on, {form.frames} frames at {form.fps} fps, {form.size} pixels. "
        "A score is the share of clips whose reading lies within the oracle's tolerance.\n"
    )
    limits = (
        f"Limits: ground truth at least {GROUND_TRUTH}, degraded at least {DEGRADED}, corrupted, "
        "shuffled and empty at most the oracle's ceiling. "
    )
    kept = "Outside:\n\n" + "\n".join(f"- {line}" for line in outside) if outside else "All kept."
    tolerances = [[name, of.tolerance, f"{of.ceiling:.2f}"] for name, of in ORACLES.items()]
    shifts = [
        [f"{1e3 * shift:+.0f}", f"{1e3 * read:+.1f}"] for shift, read in shift_recovery(clips)
    ]
    return [
        head,
        score_table(scores),
        markdown(["oracle", "tolerance", "ceiling"], tolerances),
        limits + kept + "\n",
        "Sound shifted on purpose, and the offset that the sync oracle reads (median of clips):\n",
        markdown(["shift, ms", "read, ms"], shifts),
        "Measured on ground truth:\n",
        markdown(["what", "value", "n"], measured(clips)),
    ]


def _draw(folder: Path, name: str, clip: Example) -> list[str]:
    read, caption = Reading(clip), clip.take.captions[0]
    pictures.save_tracked(folder / f"{name}-tracked.png", clip.frames, read.tracks)
    contact_sheet(folder / f"{name}-onsets.png", clip, caption, read.seen, read.heard)
    return [
        f"## {caption}\n\n{say_impacts(read)}\n\n![tracked frames]({name}-tracked.png)\n\n"
        f"![impacts heard]({name}-onsets.png)\n"
    ]


def measured(clips: list[Example]) -> list[list[str]]:
    """What the oracles of physics, loudness and words measure on ground truth, beyond correct and
    wrong: rows of (what, value, number).
    """
    readings = [Reading(clip) for clip in clips]
    laws = [law for law in (read.of("physics") for read in readings) if law]
    contacts = [law.momentum_error for law in laws if law.momentum_error is not None]
    read_g = (read_gravity(read.tracks, read.fps) for read in readings)
    gravities = [g for g in read_g if g is not None]
    pairs = sum((read.of("loudness") for read in readings), [])
    spoken = [(Reading(clip).of("words"), said(clip.take)) for clip in examples.narrated(clips)]
    wrong = sum(errors(heard, true) for heard, true in spoken)
    words = sum(len(true) for _, true in spoken)
    residuals = [law.residual_px for law in laws]
    rows = [
        (
            "gravity, m/s^2: median (5 to 95 %)",
            "{} ({} to {})".format(*_quantiles(gravities, 50, 5, 95)),
            len(gravities),
        ),
        (
            "residual of the fitted arcs, px: median (95 %)",
            "{} ({})".format(*_quantiles(residuals, 50, 95)),
            len(laws),
        ),
        (
            "momentum error of two balls that meet: median",
            *_quantiles(contacts, 50),
            len(contacts),
        ),
        (
            "loudness against speed of floor and wall impacts, Spearman",
            number(loudness.correlation(pairs)),
            len(pairs),
        ),
        ("word error rate, held-out voices", number(wrong / max(words, 1)), words),
    ]
    return [[what, value, str(n)] for what, value, n in rows]


def shift_recovery(
    clips: list[Example], shifts: tuple[float, ...] = SHIFTS
) -> list[tuple[float, float]]:
    """(shift put in, offset read) in s: the samples of every sound moved against their picture
    (late: positive), then read again.

    The offset is the median over clips with an impact; shifts beyond the window of a clip's pairing
    are found by `sync.lag`.
    """
    struck = [clip for clip in clips if true_impacts(clip.take)]
    seen = [Reading(clip).seen for clip in struck]
    rows = []
    for shift in shifts:
        made = [dataclasses.replace(c, samples=shifted(c.samples, shift)) for c in struck]
        lags = [lag(Reading(clip).heard, times) for clip, times in zip(made, seen)]
        rows.append((shift, float(np.nanmedian(lags))))
    return rows


def shifted(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The sound later by `seconds` (earlier: negative), as long as before; the gap is filled with
    the sound's own other end, played backwards.
    """
    shift = round(abs(seconds) * SAMPLE_RATE)
    if seconds < 0:
        return shifted(samples[::-1], -seconds)[::-1]
    return np.concatenate([samples[:shift][::-1], samples[: len(samples) - shift]])


def _quantiles(values: list[float], *percents: float) -> list[str]:
    if not values:
        return ["-"] * len(percents)
    return [f"{x:.3f}" for x in np.percentile(values, percents)]
