"""Clips of several shots: latents start anew at every cut; one shot is written as it always was."""

import json

import numpy as np
import pytest

from sora_jax.modality import FORMATS, ClipFormat

STORY = FORMATS["story3"]


def test_one_shot_is_written_as_ever():
    nano = FORMATS["nano"]
    assert repr(nano) == "ClipFormat(frames=17, fps=8, size=64)"
    assert nano.to_dict() == {"frames": 17, "fps": 8, "size": 64, "frames_per_latent": 4}
    assert ClipFormat(17, shots=(17,)) == nano and hash(ClipFormat(17, shots=(17,))) == hash(nano)
    assert nano.latent_times()["video"].tolist() == [0.0625, 0.375, 0.875, 1.375, 1.875]
    assert not nano.frame_shots().any() and not nano.latent_shots()["audio"].any()


def test_shots_survive_json_and_name_a_format():
    assert ClipFormat(**json.loads(json.dumps(STORY.to_dict()))) == STORY
    assert repr(STORY) == "ClipFormat(frames=51, fps=8, size=64, shots=(17, 17, 17))"


def test_latents_know_their_time_and_their_shot():
    one, times = FORMATS["nano"].latent_times(), STORY.latent_times()
    assert STORY.video_latents == 15 and STORY.shot_latents == (5, 5, 5)
    starts = np.repeat([0.0, 17 / 8, 34 / 8], 5)
    np.testing.assert_array_equal(times["video"], starts + np.tile(one["video"], 3))
    shots, within = STORY.latent_shots(), STORY.latent_shot_times()
    assert shots["video"].tolist() == [0] * 5 + [1] * 5 + [2] * 5
    np.testing.assert_allclose(within["video"], np.tile(one["video"], 3))
    assert len(shots["audio"]) == STORY.audio_latents and set(shots["audio"]) == {0, 1, 2}
    assert (within["audio"] >= 0.0).all() and within["audio"].max() < 17 / 8 + 0.02
    assert STORY.frame_shots().tolist() == [0] * 17 + [1] * 17 + [2] * 17


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"frames": 50, "shots": (17, 17, 17)}, "frames=50: the shots have 51"),
        ({"frames": 33, "shots": (17, 16)}, r"shots=16: a shot has 1 \+ 4k frames; use 17"),
        ({"frames": 16}, r"frames=16: a clip has 1 \+ 4k frames; use 17"),
    ],
)
def test_impossible_shots_are_refused(fields, reason):
    with pytest.raises(ValueError, match=reason):
        ClipFormat(**fields)
