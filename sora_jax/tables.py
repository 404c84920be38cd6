"""Text tables for Markdown and for the terminal."""

from collections.abc import Sequence

from tabulate import tabulate

WIDEST = 34  # characters of the name column of `section`


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with aligned columns and a trailing newline. `header` and each row
    hold one text for each column.
    """
    return tabulate(rows, header, tablefmt="github", disable_numparse=True) + "\n"


def plain(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table for the terminal, with two spaces between columns. `header` and each row hold
    one text for each column.
    """
    text = tabulate(rows, header, tablefmt="plain", disable_numparse=True, preserve_whitespace=True)
    return "\n".join(line.rstrip() for line in text.splitlines())


def section(title: str, rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Returns a table for the terminal: a title and, below it, rows of a name and right-aligned
    figures.

    Args:
        title: the first line.
        rows: (name, figure, ...) of each row, as text.
        header: names of the columns of figures. Default: none.
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
    """Returns a figure as text: one decimal if its unit is ms, px or dB, three otherwise, "-" for
    None. The default unit is "share", a fraction in [0, 1].
    """
    if value is None:
        return "-"
    return f"{value:.1f}" if unit in ("ms", "px", "dB") else f"{value:.3f}"
