"""Fills the tables of the documents from committed results, docs/results/NAME.json.

    python -m benchmarks.documents                                        # fill every table
    python -m benchmarks.documents --check                                # status 1 if one differs
    python -m benchmarks.documents --adopt=outputs/evaluation --name=evaluation

--adopt copies scores from the output folder of experiments.evaluate or experiments.calibrate into
docs/results, with their command, hardware, commit and versions. A document marks the place of a
table by two lines; the text between them is replaced:

    <!-- table: quality -->
    <!-- end of table -->

Tables of `code_tables` are made from the package's own tables instead, and have no results.
"""

import difflib
import json
import re
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from benchmarks.code_tables import CODE_TABLES
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.evaluation.calibrate import STABLE
from sora_jax.evaluation.drift import MEASURES
from sora_jax.evaluation.results import MADE_WITH
from sora_jax.models.cost import quantity
from sora_jax.tables import markdown, number

ROOT = Path(__file__).parents[1]
RESULTS = Path("docs/results")
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
# Name of the committed results -> file with the scores in the measurement's folder.
SOURCES = {
    "evaluation": "scores.json",
    "scoreboard": "scores.json",
    "calibration": "calibration.json",
    "drift": "drift.json",
}

_CHECK = flags.DEFINE_bool(
    "check", False, "Write nothing; print the tables that differ, with exit status 1."
)
_ADOPT = flags.DEFINE_string(
    "adopt", None, "Folder of an evaluation or calibration to copy. Needs --name."
)
_NAME = flags.DEFINE_enum(
    "name", None, list(SOURCES), "With --adopt: file in docs/results to write the scores to."
)

Results = dict[str, Any]
# Name in the documents -> (name of the results, function that makes the table from them).
TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {}


def register_table(source: str) -> Callable:
    """Decorator: adds a function to TABLES under its own name. The function makes the Markdown of a
    table from the results in docs/results/SOURCE.json, where `source` is the name SOURCE.
    """

    def register(make: Callable[[Results], str]) -> Callable[[Results], str]:
        TABLES[make.__name__] = (source, make)
        return make

    return register


def adopt(root: Path, folder: Path, name: str) -> None:
    """Writes docs/results/NAME.json from the folder of a measurement.

    Args:
        root: root of the repository.
        folder: output folder of an evaluation or a calibration.
        name: name of the results, a key of SOURCES.

    Raises:
        UserError: the folder lacks these results, or was measured with uncommitted changes.
    """
    scores, provenance = folder / SOURCES[name], folder / MADE_WITH
    for path in (scores, provenance):
        if not path.is_file():
            raise UserError(f"{path} is missing; give the folder of a finished measurement")
    record = json.loads(provenance.read_text(encoding="utf-8"))
    if record["commit"].endswith("-dirty"):
        raise UserError(
            f"{folder} was measured with uncommitted changes ({record['commit']}); commit them and "
            "measure again"
        )
    # The path of the output folder means nothing on another machine.
    record["command"] = re.sub(r"--output=\S+", f"--output=outputs/{name}", record["command"])
    results = record | {"results": json.loads(scores.read_text(encoding="utf-8"))}
    files.write(root / RESULTS / f"{name}.json", json.dumps(results, indent=1) + "\n")


def filled(text: str, root: Path) -> str:
    """Returns the text of a document with its tables filled again.

    Args:
        text: the Markdown of the document.
        root: root of the repository, whose docs/results are used.
    Raises:
        UserError: a table is unknown, or its results are missing.
    """

    def fill(match: re.Match) -> str:
        head, name, end = match.groups()
        if name in CODE_TABLES:
            return f"{head}{CODE_TABLES[name]().strip()}\n{end}"
        if name not in TABLES:
            raise UserError(f"no table {name}; there are {', '.join([*TABLES, *CODE_TABLES])}")
        source, make = TABLES[name]
        path = root / RESULTS / f"{source}.json"
        if not path.is_file():
            raise UserError(f"{path} is missing; copy a measurement there with --adopt")
        results = json.loads(path.read_text(encoding="utf-8"))
        return f"{head}{make(results).strip()}\n\n{provenance_lines(results)}\n{end}"

    return TABLE.sub(fill, text)


def provenance_lines(results: Results) -> str:
    """Returns the lines under a table that say how to reproduce its numbers: command, hardware,
    commit, versions and date.
    """
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    command = textwrap.fill(
        f"`{results['command']}`", 100, break_long_words=False, break_on_hyphens=False
    )
    return (
        f"{command}\n({results['hardware']}, commit {results['commit']}, {versions}, "
        f"{results['date']})"
    )


def documents(root: Path) -> list[Path]:
    """Returns the paths of the documents that may have tables: the README and the pages in docs of
    the repository `root`.
    """
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def stale(root: Path) -> dict[Path, tuple[str, str]]:
    """Returns the documents of the repository `root` whose tables differ from the results:
    {path: (current text, expected text)}.
    """
    found = {}
    for path in documents(root):
        text = path.read_text(encoding="utf-8")
        if (expected := filled(text, root)) != text:
            found[path] = (text, expected)
    return found


# Rows of README's table: (label, suite and metric of scores.json, value that the project aims at).
QUALITY = (
    ("every fact of the prompt", "facts", "all", 0.40),
    ("every fact, prompts of one ball", "facts", "all_one_ball", 0.55),
    ("colours", "facts", "colour", 0.90),
    ("frames with exactly the balls asked for", "facts", "tracked_frames", 0.90),
    ("audio in sync with video (F1 at 100 ms; 0 is chance)", "sync", "f1_100ms", 0.35),
)


@register_table("evaluation")
def quality(results: Results) -> str:
    """Returns the table of the shipped model's quality, beside the floor of each metric and its
    values for the tokenizers alone and for ground truth.
    """
    rows = []
    for label, suite, metric, target in QUALITY:
        entry = results["results"][suite][metric]
        round_trip = entry["rows"]["tokenizer round trip"]["value"]
        floor = 0.0 if "raw" in entry else entry["floor"]  # a corrected metric is 0 at its floor
        verdict = f"{target:.2f}, {'met' if entry['value'] >= target else 'missed'}"
        value = f"{entry['value']:.3f} ({entry['low']:.2f} to {entry['high']:.2f})"
        rows.append(
            [label, value, f"{floor:.2f}", f"{round_trip:.2f}", f"{entry['ceiling']:.2f}", verdict]
        )
    header = ["measure", "model (95 %)", "floor", "tokenizers alone", "ground truth", "target"]
    return markdown(header, rows)


# Rows of the tokenizers' table: (metric of the suite `tokenizers`, label, value that the project
# aims at, whether lower is better).
TOKENIZERS = (
    ("psnr", "PSNR of the clip, dB", 31.0, False),
    ("psnr_balls", "PSNR inside the balls' boxes, dB", 24.0, False),
    ("colour", "colours kept", 0.99, False),
    ("tracker_kept", "balls kept", None, False),
    ("tracker_rms", "error of a ball's position, px", 0.3, True),
    ("onsets_video_kept", "clips whose impacts stay visible", None, False),
    ("onsets_video", "error of a visible impact, ms", 10.0, True),
    ("onsets_audio_kept", "clips whose impacts stay audible", None, False),
    ("onsets_audio", "error of an audible impact, ms", 10.0, True),
    ("material", "materials kept by ear", 0.95, False),
    ("mode", "impacts whose dominant mode is kept within 3 %", 0.95, False),
)


@register_table("evaluation")
def tokenizers(results: Results) -> str:
    """Returns the table of what a round trip through the tokenizers (encode, decode) keeps."""
    scores, rows = results["results"]["tokenizers"], []
    for metric, label, target, less in TOKENIZERS:
        entry = scores[metric]
        if target is None:
            verdict = ""
        else:
            met = entry["value"] <= target if less else entry["value"] >= target
            verdict = (
                f"{'at most' if less else 'at least'} {target:g}, {'met' if met else 'missed'}"
            )
        value, low, high = (number(entry[k], entry["unit"]) for k in ("value", "low", "high"))
        rows.append([label, f"{value} ({low} to {high})", str(entry["n"]), verdict])
    return markdown(["measure", "value (95 %)", "clips", "target"], rows)


@register_table("evaluation")
def by_balls(results: Results) -> str:
    """Returns the table of the share of clips that show every fact of their prompt, by the number
    of balls and by the launch (dropped, thrown, rolled).
    """
    rows = []
    for kind, groups in results["results"]["facts"]["all"]["groups"].items():
        for group, entry in groups.items():
            value = f"{entry['value']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
            rows.append([f"{kind}: {group}", value, str(entry["n"])])
    return markdown(["prompts", "every fact met (95 %)", "clips"], rows)


@register_table("scoreboard")
def scoreboard(results: Results) -> str:
    """Returns the table of every metric of every suite: the model beside untrained baselines."""
    names = ("model", "unconditional", "linear extrapolation", "nearest training clip")
    names += ("tokenizer round trip", "ground truth")
    rows = []
    for suite, scores in results["results"].items():
        for metric, entry in scores.items():
            cells = [_cell(entry, name) for name in names]
            floor = number(entry["floor"], entry["unit"])
            rows.append([f"{suite}: {metric}", *cells, floor, entry["unit"]])
    return markdown(["suite: metric", *names, "floor", "unit"], rows)


def _cell(entry: Results, row: str) -> str:
    found = entry["rows"].get(row)
    if found is None:
        return entry.get("status", "-") if row == "model" else "-"
    if found["value"] is None:
        return "unscored"
    value, low, high = (number(found[key], entry["unit"]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})" if row == "model" else value


@register_table("calibration")
def calibration(results: Results) -> str:
    """Returns the table of the scores of oracles (programs that measure clips): on ground truth, on
    degraded clips, which they should still read correctly, and on corrupted ones.
    """
    rows = []
    for oracle, scores in results["results"].items():
        groups = {"degraded": [], "corrupted": []}
        for condition, row in scores.items():
            if condition in ("ground_truth", "shuffled", "empty"):
                continue
            preserved = condition in STABLE
            groups["degraded" if preserved else "corrupted"].append(row["score"])
        chance = [scores[name]["score"] for name in ("shuffled", "empty") if name in scores]
        rows.append(
            [
                oracle,
                f"{scores['ground_truth']['score']:.2f}",
                f"{min(groups['degraded']):.2f}" if groups["degraded"] else "",
                f"{max(groups['corrupted']):.2f}" if groups["corrupted"] else "",
                f"{max(chance):.2f}" if chance else "",
                str(scores["ground_truth"]["n"]),
            ]
        )
    header = ["oracle", "ground truth", "degraded (lowest)", "corrupted (highest)"]
    return markdown([*header, "shuffled or empty (highest)", "clips"], rows)


@register_table("drift")
def drift(results: Results) -> str:
    """Returns the table of what changes when clips are extended, for every second window."""
    result = results["results"]
    rows = []
    for window in result["windows"][::2]:
        cells = []
        for name in MEASURES:
            value, low, high = (f"{window[name][key]:.2f}" for key in ("value", "low", "high"))
            cells.append(f"{value} ({low} to {high})")
        rows.append([f"{window['seconds']:.1f}", *cells])
    return markdown(["seconds", *MEASURES.values()], rows)


@register_table("sizes")
def presets(results: Results) -> str:
    """Returns the table of the presets: their widths, parameters and FLOPs."""
    rows = [
        [
            name,
            *(str(row[key]) for key in ("depth", "width", "audio_width")),
            quantity(row["parameters"]),
            row["format"],
            str(row["tokens"]["video"]),
            quantity(row["forward"]),
            quantity(row["step"]),
        ]
        for name, row in results["results"]["presets"].items()
    ]
    header = ["preset", "pairs", "width", "width of audio", "parameters", "format"]
    header += ["video tokens", "FLOPs forward", "FLOPs of training"]
    return markdown(header, rows)


@register_table("sizes")
def configurations(results: Results) -> str:
    """Returns the table of the configuration files: purpose, parameters and FLOPs of a clip."""
    rows = []
    for name, row in results["results"]["configurations"].items():
        step = quantity(row["step"]) if "step" in row else "not counted"
        length = f"{row['steps']} x {row['batch_size']}" if "steps" in row else "tokenizer"
        cells = [f"`{name}`", row["purpose"], quantity(row["parameters"]), step, length]
        rows.append(cells)
    header = ["file", "purpose", "parameters", "FLOPs of training, a clip", "steps x clips"]
    return markdown(header, rows)


@register_table("sizes")
def attention_cost(results: Results) -> str:
    """Returns the table of the FLOPs of two presets under each attention pattern."""
    rows = [
        [f"`{pattern}`", *(quantity(row["forward"]) for row in presets.values())]
        for pattern, presets in results["results"]["attention"].items()
    ]
    tokens = results["results"]["attention"]["pure"]
    header = [f"{name}, {row['tokens']['video']} video tokens" for name, row in tokens.items()]
    return markdown(["attention", *header], rows)


def main(_: Sequence[str]) -> None:
    source, name = _ADOPT.value, _NAME.value
    if source is not None and name is not None:
        adopt(ROOT, Path(source), name)
    elif source is not None or name is not None:
        raise UserError("--adopt and --name belong together; give both")
    found = stale(ROOT)
    for path, (text, expected) in found.items():
        if _CHECK.value:
            lines = text.splitlines(), expected.splitlines()
            print("\n".join(difflib.unified_diff(*lines, str(path), "results", lineterm="", n=0)))
        else:
            files.write(path, expected)
            print(path.relative_to(ROOT))
    sys.exit(1 if found and _CHECK.value else 0)


if __name__ == "__main__":
    run_main(main)
