"""What moves away from the first window of a clip is measured; what stays is not."""

import json

import numpy as np
import pytest

from sora_jax import Clip
from sora_jax.evaluation import drift
from sora_jax.modality import FORMATS
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.draw import draw


@pytest.fixture(scope="module")
def room():
    (clip,) = render_takes([draw("val", 0)], FORMATS["nano"], 1)
    return clip


def doubled(room, frames, samples):
    """The clip of a room, and then these frames and samples."""
    both = np.concatenate([room.frames, frames]), np.concatenate([room.samples, samples])
    return drift.compared(Clip(*both, room.fps, room.rate), [17, 34])


def test_a_clip_that_stays(room):
    found = doubled(room, room.frames, room.samples)
    assert found == {"background": [0, 0], "ball": [0, 0], "level": [0, 0], "kept": [1, 1]}


def test_light_and_level(room):
    found = doubled(room, np.clip(room.frames - 0.04, 0, 1), room.samples / 2)
    assert found["background"][1] == pytest.approx(0.04 * 255, abs=0.3)
    assert found["ball"][1] == pytest.approx(0.04 * 255, abs=4)
    assert found["level"][1] == pytest.approx(-6.02, abs=0.01)
    silent = doubled(room, room.frames, np.zeros_like(room.samples))
    assert silent["level"][1] < -20


def test_a_lost_ball(room):
    rows = np.median(room.frames, (0, 2), keepdims=True)  # of the background
    empty = np.broadcast_to(rows, room.frames.shape)
    found = doubled(room, empty, room.samples)
    assert found["kept"] == [1, 0] and found["ball"] == [0, None]
    assert found["background"][1] < 1
    # another ball is no kept one either
    other = room.frames[..., [2, 0, 1]]
    assert doubled(room, other, room.samples)["kept"] == [1, 0]


def test_summary():
    rows = [
        {"ends": [17, 33], "fps": 8.0, **{name: [0.0, x] for name in drift.MEASURES}}
        for x in (1.0, 3.0)
    ]
    rows[0]["ball"] = [0.0, None]
    found = drift.summary(rows)
    first, second = found["windows"]
    assert (first["seconds"], second["seconds"]) == (2.125, 4.125) and found["clips"] == 2
    assert first["level"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 2}
    assert (second["level"]["value"], second["level"]["n"]) == (2.0, 2)
    assert (second["ball"]["value"], second["ball"]["n"]) == (3.0, 1)
    drift.picture(found["windows"])


@pytest.mark.slow
def test_measuring_goes_on_where_it_stopped(tmp_path):
    from sora_jax import load_pipeline

    settings = {"extensions": 1, "seconds": 0.5}
    pipeline, said = load_pipeline(), []
    one = drift.measure_drift(pipeline, tmp_path / "cut", num_clips=1, say=said.append, **settings)
    two = drift.measure_drift(pipeline, tmp_path / "cut", num_clips=2, say=said.append, **settings)
    assert (one["clips"], two["clips"], len(said)) == (1, 2, 2)
    whole = drift.measure_drift(pipeline, tmp_path / "whole", num_clips=2, **settings)
    assert whole == two
    assert json.loads((tmp_path / "cut" / "drift.json").read_text())["windows"] == two["windows"]
    assert [w["seconds"] for w in two["windows"]] == [2.125, 2.625]
    assert (tmp_path / "cut" / "drift.png").exists()
