"""Speed of Playhouse, the synthetic world: drawing scenes at random, rendering their frames and
synthesising their audio.

Drawing is plain Python on one core; rendering and synthesis run on the device. The workload `all`
does all three, which training on new scenes in every batch needs. `picture_and_sound` renders and
synthesises given scenes, whose inputs are prepared outside the timing. `draw`, `render` and `sound`
are the three alone. On a CPU there are cases for the families of scenes at 64 px x 33 frames
(PhyWorld: 32 frames; story: 51), and for rooms and PhyWorld with one ball and with several. The
project aims, on 2 CPU cores and with audio, at 500 clips/s with one ball, 60 clips/s with several,
30 clips/s of `talk` and 20 clips/s of `story` with three shots.
"""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.workload import Form, Workload, always
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse import render, sound
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.takes import render_batch

S, PHYWORLD, STORY = FORMATS["S"], FORMATS["phyworld"], FORMATS["story3"]
# Size -> cases: (clips in a batch, name, format, family, number of balls of the scenes; None: any).
SIZES = {
    "tiny": [(2, "tiny", ClipFormat(frames=5, fps=8, height=16, width=16), "room", None)],
    "cpu": [
        (8, "S_room_one_ball", S, "room", 1),
        (8, "S_room_three_balls", S, "room", 3),
        (8, "nano", FORMATS["nano"], "room", None),
        (8, "S_court", S, "court", None),
        (8, "S_film", S, "film", None),
        (8, "S_occlude", S, "occlude", None),
        (8, "S_talk", S, "talk", None),
        (8, "story3", STORY, "story", None),
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
        (128, "S_talk", S, "talk", None),
        (128, "story3", STORY, "story", None),
        (128, "phyworld_one_ball", PHYWORLD, "phyworld_uniform_30k", None),
        (128, "phyworld_two_balls", PHYWORLD, "phyworld_collision_30k", None),
    ],
}


def workloads(size: str) -> list[Workload]:
    """Returns the cases of this suite at a size: "tiny" (for tests), "cpu" or "gpu"
    (also for TPUs).
    """
    return [workload for batch in SIZES[size] for workload in _stages(*batch)]


def _takes(clips: int, family: str, balls: int | None, seed: int) -> list:
    """Returns `clips` takes (scenes with their motion) of the split train of a family.

    Args:
        clips: number of takes.
        family: family of the scenes.
        balls: number of balls that a scene must have; None: any.
        seed: the search begins at take 100 `clips` `seed` of the split.
    """
    drawn = (draw("train", 100 * clips * seed + i, family=family) for i in itertools.count())
    return list(
        itertools.islice((take for take in drawn if balls in (None, len(take.scene.balls))), clips)
    )


def _stages(
    clips: int, name: str, format: ClipFormat, family: str, balls: int | None
) -> list[Workload]:
    def stage(stage_name: str, inputs: Callable, function: Callable) -> Workload:
        # Called as it is, not jitted as a whole: the compiler would then draw the static background
        # again for every frame (`render.program`).
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

    def seed_alone(seed: int) -> dict:
        return {"seed": seed}

    def video_inputs(seed: int) -> dict:
        return on_device(render.render_inputs(drawn(seed), format, alone=True))

    def audio_inputs(seed: int) -> dict:
        return on_device(sound.sound_inputs(drawn(seed), format))

    def both(seed: int) -> dict:
        takes = drawn(seed)
        return on_device(
            {
                "video": render.render_inputs(takes, format, alone=True),
                "audio": sound.sound_inputs(takes, format),
            }
        )

    def render_and_synthesise(x: dict) -> tuple:
        return render.render(x["video"], format), sound.synthesise(x["audio"], format)

    def draw_takes(x: dict) -> list:
        return drawn(x["seed"])

    def draw_and_render(x: dict) -> list:
        batch = render_batch(drawn(x["seed"]), format)
        return [(batch["frames"], batch["samples"])]

    return [
        stage("picture_and_sound", both, render_and_synthesise),
        stage("draw", seed_alone, draw_takes),
        stage("render", video_inputs, functools.partial(render.render, format=format)),
        stage("sound", audio_inputs, functools.partial(sound.synthesise, format=format)),
        stage("all", seed_alone, draw_and_render),
    ]
