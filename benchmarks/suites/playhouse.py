"""The world's clips: drawn (plain Python on one core), rendered and sounded (on the device), and
all three, as training on the fly needs.

`picture_and_sound` renders stored scenes: inputs are made ready outside of the clock; `all` draws
them too. A row for every family at 64 px x 33 frames (PhyWorld 32), with one ball and with several:
aims on 2 cores are 500 clips/s with one ball and 60 with several, rendered with sound.
"""

import functools
import itertools

import jax
import jax.numpy as jnp

from benchmarks.workload import Form, Workload, always
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse import render, sound
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.takes import render_batch

S, PHYWORLD = FORMATS["S"], FORMATS["phyworld"]
# Clips in a batch, their format, the family, and how many balls the scenes have (None: as they
# come).
SIZES = {
    "tiny": [(2, "tiny", ClipFormat(5, 8, 16), "room", None)],
    "cpu": [
        (8, "S_room_one_ball", S, "room", 1),
        (8, "S_room_three_balls", S, "room", 3),
        (8, "nano", FORMATS["nano"], "room", None),
        (8, "S_court", S, "court", None),
        (8, "S_film", S, "film", None),
        (8, "S_occlude", S, "occlude", None),
        (8, "phyworld_one_ball", PHYWORLD, "phyworld_uniform_30k", None),
        (8, "phyworld_two_balls", PHYWORLD, "phyworld_collision_30k", None),
    ],
    "gpu": [
        (128, "nano", FORMATS["nano"], "room", None),
        (128, "S", S, "room", None),
        (128, "S_room_one_ball", S, "room", 1),
        (128, "S_court", S, "court", None),
        (128, "S_film", S, "film", None),
        (128, "S_occlude", S, "occlude", None),
        (128, "phyworld_one_ball", PHYWORLD, "phyworld_uniform_30k", None),
        (128, "phyworld_two_balls", PHYWORLD, "phyworld_collision_30k", None),
    ],
}


def workloads(size: str) -> list[Workload]:
    return [workload for batch in SIZES[size] for workload in _stages(*batch)]


def _takes(clips: int, family: str, balls: int | None, seed: int) -> list:
    """The first scenes from a place of the training set on that have so many balls."""
    drawn = (draw("train", 100 * clips * seed + i, family=family) for i in itertools.count())
    return list(
        itertools.islice((take for take in drawn if balls in (None, len(take.scene.balls))), clips)
    )


def _stages(
    clips: int, name: str, form: ClipFormat, family: str, balls: int | None
) -> list[Workload]:
    def stage(stage_name, inputs, function):
        # As it is called: compiled once more as a whole, what stands still would be drawn again for
        # every frame (`render.program`).
        forms = {"xla": always(Form(f"{stage_name} of Playhouse", function, backend="python"))}
        return Workload(
            f"{stage_name}_{name}_b{clips}",
            {"forward": None},
            inputs,
            None,
            forms,
            timer="wall",
            items=clips,
            unit="clips",
        )

    on_device = functools.partial(jax.tree.map, jnp.asarray)
    drawn = functools.partial(_takes, clips, family, balls)

    def seed_alone(seed):
        return {"seed": seed}

    def picture(seed):
        return on_device(render.render_inputs(drawn(seed), form, alone=True))

    def heard(seed):
        return on_device(sound.sound_inputs(drawn(seed), form))

    def both(seed):
        takes = drawn(seed)
        return on_device(
            {
                "picture": render.render_inputs(takes, form, alone=True),
                "sound": sound.sound_inputs(takes, form),
            }
        )

    def render_and_synthesise(x):
        return render.render(x["picture"], form), sound.synthesise(x["sound"], form)

    def draw_takes(x):
        return drawn(x["seed"])

    def draw_and_render(x):
        batch = render_batch(drawn(x["seed"]), form)
        return [(batch["frames"], batch["samples"])]

    return [
        stage("picture_and_sound", both, render_and_synthesise),
        stage("draw", seed_alone, draw_takes),
        stage("render", picture, functools.partial(render.render, format=form)),
        stage("sound", heard, functools.partial(sound.synthesise, format=form)),
        stage("all", seed_alone, draw_and_render),
    ]
