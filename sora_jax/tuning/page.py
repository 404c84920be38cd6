"""A static page of headings, paragraphs, tables and pictures, as one HTML file."""

import html
from collections.abc import Sequence
from pathlib import Path

from sora_jax import files

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#222}table{border-collapse:collapse;margin:1rem 0}td,th{border-bottom:1px solid #ddd;"
    "padding:.2rem .8rem;text-align:left;vertical-align:top}img,video{max-width:100%}"
    "video{min-width:16rem}figure{margin:1rem 0}figcaption{color:#555}.wrong{color:#a30}"
)


class Page:
    """A page to which parts are added in order, and which is then written."""

    def __init__(self, title: str) -> None:
        """Begins a page with the heading `title`."""
        self._title, self._parts = title, [f"<h1>{html.escape(title)}</h1>"]

    def heading(self, text: str) -> None:
        """Adds a heading."""
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, wrong: bool = False) -> None:
        """Adds a paragraph. `wrong=True` colours it as a warning."""
        kind = ' class="wrong"' if wrong else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Adds a table with a header and rows of cells, which are written as text."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def picture(self, path: str, caption: str) -> None:
        """Adds a picture, or a video that ends in .mp4, by its path relative to the page."""
        where = html.escape(path, quote=True)
        shown = (
            f'<video src="{where}" controls loop></video>'
            if path.endswith(".mp4")
            else f'<img src="{where}" alt="{html.escape(caption, quote=True)}">'
        )
        self._parts.append(
            f"<figure>{shown}<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def write(self, path: Path) -> Path:
        """Writes the page and returns its path."""
        head = f'<meta charset="utf-8"><title>{html.escape(self._title)}</title>'
        body = "\n".join(self._parts)
        text = f"<!doctype html>\n<html>{head}<style>{STYLE}</style>\n{body}\n</html>\n"
        files.write(path, text)
        return path
