"""Calibrates oracles (measurements of clips) and writes calibration.json, report.md, made_with.json
and pictures to a folder.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from sora_jax import files
from sora_jax.contact_sheet import contact_sheet
from sora_jax.errors import UserError
from sora_jax.evaluation import calibrate
from sora_jax.evaluation.results import claim, sign
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles import examples, pictures
from sora_jax.oracles.base import DEGRADED, GROUND_TRUTH, Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import Condition
from sora_jax.oracles.corruptions import shifted
from sora_jax.oracles.examples import Example
from sora_jax.oracles.onsets import true_impacts
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.sync import lag
from sora_jax.oracles.verdict import say_impacts
from sora_jax.tables import markdown, number

LONGEST = 300  # characters of a reading in the report; the rest is left out
SHIFTS = (-0.16, -0.08, -0.04, -0.02, 0.0, 0.02, 0.04, 0.08, 0.16)  # seconds: delays of the audio


def calibrate_into(
    output: str | os.PathLike,
    num_clips: int = 96,
    split: str = "val",
    format: str = "nano",
    sheets: int = 4,
    oracles: Sequence[str] | None = None,
) -> tuple[calibrate.Scores, list[str]]:
    """Calibrates oracles and writes the results to a folder.

    The scenes have indices from `calibrate.FIRST` on; no constant of an oracle was fitted to them.

    Args:
        output: folder of the results: new, or of an earlier calibration with the same settings.
        num_clips: number of scenes. Default: 96.
        split: split of the scenes. Default: "val".
        format: name of the clip format. Default: "nano".
        sheets: number of clips of which pictures are written (at most 4 are), and of clips that
            each oracle reads wrongly under one condition. Default: 4.
        oracles: names of the oracles to calibrate. Default: None, all of them.

    Returns:
        ({oracle: {condition: {"score": share of correct readings or None, "n": number of clips}}},
        one line of text for each score outside its limits).

    Raises:
        UserError: an oracle is unknown, there are too few clips, or the folder holds another
            measurement.
    """
    folder, clip_format = files.user_path(output), FORMATS[format]
    names = calibrate.chosen(oracles)
    if num_clips < calibrate.MIN_CLIPS:
        raise UserError(
            f"num_clips={num_clips}; give at least {calibrate.MIN_CLIPS}", field="num_clips"
        )
    settings = {"num_clips": num_clips, "split": split, "format": format, "sheets": sheets}
    if oracles is not None:
        settings["oracles"] = names
    folder.mkdir(parents=True, exist_ok=True)
    with files.locked(folder, "calibrating"):
        claim(folder, {"measured": "oracles", **settings})
        return _calibrate_into(folder, num_clips, split, clip_format, sheets, names)


def _calibrate_into(
    folder: Path,
    num_clips: int,
    split: str,
    clip_format: ClipFormat,
    sheets: int,
    names: list[str],
) -> tuple[calibrate.Scores, list[str]]:
    clips = examples.ground_truth(
        split, range(calibrate.FIRST, calibrate.FIRST + num_clips), clip_format
    )
    steps = sum(map(len, calibrate.plan(names).values()))
    with tqdm(total=steps, unit="condition", leave=False) as bar:

        def progress(name: str) -> None:
            bar.set_description(name)
            bar.update(1)

        for picture in folder.glob("missed-*.png"):  # of an earlier calibration
            picture.unlink()
        missed = _Misses(folder, sheets)
        scores = calibrate.calibrate(clips, progress, names, missed)
    outside = calibrate.violations(scores)
    files.write(folder / "calibration.json", json.dumps(scores, indent=2) + "\n")
    text = report(clips, split, clip_format, scores, outside)
    for i, clip in enumerate(clips[: min(4, sheets)]):
        text += _draw(folder, f"clip-{i:02d}", clip)
    text += missed.paragraphs()
    files.write(folder / "report.md", "\n".join(text))
    sign(folder)
    return scores, outside


class _Misses:
    """Collects the clips that oracles read wrongly on ground truth or under a degradation, and
    writes pictures of the first. `calibrate` calls it with each of them.

    Args:
        folder: folder of the report, in which the pictures appear.
        sheets: largest number of pictures for an oracle under a condition.
    """

    def __init__(self, folder: Path, sheets: int):
        self.folder, self.sheets = folder, sheets
        self.found: dict[tuple[str, str], list[str]] = {}

    def __call__(
        self, oracle: Oracle, condition: Condition, clip: Example, reading: Reading
    ) -> None:
        of = self.found.setdefault((oracle.name, condition.name), [])
        name = f"missed-{oracle.name}-{condition.name}-{len(of):02d}.png"
        if len(of) < self.sheets:
            title = f"{oracle.name}, {condition.name}: {clip.take.captions[0]}"
            seen, heard = reading.seen_impacts, reading.heard_impacts
            if oracle.stage == "story":
                starts = [int(start) for start in np.cumsum(clip.format.shots[:-1])]
                shots = reading.shots_from(tuple(starts))
                pictures.save_shots(self.folder / name, clip.frames, starts, shots)
            else:
                contact_sheet(self.folder / name, clip, title, seen, heard)
        take = clip.take
        read = " ".join(str(reading.of(oracle.name)).split())
        read = read if len(read) <= LONGEST else f"{read[:LONGEST]}..."
        picture = f"\n\n  ![the clip]({name})\n" if len(of) < self.sheets else ""
        of.append(f"- {take.family}/{take.split}/{take.index} is read as `{read}`.{picture}")

    def paragraphs(self) -> list[str]:
        """Returns the paragraphs of report.md about the wrong readings, as Markdown."""
        if not self.found:
            return ["## Wrong readings\n\nNone on ground truth and degradations.\n"]
        return ["## Wrong readings\n"] + [
            f"### {oracle}, {condition}\n\n" + "\n".join(lines) + "\n"
            for (oracle, condition), lines in self.found.items()
        ]


def score_table(scores: calibrate.Scores) -> str:
    """Returns the scores of a calibration, {oracle: {condition: {"score", "n"}}}, as a Markdown
    table: one row per condition, one column per oracle. The column n is the largest number of clips
    of a row; a score of fewer says of how many.
    """
    names = list(dict.fromkeys(condition for rows in scores.values() for condition in rows))
    lines = []
    for name in names:
        of_oracles = [rows.get(name) for rows in scores.values()]
        clips = max(row["n"] for row in of_oracles if row)
        lines.append([name, *(_cell(row, clips) for row in of_oracles), str(clips)])
    return markdown(["condition", *scores, "n"], lines)


def _cell(row: dict[str, Any] | None, clips: int) -> str:
    if row is None:
        return ""
    return number(row["score"]) + f" of {row['n']}" * (row["n"] != clips)


def report(
    clips: list[Example],
    split: str,
    clip_format: ClipFormat,
    scores: calibrate.Scores,
    outside: list[str],
) -> list[str]:
    """Returns the paragraphs of report.md, the report of a calibration.

    Args:
        clips: the clips of family `room`.
        split: their split.
        clip_format: their format.
        scores: {oracle: {condition: {"score", "n"}}}.
        outside: a line of text for each score outside its limits.
    """
    head = (
        f"# Calibration of the oracles\n\n{len(clips)} scenes of `{split}` from number "
        f"{calibrate.FIRST} on, {clip_format.frames} frames at {clip_format.fps} fps, "
        f"{clip_format.size} pixels. A score is the share of clips whose reading lies within the "
        "oracle's tolerance.\n"
    )
    limits = (
        f"Limits: ground truth at least {GROUND_TRUTH}, degraded at least {DEGRADED}, corrupted, "
        "shuffled and empty at most the oracle's ceiling. "
    )
    limits_kept = (
        "Outside:\n\n" + "\n".join(f"- {line}" for line in outside)
        if outside
        else "All scores are within the limits."
    )
    tolerances = [
        [name, ORACLES[name].tolerance, f"{ORACLES[name].ceiling:.2f}"] for name in scores
    ]
    paragraphs = [
        head,
        score_table(scores),
        markdown(["oracle", "tolerance", "ceiling"], tolerances),
        limits + limits_kept + "\n",
    ]
    if few := calibrate.caution(scores):
        paragraphs.append(few + "\n")
    if "sync" in scores:
        shifts = [[f"{1e3 * x:+.0f}", f"{1e3 * read:+.1f}"] for x, read in shift_recovery(clips)]
        paragraphs += [
            "Audio shifted by known delays, and the offset that the sync oracle reads (median of "
            "clips):\n",
            markdown(["shift, ms", "read, ms"], shifts),
        ]
    if rows := measured(clips, tuple(scores)):
        paragraphs += ["Measured on ground truth:\n", markdown(["what", "value", "n"], rows)]
    return paragraphs


def _draw(folder: Path, name: str, clip: Example) -> list[str]:
    read, caption = Reading(clip), clip.take.captions[0]
    pictures.save_tracked(folder / f"{name}-tracked.png", clip.frames, read.tracks)
    contact_sheet(
        folder / f"{name}-onsets.png", clip, caption, read.seen_impacts, read.heard_impacts
    )
    return [
        f"## {caption}\n\n{say_impacts(read)}\n\n![tracked frames]({name}-tracked.png)\n\n"
        f"![impacts heard]({name}-onsets.png)\n"
    ]


def measured(clips: list[Example], oracles: Sequence[str]) -> list[list[str]]:
    """Returns rows (name, value, number of measurements), all texts, of what oracles measure beyond
    correct and incorrect (`Oracle.measured`).

    Args:
        clips: unchanged renders of family `room`; the clips of other stages (kinds of scenes) are
            rendered here.
        oracles: names of the oracles.
    """

    @functools.cache
    def staged(stage: str) -> tuple[list[Example], list[Reading]]:
        staged_clips = examples.STAGES[stage](clips)
        return staged_clips, [Reading(clip) for clip in staged_clips]

    rows = []
    for oracle in (ORACLES[name] for name in oracles):
        if type(oracle).measured is not Oracle.measured:  # skip rendering clips for no rows
            rows += oracle.measured(*staged(oracle.stage))
    return [[quantity, value, str(n)] for quantity, value, n in rows]


def shift_recovery(
    clips: list[Example], shifts: tuple[float, ...] = SHIFTS
) -> list[tuple[float, float]]:
    """Measures how well known delays of the audio are read back from the impacts of clips.

    The audio of every clip with an impact is delayed by each shift, and the delay is read from the
    visible and audible impacts. `sync.lag` reads it, because it finds delays beyond the window in
    which the oracle `sync` matches impacts.

    Args:
        clips: unchanged renders of family `room`.
        shifts: delays in s, negative for audio that is early. Default: SHIFTS.

    Returns:
        (delay applied, median of the delays read) in s, for each of the shifts.
    """
    audible = [clip for clip in clips if true_impacts(clip.take)]
    seen = [Reading(clip).seen_impacts for clip in audible]
    rows = []
    for shift in shifts:
        delayed = [dataclasses.replace(c, samples=shifted(_samples(c), shift)) for c in audible]
        lags = [
            lag(Reading(clip).heard_impacts, times)
            for clip, times in zip(delayed, seen, strict=True)
        ]
        rows.append((shift, float(np.nanmedian(lags))))
    return rows


def _samples(clip: Example) -> np.ndarray:
    assert clip.samples is not None
    return clip.samples
