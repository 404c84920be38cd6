"""Who speaks, in which voice; pictures mirrored and voices exchanged."""

import dataclasses
import json

import numpy as np
import pytest

from sora_jax.evaluation.suites import SUITES, values
from sora_jax.oracles import examples, voices
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.read_clip import read_clip
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.speakers import spoken_turns
from sora_jax.oracles.verdict import judge_prompt
from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.cast import catalogue

SPEAKERS = ORACLES["speakers"]


@pytest.fixture(scope="module")
def readings(talks):
    return [Reading(clip) for clip in talks]


def score(clips, condition=None):
    applies = [condition is None or SPEAKERS.applies(condition, clip) for clip in clips]
    changed = condition(clips) if condition else clips
    verdicts = [SPEAKERS.judge(clip, Reading(clip)) for clip in changed]
    return np.mean([one for one, judged in zip(verdicts, applies, strict=True) if judged])


def test_speakers_are_read(talks, readings):
    for clip, reading in zip(talks, readings, strict=True):
        assert SPEAKERS.judge(clip, reading), clip.take.captions[0]
        said = spoken_turns(clip.take)
        assert [turn.face for turn in reading.speakers.turns] == [face for face, _ in said]
        for turn, (_, of) in zip(reading.speakers.turns, said, strict=True):
            assert abs(turn.pitch - of.pitch) < 6.0 and abs(turn.tract - of.tract) < 0.03
    assert {len(spoken_turns(clip.take)) for clip in talks} == {1, 2}


def test_changed_speakers_are_wrong(talks):
    for corruption in SPEAKERS.corruptions:
        assert score(talks, corruption) == 0.0, corruption.name
    shuffled = SPEAKERS.shuffle(talks)
    assert len(shuffled) == len(talks) and score(shuffled) == 0.0
    assert score(examples.empty(talks[:2])) == 0.0


def test_a_voice_off_screen_belongs_to_nobody(talks):
    frozen = dataclasses.replace(talks[0], frames=talks[0].frames[:1].repeat(33, axis=0))
    assert {turn.face for turn in Reading(frozen).speakers.turns} == {None}


@pytest.mark.parametrize("word", ["left", "four", "six", "wall"])
def test_pitch_and_tract_of_a_word(word):
    for who in catalogue("held_out")[:6]:
        said = np.pad(0.4 * voice.speak(word, who.voice), 4000)
        (heard,) = voices.utterances(said)
        pitch, tract = voices.voice_of([heard])
        assert abs(heard.start - 0.25) < 0.04
        assert abs(pitch - who.voice.pitch) < 6.0 and abs(tract - who.voice.tract) < 0.03


def test_a_word_that_the_clip_cuts_off_is_no_error():
    said = np.pad(0.4 * voice.speak("bounce", catalogue()[0].voice), (4000, 0))
    for samples in range(4500, len(said), 700):
        assert len(voices.utterances(said[:samples])) <= 1


def test_noise_is_no_word():
    rng = np.random.default_rng(0)
    assert voices.utterances(0.01 * rng.normal(size=32_000)) == []
    assert voices.utterances(np.zeros(32_000)) == []


def test_a_broken_oracle_is_found_out(talks, monkeypatch):
    monkeypatch.setattr(voices, "FALL", (1.0, 0.7))
    assert score(talks) < 0.7


def test_a_talk_is_read_as_json(talks, clips, readings):
    read = json.loads(json.dumps(readings[0].to_dict()))
    turns = readings[0].speakers.turns
    assert len(read["faces"]) == len(talks[0].take.scene.cast)
    assert [turn["face"] for turn in read["turns"]] == [turn.face for turn in turns]
    assert abs(read["lips"]["offset_ms"]) < 30 and read["lips"]["correlation"] > 0.7
    assert not {"faces", "lips", "turns"} & set(read_clip(clips[0]))


def test_the_judge_reads_lips_and_speakers(talks, readings):
    for clip, reading in zip(talks, readings, strict=True):
        verdict = judge_prompt(clip.take.captions[0], reading, ["talk"])
        lines = {line.fact: line for line in verdict.lines}
        assert lines["lips"].met and lines["speakers"].met
        unread = {line.fact: line.reason for line in verdict.lines if line.met is None}
        assert set(unread) == {"style", "shot", "cast"} and "style" in ORACLES
        assert unread["style"] == "the oracle style is not calibrated on clips with faces"
    clip = next(clip for clip in talks if len(spoken_turns(clip.take)) == 2)
    (mirrored,) = SPEAKERS.corruptions[0]([clip])
    verdict = judge_prompt(clip.take.captions[0], Reading(mirrored), ["talk"])
    lines = {line.fact: line for line in verdict.lines}
    assert lines["lips"].met and lines["speakers"].met is False and not verdict.met


def test_the_suite_of_dialogue(talks, readings):
    suite = SUITES["dialogue"]
    found = [values(suite, clip, reading) for clip, reading in zip(talks, readings, strict=True)]
    assert all(one["lips"] == one["speakers"] == 1.0 for one in found)
    assert all(abs(one["lips_offset"]) < 30.0 for one in found)
    assert np.mean([one["word_error_rate"] for one in found]) < 0.2
