"""docs/reference/index.md names the public API, and explains every key of a training run."""

import dataclasses
import re
from pathlib import Path

import sora_jax
from sora_jax.config import flatten
from sora_jax.training.run import Run

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "index.md"
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN = set(re.findall(r"^::: [\w.]+\.(\w+)$", TEXT, re.MULTILINE))
DICTIONARIES = {"FORMATS", "FAMILIES", "ORACLES"}


def lost_names(text: str) -> set[str]:
    """Public names that the table of the page lacks."""
    return set(sora_jax.__all__) - {"__version__"} - set(re.findall(r"`(\w+)`", text))


def section_classes(value: object) -> set[str]:
    """Names of the classes of a configuration and of the sections below it."""
    fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
    parts = [part for part in fields if dataclasses.is_dataclass(part)]
    return {type(value).__name__}.union(*map(section_classes, parts))


def test_every_public_name_is_there():
    assert not lost_names(TEXT)
    assert lost_names(TEXT.replace("`finetune`", "")) == {"finetune"}
    assert set(sora_jax.__all__) - SHOWN == {"__version__", *DICTIONARIES}


def test_every_section_of_a_run_is_explained():
    assert section_classes(Run()) <= SHOWN and "TimestepConfig" in section_classes(Run())


def test_every_key_of_a_run_is_in_a_docstring():
    """The attributes of the sections' docstrings are what the page shows."""
    for name in flatten(dataclasses.asdict(Run())):
        *path, key = name.split(".")
        section = Run()
        for part in path:
            section = getattr(section, part)
        documented = " ".join(base.__doc__ or "" for base in type(section).__mro__)
        assert re.search(rf"^ +(\w+, )*{key}(, \w+)*: ", documented, re.MULTILINE), name
