"""docs/guides/oracles.md lists what is there: oracles, conditions, shared corruptions."""

import re
from pathlib import Path

import pytest

from sora_jax.oracles import corruptions
from sora_jax.oracles.base import CEILING, DEGRADED, GROUND_TRUTH
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import DEGRADATIONS, Condition

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "oracles.md"


def rows(first: str) -> list[list[str]]:
    """The rows of the table whose first heading is `first`."""
    text = GUIDE.read_text(encoding="utf-8")
    (table,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.split("\n")[:-1]
    ]


def test_oracles():
    both = {("video",): "video", ("audio",): "audio", ("video", "audio"): "both"}
    stages = {"narrated": "film", "scenes": "story, talk, film", "held_out": "talk"}
    assert [row[:3] for row in rows("oracle")] == [
        [name, both[oracle.media], stages.get(oracle.stage, oracle.stage)]
        for name, oracle in ORACLES.items()
    ]


def test_conditions():
    first, *degraded = rows("condition")[: 1 + len(DEGRADATIONS)]
    assert first == ["ground_truth", "nothing", f"at least {GROUND_TRUTH}"]
    assert [(name, what.partition(":")[0], limit) for name, what, limit in degraded] == [
        (one.name, one.modality, f"at least {DEGRADED}") for one in DEGRADATIONS
    ]
    assert f"its `ceiling`, {CEILING:.2f} by default" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_shared_corruptions(modality):
    (listed,) = (row[1] for row in rows("modality") if row[0] == modality)
    shared = [n for n, c in vars(corruptions).items() if isinstance(c, Condition)]
    assert re.findall(r"\w+", listed) == [
        name for name in shared if getattr(corruptions, name).modality == modality
    ]
