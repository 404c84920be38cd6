"""A colour of your own: rooms in which at least one ball is cyan.

    python -m experiments.learn_colour --import=docs/examples/own_colour.py --family=cyan \
        --workdir=runs/cyan

`add_colour` adds a colour to the palette that renderers, captions and the oracles of balls share.
The families of scenes in the package still use their six colours, so this file also registers a
family that uses the new one.
"""

import dataclasses

from sora_jax.worlds.playhouse.captions import WORDS, Facts
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.room import Room, draw_balls
from sora_jax.worlds.playhouse.spec import add_colour
from sora_jax.worlds.playhouse.stream import Stream

add_colour("cyan", (0.08, 0.76, 0.80))


@FAMILIES.register
class Cyan(Room):
    name, words = "cyan", (*WORDS, "cyan")

    def draw_facts(self, stream: Stream, split: str, count: int) -> Facts:
        first, *others = draw_balls(stream, count).balls
        return Facts((dataclasses.replace(first, colour="cyan"), *others))
