"""Scores a model suite by suite, beside baselines. Every score has an interval and a floor.

A suite is a group of metrics with the scenes to generate, in one or several parts (`suites.py`). A
row is the clips of the model, or of one baseline, for the scenes of a part. For every suite the
folder receives

    values/SUITE/PART/ROW-BATCH.json   values and floor of each clip; each file appears whole, so a
                                       stopped run resumes after its last batch
    pictures/SUITE-PART-ROW-NN.png     the first clips of the model, with their mp4, and of the
                                       scenes' own renders
    scores/SUITE.json                  when the suite is complete

and scores.json over all complete suites:

    {suite: {metric: {value, low, high, floor, ceiling, n, unit, unscored, rows, groups}}}

    value, low, high   the model's score and its 95 % interval (in the suite `tokenizers`, those of
                       the tokenizers' round trip), or None with "status": "not trained" or "no
                       oracle"
    floor              score by chance: of the row's clips, mixed (`baselines.mixed`). Clips are
                       mixed with others of the whole part, so the floor does not depend on the
                       batch size
    raw                the mean of a metric whose value is corrected for the floor
    ceiling            score of the scenes' own renders
    n                  number of measurements
    rows               {row: {value, low, high, floor, n, unscored}}
    groups             {grouping: {group: {value, low, high, floor, n, unscored}}} of the model
    unscored           {reason: number of clips} without a value, although their scene tests the
                       metric
"""

import collections
import copy
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
from sora_jax.config import fingerprint
from sora_jax.contact_sheet import contact_sheet
from sora_jax.evaluation import baselines, cells, suites
from sora_jax.evaluation.baselines import Pair
from sora_jax.evaluation.measuring import draw_takes, measure, request_of
from sora_jax.evaluation.round_trip import round_trip
from sora_jax.evaluation.suites import MODEL, NO_ORACLE, NOT_TRAINED, ROUND_TRIP, Part, Suite
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles import examples, pictures
from sora_jax.oracles.examples import Example, example
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.generate import Pipeline
from sora_jax.progress import Progress
from sora_jax.weights import data_of
from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.draw import Take, draw

UNCONDITIONAL, TRUTH = "unconditional", "ground truth"
BASELINES = (TRUTH, ROUND_TRIP, "copy last frame", "linear extrapolation", "nearest training clip")
# Number of following clips kept in memory for the floor of a clip; clips farther away that it is
# mixed with are made again.
REACH = 16


class Scoreboard:
    """A measurement of one model, suite by suite, written to a folder after every batch of clips.

    `run` scores a suite. A second scoreboard in the same folder continues where the first stopped.
    """

    def __init__(
        self,
        folder: Path,
        pipeline: Pipeline,
        data: dict,
        sampler: SamplerConfig,
        seed: int,
        clips: int,
        batch: int,
        pool: int,
        sheets: int,
    ) -> None:
        """Creates a scoreboard in an existing folder.

        Args:
            folder: folder of the results.
            pipeline: the model and its tokenizers.
            data: the entry "data" of the model card, which describes the training data.
            sampler: settings of the sampler.
            seed: seed of the first clip; clip i of a part uses `seed` + i.
            clips: number of scenes of each part.
            batch: number of scenes generated at a time.
            pool: number of training scenes among which the baseline "nearest training clip"
                searches.
            sheets: number of clips of each part of which pictures are written.
        """
        self.folder, self.pipeline, self.data = folder, pipeline, data
        self.sampler, self.seed = sampler, seed
        self.clips, self.batch, self.pool, self.sheets = clips, min(batch, clips), pool, sheets
        self._pools = functools.cache(self._pool)

    def run(self, name: str) -> dict:
        """Scores a suite and returns {metric: {value, low, high, ...}}, with the keys of the module
        docstring. Clips and scores in the folder are reused.

        Args:
            name: of the suite, in `suites.SUITES`.
        """
        done, suite = self.folder / "scores" / f"{name}.json", suites.SUITES[name]
        if done.exists():
            scores = json.loads(done.read_text(encoding="utf-8"))
            scored = sum(entry.get("status") != NO_ORACLE for entry in scores.values())
            if scored == len(suite.ready) * len(suite.parts):
                return scores  # else an oracle was registered after they were written
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
        """Returns the names of the rows of a part of a suite: the model and the baselines.

        The model, with and without a prompt, is included only if it was trained on what the part
        needs.
        """
        if suite.of != MODEL:
            return (suite.of, TRUTH)
        model_rows = (MODEL, UNCONDITIONAL) if suites.trained(part, self.data) else ()
        return (*model_rows, *BASELINES)

    def _part(
        self, name: str, suite: Suite, title: str, part: Part, bar: tqdm
    ) -> dict[str, list[dict]]:
        """Returns {row: [measurement of each clip]} of a part, as `measuring.measure` returns them.
        Measurements in the folder are reused.

        Args:
            name: of the suite.
            suite: the suite.
            title: name of the part.
            part: the part.
            bar: progress bar, which counts clips.
        """
        rows = self.rows(suite, part)
        if not suite.ready:
            return {row: [] for row in rows}
        _, format = self._learned(suite, part)
        folder = self.folder / "values" / name / (title or "all")
        batches = [
            range(first, min(first + self.batch, self.clips))
            for first in range(0, self.clips, self.batch)
        ]
        paths = {
            row: [folder / f"{row.replace(' ', '_')}-{k:04d}.json" for k in range(len(batches))]
            for row in rows
        }
        measured, makers, others = collections.defaultdict(list), {}, []
        if not all(_complete(path, suite) for row_paths in paths.values() for path in row_paths):
            takes = draw_takes(part, format, self.clips)
            makers, others = self._makers(suite, part, format, takes), baselines.partners(takes)
        for row in rows:
            bar.set_description(f"{name} {title}: {row}")
            read = self._reader(makers.get(row))
            for number, (indices, path) in enumerate(zip(batches, paths[row], strict=True)):
                if not _complete(path, suite):
                    if number == 0 and row in (MODEL, TRUTH):
                        stem = "-".join(filter(None, (name, title, row.replace(" ", "_"))))
                        shown = [read(i)[0] for i in indices[: self.sheets]]
                        self._draw(stem, shown, film=row == MODEL)
                    files.write(path, json.dumps(measure(suite, read, indices, others)))
                measured[row] += json.loads(path.read_text(encoding="utf-8"))
                bar.update(len(indices))
        return measured

    def _reader(self, make: Callable[[int], list[Example]] | None) -> Callable[[int], Pair]:
        """Returns a function i -> (clip i of a row, its reading).

        Args:
            make: function (number of a batch) -> its clips. It is called when a clip of the batch
                is needed; the batch stays in memory while the floors of the batch before may need
                it. None if all measurements of the row are in the folder.
        """

        @functools.lru_cache(maxsize=self._kept)
        def batch(number: int) -> list[Pair]:
            assert make is not None, "every batch of the row is in the folder"
            return [(clip, Reading(clip)) for clip in make(number)]

        def read(i: int) -> Pair:
            return batch(i // self.batch)[i % self.batch]

        return read

    @property
    def _kept(self) -> int:
        """The number of batches of a row that are in memory at a time."""
        return 1 + -(-REACH // self.batch)

    def _draw(self, stem: str, clips: list[Example], film: bool) -> None:
        """Writes pictures/STEM-NN.png of clips: frames above waveform and spectrogram, with the
        audible impacts.

        For families with the facts of family `room` it also marks the visible impacts, and writes
        STEM-NN-tracked.png with the tracked balls. With `film` it writes the clip as mp4 too.
        """
        for i, clip in enumerate(clips):
            path, read = self.folder / "pictures" / f"{stem}-{i:02d}.png", Reading(clip)
            path.parent.mkdir(exist_ok=True)
            balls = isinstance(clip.take.facts, Facts)  # what the tracker reads
            contact_sheet(
                path,
                clip,
                clip.take.captions[0],
                read.seen_impacts if balls else None,
                read.heard_impacts,
            )
            if balls:
                tracked = path.with_name(f"{path.stem}-tracked.png")
                pictures.save_tracked(tracked, clip.frames, read.tracks)
            if film:
                metadata = {"prompt": clip.take.captions[0], **self.pipeline.fingerprints}
                mp4.write_mp4(path.with_suffix(".mp4"), clip, metadata)

    def _makers(
        self, suite: Suite, part: Part, format: ClipFormat, takes: list[Take]
    ) -> dict[str, Callable[[int], list[Example]]]:
        """Returns {row: function (number of a batch) -> its clips} for the scenes `takes` of a part
        of a suite, in a clip format.
        """
        pipeline = copy.copy(self.pipeline)
        pipeline.format = format

        def batch(number: int) -> list[Take]:
            return takes[number * self.batch : (number + 1) * self.batch]

        def render(takes: list[Take]) -> list[Example]:
            return examples.render_takes(takes, format, self.batch)

        @functools.lru_cache(maxsize=self._kept)
        def truth(number: int) -> list[Example]:
            return [dataclasses.replace(c, reference=c) for c in render(batch(number))]

        def nearest(number: int) -> list[Example]:
            pool, targets = self._pools(self._learned(suite, part)[0]), batch(number)
            clips = render([baselines.nearest(take, pool) for take in targets])
            return [
                dataclasses.replace(c, take=take) for take, c in zip(targets, clips, strict=True)
            ]

        def model(number: int) -> list[Example]:
            ask = part.ask or suite.ask
            key = f"{part.family}-{ask}-{_digest(takes)}"
            return self._made(pipeline, key, truth(number), ask, number)

        return {
            TRUTH: truth,
            ROUND_TRIP: lambda number: round_trip(pipeline, truth(number)),
            "copy last frame": lambda number: baselines.copy_last_frame(truth(number)),
            "linear extrapolation": lambda number: baselines.linear_extrapolation(truth(number)),
            "nearest training clip": nearest,
            MODEL: model,
            UNCONDITIONAL: lambda number: self._made(
                pipeline, f"unconditional-{fingerprint(format)}", truth(number), None, number
            ),
        }

    def _learned(self, suite: Suite, part: Part) -> tuple[str, ClipFormat]:
        """Returns (name of the family, clip format) with which the model was trained on what a part
        needs; if it was not, those of the part and of the suite.
        """
        for one in data_of({"data": self.data}):
            if one.get("source") == "playhouse" and one.get("family") in part.trained_on:
                learned = one.get("format")
                format = ClipFormat.from_dict(learned) if learned else self.pipeline.format
                return one["family"], format
        return part.family, FORMATS[suite.format]

    def _pool(self, family: str) -> list[Take]:
        scenes = tqdm(
            range(self.pool), unit="scene", desc=f"training scenes of {family}", leave=False
        )
        return [draw("train", i, family=family) for i in scenes]

    def _made(
        self, pipeline: Pipeline, key: str, truth: list[Example], ask: str | None, number: int
    ) -> list[Example]:
        """Returns batch `number` of the model's clips, generated or read from the folder.

        Args:
            pipeline: the model.
            key: name of the clips in the folder. Suites that ask the model for the same clips share
                it.
            truth: renders of the scenes of the batch.
            ask: what the model is given (`suites`); None for unconditional clips.
            number: index of the batch.
        """
        path = self.folder / "clips" / f"{key}-{number:04d}.npz"
        if not path.exists():
            first = self.seed + number * self.batch
            others = [*truth[1:], truth[0]]
            requests = [
                request_of(c, ask, first + i, self.sampler, pipeline, other)
                for i, (c, other) in enumerate(zip(truth, others, strict=True))
            ]
            if not pipeline.is_windowed(requests[0]):
                # padded, because another batch size would compile again
                requests += [requests[-1]] * (self.batch - len(requests))
            with Progress().job("generating") as show:
                clips = pipeline.generate_batch(requests, show)[: len(truth)]
            arrays = {
                name: [getattr(clip, name) for clip in clips] for name in ("frames", "samples")
            }
            with files.replacing(path) as partial, partial.open("wb") as file:
                np.savez(file, frames=arrays["frames"], samples=arrays["samples"])
        with np.load(path) as arrays:
            clips = list(zip(arrays["frames"], arrays["samples"], strict=True))
        # The clips of "looped" are longer than their format. Only `metrics.seam` reads them.
        return [example(c.take, *clip, c.format) for c, clip in zip(truth, clips, strict=True)]

    def _entry(self, suite: Suite, name: str, measured: dict[str, list[dict]]) -> dict:
        """Returns the entry of one metric in scores.json, from the measurements {row: [measurement
        of each clip]}.
        """
        metric = suite.metrics[name]
        if name not in suite.ready:
            measured = {row: [] for row in measured}
        rows = {row: cells.cell(metric, name, clips) for row, clips in measured.items()}
        entry_cell = rows.get(suite.of, cells.cell(metric, name, []))
        entry = {**entry_cell, "ceiling": rows[TRUTH]["value"], "unit": metric.unit, "rows": rows}
        if suite.groups and suite.of in measured:
            entry["groups"] = cells.groups(metric, name, measured[suite.of])
        if name not in suite.ready:
            return entry | {"status": NO_ORACLE}
        return entry if suite.of in rows else entry | {"status": NOT_TRAINED}


def _complete(path: Path, suite: Suite) -> bool:
    """Returns whether the file exists and holds values of every metric of a suite whose oracle is
    registered.
    """
    return path.exists() and all(
        set(suite.ready) <= set(clip["values"])
        for clip in json.loads(path.read_text(encoding="utf-8"))
    )


def _digest(takes: list[Take]) -> str:
    return f"{zlib.crc32(repr([(take.split, take.index) for take in takes]).encode()):08x}"


def write(folder: Path, order: Sequence[str]) -> dict:
    """Writes scores.json over all complete suites in a folder, and returns the scores, {suite:
    {metric: {value, ...}}}. order: names of suites, which gives the order in the file.
    """
    scores = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in order
        if (path := folder / "scores" / f"{name}.json").exists()
    }
    files.write(folder / "scores.json", json.dumps(scores, indent=2) + "\n")
    return scores


def forget_clips(folder: Path) -> None:
    """Deletes the model's clips in a folder of results. Only a suite that is not complete needs
    them.
    """
    shutil.rmtree(folder / "clips", ignore_errors=True)
