"""Writes tables and plots of the results: report.md, roofline.png and speedup.png.

    python -m benchmarks.report benchmarks/results/nvidia_h200
    python -m benchmarks.report benchmarks/results/nvidia_h200@4099323 docs/benchmarks

The first path is a folder or file of rows, as `python -m benchmarks.run` writes them.
(PATH@COMMIT reads only the rows of that commit.) The second path is the output folder; by default
it is the first path.

For each case, implementation and direction, the row measured last counts. Of an implementation
with several forms, such as tile sizes, the fastest counts. The report has a table for each
suite: median time in ms, share of the roofline in %, peak memory and error.
"""

import collections
import operator
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import results
from benchmarks.workload import CORE, IMPLEMENTATIONS
from sora_jax import files, tables
from sora_jax.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS = ("triton", "pallas_tpu")


def main(*places: str) -> None:
    """Writes the tables and plots of the rows in the first path, into the second or the first one.

    Raises:
        UserError: there are not one or two paths, no rows, or rows of several devices.
    """
    if not 1 <= len(places) <= 2:
        raise UserError(
            "give a folder of rows, as python -m benchmarks.report "
            "benchmarks/results/nvidia_h200, and if need be where to write"
        )
    rows = list(results.latest(results.read(places[0])).values())
    if len(devices := {row["device"] for row in rows}) > 1:
        raise UserError(
            f"{places[0]} holds rows of {' and '.join(sorted(devices))}; give one device's folder"
        )
    output = files.check_output(
        "OUTPUT", places[1] if len(places) == 2 else places[0].split("@")[0]
    )
    files.write(output / "report.md", markdown(rows))
    written = [
        "report.md",
        *roofline(rows, output / "roofline.png"),
        *speedup(rows, output / "speedup.png"),
    ]
    print(f"{', '.join(written)} in {output}")


def groups(rows: list[dict]) -> dict[tuple, list[dict]]:
    """Groups rows: {(suite, case, direction): rows}.

    The rows of a group are in the order of `workload.IMPLEMENTATIONS`; those of other
    implementations come last.
    """
    order = {name: i for i, name in enumerate(IMPLEMENTATIONS)}
    grouped = collections.defaultdict(list)
    for row in sorted(rows, key=lambda row: order.get(row["impl"], len(order))):
        grouped[row["suite"], row["case"], row["direction"]].append(row)
    return dict(grouped)


def best_other(group: list[dict]) -> dict | None:
    """Returns the fastest row of a group whose implementation is neither one of our kernels (OURS)
    nor one that omits part of the work (CORE). None if there is no such row.
    """
    return min(
        (row for row in group if row["impl"] not in (*OURS, *CORE)),
        key=operator.itemgetter("p50_ms"),
        default=None,
    )


def markdown(rows: list[dict]) -> str:
    """Returns the report of rows as Markdown: a header with devices and versions, and one table for
    each suite.
    """
    ceilings = rows[-1]["ceilings"]
    text = [f"# Benchmarks on {rows[0]['device']}", ""]
    text += [
        f"Denominators: {ceilings['bandwidth'] / 1e12:.3g} TB/s and "
        f"{ceilings['flops'] / 1e12:.3g} TFLOP/s ({ceilings['source']})."
    ]
    text += [f"Commits: {', '.join(sorted({row['commit'] for row in rows}))}."]
    versions = {", ".join(f"{k} {v}" for k, v in row["versions"].items()) for row in rows}
    text += [f"Versions: {'; '.join(sorted(versions))}."]
    if rows[0]["device"] == "cpu" and (load := max(row["load"] for row in rows)) > 1:
        text += [
            f"The machine was busy (up to {load} processes per core): these figures say "
            "nothing about speed."
        ]
    text += [
        "",
        "Median (20 to 80 %) of interleaved rounds; `kernels`: sum of the GPU's kernel times, "
        "`wall`: by the clock. Speed-up is that over",
        "the fastest other implementation that does the whole work; `cudnn_core` leaves out "
        "norm, rotation and layout.",
    ]
    by_suite = collections.defaultdict(list)
    for (suite, case, direction), group in groups(rows).items():
        other = best_other(group)
        for row in group:
            ratio = (
                f"{other['p50_ms'] / row['p50_ms']:.2f}x" if row["impl"] in OURS and other else ""
            )
            rate = next(
                (
                    f"{value:.3g} {key.replace('_per_second', '')}/s"
                    for key, value in row.items()
                    if key.endswith("_per_second")
                ),
                "",
            )
            by_suite[suite].append(
                [
                    case,
                    direction,
                    row["impl"],
                    f"{row['p50_ms']:.4g} ({row['p20_ms']:.4g} to {row['p80_ms']:.4g}) "
                    f"{row['timer']}",
                    _number(row["percent_of_roofline"], "{:.1f} %"),
                    ratio or rate,
                    _number(row["peak_bytes"], "{:.4g} MB", 1e-6),
                    _number(row["error"], "{:.1e}"),
                    f"{row['lower_s']:.2f} + {row['compile_s']:.2f}",
                    row["ran"].replace("|", "/"),
                ]
            )
    for suite, lines in by_suite.items():
        head = [
            "case",
            "direction",
            "impl",
            "ms",
            "of roofline",
            "speed-up or rate",
            "peak",
            "error",
            "lower + compile, s",
            "ran",
        ]
        text += ["", f"## {suite}", "", tables.markdown(head, lines).rstrip("\n")]
    return "\n".join(text) + "\n"


def _number(value: float | None, template: str, factor: float = 1.0) -> str:
    return "" if value is None else template.format(value * factor)


def _axes(size: tuple[float, float]) -> tuple["Figure", "Axes"]:
    """Returns a figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure  # imported late: slow, and not needed by `groups`

    figure = Figure(size, layout="constrained")
    return figure, figure.subplots()


def _color(impl: str) -> str:
    return f"C{IMPLEMENTATIONS.index(impl)}"  # of matplotlib's cycle of ten


def roofline(rows: list[dict], path: Path) -> list[str]:
    """Draws the roofline plot of rows into the png file `path`: FLOP/s against FLOPs per byte,
    below the lines of the device's bandwidth and peak.

    Rows without FLOPs or bytes are omitted.

    Returns:
        The names of the files written: [] if no row is left.
    """
    rows = [row for row in rows if row["flops"] and row["bytes"]]
    if not rows:
        return []
    ceilings = rows[-1]["ceilings"]
    bandwidth, peak = ceilings["bandwidth"], ceilings["flops"]
    figure, axes = _axes((8, 5))
    intensities = [row["flops"] / row["bytes"] for row in rows]
    low, ridge, high = (
        min(intensities) / 2,
        peak / bandwidth,
        max(*intensities, peak / bandwidth) * 2,
    )
    axes.plot([low, ridge, high], [low * bandwidth, peak, peak], "k-", lw=1)
    axes.annotate(
        f"{bandwidth / 1e12:.3g} TB/s, {peak / 1e12:.3g} TFLOP/s",
        (ridge, peak),
        (0, 4),
        textcoords="offset points",
        ha="right",
    )
    # there is a marker for each suite, and not every suite has rows
    markers = dict(zip(sorted({row["suite"] for row in rows}), "osD^vPX*", strict=False))
    for suite, marker in markers.items():
        for impl in IMPLEMENTATIONS:
            chosen = [row for row in rows if row["suite"] == suite and row["impl"] == impl]
            if chosen:
                x = [row["flops"] / row["bytes"] for row in chosen]
                y = [row["flops"] / row["p50_ms"] * 1e3 for row in chosen]
                axes.plot(
                    x,
                    y,
                    marker,
                    color=_color(impl),
                    ms=6,
                    alpha=0.8,
                    ls="none",
                    label=f"{suite}, {impl}",
                )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="least work: FLOP per byte",
        ylabel="FLOP/s",
        title=f"Roofline, {rows[0]['device']}",
    )
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    return [path.name]


def speedup(rows: list[dict], path: Path) -> list[str]:
    """Draws the speed of each implementation relative to "xla" into the png file `path`.

    Returns:
        The names of the files written: [] if there is nothing to compare.
    """
    compared = {
        name: group
        for name, group in groups(rows).items()
        if len(group) > 1 and any(row["impl"] == "xla" for row in group)
    }
    if not compared:
        return []
    figure, axes = _axes((8, 1.2 + sum(0.22 * len(g) + 0.25 for g in compared.values())))
    y, ticks = 0.0, []
    labelled = set()
    for name, group in compared.items():
        base = next(row["p50_ms"] for row in group if row["impl"] == "xla")
        middle = y + 0.22 * (len(group) - 1) / 2
        ticks.append((middle, " ".join(name)))
        for row in group:
            ratio = base / row["p50_ms"]
            axes.barh(
                y,
                ratio,
                0.2,
                color=_color(row["impl"]),
                label=None if row["impl"] in labelled else row["impl"],
                hatch="//" if row["impl"] in CORE else None,
            )
            axes.annotate(
                f"{ratio:.2f}x",
                (ratio, y),
                (3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
            labelled.add(row["impl"])
            y += 0.22
        y += 0.25
    axes.axvline(1.0, color="k", lw=1)
    axes.set_yticks([t for t, _ in ticks], [label for _, label in ticks], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set(
        xlabel="times as fast as xla (hatched: leaves out part of the work)",
        title=f"Speed-up by shape, {rows[0]['device']}",
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=130)
    return [path.name]


if __name__ == "__main__":
    sys.exit(results.command(__doc__, main, sys.argv[1:]))
