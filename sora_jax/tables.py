"""Tables of text, as Markdown."""

from collections.abc import Sequence

from tabulate import tabulate


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up, with a newline at its end."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True) + "\n"


def number(value: float | None, unit: str = "share") -> str:
    """A figure with the decimals that its unit deserves; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.1f}" if unit in ("ms", "px", "dB") else f"{value:.3f}"
