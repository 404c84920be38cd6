"""FAMILIES: the registry of families (kinds of scenes) by name.

`base.Family` is the interface of a family. `draw.draw` draws takes of a family. A new one is
registered by

    @FAMILIES.register
    class Moon(Room):
        name = "moon"
"""

from sora_jax.registry import Registry
from sora_jax.worlds.playhouse.families.base import Family
from sora_jax.worlds.playhouse.families.court import Court
from sora_jax.worlds.playhouse.families.film import Film
from sora_jax.worlds.playhouse.families.occlude import Occlude
from sora_jax.worlds.playhouse.families.phyworld import SETS, PhyWorld
from sora_jax.worlds.playhouse.families.room import Room
from sora_jax.worlds.playhouse.families.story import Story
from sora_jax.worlds.playhouse.families.talk import Talk

STORIES = (Story(), *(Story(f"story_{shots}", shots) for shots in (1, 2, 4)))
FAMILIES: Registry[Family] = Registry(
    "family",
    Family,
    (Room(), Court(), Film(), Occlude(), Talk(), *STORIES, *(PhyWorld(*names) for names in SETS)),
)
