"""Result rows on disk, in `benchmarks/results/<device>/<suite>.jsonl`.

Each line is one JSON object. Rows are appended and never changed.
"""

import json
import operator
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from sora_jax.cli import HELP, piped, prepare_streams
from sora_jax.errors import UserError

FOLDER = Path(__file__).parent / "results"

# The fields of every row; a row may have more. `impl` is the implementation, and `ran` describes
# its form and the custom calls in its program. Times are of one call: p20, p50 and p80 are
# percentiles over rounds, of the time of GPU kernels if `timer` is "kernels", of wall time if it is
# "wall". `error` is relative to the specification in float32. None means unavailable.
SCHEMA = (
    "suite",
    "case",
    "impl",
    "ran",
    "direction",
    "p20_ms",
    "p50_ms",
    "p80_ms",
    "percent_of_roofline",
    "peak_bytes",
    "error",
    "device",
    "commit",
    "versions",
)
KEY = ("suite", "case", "impl", "direction")  # identifies a measurement


def append(folder: Path, row: Mapping, name: str | None = None) -> None:
    """Appends a result row to the file `name` in a folder. Default: SUITE.jsonl, of the row's
    suite.

    The row is written immediately and as a whole, so a run that is stopped leaves only whole rows.

    Raises:
        ValueError: the row lacks a field of SCHEMA.
        UserError: the file cannot be written.
    """
    if missing := [name for name in SCHEMA if name not in row]:
        raise ValueError(f"a row lacks {', '.join(missing)}")
    path = folder / (name or f"{row['suite']}.jsonl")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; give another --output") from None


def read(place: str | Path) -> list[dict]:
    """Returns all result rows of a file, or of all files in a folder. The rows of each file are in
    the order in which they were measured.

    `place` is the path of the file or folder. PATH@COMMIT keeps only the rows of that commit, of
    which COMMIT is the beginning.

    Raises:
        UserError: the path holds no rows, or a line is not a row.
    """
    name, _, commit = str(place).rpartition("@") if "@" in str(place) else (str(place), "", "")
    path = Path(name)
    if not path.exists():
        raise UserError(
            f"no results in {path}; make some with python -m benchmarks.run --suite=NAME "
            "--output=DIR"
        )
    rows = []
    for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError:
                raise UserError(f"{file}, line {number} is no JSON; delete that line") from None
            if missing := [field for field in SCHEMA if field not in row]:
                raise UserError(
                    f"{file}, line {number} lacks {', '.join(missing)}; it is no row of "
                    "benchmarks.run"
                )
            rows.append(row)
    rows = [row for row in rows if row["commit"].startswith(commit)]
    if not rows:
        raise UserError(
            f"no results in {place}; make some with python -m benchmarks.run --suite=NAME "
            "--output=DIR"
        )
    return rows


def latest(rows: Iterable[Mapping]) -> dict[tuple, dict]:
    """Returns the current row of each measurement: {(suite, case, impl, direction): row}.

    Of all rows of a measurement, only those of the commit measured last count. Among these, the
    newest row of each form counts, and the fastest of these rows is returned.
    """
    rows = list(rows)
    key = operator.itemgetter(*KEY)
    commits = {key(row): row["commit"] for row in rows}
    forms = {(key(row), row["ran"]): row for row in rows if row["commit"] == commits[key(row)]}
    best = {}
    for (name, _), row in forms.items():
        if name not in best or row["p50_ms"] < best[name]["p50_ms"]:
            best[name] = row
    return best


def command(doc: str | None, function: Callable[..., int | None], places: Sequence[str]) -> int:
    """Runs a command whose arguments are paths (`cli.run_main` accepts flags only). Returns its
    exit status.

    --help prints `doc`. After a `UserError`, one line is printed and the status is 2.

    Args:
        doc: docstring of the command; None under `python -OO`.
        function: the command, called with the paths.
        places: arguments of the command line.
    """
    prepare_streams()
    try:
        with piped():
            if set(HELP) & set(places):
                print((doc or "").strip())
                return 0
            return function(*places) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
