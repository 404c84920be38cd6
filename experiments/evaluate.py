r"""Measure: how well the oracles read (--calibrate), or how well a model does what its prompts ask.

Examples:

  python -m experiments.evaluate --calibrate --output=outputs/calibration
  python -m experiments.evaluate --num_prompts=64 --output=outputs/evaluation
  python -m experiments.evaluate --num_prompts=64 --output=outputs/mine \
      --weights=runs/nano/weights.safetensors --guidance=3
  python -m experiments.evaluate --suite=all --num_prompts=16 --output=outputs/scoreboard

--calibrate writes calibration.json {oracle: {condition: {score, n}}}, report.md and pictures, and
ends with status 1 if a score is outside its limits. Otherwise the model makes one clip for each of
the first prompts of the split, and scores.json holds {suite: {metric: {value, low, high, floor,
ceiling, n, unit}}}: the 95 % interval, the same clips against other prompts (or another clip's
sound) as floor, and renders of the prompts' own scenes as ceiling. Beside it stand the nearest
training scene and the scenes after a round trip through the tokenizers: the most that any model on
these tokenizers can reach.

--suite puts the model on the scoreboard instead, beside rows that nobody learned
(`sora_jax.evaluation.scoreboard`): physics, failed_actions, permanence, styles, sync, sound,
speech, facts, phyworld, several with commas, or all. What the weights were not trained for says so.

A folder is one measurement's: other weights, prompts or settings are refused there. Stopped, a
measurement goes on from its last batch of clips when its command is given again; complete, it is
left as it is. --calibrate measures again: it is about the code at hand.
"""

import dataclasses
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
from absl import flags

from experiments import generation
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.evaluation.results import claim

flags.adopt_module_key_flags(generation)

_OUTPUT = flags.DEFINE_string(
    "output", None, "Folder for the report, the numbers and the pictures."
)
_CALIBRATE = flags.DEFINE_bool(
    "calibrate", False, "Calibrate the oracles instead of scoring a model."
)
_SUITE = flags.DEFINE_list(
    "suite",
    None,
    "Suites of the scoreboard, with commas, or all; without it the default evaluation.",
)
_NUM_CLIPS = flags.DEFINE_integer("num_clips", 96, "Scenes to calibrate on.", lower_bound=2)
_NUM_PROMPTS = flags.DEFINE_integer(
    "num_prompts", 64, "Prompts to score a model on.", lower_bound=2
)
_SPLIT = flags.DEFINE_enum(
    "split", "val", ["val", "train"], "Where the prompts and scenes come from."
)
_FORMAT = flags.DEFINE_enum(
    "format", "nano", ["nano", "S"], "Clip format for --calibrate (a model brings its own)."
)
_BATCH = flags.DEFINE_integer("batch", 16, "Clips made at a time.", lower_bound=1)
_POOL = flags.DEFINE_integer(
    "nearest_pool",
    1024,
    "Training scenes among which the nearest to a prompt is looked for.",
    lower_bound=1,
)
_SHEETS = flags.DEFINE_integer(
    "sheets",
    8,
    "Clips to draw and to write as mp4; in suites and a calibration drawn alone, at most 4.",
    lower_bound=0,
)


def check_paths() -> Path:
    """The output folder.

    Raises UserError for a path that cannot be read or written, before anything is loaded or
    compiled.
    """
    if not _OUTPUT.value:
        raise UserError(
            "--output is missing: nowhere to write the report; give --output=outputs/evaluation"
        )
    generation.check_weights()
    return files.check_output("output", _OUTPUT.value)


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up."""
    lines = [header, ["---"] * len(header), *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return (
        "\n".join(
            "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |"
            for line in lines
        )
        + "\n"
    )


def number(value: float | None, unit: str = "share") -> str:
    return (
        "-" if value is None else f"{value:.1f}" if unit in ("ms", "px", "dB") else f"{value:.3f}"
    )


def calibrate(path: Path) -> int:
    """Calibrate the oracles; the number of scores outside their limits."""
    from tqdm import tqdm

    from sora_jax.contact_sheet import contact_sheet
    from sora_jax.evaluation import calibrate as calibration
    from sora_jax.modality import FORMATS
    from sora_jax.oracles import examples, pictures
    from sora_jax.oracles.verdict import say_impacts

    form = FORMATS[_FORMAT.value]
    settings = {
        "num_clips": _NUM_CLIPS.value,
        "split": _SPLIT.value,
        "format": _FORMAT.value,
        "sheets": _SHEETS.value,
    }
    claim(path, {"measured": "oracles", **settings})
    started = time.perf_counter()
    clips = examples.ground_truth(
        _SPLIT.value, range(calibration.FIRST, calibration.FIRST + _NUM_CLIPS.value), form
    )
    with tqdm(total=calibration.STEPS, unit="condition", leave=False) as bar:

        def report(name):
            bar.set_description(name)
            bar.update(1)

        scores = calibration.calibrate(clips, report)
    bad = calibration.violations(scores)
    files.write(path / "calibration.json", json.dumps(scores, indent=2) + "\n")
    names = list(dict.fromkeys(condition for rows in scores.values() for condition in rows))
    rows = [
        [
            name,
            *(number(of[name]["score"]) if name in of else "" for of in scores.values()),
            str(max(of[name]["n"] for of in scores.values() if name in of)),
        ]
        for name in names
    ]
    shifts = calibration.shift_recovery(clips)
    head = (
        f"# Calibration of the oracles\n\n{len(clips)} scenes of `{_SPLIT.value}` from number "
        f"{calibration.FIRST} on, {form.frames} frames "
        f"at {form.fps} fps, {form.size} pixels. A score is the share of clips whose reading "
        "lies within the oracle's tolerance.\n"
    )
    text = [
        head,
        table(["condition", *scores, "n"], rows),
        table(
            ["oracle", "tolerance"],
            [[name, oracle.tolerance] for name, oracle in calibration.ORACLES.items()],
        ),
        f"Limits: ground truth at least {calibration.GROUND_TRUTH}, degraded at least "
        f"{calibration.DEGRADED}, corrupted, shuffled and "
        f"empty at most {calibration.CEILING}, of physics {calibration.STRICT}, of style that "
        "of chance. "
        + ("All kept.\n" if not bad else "Outside:\n\n" + "\n".join(f"- {b}" for b in bad) + "\n"),
        "Sound shifted on purpose, and the offset that the sync oracle reads (median over "
        "clips):\n",
        table(
            ["shift, ms", "read, ms"], [[f"{1e3 * s:+.0f}", f"{1e3 * r:+.1f}"] for s, r in shifts]
        ),
        _measured(clips),
    ]
    for i, clip in enumerate(clips[: min(4, _SHEETS.value)]):
        read = clip.read()
        name = f"clip-{i:02d}"
        pictures.save_tracked(path / f"{name}-tracked.png", clip.frames, read.tracks)
        contact_sheet(
            path / f"{name}-onsets.png",
            clip,
            clip.take.captions[0],
            read.seen,
            read.heard,
        )
        text.append(
            f"## {clip.take.captions[0]}\n\n{say_impacts(read)}\n\n![tracked "
            f"frames]({name}-tracked.png)\n\n![impacts heard]({name}-onsets.png)\n"
        )
    files.write(path / "report.md", "\n".join(text))
    print(text[1])
    print("\n".join(bad) if bad else "all scores are within their limits")
    print(
        f"{len(clips)} scenes in {time.perf_counter() - started:.0f} s: "
        f"{path / 'calibration.json'}, {path / 'report.md'}"
    )
    return len(bad)


def _measured(clips) -> str:
    """What the oracles of physics, loudness and words measure on ground truth, beyond right and
    wrong.
    """
    from sora_jax.evaluation import calibrate as calibration
    from sora_jax.oracles import examples, loudness
    from sora_jax.oracles.words import errors

    readings = [clip.read() for clip in clips]
    laws = [read.physics for read in readings if read.physics]
    contacts = [law.momentum_error for law in laws if law.momentum_error is not None]
    gravities = [read.gravity for read in readings if read.gravity is not None]
    pairs = [pair for read in readings for pair in loudness.impacts(read)]
    spoken = [(clip.read().words, calibration.said(clip.take)) for clip in examples.narrated(clips)]
    residuals = [law.residual_px for law in laws]
    said = sum(len(words) for _, words in spoken)
    quantiles = lambda values, *q: (
        [f"{x:.3f}" for x in np.percentile(values, q)] if values else ["-"] * len(q)
    )
    rows = [
        (
            "gravity, m/s^2: median (5 to 95 %)",
            "{} ({} to {})".format(*quantiles(gravities, 50, 5, 95)),
            len(gravities),
        ),
        (
            "residual of the fitted arcs, px: median (95 %)",
            "{} ({})".format(*quantiles(residuals, 50, 95)),
            len(laws),
        ),
        ("momentum error of two balls that meet: median", *quantiles(contacts, 50), len(contacts)),
        (
            "loudness against speed of floor and wall impacts, Spearman",
            number(loudness.correlation(pairs)),
            len(pairs),
        ),
        (
            "word error rate, held-out voices",
            number(sum(errors(h, s) for h, s in spoken) / max(said, 1)),
            said,
        ),
    ]
    return "Measured on ground truth:\n\n" + table(
        ["what", "value", "n"], [[name, value, str(n)] for name, value, n in rows]
    )


def make_clips(pipeline, requests, kept: Path) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
    """Frames and samples of every request's clip, and the seconds that making them took; batches
    are kept in the folder `kept`.
    """
    from sora_jax.progress import Progress

    batches = [
        requests[first : first + _BATCH.value] for first in range(0, len(requests), _BATCH.value)
    ]
    clips, seconds = [], 0.0
    with Progress().job("generating") as show:
        for number, batch in enumerate(batches):
            path = kept / f"{number:04d}.npz"
            if not path.exists():
                started = time.perf_counter()
                # another size would be compiled anew
                full = batch + [batch[-1]] * (len(batches[0]) - len(batch))

                def step(done, total, number=number):
                    show(number * total + done, len(batches) * total)

                made = pipeline.generate_batch(full, step)[: len(batch)]
                arrays = {
                    "frames": [clip.frames for clip in made],
                    "samples": [clip.samples for clip in made],
                }
                with files.replacing(path) as partial, partial.open("wb") as file:
                    np.savez(file, seconds=time.perf_counter() - started, **arrays)
            with np.load(path) as arrays:
                clips += zip(arrays["frames"], arrays["samples"])
                seconds += float(arrays["seconds"])
    return clips, seconds


def nearest_scenes(takes) -> list:
    """For each take the training scene that shares most facts with it."""
    from tqdm import tqdm

    from sora_jax.evaluation.scoring import likeness
    from sora_jax.worlds.playhouse.draw import draw

    pool = [
        draw("train", i)
        for i in tqdm(range(_POOL.value), unit="scene", desc="training scenes", leave=False)
    ]
    return [
        max(pool, key=lambda other, take=take: likeness(take.facts, other.facts)) for take in takes
    ]


def evaluate(path: Path) -> None:
    """Score a model on the first prompts of the split."""
    from sora_jax import media
    from sora_jax.clip import Clip
    from sora_jax.contact_sheet import contact_sheet
    from sora_jax.evaluation import scoring
    from sora_jax.evaluation.round_trip import fidelity, round_trip
    from sora_jax.oracles import examples, pictures
    from sora_jax.oracles.reading import Reading
    from sora_jax.oracles.verdict import say_balls, say_impacts
    from sora_jax.pipelines.generate import Request
    from sora_jax.worlds.playhouse.draw import draw

    pipeline, sampler = generation.load(), generation.sampler()
    form, seed = pipeline.format, generation.SEED.value
    settings = {
        "num_prompts": _NUM_PROMPTS.value,
        "split": _SPLIT.value,
        "seed": seed,
        "sampler": dataclasses.asdict(sampler),
    }
    settings |= {"batch": _BATCH.value, "nearest_pool": _POOL.value, "sheets": _SHEETS.value}
    claim(path, {"measured": "model", **pipeline.fingerprints, **settings})
    if (path / "report.md").exists():  # written last
        print(
            f"already complete: {path / 'scores.json'}, {path / 'report.md'}; to measure "
            f"again, delete {path} or give another --output"
        )
        return
    takes = [draw(_SPLIT.value, i) for i in range(_NUM_PROMPTS.value)]
    requests = [
        Request(take.captions[0], seed=seed + i, sampler=sampler) for i, take in enumerate(takes)
    ]
    clips, seconds = make_clips(pipeline, requests, path / "clips")
    truth = examples.render_takes(takes, form)
    passed = round_trip(pipeline, truth)
    nearest = examples.render_takes(nearest_scenes(takes), form)
    readings = [Reading(Clip(frames, samples, form.fps)) for frames, samples in clips]
    ceiling = [clip.read() for clip in truth]
    scores = scoring.score(takes, readings, ceiling)
    beside = {
        "nearest training scene": scoring.means(takes, [clip.read() for clip in nearest]),
        "tokenizer round trip": scoring.means(takes, [clip.read() for clip in passed]),
    }
    scores["tokenizer"] = fidelity(truth, passed)
    files.write(path / "scores.json", json.dumps(scores, indent=2) + "\n")
    files.write(path / "beside.json", json.dumps(beside, indent=2) + "\n")
    rows = []
    for suite, metrics in scores.items():
        for metric, m in metrics.items():
            show = [number(m[k], m["unit"]) for k in ("value", "low", "high", "floor", "ceiling")]
            extra = [number(b.get(suite, {}).get(metric), m["unit"]) for b in beside.values()]
            rows.append([f"{suite}.{metric}", *show, *extra, str(m["n"]), m["unit"]])
    header = ["metric", "value", "low", "high", "floor", "ceiling", *beside, "n", "unit"]
    sync = scores["sync"]["f1_100ms"]
    lift = ""
    if sync["value"] is not None:
        lift = (
            "sync above its floor, (F1 - floor) / (1 - floor): "
            f"{(sync['value'] - sync['floor']) / (1 - sync['floor']):.3f}\n"
        )
    made = {
        k: pipeline.fingerprints.get(k) for k in ("model", "video_tokenizer", "audio_tokenizer")
    }
    settings = pipeline.provenance(requests[0])["sampler"]
    head = (
        f"# {len(takes)} prompts of `{_SPLIT.value}`\n\n{json.dumps(made)}\n\nsampler: "
        f"{json.dumps(settings)}, seeds {seed}..., "
        f"{seconds / len(takes):.2f} s a clip in batches of {_BATCH.value}, compilation "
        "counted in\n"
    )
    text = [head, table(header, rows), lift]
    for i, (request, read) in enumerate(zip(requests[: _SHEETS.value], readings)):
        name = f"clip-{i:02d}"
        clip = Clip(read.frames, read.samples, form.fps)
        media.write_mp4(path / f"{name}.mp4", clip, pipeline.provenance(request))
        contact_sheet(
            path / f"{name}.png",
            clip,
            request.prompt,
            read.seen,
            read.heard,
        )
        pictures.save_tracked(path / f"{name}-tracked.png", read.frames, read.tracks)
        text.append(
            f"## {request.prompt}\n\nread: {say_balls(read)}; "
            f"{say_impacts(read)}\n\n![sheet]({name}.png)\n\n![tracked]({name}-tracked.png)\n"
        )
    files.write(path / "report.md", "\n".join(text))
    shutil.rmtree(path / "clips", ignore_errors=True)
    print(text[1] + "\n" + lift)
    print(f"{path / 'scores.json'}, {path / 'report.md'}")


def scoreboard(path: Path, names: list[str]) -> None:
    """Put the model on the scoreboard of these suites."""
    from sora_jax import weights
    from sora_jax.evaluation import scoreboard as board
    from sora_jax.evaluation.suites import SUITES

    pipeline, sampler = generation.load(), generation.sampler()
    data = weights.load_weights(
        generation.WEIGHTS.value or weights.shipped("nano"), "st_dit"
    ).metadata.get("data", {})
    settings = {
        "clips": _NUM_PROMPTS.value,
        "seed": generation.SEED.value,
        "batch": _BATCH.value,
        "pool": _POOL.value,
    }
    settings["sheets"] = min(4, _SHEETS.value)
    claim(
        path,
        {
            "measured": "scoreboard",
            **pipeline.fingerprints,
            **settings,
            "sampler": dataclasses.asdict(sampler),
        },
    )
    scores = board.Scoreboard(path, pipeline, data, sampler, **settings)
    for name in names:
        scores.run(name)
    done = board.write(path, SUITES)
    family = (
        data.get("family", "room")
        if data.get("source") == "playhouse"
        else data.get("source", "unknown")
    )
    text = [
        f"# Scoreboard\n\nmodel {pipeline.fingerprints['model']}, trained on {family}; "
        f"{_NUM_PROMPTS.value} scenes of each part.\n"
    ]
    text.append(
        "Each cell: mean (95 % interval; clips). `shuffled` is the floor, `ground truth` the "
        "ceiling. The first clips are in `pictures`.\n"
    )
    for name, of in done.items():
        text += [f"## {name}\n", table(*board.table(of, number))]
        if name == "phyworld":
            text += ["Velocity errors beside those of figure 3 of Kang et al. (2024):\n"]
            text += [
                table(
                    [
                        "task",
                        "row",
                        "training clips",
                        "in distribution",
                        "out of distribution",
                        "floor",
                    ],
                    board.paper_rows(of),
                )
            ]
    files.write(path / "report.md", "\n".join(text))
    if set(done) == set(SUITES):
        board.forget_clips(path)
    print("\n".join(text))
    print(f"{path / 'scores.json'}, {path / 'report.md'}")


def chosen_suites() -> list[str]:
    """The suites that --suite names. Raises UserError for one that does not exist."""
    from sora_jax.config import nearest
    from sora_jax.evaluation.suites import SUITES

    for name in _SUITE.value:
        if name not in (*SUITES, "all"):
            raise UserError(
                f"--suite={name} does not exist; {nearest(name, (*SUITES, 'all'))} (there are "
                f"{', '.join(SUITES)}, and all)"
            )
    return [name for name in SUITES if name in _SUITE.value or "all" in _SUITE.value]


def main(argv):
    path = check_paths()
    if _SUITE.value:
        if _CALIBRATE.value:
            raise UserError(
                "--suite measures a model and --calibrate the oracles; give one of them"
            )
        scoreboard(path, chosen_suites())
        return
    if _CALIBRATE.value:
        sys.exit(1 if calibrate(path) else 0)
    evaluate(path)


if __name__ == "__main__":
    run_main(main)
