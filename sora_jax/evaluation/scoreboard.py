"""Scores a model suite by suite, beside baselines, each number with its interval and its floor.

Into the folder go, for every suite,

    values/SUITE/PART/ROW-BATCH.json   the values of each clip and its floor; files appear whole, so
                                       a run that was stopped goes on after its last batch
    pictures/SUITE-PART-ROW-NN.png     the first clips of the model, with their mp4, and of the
                                       scenes' own renders
    scores/SUITE.json                  when the suite is complete

and scores.json and report.md over all that are complete:

    {suite: {metric: {value, low, high, floor, ceiling, n, unit, unscored, rows, groups}}}

value, low and high are the model's (in the suite `tokenizers` the round trip's), or None with
"status": "not trained" or "no oracle". floor: of the same clips, mixed (`baselines.mixed`). A
corrected metric has its mean as "raw". ceiling: of the scenes' own renders. rows: {value, low,
high, floor, n, unscored} of every row. groups: {name: {group: {value, low, high, floor, n}}} of the
model. unscored counts the reasons why clips that were asked have no value.
"""

import collections
import dataclasses
import functools
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sora_jax import files, mp4
from sora_jax.contact_sheet import contact_sheet
from sora_jax.evaluation import baselines, statistics, suites
from sora_jax.evaluation.round_trip import round_trip
from sora_jax.evaluation.suites import (
    MODEL,
    NO_ORACLE,
    NOT_TRAINED,
    ROUND_TRIP,
    Metric,
    Part,
    Suite,
    Unscored,
)
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles import examples, pictures
from sora_jax.oracles.examples import Example, example
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.request import Request
from sora_jax.progress import Progress
from sora_jax.worlds.playhouse.draw import Take, draw

UNCONDITIONAL, TRUTH = "unconditional", "ground truth"
ALONE = "no other clip of its batch gives a floor"
BESIDE = (
    TRUTH,
    ROUND_TRIP,
    "copy last frame",
    "linear extrapolation",
    "nearest training clip",
)
MOST_LOOKED_AT = 50  # scenes looked at for each one that a part keeps


class Scoreboard:
    """Runs suites into a folder; `run(name)` gives a suite's scores."""

    def __init__(
        self,
        folder: Path,
        pipeline: Pipeline,
        data: dict,
        sampler,
        seed: int,
        clips: int,
        batch: int,
        pool: int,
        sheets: int,
    ):
        """
        Args:
            data: of the weights' card, what they were trained on.
            clips: scenes of each part, made `batch` at a time.
            pool: training scenes to find the nearest in.
            sheets: clips of each part to draw.
        """
        self.folder, self.pipeline, self.data = folder, pipeline, data
        self.sampler, self.seed = sampler, seed
        self.clips, self.batch, self.pool, self.sheets = clips, min(batch, clips), pool, sheets
        self._pools = functools.cache(self._pool)

    def run(self, name: str) -> dict:
        """The scores of a suite, measured unless they are there."""
        done, suite = self.folder / "scores" / f"{name}.json", suites.SUITES[name]
        if done.exists():
            scores = json.loads(done.read_text())
            there = sum(entry.get("status") != NO_ORACLE for entry in scores.values())
            if there == len(suite.ready) * len(suite.parts):
                return scores  # else an oracle has come since
        total = sum(len(self.rows(suite, part)) for part in suite.parts.values()) * self.clips
        scores = {}
        with tqdm(total=total, unit="clip", desc=name, leave=False) as bar:
            for title, part in suite.parts.items():
                values = self._part(name, suite, title, part, bar)
                for metric in suite.metrics:
                    key = "_".join(filter(None, (title, metric)))
                    scores[key] = self._entry(suite, metric, values)
        files.write(done, json.dumps(scores, indent=2) + "\n")
        return scores

    def rows(self, suite: Suite, part: Part) -> tuple[str, ...]:
        """The rows of a part: the model only where its weights learned what the part needs."""
        if suite.of != MODEL:
            return (suite.of, TRUTH)
        made = (MODEL, UNCONDITIONAL) if suites.trained(part, self.data) else ()
        return (*made, *BESIDE)

    def _part(self, name: str, suite: Suite, title: str, part: Part, bar) -> dict[str, list[dict]]:
        """{row: what was measured in each clip} of a part; what is there is read."""
        rows = self.rows(suite, part)
        if not suite.ready:
            return {row: [] for row in rows}
        form = self.pipeline.format if suites.trained(part, self.data) else FORMATS[suite.format]
        folder = self.folder / "values" / name / (title or "all")
        found, takes = collections.defaultdict(list), None
        for number, first in enumerate(range(0, self.clips, self.batch)):
            paths = {row: folder / f"{row.replace(' ', '_')}-{number:04d}.json" for row in rows}
            missing = [row for row in rows if not _complete(paths[row], suite)]
            if missing:
                takes = takes or draw_takes(part, form, self.clips)
                here = slice(first, min(first + self.batch, self.clips))
                makers = self._makers(suite, part, form, takes, here, number)
                for row in missing:
                    bar.set_description(f"{name} {title}: {row}")
                    clips = makers[row]()
                    if number == 0 and row in (MODEL, TRUTH):
                        stem = "-".join(filter(None, (name, title, row.replace(" ", "_"))))
                        self._draw(stem, clips[: self.sheets], film=row == MODEL)
                    files.write(paths[row], json.dumps(measure(suite, clips)))
            for row in rows:
                found[row] += json.loads(paths[row].read_text())
            bar.update(min(self.batch, self.clips - first) * len(rows))
        return found

    def _draw(self, stem: str, clips: list[Example], film: bool) -> None:
        """pictures/STEM-NN.png: frames over waveform and spectrogram, with the impacts heard; of
        rooms those seen too, and STEM-NN-tracked.png; with `film` the clip itself as mp4.
        """
        for i, clip in enumerate(clips):
            path, read = self.folder / "pictures" / f"{stem}-{i:02d}.png", Reading(clip)
            path.parent.mkdir(exist_ok=True)
            room = clip.take.family == "room"
            contact_sheet(
                path, clip, clip.take.captions[0], read.seen if room else None, read.heard
            )
            if room:
                tracked = path.with_name(f"{path.stem}-tracked.png")
                pictures.save_tracked(tracked, clip.frames, read.tracks)
            if film:
                said = {"prompt": clip.take.captions[0], **self.pipeline.fingerprints}
                mp4.write_mp4(path.with_suffix(".mp4"), clip, said)

    def _makers(
        self,
        suite: Suite,
        part: Part,
        form: ClipFormat,
        takes: list[Take],
        here: slice,
        number: int,
    ) -> dict[str, Callable[[], list[Example]]]:
        """How a batch of each row is made."""
        mine = takes[here]
        ask = suite.ask

        def render(takes):
            return examples.render_takes(takes, form, self.batch)

        @functools.cache
        def truth():
            return [dataclasses.replace(c, reference=c) for c in render(mine)]

        def nearest():
            pool = self._pools(self._family(part))
            found = render([baselines.nearest(take, pool) for take in mine])
            return [dataclasses.replace(c, take=take) for take, c in zip(mine, found)]

        def made(ask, key):
            return self._made(key, truth(), ask, here.start, number)

        return {
            TRUTH: truth,
            ROUND_TRIP: lambda: round_trip(self.pipeline, truth()),
            "copy last frame": lambda: baselines.copy_last_frame(truth()),
            "linear extrapolation": lambda: baselines.linear_extrapolation(truth()),
            "nearest training clip": nearest,
            MODEL: lambda: made(ask, f"{part.family}-{ask}-{_digest(takes)}"),
            UNCONDITIONAL: lambda: made(None, "unconditional"),
        }

    def _family(self, part: Part) -> str:
        own = self.data.get("family", part.family)
        return own if suites.trained(part, self.data) else part.family

    def _pool(self, family: str) -> list[Take]:
        scenes = tqdm(
            range(self.pool), unit="scene", desc=f"training scenes of {family}", leave=False
        )
        return [draw("train", i, family=family) for i in scenes]

    def _made(
        self, key: str, truth: list[Example], ask: str | None, first: int, number: int
    ) -> list[Example]:
        """A batch of the model's clips, which suites that ask for the same share: made, or read
        where they were kept.
        """
        path = self.folder / "clips" / f"{key}-{number:04d}.npz"
        if not path.exists():
            requests = [
                _request(c, ask, self.seed + first + i, self.sampler, self.pipeline.format)
                for i, c in enumerate(truth)
            ]
            # another size would be compiled anew
            requests += [requests[-1]] * (self.batch - len(requests))
            with Progress().job("generating") as show:
                made = self.pipeline.generate_batch(requests, show)[: len(truth)]
            arrays = {
                name: [getattr(clip, name) for clip in made] for name in ("frames", "samples")
            }
            with files.replacing(path) as partial, partial.open("wb") as file:
                np.savez(file, **arrays)
        with np.load(path) as arrays:
            clips = list(zip(arrays["frames"], arrays["samples"]))
        return [example(c.take, *clip, c.format) for c, clip in zip(truth, clips)]

    def _entry(self, suite: Suite, name: str, measured: dict[str, list[dict]]) -> dict:
        metric = suite.metrics[name]
        if name not in suite.ready:
            measured = {row: [] for row in measured}
        cells = {row: _cell(metric, name, clips) for row, clips in measured.items()}
        own = cells.get(suite.of, _cell(metric, name, []))
        entry = {**own, "ceiling": cells[TRUTH]["value"], "unit": metric.unit, "rows": cells}
        if suite.groups and suite.of in measured:
            entry["groups"] = _groups(metric, name, measured[suite.of])
        if name not in suite.ready:
            return entry | {"status": NO_ORACLE}
        return entry if suite.of in cells else entry | {"status": NOT_TRAINED}


def measure(suite: Suite, clips: list[Example]) -> list[dict]:
    """{"values": {metric: value}, "floors": {metric: [values]}, "groups": {name: group}} of each
    clip of a row, as JSON values.
    """
    readings = [Reading(clip) for clip in clips]
    floors = baselines.mixed(clips, readings, suite.mixed) if suite.mixed else [[] for _ in clips]
    rows = []
    for clip, reading, pairs in zip(clips, readings, floors):
        values = suites.values(suite, clip, reading)
        others = [suites.values(suite, *pair) for pair in pairs]
        groups = {name: group(clip.take) for name, group in suite.groups.items()}
        rows.append(
            {
                "values": {name: _to_json(x) for name, x in values.items()},
                "floors": {name: [_to_json(of[name]) for of in others] for name in values},
                "groups": groups,
            }
        )
    return rows


def draw_takes(part: Part, form: ClipFormat, count: int) -> list[Take]:
    """The first scenes of the part's splits, in turns, that it keeps."""
    takes, looked = [], 0
    while len(takes) < count:
        if looked > MOST_LOOKED_AT * count:
            raise RuntimeError(
                f"{part.family}: {len(takes)} of {looked} scenes of {', '.join(part.splits)} "
                "can be scored"
            )
        take = draw(
            part.splits[looked % len(part.splits)], looked // len(part.splits), family=part.family
        )
        looked += 1
        if part.keep(take, form):
            takes.append(take)
    return takes


def _complete(path: Path, suite: Suite) -> bool:
    """Are there values of every oracle that there is?"""
    return path.exists() and all(
        set(suite.ready) <= set(clip["values"]) for clip in json.loads(path.read_text())
    )


def _digest(takes: list[Take]) -> str:
    return f"{zlib.crc32(repr([(take.split, take.index) for take in takes]).encode()):08x}"


def _request(clip: Example, ask: str | None, seed: int, sampler, form: ClipFormat) -> Request:
    """What a model is asked for in a scene: see `suites`.

    First frames are as many as whole latents need to show GIVEN.
    """
    if ask is None:
        return Request(seed=seed, sampler=sampler, unconditional=True)
    if ask == "prompt":
        return Request(clip.take.captions[0], seed=seed, sampler=sampler)
    group = form.frames_per_latent
    first = clip.frames[: 1 + group * -(-(baselines.GIVEN - 1) // group)]
    prompt = clip.take.intents[0] if ask == "intent" else None
    return Request(prompt, seed=seed, sampler=sampler, first_frame=first)


def _to_json(value):
    return {"unscored": str(value)} if isinstance(value, Unscored) else value


def _numbers(values: Sequence) -> list[float]:
    """The numbers among values; those of a clip that has several, one by one."""
    flat = (x for value in values for x in (value if isinstance(value, list) else [value]))
    return [x for x in flat if isinstance(x, int | float)]


def _cell(metric: Metric, name: str, clips: Sequence[dict]) -> dict:
    """{value, low, high, floor, n, unscored} of a metric over clips; None is not asked, and counts
    nowhere. Where the metric is corrected, "raw" is its mean.
    """
    values = [clip["values"][name] for clip in clips]
    numbers = _numbers(values)
    reasons = collections.Counter(v["unscored"] for v in values if isinstance(v, dict))
    floors = [_numbers(clip["floors"][name]) for clip in clips]
    floor = float(np.mean(sum(floors, []))) if any(floors) else None
    found = {"value": None, "low": None, "high": None, "floor": floor}
    if metric.corrected:
        raw = float(np.mean(numbers)) if numbers else None
        pairs = [
            (value, float(np.mean(own)))
            for value, own in zip(values, floors)
            if own and isinstance(value, int | float)
        ]
        reasons[ALONE] += len(numbers) - len(pairs)
        numbers = [value for value, _ in pairs]
        if pairs:
            found |= dict(zip(("value", "low", "high"), statistics.corrected(*zip(*pairs))))
        found["raw"] = raw
    elif numbers:
        low, high = statistics.interval(numbers)
        found |= {"value": float(np.mean(numbers)), "low": low, "high": high}
    rounded = {k: None if x is None else round(x, 4) for k, x in found.items()}
    return {**rounded, "n": len(numbers), "unscored": dict(+reasons)}


def _groups(metric: Metric, name: str, clips: Sequence[dict]) -> dict[str, dict[str, dict]]:
    """{name of the grouping: {group: cell}}."""
    tables: dict[str, dict[str, dict]] = {}
    for grouping in clips[0]["groups"] if clips else ():
        kinds = sorted({clip["groups"][grouping] for clip in clips} - {None})
        tables[grouping] = {
            kind: _cell(metric, name, [c for c in clips if c["groups"][grouping] == kind])
            for kind in kinds
        }
    return tables


def write(folder: Path, order: Sequence[str]) -> dict:
    """scores.json over all complete suites, in the order of `order`; returns them."""
    scores = {
        name: json.loads(path.read_text())
        for name in order
        if (path := folder / "scores" / f"{name}.json").exists()
    }
    files.write(folder / "scores.json", json.dumps(scores, indent=2) + "\n")
    return scores


def forget_clips(folder: Path) -> None:
    """The model's clips are kept only while a stopped run, or another suite of it, may need
    them.
    """
    shutil.rmtree(folder / "clips", ignore_errors=True)
