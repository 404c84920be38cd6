"""The boxes of balls follow the camera."""

import dataclasses

import numpy as np

from sora_jax.evaluation.round_trip import boxes
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.draw import draw


def test_boxes_of_a_film_hold_its_balls():
    """A ball of another colour changes pixels in its box alone."""
    takes = [draw("val", i, family="film", style="flat") for i in range(12)]
    moving = [t for t in takes if len(t.scene.view) > 1][:4]
    assert moving

    def repainted(take):
        colours = {"red": "blue"}
        balls = tuple(
            dataclasses.replace(b, colour=colours.get(b.colour, "red")) for b in take.scene.balls
        )
        return dataclasses.replace(take, scene=dataclasses.replace(take.scene, balls=balls))

    before = render_takes(moving, FORMATS["nano"])
    after = render_takes([repainted(take) for take in moving], FORMATS["nano"])
    for one, other in zip(before, after, strict=True):
        changed = np.abs(one.frames - other.frames).max(-1) > 0.1
        mask = boxes(one)
        assert changed.any() and not (changed & ~mask).any()
        assert mask.mean() < 0.3
