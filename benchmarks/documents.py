"""Fills the tables of the documents from committed results, docs/results/NAME.json.

    python -m benchmarks.documents                                        # fill every table
    python -m benchmarks.documents --check                                # status 1 if one differs
    python -m benchmarks.documents --adopt=outputs/evaluation --name=evaluation

--adopt copies scores from the output folder of experiments.evaluate or experiments.calibrate into
docs/results, with their command, hardware, commit and versions. A document marks the place of a
table by two lines; the text between them is replaced:

    <!-- table: quality -->
    <!-- end of table -->

`result_tables` makes the tables. Those of `code_tables` are made from the package's own tables
instead, and have no results.
"""

import difflib
import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from benchmarks.code_tables import CODE_TABLES
from benchmarks.result_tables import TABLES, Results
from sora_jax import files
from sora_jax.cli import run_main
from sora_jax.errors import UserError
from sora_jax.evaluation.results import MADE_WITH

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
