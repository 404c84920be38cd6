"""Tables of the documents are made from committed results, and never typed."""

import json

import pytest

from benchmarks import documents, result_tables
from sora_jax.errors import UserError

MADE = {
    "command": "python -m experiments.calibrate --output=outputs/calibration",
    "hardware": "2 CPU cores",
    "commit": "0123456789ab",
    "versions": {"jax": "0.10.2"},
    "date": "2026-11-28",
}
SCORES = {
    "tracker": {
        "ground_truth": {"score": 1.0, "n": 96},
        "blur_1px": {"score": 0.97, "n": 96},
        "vanished": {"score": 0.01, "n": 96},
        "shuffled": {"score": 0.0, "n": 96},
    }
}
TEXT = "before\n<!-- table: calibration -->\nold\n<!-- end of table -->\nafter\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text(TEXT)
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "calibration.json").write_text(json.dumps(SCORES))
    (folder / "made_with.json").write_text(json.dumps(MADE))
    return tmp_path


def test_the_committed_documents_show_the_committed_results():
    stale = [str(path) for path in documents.stale(documents.ROOT)]
    assert not stale, "run python -m benchmarks.documents"


def test_a_table_is_filled_from_results_that_were_adopted(root):
    documents.adopt(root, root / "outputs", "calibration")
    ((path, (_, wanted)),) = documents.stale(root).items()
    assert path == root / "README.md"
    assert wanted.startswith("before\n") and wanted.endswith("after\n") and "old" not in wanted
    row = next(line for line in wanted.splitlines() if "tracker" in line)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        *("tracker", "1.00", "0.97", "0.01", "0.00", "96")
    ]
    assert f"`{MADE['command']}`\n(2 CPU cores, commit 0123456789ab, jax 0.10.2" in wanted
    path.write_text(wanted)
    assert not documents.stale(root)
    path.write_text(wanted.replace("0.97", "0.99"))
    assert documents.stale(root)


def test_results_of_uncommitted_code_are_refused(root):
    made = MADE | {"commit": "0123456789ab-dirty"}
    (root / "outputs" / "made_with.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="uncommitted changes"):
        documents.adopt(root, root / "outputs", "calibration")
    with pytest.raises(UserError, match=r"scores\.json is missing"):
        documents.adopt(root, root / "outputs", "evaluation")


def test_an_unknown_table_is_named(root):
    (root / "README.md").write_text(TEXT.replace("calibration", "calibrated"))
    with pytest.raises(UserError, match="no table calibrated; there are quality"):
        documents.stale(root)


def test_steps_for_pods_show_memory_traffic_and_bound():
    report = {
        "mesh": {"data": 1, "fsdp": 8, "seq": 1, "tensor": 1},
        "kernels": 16,
        "batch_size": 64,
        "memory": {"held": 7.2e9, "device": 95e9},
        "flops": {"device": 142e12},
        "collectives": {"all-gather": {"count": 12, "sent": 6e9}},
        "hbm_bytes": 2.3e11,
        "roofline": {"step": 0.31, "bound by": "FLOPs"},
        "mfu_bound": 0.75,
        "seconds": {"compile": 86.2},
    }
    row = {"arguments": "xl.py --topology=v5p:2x2x2", "commit": "0123456789ab", "report": report}
    table = result_tables.TABLES["pods"][1]({"results": [row]})
    assert [cell.strip() for cell in table.splitlines()[2].split("|")[1:-1]] == [
        *("`xl.py --topology=v5p:2x2x2`", "fsdp 8", "16", "64", "7.2 of 95 GB", "142 T"),
        *("12, 0, 0, 0", "6 GB", "230 GB", "0.31 s, FLOPs", "0.75", "86 s", "0123456"),
    ]
