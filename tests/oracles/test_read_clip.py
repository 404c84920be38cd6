"""`read_clip`: which oracles it reads, and that what they read is JSON."""

import dataclasses
import json
import math

import numpy as np
import pytest

import sora_jax
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import VIDEO
from sora_jax.oracles.read_clip import SUMMARIZED, read_clip
from sora_jax.oracles.reading import Reading
from sora_jax.pipelines.record import family_of

BALLS = {"count", "balls", "seen_impacts", "heard_impacts", "heard_materials", "sync"}


@dataclasses.dataclass(frozen=True)
class Red:
    mean: float
    frames: np.ndarray
    nothing: float = math.nan


@pytest.fixture
def red():
    """A user's oracle of the mean red, whose reading is no JSON."""

    @ORACLES.register
    class RedOracle(Oracle):
        name, media, tolerance = "red", (VIDEO,), "none"

        def read(self, reading: Reading) -> Red:
            red = reading.frames[..., 0]
            return Red(red.mean(), red.mean((1, 2)).astype(np.float32))

        def judge(self, example, reading):
            return True

    yield "red"
    ORACLES.pop("red")


def test_a_room_is_read_by_the_oracles_of_rooms_and_by_mine(clips, red):
    found = read_clip(clips[0])
    assert json.loads(json.dumps(found)) == found and "unscored" not in found
    others = {"cuts", "ambience", "physics", "loudness", "words", red}
    assert set(found) == BALLS | others
    assert found["words"] == [] and found["physics"]["gains"] == 0
    value = found[red]
    assert value["mean"] == pytest.approx(clips[0].frames[..., 0].mean(), rel=1e-5)
    assert len(value["frames"]) == clips[0].format.frames and value["nothing"] is None


def test_no_balls_are_invented_in_a_talk(talks, red):
    assert talks[0].family == "talk"
    found = read_clip(talks[0])
    assert not BALLS & set(found)
    assert {"faces", "lips", "turns", "words", "identity", "ambience", red} <= set(found)
    spoken = sorted(word for actor in talks[0].take.scene.cast for word in actor.speech)
    assert found["words"] == [word for _, word in spoken]
    assert not {"style", "camera", "outcome", "permanence", "motion"} & set(found)


def test_named_oracles_alone_are_read(clips, red):
    frames = clips[0].frames
    assert set(read_clip(clips[0], [red, "facts"])) == {red, "facts"}
    assert read_clip(clips[0], ["facts"])["facts"]["count"] == len(clips[0].take.facts.balls)
    assert read_clip(Clip(frames[:3]), [red, "style", "words"]) == {
        red: None,
        "style": None,
        "words": None,
    }
    assert read_clip(Clip(frames), ["lips"]) == {"lips": None}
    with pytest.raises(UserError, match="oracles is a str; give a list"):
        read_clip(clips[0], "words")
    with pytest.raises(UserError, match="no oracle 'wrods'; did you mean 'words'"):
        read_clip(clips[0], ["wrods"])


def test_a_clip_of_unknown_kind_is_read_by_all(clips, red, monkeypatch):
    """Those that search through views take seconds, and are replaced here."""
    for name in ("outcome", "permanence", "camera"):
        monkeypatch.setattr(type(ORACLES[name]), "read", lambda self, reading: None)
    found = read_clip(dataclasses.replace(clips[0], family=None))
    assert set(found) == BALLS | {"cuts", "ambience"} | (set(ORACLES) - set(SUMMARIZED))
    assert found["outcome"] is None and found["style"] and "motion" in found


@pytest.mark.slow
def test_a_clip_of_unknown_kind_is_json(clips):
    found = read_clip(dataclasses.replace(clips[0], family=None))
    assert json.loads(json.dumps(found)) == found
    assert found["outcome"] is found["permanence"] is found["camera"] is None


def test_the_family_is_known_by_the_take_or_by_the_prompt(clips):
    assert clips[0].family == "room"
    take = sora_jax.draw("val", 0, family="phyworld_uniform_30k")
    assert sora_jax.render(take, sora_jax.FORMATS["phyworld"]).family == take.family
    prompt = "a large red ball is dropped and bounces twice"
    made = {"prompt": prompt, "families": ["unregistered", "room"], "task": "text"}
    assert family_of(made) == "room"
    assert family_of(made | {"task": "text and continued"}) is None
    assert family_of(made | {"prompt": "my dog runs"}) is family_of({}) is None
