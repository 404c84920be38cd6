"""Tables of the documents that are made from committed results, docs/results/NAME.json.

`benchmarks.documents` fills the documents with them.
"""

from collections.abc import Callable
from typing import Any

from sora_jax.evaluation.calibrate import STABLE
from sora_jax.evaluation.drift import MEASURES
from sora_jax.models.cost import quantity
from sora_jax.tables import markdown, number

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


@register_table("pods")
def pods(results: Results) -> str:
    """Returns the table of steps compiled for pods: kernels, memory and traffic of a device."""
    rows = []
    for one in results["results"]:
        report = one["report"]
        mesh = " x ".join(f"{axis} {n}" for axis, n in report["mesh"].items() if n > 1)
        memory, moved = report["memory"], report["collectives"]
        counts = (
            moved.get(name, {"count": 0})["count"]
            for name in ("all-gather", "all-reduce", "all-to-all", "collective-permute")
        )
        roofline = report["roofline"]
        rows.append(
            [
                f"`{one['arguments']}`",
                mesh,
                str(report["kernels"]),
                str(report["batch_size"]),
                f"{memory['held'] / 1e9:.1f} of {memory['device'] / 1e9:.0f} GB",
                quantity(report["flops"]["device"]),
                ", ".join(f"{count:g}" for count in counts),
                quantity(sum(one["sent"] for one in moved.values()), "B"),
                quantity(report["hbm_bytes"], "B"),
                f"{roofline['step']:.3g} s, {roofline['bound by']}",
                f"{report['mfu_bound']:.2f}",
                f"{report['seconds']['compile']:.0f} s",
                one["commit"][:7],
            ]
        )
    header = ["arguments", "mesh", "kernels", "clips", "memory", "FLOPs a device"]
    header += ["all-gathers, all-reduces, all-to-alls, permutes", "sent", "HBM moved"]
    return markdown([*header, "step at least", "MFU at most", "compiled in", "commit"], rows)
