"""A family of scenes of your own: rooms on the moon.

    python -m experiments.precompute --import=docs/examples/own_family.py --family=moon \
        --num_clips=1000 --output=data/moon
    python -m experiments.train --import=docs/examples/own_family.py \
        --config=experiments/configs/playhouse_nano.py --config.data.path=data/moon \
        --workdir=runs/moon

In Python: sora_jax.registry.load_module("docs/examples/own_family.py"), then
sora_jax.render(sora_jax.draw("train", 0, family="moon")).

Every command that takes --family takes --import too. The scenes differ from those of `room`,
because the family's name is part of their random keys. The oracles of launches and bounces assume
the gravity of the earth, so `judge` marks these two facts as not read.
"""

from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.families.base import Line, Reading
from sora_jax.worlds.playhouse.families.room import Room
from sora_jax.worlds.playhouse.spec import GRAVITIES


@FAMILIES.register
class Moon(Room):
    name, gravity = "moon", GRAVITIES["moon"]

    def judge(self, facts: Facts, reading: Reading) -> list[Line]:
        reason, flight = "its oracle knows the gravity of the earth", ("launch", "bounces")
        return [
            Line.unread(line.ball, line.fact, line.asked, reason) if line.fact in flight else line
            for line in super().judge(facts, reading)
        ]
