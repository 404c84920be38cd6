"""Families of scenes by name.

Each has the interface of `Family`; `draw.py` turns one into a data set.
"""

from typing import ClassVar, Protocol

from sora_jax.worlds.playhouse.families.court import Court
from sora_jax.worlds.playhouse.families.film import Film
from sora_jax.worlds.playhouse.families.occlude import Occlude
from sora_jax.worlds.playhouse.families.phyworld import PhyWorld
from sora_jax.worlds.playhouse.families.room import Room
from sora_jax.worlds.playhouse.spec import Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory


class Family(Protocol):
    """What `draw.py` asks of a family.

    number enters the random key; version is raised when the family's takes change; max_balls is
    what a renderer makes room for; splits are the names that it has; styles those that can be asked
    for; facts_type has `key()`, `to_dict()` and `from_dict()`. words: the vocabulary of its
    captions and intents; text_length: as many words and marks as a prompt of it needs.
    """

    name: str
    number: int
    version: int
    max_balls: int
    splits: tuple[str, ...]
    styles: tuple[str, ...]
    facts_type: ClassVar[type]
    words: ClassVar[tuple[str, ...]]
    text_length: ClassVar[int]

    def aim(self, stream: Stream, split: str, index: int, style: str | None):
        """What is drawn once for a take and kept while facts and scenes are drawn again; style: the
        one that is asked for, or None.
        """

    def draw_facts(self, stream: Stream, split: str, aim):
        """Facts that a scene of this split could have."""

    def split_of(self, facts) -> str:
        """The split that the factor tuple belongs to."""

    def draw_scene(self, stream: Stream, facts, seconds: float) -> tuple[Scene, Trajectory] | None:
        """A scene that fulfils the facts, with its motion; None if this draw does not."""

    def caption(self, facts, variant: int, split: str) -> str:
        """The paraphrase number `variant`."""

    def details(self, scene: Scene, motion: Trajectory, facts, seconds: float) -> dict:
        """Further fields of the `Take`."""


_PHYWORLD = (
    PhyWorld(task, size)
    for task in ("uniform", "collision", "parabola")
    for size in ("30k", "300k")
)
FAMILIES: dict[str, Family] = {
    family.name: family for family in (Room(), Court(), Film(), Occlude(), *_PHYWORLD)
}
