"""Captures of characters of the cast, rendered once."""

import dataclasses

import pytest

from sora_jax.characters.capture import FORMAT, capture
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.references import references

PHRASE = ("purple", "six", "down")


@dataclasses.dataclass(frozen=True)
class Actor:
    """A character, the take of a capture in which it says PHRASE, the clip, and references."""

    character: object
    take: object
    clip: object
    references: object


@pytest.fixture(scope="session")
def actors():
    """Three held-out characters."""
    cast = [catalogue("held_out")[i] for i in (3, 17, 40)]
    takes = [capture(one, PHRASE, 50 + i) for i, one in enumerate(cast)]
    shown = [references(one, 7 + i) for i, one in enumerate(cast)]
    clips = render_takes(takes, FORMAT, len(takes))
    return [Actor(*parts) for parts in zip(cast, takes, clips, shown, strict=True)]
