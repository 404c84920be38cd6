"""Formats the scores of a model as Markdown.

A suite is a group of metrics. Its scores are {metric: entry}. An entry has "value", "low", "high",
"floor", "rows" (the same by model and baseline) and more; `scoreboard.py` lists its keys.
"""

from sora_jax.evaluation.scoreboard import BASELINES, UNCONDITIONAL
from sora_jax.evaluation.suites import MODEL, NO_ORACLE, ROUND_TRIP
from sora_jax.oracles import phyworld
from sora_jax.pipelines.generate import Pipeline
from sora_jax.tables import markdown, number


def report(pipeline: Pipeline, scores: dict, num_prompts: int) -> str:
    """Returns the Markdown report of all suites.

    Args:
        pipeline: the evaluated model.
        scores: {suite: {metric: entry}}, as in scores.json.
        num_prompts: number of scenes of each part of a suite.
    """
    family = pipeline.data_name
    text = [
        f"# Scores\n\nmodel {pipeline.fingerprints.get('model')}, trained on {family}; "
        f"{num_prompts} scenes of each part.\n",
        "Each cell: mean (95 % interval; clips). `floor`: of the model's clips against other "
        "scenes, or mixed. A corrected metric is (mean - floor) / (1 - floor), and `raw` its mean. "
        "The first clips are in `pictures`.\n",
    ]
    for name, metrics in scores.items():
        text += [f"## {name}\n", markdown(*table(metrics))]
        text += [markdown(*group) for group in group_tables(metrics)]
        if rows := paper_rows(metrics):
            header = ["task", "row", "training clips", "in distribution", "out of distribution"]
            text += ["Velocity errors beside those of figure 3 of Kang et al. (2024):\n"]
            text += [markdown([*header, "floor"], rows)]
    return "\n".join(text)


def table(scores: dict) -> tuple[list[str], list[list[str]]]:
    """Returns the table of a suite: a row for each metric, columns for the model and each baseline.

    A cell holds a value with its interval, or the reason why it has none.

    Args:
        scores: {metric: entry} of the suite, as in scores.json.

    Returns:
        (header, rows), all texts.
    """
    rows = list(dict.fromkeys(row for entry in scores.values() for row in entry["rows"]))

    def cell(entry: dict, row: str) -> str:
        row_cell = entry["rows"].get(row)
        if entry.get("status") == NO_ORACLE or row_cell is None:
            return entry["status"]
        if row_cell["value"] is None:
            reasons = row_cell["unscored"]
            return f"unscored: {max(reasons, key=reasons.get)}" if reasons else "-"
        unscored = sum(row_cell["unscored"].values())
        short = f" of {row_cell['n'] + unscored}" if row_cell["unscored"] else ""
        value, low, high = (number(row_cell[k], entry["unit"]) for k in ("value", "low", "high"))
        return f"{value} ({low} to {high}; {row_cell['n']}{short})"

    if MODEL not in rows and ROUND_TRIP not in rows[:1]:
        rows = [MODEL, *rows]
    return ["metric", *rows, "floor", "raw", "unit"], [
        [
            name,
            *(cell(entry, row) for row in rows),
            number(entry["floor"], entry["unit"]),
            number(entry.get("raw"), entry["unit"]),
            entry["unit"],
        ]
        for name, entry in scores.items()
    ]


def group_tables(scores: dict) -> list[tuple[list[str], list[list[str]]]]:
    """Returns a table of the model's scores for each grouping of clips of a suite, such as the
    number of balls.

    Args:
        scores: {metric: entry} of the suite, as in scores.json.

    Returns:
        (header, rows) of texts for each grouping: a row for each metric, a column for each group.
    """
    tables = []
    for grouping in dict.fromkeys(g for entry in scores.values() for g in entry.get("groups", {})):
        groups = list(
            dict.fromkeys(g for e in scores.values() for g in e.get("groups", {}).get(grouping, {}))
        )
        lines = []
        for name, entry in scores.items():
            cells = entry.get("groups", {}).get(grouping, {})
            lines.append(
                [name]
                + [
                    f"{number(cells[g]['value'], entry['unit'])} ({cells[g]['n']})"
                    if g in cells
                    else "-"
                    for g in groups
                ]
            )
        tables.append(([grouping, *groups], lines))
    return tables


def paper_rows(scores: dict) -> list[list[str]]:
    """Returns rows of text that compare the velocity errors of a model with those of the PhyWorld
    paper (Kang et al. 2024, arXiv:2411.02385).

    A row has task, model, training clips, error in and out of distribution, and the error of
    unchanged renders ("floor"): first the paper's models, then the measured one and the baselines.
    [] for suites without these errors.

    Args:
        scores: {metric: entry} of the suite, as in scores.json.
    """
    lines, paper = [], phyworld.paper_table()
    for task in dict.fromkeys(row["task"] for row in paper):
        if not {f"{task}_id_error", f"{task}_ood_error"} <= scores.keys():
            continue
        for row in (row for row in paper if row["task"] == task):
            lines.append(
                [
                    task,
                    f"paper, {row['model']}",
                    f"{row['clips']:.0f}",
                    *(f"{row[k]:.4f}" for k in ("id_error", "ood_error", "floor")),
                ]
            )
        inside, outside = scores[f"{task}_id_error"], scores[f"{task}_ood_error"]
        for row in (MODEL, UNCONDITIONAL, *BASELINES):
            cells = [
                e["rows"][row]["value"] if row in e["rows"] else None for e in (inside, outside)
            ]
            errors = [inside.get("status", "-") if c is None else f"{c:.4f}" for c in cells]
            lines.append([task, row, "", *errors, f"{inside['ceiling']:.4f}"])
    return lines
