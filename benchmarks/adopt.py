"""Adopts the results of a short run, if they are valid: copies them into the repository.

    python -m benchmarks.adopt DIR

DIR is the output folder of `benchmarks.short_run`. Adopted are

    rows      results that name an accelerator, with finite times and an error below 5 % ->
              benchmarks/results/DEVICE
    tuning    launch parameters of kernels that are at least 3 % faster than the defaults ->
              kernels/tuned/OP/DEVICE.json
    weights   a model that beats the shipped one on 64 prompts, the captions of the first scenes of
              the split `val` -> sora_jax/shipped. The 95 % interval of the mean difference, paired
              by prompt, must lie above zero for the facts of the prompts, and must not lie below
              zero for the sync of audio and video

Rows and tuning of a run with --size=tiny are skipped, because its sizes are those of tests.

The report names everything that is skipped, with the reason. A second run adds nothing twice.
The prompts are sampled on this machine, which takes a few minutes on two cores.
DIR/adopted.json records the result.
"""

import json
import math
import operator
import sys
from pathlib import Path

import numpy as np

from benchmarks import results
from sora_jax import files, weights
from sora_jax.compat import enable_compile_cache
from sora_jax.errors import UserError
from sora_jax.evaluation import suites
from sora_jax.evaluation.metrics import Value
from sora_jax.evaluation.statistics import interval
from sora_jax.flow.guidance import Guidance
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.oracles.examples import example
from sora_jax.oracles.facts import KINDS
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.load import load_pipeline
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.draw import draw

# Largest relative error of a row, as in `harness.WRONG`. Errors of bfloat16 stay under 0.02.
LIMIT = 0.05
GAIN = 0.03  # smallest speed-up for which tuned parameters are adopted
PROMPTS = 64  # prompts on which two models are compared
TUNED = Path(__file__).parent.parent / "kernels" / "tuned"


def main(*places: str) -> None:
    """Adopts the results of a short run, whose folder is the only argument, and prints a report.

    Raises:
        UserError: there is not one argument, or the folder holds no run, or one without results.
    """
    if len(places) != 1:
        raise UserError(
            "give one folder of benchmarks.short_run, as python -m benchmarks.adopt DIR"
        )
    folder = Path(places[0])
    stages = [name for name in ("measure", "train") if (folder / f"{name}.json").exists()]
    if not stages:
        raise UserError(f"{folder} holds no run of benchmarks.short_run; give its --output")
    report = {}
    if "measure" in stages and _size(folder) == "tiny":
        report["rows"] = "left: a run of --size=tiny"
    elif (folder / "rows.jsonl").exists():
        report["rows"] = adopt_rows(folder / "rows.jsonl", results.FOLDER)
    if (folder / "tuning.jsonl").exists() and _size(folder) != "tiny":
        report["tuning"] = adopt_tuning(folder / "tuning.jsonl", TUNED)
    if (folder / "weights.safetensors").exists():
        report["weights"] = adopt_weights(folder / "weights.safetensors", PROMPTS)
    if not report:
        raise UserError(f"{folder} holds a run that left no rows and no weights; see its log")
    files.write(folder / "adopted.json", json.dumps(report, indent=1) + "\n")
    for name, found in report.items():
        print(f"{name}: {json.dumps(found)}")


def _size(folder: Path) -> str | None:
    record = folder / "measure.json"
    return json.loads(record.read_text(encoding="utf-8")).get("size") if record.exists() else None


def refusal(row: dict) -> str | None:
    """Returns the reason why a result row cannot be adopted, or None if it can."""
    if row["device"] in ("", "cpu", "unknown"):
        return f"its device is {row['device'] or 'not named'}, not an accelerator"
    if row["commit"] in ("", "unknown"):
        return "its commit is not named"
    times = [row[name] for name in ("p20_ms", "p50_ms", "p80_ms")]
    if not all(math.isfinite(t) and t > 0 for t in times):
        return "its times are not positive numbers"
    if row["error"] is not None and not row["error"] < LIMIT:
        return f"its error is {row['error']}"
    return None


def adopt_rows(path: Path, into: Path) -> dict:
    """Appends the rows of a file that `refusal` accepts to the results of their device.

    Args:
        path: the file of rows.
        into: the folder benchmarks/results.

    Returns:
        {"added": number of rows, "there before": number of rows that the results had already,
        "refused": {reason: number of rows}}.

    Raises:
        UserError: the file has no rows, or a line is not a row.
    """
    added, existing, refused = 0, 0, {}
    for row in results.read(path):
        if reason := refusal(row):
            refused[reason] = refused.get(reason, 0) + 1
            continue
        target = into / row["device"]
        known = results.read(target) if any(target.glob("*.jsonl")) else []
        if row in known:
            existing += 1
            continue
        results.append(target, row)
        added += 1
    return {"added": added, "there before": existing, "refused": refused}


def adopt_tuning(path: Path, into: Path) -> dict:
    """Adopts the fastest launch parameters of each operation and case, where they gain enough.

    Parameters that are faster by at least 3 % (GAIN) than the heuristic's, which are the kernel's
    defaults, are written to INTO/OP/DEVICE.json. Rows that `refusal` rejects are ignored.

    Args:
        path: file of rows, one for each set of parameters that was timed.
        into: the folder kernels/tuned.

    Returns:
        {"OP CASE": text}: the parameters and their gain in %, or "left: ..." with the reason.

    Raises:
        UserError: the file has no rows, or a line is not a row.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in results.read(path):
        if refusal(row) is None:
            key = (row["op"], row["kind"], json.dumps(row["where"], sort_keys=True))
            groups.setdefault(key, []).append(row)
    found = {}
    for (op, kind, where), rows in groups.items():
        usual = [row for row in rows if row["is_heuristic"]]
        best = min(rows, key=operator.itemgetter("p50_ms"))
        name = f"{op} {where}"
        if not usual:
            found[name] = "left: the heuristic's own parameters were not measured"
            continue
        gain = usual[-1]["p50_ms"] / best["p50_ms"] - 1
        if gain < GAIN:
            found[name] = f"left: the heuristic is within {100 * gain:.1f} % of the fastest"
            continue
        _write_tuned(into / op / f"{best['device']}.json", kind, op, json.loads(where), best["use"])
        found[name] = f"{json.dumps(best['use'])}, faster by {100 * gain:.1f} %"
    return found


def _write_tuned(path: Path, kind: str, op: str, where: dict, use: dict) -> None:
    empty = {"device": kind, "op": op, "entries": []}
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else empty
    others = [entry for entry in content["entries"] if entry["where"] != where]
    content["entries"] = [*others, {"where": where, "use": use}]
    files.write(path, json.dumps(content, indent=1) + "\n")


def adopt_weights(path: Path, prompts: int) -> dict:
    """Replaces the shipped model by a trained one, if that is better by the rule of this module.

    Args:
        path: the file of the new weights.
        prompts: number of prompts to score both models on.

    Returns:
        {"adopted": False, "why": reason} or {"adopted": True, "fingerprint", "now": what is left to
        do by hand}. If the models were compared, also "facts" and "sync", each a result of
        `compare`.
    """
    shipped = weights.shipped(weights.KINDS["st_dit"])
    new, old = (weights.load_weights(p, "st_dit") for p in (path, shipped))
    if new.fingerprint == old.fingerprint:
        return {"adopted": False, "why": "these are the shipped weights"}
    families = weights.families_of(new.metadata)
    if families != ("room",):
        reason = (
            f"trained on {', '.join(families)}; compare it with experiments.evaluate --suite=all"
        )
        return {"adopted": False, "why": reason}
    for kind, fingerprint in new.metadata["tokenizers"].items():
        if weights.load_weights(weights.shipped(kind), kind).fingerprint != fingerprint:
            return {"adopted": False, "why": f"trained on latents of another {kind}"}
    theirs, ours = (scores(p, prompts) for p in (path, shipped))
    found = {name: compare(theirs[name], ours[name]) for name in ("facts", "sync")}
    if found["facts"]["low"] <= 0:
        return {"adopted": False, "why": "no better than what is shipped", **found}
    if found["sync"]["high"] < 0:
        return {"adopted": False, "why": "its audio and video are less in sync", **found}
    files.write(shipped, path.read_bytes())
    todo = "describe it in sora_jax/shipped/README.md"
    return {"adopted": True, "fingerprint": new.fingerprint, "now": todo, **found}


def compare(new: list[float], old: list[float]) -> dict:
    """Compares the scores of two models on the same prompts: new[i] and old[i] are of prompt i.

    Returns:
        {"new": mean, "shipped": mean of `old`, "low", "high": 95 % bootstrap interval of the mean
        difference, "prompts": number of prompts}.
    """
    low, high = interval(np.subtract(new, old))
    figures = {"new": np.mean(new), "shipped": np.mean(old), "low": low, "high": high}
    return {name: round(float(x), 4) for name, x in figures.items()} | {"prompts": len(new)}


def scores(path: Path, prompts: int) -> dict[str, list[float]]:
    """Returns the scores of the clips that a model generates for captions of the split `val`.

    Args:
        path: the weights of the model.
        prompts: number of prompts, the first captions of scenes 0, 1, ... of the split.

    Returns:
        "facts": for each prompt, the share of the kinds of its facts, such as colours, that the
        clip shows. "sync": for each prompt with impacts, the F1 score of visible and audible
        impacts that are matched within 100 ms. Both are 0 for a clip that the oracles (programs
        that measure clips) cannot read.
    """
    enable_compile_cache()
    pipeline, size = load_pipeline(path), 8
    sampler = SamplerConfig("euler", 30, guidance=Guidance(2.0, 2.0, 2.0, 1.0))
    takes = [draw("val", i) for i in range(prompts)]
    requests = [Request(t.captions[0], seed=i, sampler=sampler) for i, t in enumerate(takes)]
    found: dict[str, list[float]] = {"facts": [], "sync": []}
    for first in range(0, prompts, size):
        batch = requests[first : first + size]
        full = batch + [batch[-1]] * (size - len(batch))  # another batch size would recompile
        clips = pipeline.generate_batch(full)[: len(batch)]
        for take, clip in zip(takes[first:], clips, strict=False):
            shown = example(take, clip.frames, clip.samples, clip.format)
            reading = Reading(shown)
            values = suites.values(suites.SUITES["facts"], shown, reading)
            tested = [_score(values[kind]) for kind in KINDS if values[kind] is not None]
            found["facts"].append(float(np.mean(tested)))
            sync = suites.values(suites.SUITES["sync"], shown, reading)["f1_100ms"]
            if sync is not None:
                found["sync"].append(_score(sync))
    return found


def _score(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


if __name__ == "__main__":
    sys.exit(results.command(__doc__, main, sys.argv[1:]))
