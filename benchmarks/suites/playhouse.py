"""The world's clips: drawn (plain Python on one core), rendered and sounded (on the device), and all three, as training on the fly needs."""

import functools

from benchmarks.workload import Form, Workload
from sora_jax.data.clips import render_batch
from sora_jax.modality import FORMATS, ClipFormat
from sora_jax.worlds.playhouse import render, sound
from sora_jax.worlds.playhouse.draw import draw

# Clips in a batch, their format, and the family.
SIZES = {
    "tiny": [(2, "tiny", ClipFormat(5, 8, 16), "room")],
    "cpu": [(8, "nano", FORMATS["nano"], "room"), (8, "S_court", FORMATS["S"], "court"), (8, "S_film", FORMATS["S"], "film")],
    "gpu": [(128, "nano", FORMATS["nano"], "room"), (128, "S", FORMATS["S"], "room"), (128, "S_film", FORMATS["S"], "film")],
}


def workloads(size: str) -> list[Workload]:
    return [workload for batch in SIZES[size] for workload in _stages(*batch)]


def _takes(clips: int, family: str, seed: int) -> list:
    return [draw("train", clips * seed + i, family=family) for i in range(clips)]


def _stages(clips: int, name: str, form: ClipFormat, family: str) -> list[Workload]:
    def stage(stage_name, inputs, function, backend="jax"):
        forms = {"xla": lambda: [Form(f"{stage_name} of Playhouse", function, backend=backend)]}
        return Workload(f"{stage_name}_{name}_b{clips}", {"forward": None}, inputs, None, forms, timer="wall", items=clips, unit="clips")

    drawn = functools.partial(_takes, clips, family)
    return [
        stage("draw", lambda seed: {"seed": seed}, lambda x: drawn(x["seed"]), "python"),
        stage("render", lambda seed: render.render_inputs(drawn(seed), form), lambda x: render.render(x, form)),
        stage("sound", lambda seed: sound.sound_inputs(drawn(seed), form), lambda x: sound.synthesise(x, form)),
        stage("all", lambda seed: {"seed": seed}, lambda x: [(b["frames"], b["samples"]) for b in [render_batch(drawn(x["seed"]), form)]], "python"),
    ]
