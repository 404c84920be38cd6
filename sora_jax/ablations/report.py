"""The report of a study: report.md, with scores.png, curves.png and the same as SVG.

An arm is a configuration that the study compares, a trial one arm with one seed. The report begins
with the limits: number of seeds, hardware, missing trials, and how far the arms' FLOPs are apart.
Then come differences between arms, scores of each arm, and its suites of the scoreboard.
"""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sora_jax import files, tables
from sora_jax.ablations.compare import Comparison, Estimate, comparisons, estimate
from sora_jax.ablations.study import Study
from sora_jax.errors import UserError
from sora_jax.models.cost import quantity

Records = Sequence[Mapping[str, Any]]  # records of trials (`trial`), in the order of the sweep
FORMATS = ("png", "svg")


def write_report(study: Study, output: Path) -> list[Path]:
    """Writes the report of a study to a folder, and returns the files.

    Raises:
        UserError: no trial is done, or the folder cannot be written.
    """
    records = study.records()
    if not records:
        raise UserError(f"no trial of {study.folder} is done; run experiments.ablate first")
    output.mkdir(parents=True, exist_ok=True)
    text = output / "report.md"
    files.write(text, markdown(study, records))
    written = [text]
    for name, figure in (("scores", scores(records)), ("curves", curves(records))):
        for format in FORMATS:
            path = output / f"{name}.{format}"
            with files.replacing(path) as partial:
                figure.savefig(partial, format=format, dpi=150, metadata={})
            written.append(path)
    return written


def markdown(study: Study, records: Records) -> str:
    """Returns the report of the records of a study as Markdown."""
    arms, measure = by_arm(records), study.measure
    parts = [f"# {study.name}{f' at {study.size}' * bool(study.size)}", study.question]
    parts += ["## Limits", "\n".join(f"- {limit}" for limit in limits(study, records))]
    if found := comparisons(records):
        parts += [
            "## Differences",
            f"Differences of `{measure}` (less is better) between arms of the same seed, with 95 % "
            "intervals (t, over seeds); p is adjusted after Holm. A true difference of the size "
            "*detectable* would be found in 80 % of such studies.",
            tables.markdown(
                ("first", "second", "first - second", "95 %", "p", "detectable", "conclusion"),
                [_difference(one) for one in found],
            ),
        ]
    parts += [
        "## Arms",
        tables.markdown(
            ("arm", measure, "95 %", "seeds", "steps", "FLOPs", "off", "parameters", "seconds"),
            [_arm(name, of, records[0]["flops"]) for name, of in arms.items()],
        ),
        "![Score of each arm and seed](scores.png)",
        "![Validation curves by FLOPs and by time](curves.png)",
    ]
    if rows := _suites(arms):
        parts += [
            "## Scoreboard",
            "Means over seeds, with 95 % intervals.",
            tables.markdown(("suite", "metric", *arms), rows),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def limits(study: Study, records: Records) -> list[str]:
    """Returns the limits of what the study can say, a sentence each."""
    arms, total = by_arm(records), len(study.trials)
    fewest = min(len(of) for of in arms.values())
    found = [
        f"{fewest} seed{'s' * (fewest > 1)} an arm"
        + ": no interval." * (fewest == 1)
        + ": t intervals over so few seeds are wide." * (fewest > 1),
        f"Measured on {', '.join(sorted({r['hardware'] for r in records}))}, at "
        f"commit {', '.join(sorted({r['commit'][:12] for r in records}))}.",
    ]
    if len(records) < total:
        found.append(f"{total - len(records)} of {total} trials are missing.")
    off = max(abs(of[0]["flops"] / records[0]["flops"] - 1) for of in arms.values())
    if study.match:
        found.append(f"Arms cost the same FLOPs to {off:.1%}, matched by {study.match}.")
    else:
        found.append(f"FLOPs are not matched; arms differ by up to {off:.1%}.")
    steps = max(r["steps"] for r in records)
    size = max(r["parameters"] for r in records)
    found.append(
        f"At most {steps:,} steps of a model of {quantity(size)} parameters: nothing is said about "
        "longer runs or larger models."
    )
    return found


def by_arm(records: Records) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the records of each arm, in the order of the sweep."""
    arms = collections.defaultdict(list)
    for record in records:
        arms[record["arm"]].append(record)
    return dict(arms)


def scores(records: Records) -> Figure:
    """Returns a figure of the score of every trial, with the mean and 95 % interval of each arm.

    `records` are those of `Study.records`. A score is the value of the study's measure; less is
    better. Each arm is a row, each seed a dot. An arm with one seed has no interval.
    """
    arms = by_arm(records)
    figure = Figure(figsize=(7, 1 + 0.5 * len(arms)), layout="constrained")
    axes = figure.add_subplot()
    for row, of in enumerate(arms.values()):
        values = [record["score"] for record in of]
        found = estimate(values)
        apart = row + np.linspace(-0.15, 0.15, len(values)) if len(values) > 1 else [row]
        axes.plot(values, apart, "o", color="C0", alpha=0.6, markersize=4)
        axes.plot(found.mean, row, "|", color="C3", markersize=16, markeredgewidth=2)
        if found.seeds > 1:
            axes.plot([found.low, found.high], [row, row], color="C3")
    axes.set_yticks(range(len(arms)), list(arms))
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlabel(f"{records[0]['measure']}, less is better (dots: seeds; bar: mean, 95 %)")
    axes.grid(axis="x", alpha=0.3)
    return figure


def curves(records: Records) -> Figure:
    """Returns a figure of each arm's validation curve, the mean over seeds, by training FLOPs and
    by seconds.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for name, of in by_arm(records).items():
        common = set.intersection(*({step for step, _ in r["curve"]} for r in of))
        steps = sorted(common)
        values = np.mean([[dict(map(tuple, r["curve"]))[s] for s in steps] for r in of], axis=0)
        shares = np.array(steps) / of[0]["steps"]
        _curve(left, of[0]["flops"] * shares, values, name)
        _curve(right, float(np.mean([r["seconds"] for r in of])) * shares, values, name)
    left.xaxis.set_major_formatter(EngFormatter())
    left.set_xlabel("training FLOPs")
    right.set_xlabel("seconds of training steps")
    left.set_ylabel(f"{records[0]['measure']}, mean of the seeds")
    left.legend(fontsize=8)
    return figure


def _curve(axes: Axes, x: np.ndarray, y: np.ndarray, name: str) -> None:
    axes.plot(x, y, "o-", markersize=3, label=name)
    axes.grid(alpha=0.3)


def _difference(one: Comparison) -> tuple[str, ...]:
    d = one.difference
    lower, other = (one.first, one.second) if d.mean < 0 else (one.second, one.first)
    return (
        one.first,
        one.second,
        f"{d.mean:+.4g}",
        _range(d),
        f"{one.p:.3g}" if d.seeds > 1 else "-",
        f"{one.detectable:.2g}" if d.seeds > 1 else "-",
        f"{lower} is better than {other}" if one.significant else "no difference found",
    )


def _arm(name: str, of: Records, budget: float) -> tuple[str, ...]:
    found = estimate([record["score"] for record in of])
    first = of[0]
    return (
        name,
        f"{found.mean:.5g}",
        _range(found),
        str(found.seeds),
        f"{first['steps']:,}",
        quantity(first["flops"]),
        f"{first['flops'] / budget - 1:+.1%}",
        quantity(first["parameters"]),
        f"{np.mean([record['seconds'] for record in of]):.3g}",
    )


def _range(found: Estimate) -> str:
    return f"{found.low:.4g} to {found.high:.4g}" if found.seeds > 1 else "-"


def _suites(arms: Mapping[str, Records]) -> list[tuple[str, ...]]:
    """Returns the rows of the scoreboard: suite, metric, and the mean of each arm over its seeds,
    "-" for an arm without the metric.
    """
    names = {
        (suite, metric): None
        for of in arms.values()
        for record in of
        for suite, metrics in record["scores"].items()
        for metric in metrics
    }
    rows = []
    for suite, metric in names:
        cells = []
        for of in arms.values():
            values = [r["scores"].get(suite, {}).get(metric, {}).get("value") for r in of]
            known = [v for v in values if v is not None]
            cells.append(_cell(estimate(known)) if known else "-")
        rows.append((suite, metric, *cells))
    return rows


def _cell(found: Estimate) -> str:
    return f"{found.mean:.3f}" + f" ({_range(found)})" * (found.seeds > 1)
