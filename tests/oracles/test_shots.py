"""Shots of stories: places, views, states, characters and balls, in four styles."""

from sora_jax.modality import FORMATS
from sora_jax.oracles.catalogue import ORACLES

FORM, ORACLE = FORMATS["story3"], ORACLES["shots"]
STARTS = (17, 34)
