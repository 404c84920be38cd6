"""The styles that the page offers, and how prompts state them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sora_jax.worlds.playhouse import storyboard_text
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.look import CAMERA_PHRASES, STYLE_PHRASES
from sora_jax.worlds.playhouse.families.story import StoryFacts


def offered(families: Sequence[str]) -> dict[str, Any]:
    """Returns the styles of families.

    Args:
        families: names in FAMILIES.

    Returns:
        For each style `phrases`, which has for each way of writing prompts the phrases at their
        start that state it; and `start`, which is put before a prompt without one of them.
    """
    styled = [FAMILIES[name] for name in families if FAMILIES[name].styles]
    if not styled:
        return {}
    tables = []
    for family in styled:
        told = issubclass(family.facts_type, StoryFacts)
        table = storyboard_text.STYLE_PHRASES if told else STYLE_PHRASES
        if table not in tables:
            tables.append(table)
    fields = {field.name for field in dataclasses.fields(styled[0].facts_type)}
    camera = f", {CAMERA_PHRASES['static'][0]}: " if "look" in fields else ", "
    return {
        style: {
            "phrases": [table[style] for table in tables],
            "start": f"{tables[0][style][0]}{camera}",
        }
        for style in dict.fromkeys(style for one in styled for style in one.styles)
    }
