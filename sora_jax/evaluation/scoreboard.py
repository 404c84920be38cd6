"""The scoreboard (`experiments.evaluate --suite=...`): a model beside what nobody learned, suite by
suite, each number with its interval.

Into the folder go, for every suite, values/SUITE/PART/ROW-BATCH.json with the values of each clip,
appearing whole or not at all, so that a run which is stopped goes on after its last batch;
pictures/SUITE-PART-ROW-NN.png of the model's first clips and of the scenes' own; scores/SUITE.json
when it is complete; and scores.json and report.md over all that are:

    {suite: {metric: {value, low, high, floor, ceiling, n, unit, unscored, rows}}}

value, low and high are the model's, or None with "status": "not trained" or "no oracle"; floor is
the row `shuffled`, ceiling that of the scenes' own renders; rows holds {value, low, high, n,
unscored} of every row; unscored counts the reasons why clips that were asked have no value.
"""

import collections
import functools
import json
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sora_jax import files
from sora_jax.contact_sheet import contact_sheet
from sora_jax.evaluation import baselines, scoring, suites
from sora_jax.evaluation.round_trip import round_trip
from sora_jax.evaluation.suites import NO_ORACLE, NOT_TRAINED, Part, Suite, Unscored
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.oracles import examples, phyworld, pictures
from sora_jax.oracles.examples import Example, example
from sora_jax.pipelines.generate import Pipeline, Request
from sora_jax.worlds.playhouse.draw import Take, draw

MODEL, UNCONDITIONAL, TRUTH, SHUFFLED = "model", "unconditional", "ground truth", "shuffled"
BESIDE = (
    TRUTH,
    "tokenizer round trip",
    "copy last frame",
    "linear extrapolation",
    "nearest training clip",
    SHUFFLED,
)
MOST_LOOKED_AT = 50  # scenes looked at for each one that a part keeps


class Scoreboard:
    """Runs suites into a folder; `run(name)` gives a suite's scores. settings: how many clips, in
    what batches, and the sampler.
    """

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
        """data: of the weights' card, what they were trained on. clips: scenes of each part. pool:
        training scenes to find the nearest in. sheets: clips of each part to draw.
        """
        self.folder, self.pipeline, self.data, self.sampler, self.seed = (
            folder,
            pipeline,
            data,
            sampler,
            seed,
        )
        self.clips, self.batch, self.pool, self.sheets = clips, min(batch, clips), pool, sheets
        self._pools = functools.cache(self._pool)

    def run(self, name: str) -> dict:
        """The scores of a suite, measured unless they are there."""
        done, suite = self.folder / "scores" / f"{name}.json", suites.SUITES[name]
        if done.exists():
            scores = json.loads(done.read_text())
            if sum(entry.get("status") != NO_ORACLE for entry in scores.values()) == len(
                suite.ready
            ) * len(suite.parts):
                return scores  # else an oracle has come since
        total = sum(len(self.rows(part)) for part in suite.parts.values()) * self.clips
        values = {}
        with tqdm(total=total, unit="clip", desc=name, leave=False) as bar:
            for title, part in suite.parts.items():
                values[title] = self._part(name, suite, title, part, bar)
        scores = {}
        for title, part in suite.parts.items():
            for metric in suite.metrics:
                scores["_".join(filter(None, (title, metric)))] = self._entry(
                    suite, part, metric, values[title]
                )
        files.write(done, json.dumps(scores, indent=2) + "\n")
        return scores

    def rows(self, part: Part) -> tuple[str, ...]:
        return (*((MODEL, UNCONDITIONAL) if suites.trained(part, self.data) else ()), *BESIDE)

    def _part(self, name: str, suite: Suite, title: str, part: Part, bar) -> dict[str, list[dict]]:
        """{row: values of each clip} of a part; what is there is read."""
        form = self.pipeline.format if suites.trained(part, self.data) else FORMATS[suite.format]
        if not suite.ready:
            return {row: [] for row in self.rows(part)}
        folder, found = (
            self.folder / "values" / name / (title or "all"),
            collections.defaultdict(list),
        )
        takes = None
        for number, first in enumerate(range(0, self.clips, self.batch)):
            path = lambda row, number=number: folder / f"{row.replace(' ', '_')}-{number:04d}.json"
            missing = [row for row in self.rows(part) if not _complete(path(row), suite)]
            if missing:
                takes = takes or draw_takes(part, form, self.clips)
                makers = self._makers(
                    suite,
                    title,
                    part,
                    form,
                    takes,
                    slice(first, min(first + self.batch, self.clips)),
                    number,
                )
                for row in missing:
                    bar.set_description(f"{name} {title}: {row}")
                    clips = makers[row]()
                    if number == 0 and row in (MODEL, TRUTH):
                        self._draw(
                            "-".join(filter(None, (name, title, row.replace(" ", "_")))),
                            clips[: self.sheets],
                        )
                    values = [suites.values(suite, clip) for clip in clips]
                    files.write(
                        path(row),
                        json.dumps([{k: _to_json(v) for k, v in of.items()} for of in values]),
                    )
            for row in self.rows(part):
                found[row] += json.loads(path(row).read_text())
            bar.update(min(self.batch, self.clips - first) * len(self.rows(part)))
        return found

    def _draw(self, name: str, clips: list[Example]) -> None:
        """pictures/NAME-NN.png: frames over waveform and spectrogram, with the impacts heard; of
        rooms those seen too, and NAME-NN-tracked.png.
        """
        for i, clip in enumerate(clips):
            path, read = self.folder / "pictures" / f"{name}-{i:02d}.png", clip.read()
            path.parent.mkdir(exist_ok=True)
            room = clip.take.family == "room"
            contact_sheet(
                path,
                clip,
                clip.take.captions[0],
                read.seen if room else None,
                read.heard,
            )
            if room:
                pictures.save_tracked(
                    path.with_name(f"{path.stem}-tracked.png"), clip.frames, read.tracks
                )

    def _makers(
        self, suite, title, part, form, takes, here: slice, number: int
    ) -> dict[str, Callable[[], list[Example]]]:
        """How a batch of each row is made."""
        mine = takes[here]
        render = lambda takes: examples.render_takes(takes, form, self.batch)
        truth = functools.cache(lambda: render(mine))
        others = lambda: render(
            [takes[js[0]] if js else take for take, js in zip(mine, scoring.partners(takes)[here])]
        )
        nearest = lambda: render(
            [baselines.nearest(take, self._pools(self._family(part))) for take in mine]
        )
        shown = lambda clips: [
            example(take, c.frames, c.samples, form) for take, c in zip(mine, clips)
        ]
        return {
            TRUTH: truth,
            "tokenizer round trip": lambda: round_trip(self.pipeline, truth()),
            "copy last frame": lambda: baselines.copy_last_frame(truth()),
            "linear extrapolation": lambda: baselines.linear_extrapolation(truth()),
            "nearest training clip": lambda: shown(nearest()),
            SHUFFLED: lambda: baselines.shuffled(truth(), others(), suite.mixed),
            MODEL: lambda: self._made(
                f"{part.family}-{suite.ask}-{_digest(takes)}",
                truth(),
                suite.ask,
                here.start,
                number,
            ),
            UNCONDITIONAL: lambda: self._made("unconditional", truth(), None, here.start, number),
        }

    def _family(self, part: Part) -> str:
        return (
            self.data.get("family", part.family) if suites.trained(part, self.data) else part.family
        )

    def _pool(self, family: str) -> list[Take]:
        return [
            draw("train", i, family=family)
            for i in tqdm(
                range(self.pool), unit="scene", desc=f"training scenes of {family}", leave=False
            )
        ]

    def _made(
        self, key: str, truth: list[Example], ask: str | None, first: int, number: int
    ) -> list[Example]:
        """A batch of the model's clips, which suites that ask for the same share: made, or read
        where they were kept.
        """
        from sora_jax.progress import Progress

        path = self.folder / "clips" / f"{key}-{number:04d}.npz"
        if not path.exists():
            requests = [
                _request(c, ask, self.seed + first + i, self.sampler) for i, c in enumerate(truth)
            ]
            # another size would be compiled anew
            requests += [requests[-1]] * (self.batch - len(requests))
            with Progress().job("generating") as show:
                made = self.pipeline.generate_batch(requests, show)[: len(truth)]
            with files.replacing(path) as partial, partial.open("wb") as file:
                np.savez(
                    file,
                    frames=[clip.frames for clip in made],
                    samples=[clip.samples for clip in made],
                )
        with np.load(path) as arrays:
            return [
                example(c.take, *clip, c.format)
                for c, *clip in zip(truth, arrays["frames"], arrays["samples"])
            ]

    def _entry(self, suite: Suite, part: Part, name: str, values: dict[str, list[dict]]) -> dict:
        metric = suite.metrics[name]
        cells = {
            row: _cell([of[name] for of in clips] if name in suite.ready else [])
            for row, clips in values.items()
        }
        model = cells.get(MODEL, _cell([]))
        entry = {
            **model,
            "floor": cells[SHUFFLED]["value"],
            "ceiling": cells[TRUTH]["value"],
            "unit": metric.unit,
            "rows": cells,
        }
        status = (
            NO_ORACLE if name not in suite.ready else NOT_TRAINED if MODEL not in cells else None
        )
        return entry | ({"status": status} if status else {})


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
    return path.exists() and all(set(suite.ready) <= set(of) for of in json.loads(path.read_text()))


def _digest(takes: list[Take]) -> str:
    return f"{zlib.crc32(repr([(take.split, take.index) for take in takes]).encode()):08x}"


def _request(clip: Example, ask: str | None, seed: int, sampler) -> Request:
    """What a model is asked for in a scene: see `suites`.

    First frames are as many as whole latents need to show GIVEN.
    """
    if ask is None:
        return Request(seed=seed, sampler=sampler, unconditional=True)
    if ask == "prompt":
        return Request(clip.take.captions[0], seed=seed, sampler=sampler)
    group = clip.format.frames_per_latent
    first = clip.frames[: 1 + group * -(-(baselines.GIVEN - 1) // group)]
    return Request(
        clip.take.intents[0] if ask == "intent" else None,
        seed=seed,
        sampler=sampler,
        first_frame=first,
    )


def _to_json(value):
    return {"unscored": str(value)} if isinstance(value, Unscored) else value


def _cell(values: Sequence) -> dict:
    """{value, low, high, n, unscored} of the values of clips: those that are numbers; None is not
    asked, and counts nowhere.
    """
    numbers = [v for v in values if isinstance(v, int | float)]
    reasons = collections.Counter(v["unscored"] for v in values if isinstance(v, dict))
    low, high = scoring.interval(numbers) if numbers else (None, None)
    value = float(np.mean(numbers)) if numbers else None
    rounded = {
        k: None if x is None else round(x, 4)
        for k, x in (("value", value), ("low", low), ("high", high))
    }
    return {**rounded, "n": len(numbers), "unscored": dict(reasons)}


def table(
    scores: dict, number: Callable[[float | None, str], str]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a suite as text; every cell with its interval, or the reason why there is
    none.
    """

    def cell(entry: dict, row: str) -> str:
        own = entry["rows"].get(row)
        if entry.get("status") == NO_ORACLE or own is None:
            return entry["status"]
        if own["value"] is None:
            return (
                f"unscored: {max(own['unscored'], key=own['unscored'].get)}"
                if own["unscored"]
                else "-"
            )
        short = f" of {own['n'] + sum(own['unscored'].values())}" if own["unscored"] else ""
        value, low, high = (number(own[k], entry["unit"]) for k in ("value", "low", "high"))
        return f"{value} ({low} to {high}; {own['n']}{short})"

    columns = (MODEL, UNCONDITIONAL, *BESIDE)
    return ["metric", *columns, "unit"], [
        [name, *(cell(entry, row) for row in columns), entry["unit"]]
        for name, entry in scores.items()
    ]


def paper_rows(scores: dict) -> list[list[str]]:
    """task, model, clips, error in and out of distribution, floor: the paper's, and below them
    ours.
    """
    lines = []
    for task in ("uniform", "collision", "parabola"):
        for row in (r for r in phyworld.paper_table() if r["task"] == task):
            lines.append(
                [
                    task,
                    f"paper, {row['model']}",
                    f"{row['clips']:.0f}",
                    *(f"{row[k]:.4f}" for k in ("id_error", "ood_error", "floor")),
                ]
            )
        inside, outside = scores[f"{task}_id_error"], scores[f"{task}_ood_error"]
        for row in (MODEL, UNCONDITIONAL, *BESIDE):
            cells = [
                e["rows"][row]["value"] if row in e["rows"] else None for e in (inside, outside)
            ]
            said = [inside.get("status", "-") if c is None else f"{c:.4f}" for c in cells]
            lines.append([task, row, "", *said, f"{inside['ceiling']:.4f}"])
    return lines


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
