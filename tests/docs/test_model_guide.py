"""docs/guides/model.md lists every attention pattern, and its counts are those of today's code."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import sizes
from sora_jax.models.presets import PRESETS
from sora_jax.models.st_dit import STDiT

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "model.md"


@pytest.fixture(scope="module")
def counts():
    return json.loads(sizes.RESULT.read_text(encoding="utf-8"))["results"]


def test_every_pattern_is_described():
    text = GUIDE.read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| pattern \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == sizes.patterns()


def test_every_preset_configuration_and_pattern_is_counted(counts):
    assert list(counts["presets"]) == list(PRESETS)
    assert list(counts["configurations"]) == [path.name for path in sizes.config_files()]
    assert list(counts["attention"]) == sizes.patterns()


def test_the_purposes_are_those_of_the_files(counts):
    for path in sizes.config_files():
        assert counts["configurations"][path.name]["purpose"] == sizes.purpose(path)


def test_the_parameters_are_those_of_the_code(counts):
    for name, model in PRESETS.items():
        assert counts["presets"][name]["parameters"] == sizes.parameters(STDiT, model), name


@pytest.mark.slow
def test_the_counts_of_nano_are_those_of_the_code(counts):
    found = sizes.configuration(sizes.CONFIGS / "playhouse_nano.py")
    assert counts["configurations"]["playhouse_nano.py"] == found
