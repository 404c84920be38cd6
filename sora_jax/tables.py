"""Text tables for Markdown and for the terminal."""

from collections.abc import Sequence

from tabulate import tabulate

WIDEST = 34  # characters of the name column of `section`


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table of text with aligned columns, and with a trailing newline."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True) + "\n"


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table of text for the terminal, with two spaces between columns."""
    text = tabulate(rows, header, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def section(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Returns text: a title and, below it, rows of a name and right-aligned figures.

    header names the columns. Default: none.
    """
    lines = [("", *header)] if header else []
    rows = [("  " + name + " " * (WIDEST - len(name)), *figures) for name, *figures in rows]
    alignment = ("right",) * (len(rows[0]) - 1)
    text = tabulate(
        [*lines, *rows],
        tablefmt="plain",
        disable_numparse=True,
        preserve_whitespace=True,
        colalign=("left", *alignment),
    )
    return f"{title}\n{text}"


def number(value: float | None, unit: str = "share") -> str:
    """Returns a figure as text: one decimal for the units ms, px and dB, three for others, "-" for
    None.
    """
    if value is None:
        return "-"
    return f"{value:.1f}" if unit in ("ms", "px", "dB") else f"{value:.3f}"
