"""The prompts that docs/guides/prompts.md shows are captions of the families that it names."""

import re
from pathlib import Path

import pytest

from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.families import FAMILIES

TEXT = (Path(__file__).parents[2] / "docs" / "guides" / "prompts.md").read_text(encoding="utf-8")
WRITTEN = ("room", "court", "film", "occlude", "talk", "story")  # families with captions


def examples() -> list[tuple[str, str]]:
    """(family, caption) of each example; a caption may have several lines."""
    (block,) = re.findall(r"table: prompt_examples -->\n```\n(.*?)```", TEXT, re.DOTALL)
    found = re.findall(r"^(\w+) +(.*(?:\n .*)*)", block, re.MULTILINE)
    return [(family, " ".join(caption.split())) for family, caption in found]


def test_every_family_with_captions_has_examples_and_a_section():
    assert list(dict.fromkeys(family for family, _ in examples())) == list(WRITTEN)
    assert re.findall(r"^## (\w+)$", TEXT, re.MULTILINE) == [name.capitalize() for name in WRITTEN]


@pytest.mark.parametrize("family, caption", examples())
def test_an_example_is_a_caption_of_its_family(family, caption):
    assert FAMILIES[family].parse(caption)


def test_what_the_guide_says_of_forms():
    """Case, marks that only separate, and marks that do not."""
    room, film = FAMILIES["room"].parse, FAMILIES["film"].parse
    rolled = "a large blue ball rolls to the right and does not bounce"
    assert f"`{rolled}`" in TEXT
    assert room(rolled) == room(rolled.upper().replace(" ", ", "))
    with pytest.raises(CaptionError):
        room("a large blue ball rolls to the right")
    with pytest.raises(CaptionError):
        room("a large red ball is dropped and bounces 2 times")
    spoken = f"anime, still camera: {rolled}. Someone says blue"
    assert film(spoken).voice is not None
    for broken in (spoken.replace(":", ""), spoken.replace(".", "")):
        with pytest.raises(CaptionError):
            film(broken)
