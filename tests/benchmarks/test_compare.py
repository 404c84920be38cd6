"""Two sets of rows: slower by 6 % is a regression, by 4 % is not; what cannot be compared is one
line.
"""

import json

import pytest

from benchmarks import compare, report, results
from sora_jax.errors import UserError


def run(places):
    return results.command(compare.__doc__, compare.main, places)


def row(**changes):
    return {
        "suite": "temporal_attention",
        "case": "t16",
        "impl": "xla",
        "ran": "the reference",
        "direction": "forward",
        "p20_ms": 0.9,
        "p50_ms": 1.0,
        "p80_ms": 1.1,
        "percent_of_roofline": 14.4,
        "peak_bytes": 10**8,
        "error": 1e-3,
        "device": "nvidia_h200",
        "commit": "aaaa",
        "versions": {"jax": "0.10.2"},
        "timer": "kernels",
        "lower_s": 0.1,
        "compile_s": 1.0,
        "load": 0.0,
        "bytes": 10**6,
        "flops": 10**6,
        "ceilings": {"bandwidth": 4.3e12, "flops": 790e12, "source": "listed"},
        **changes,
    }


def write(folder, *rows):
    for one in rows:
        results.append(folder, one)
    return str(folder)


@pytest.mark.parametrize("ratio,status", [(1.06, 1), (1.04, 0), (0.5, 0)])
def test_exit_status(tmp_path, capsys, ratio, status):
    before, after = write(tmp_path / "a", row()), write(tmp_path / "b", row(p50_ms=ratio))
    assert run([before, after]) == status
    assert ("SLOWER" in capsys.readouterr().out) == bool(status)


def test_commits_of_one_file_are_compared(tmp_path):
    folder = write(tmp_path, row(), row(commit="bbbb", p50_ms=1.2))
    assert run([f"{folder}@aaaa", folder]) == 1
    assert run([folder, f"{folder}@aaaa"]) == 0


def test_of_an_implementation_the_fastest_form_of_the_last_commit_counts(tmp_path):
    rows = [
        row(p50_ms=0.1, ran="gone"),
        row(commit="b", p50_ms=3.0),
        row(commit="b", p50_ms=2.0, ran="other"),
        row(commit="b", p50_ms=4.0),
    ]
    (best,) = results.latest(rows).values()
    assert (best["p50_ms"], best["ran"]) == (2.0, "other")


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"device": "cpu"}, "alike with alike"),
        ({"timer": "wall"}, "alike with alike"),
        ({"case": "t8"}, "in common"),
    ],
)
def test_what_cannot_be_compared(tmp_path, capsys, changes, words):
    assert run([write(tmp_path / "a", row()), write(tmp_path / "b", row(**changes))]) == 2
    assert words in capsys.readouterr().err


def test_unreadable_places(tmp_path, capsys):
    assert run([str(tmp_path / "none"), str(tmp_path)]) == 2
    assert run(["one"]) == 2
    (tmp_path / "x.jsonl").write_text(json.dumps({"suite": "x"}) + "\n")
    assert run([str(tmp_path), str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)


def test_help_without_docstrings():
    """`python -OO` removes them."""
    assert results.command(None, compare.main, ["--help"]) == 0


def test_a_row_without_a_field_is_not_written(tmp_path):
    bad = row()
    del bad["error"]
    with pytest.raises(ValueError, match="error"):
        results.append(tmp_path, bad)
    with pytest.raises(UserError, match="no results"):
        results.read(tmp_path)


def test_report(tmp_path):
    rows = [
        row(),
        row(impl="xla_best", p50_ms=0.5),
        row(impl="triton", p50_ms=0.1),
        row(impl="cudnn_core", p50_ms=0.05, error=None),
    ]
    text = report.markdown(rows)
    line = next(line for line in text.splitlines() if "| triton " in line)
    assert "5.00x" in line  # over xla_best, not over the core alone
    assert report.roofline(rows, tmp_path / "a.png") and report.speedup(rows, tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 5000 and (tmp_path / "b.png").stat().st_size > 5000
