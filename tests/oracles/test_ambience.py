"""Soundscapes among words and impacts, in noise, changed, and absent."""

import dataclasses

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.modality import FORMATS, SAMPLE_RATE
from sora_jax.oracles import ambience, conditions, examples
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import example
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import SILENCE, SOUNDSCAPES

ORACLE, S = ORACLES["ambience"], FORMATS["S"]


@pytest.fixture(scope="module")
def talks():
    """A character's words in every soundscape, with black frames."""
    take = draw("val", 0, family="talk")
    takes = [
        dataclasses.replace(take, scene=dataclasses.replace(take.scene, ambience=name))
        for name in SOUNDSCAPES
    ]
    samples = np.asarray(sound.synthesise(sound.sound_inputs(takes, S), S))
    frames = np.zeros((S.frames, 8, 8, 3), np.float32)
    return [example(take, frames, heard, S) for take, heard in zip(takes, samples, strict=True)]


def read(clips):
    return [Reading(clip).ambience for clip in clips]


def test_every_soundscape_is_read_also_in_noise(talks):
    (hissing,) = (c for c in conditions.DEGRADATIONS if c.name == "noise_20db")
    assert read(talks) == read(hissing(talks)) == list(SOUNDSCAPES)
    assert all(ORACLE.judge(clip, Reading(clip)) for clip in talks)
    assert any(actor.speech for actor in talks[0].take.scene.cast)


def test_a_soundscape_is_exchanged_or_taken_away(talks):
    swapped = read(ambience.another_soundscape(talks))
    assert all(a != b and a in SOUNDSCAPES for a, b in zip(swapped, SOUNDSCAPES, strict=True))
    assert read(ambience.hiss(talks)) == [None] * 4
    bare = ORACLE.empty(talks)
    assert not set(read(bare)) & set(SOUNDSCAPES)
    assert np.abs(bare[0].samples).max() > 0.05, "the words stay"
    shuffled = ORACLE.shuffle(talks)
    assert not any(ORACLE.judge(clip, Reading(clip)) for clip in shuffled)


@pytest.mark.parametrize("deviation", [0.1, 0.01, 0.003])
def test_white_noise_is_no_soundscape(deviation):
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(0.0, deviation, 2 * SAMPLE_RATE)
        assert ambience.read_ambience(noise) is None


def test_silence_and_two_soundscapes_and_no_audio(talks):
    frames = talks[0].frames
    assert read([Clip(frames, np.zeros(SAMPLE_RATE, np.float32), 16)]) == [SILENCE]
    assert read([Clip(frames, None, 16), Clip(frames, talks[0].samples[:1600], 16)]) == [None] * 2
    both = talks[2].samples + talks[3].samples
    assert read([Clip(frames, both, 16)]) == [None]


def test_a_long_clip_is_read_from_a_part_of_its_windows(talks, monkeypatch):
    monkeypatch.setattr(ambience, "MOST", 40)
    assert read(talks) == list(SOUNDSCAPES)


def test_rooms_and_their_impacts(clips):
    readings = list(map(Reading, clips))
    assert [r.ambience for r in readings] == [c.take.scene.ambience for c in clips]
    rows = {name: (value, n) for name, value, n in ORACLE.measured(clips, readings)}
    heard = [clip.take.scene.ambience for clip in clips]
    assert rows == {
        f"clips with {name} that are read so": (str(heard.count(name)), heard.count(name))
        for name in SOUNDSCAPES
    }


def test_stages_take_turns(clips):
    scenes = examples.STAGES["scenes"](clips[:3])
    assert [c.take.family for c in scenes] == ["story", "talk", "story"]
    assert [c.format for c in scenes] == [FORMATS["story3"], S, FORMATS["story3"]]
    assert [c.take.index for c in scenes] == [0, 1, 2]
