"""The visual styles that the web page offers, and the phrases that state them in prompts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sora_jax.worlds.playhouse import storyboard_text
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.look import CAMERA_PHRASES, STYLE_PHRASES
from sora_jax.worlds.playhouse.families.story import StoryFacts


def offered(families: Sequence[str]) -> dict[str, Any]:
    """Returns the styles of families of scenes.

    Args:
        families: names in FAMILIES.

    Returns:
        {style: {"phrases": lists of phrases, "start": text}}. A prompt that begins with one of the
        phrases has the style; there is one list for each way in which the families write prompts.
        `start` is put before a prompt to give it the style.
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
