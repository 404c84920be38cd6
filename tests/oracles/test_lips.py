"""Mouths and speech: ground truth, delays, other sounds, few frames per second."""

import dataclasses

import numpy as np
import pytest

from sora_jax.evaluation.metrics import unread
from sora_jax.oracles import examples, lips
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.corruptions import shifted
from sora_jax.oracles.reading import Reading

LIPS = ORACLES["lips"]


@pytest.fixture(scope="module")
def readings(talks):
    return [Reading(clip) for clip in talks]


def score(clips):
    return np.mean([LIPS.judge(clip, Reading(clip)) for clip in clips])


def test_mouths_follow_the_speech(talks, readings):
    for clip, reading in zip(talks, readings, strict=True):
        assert LIPS.judge(clip, reading), clip.take.captions[0]
        assert abs(reading.lips.offset) < 0.03 and reading.lips.correlation > 0.75


@pytest.mark.parametrize("shift", [-0.16, -0.08, -0.04, 0.04, 0.08, 0.16])
def test_delays_are_recovered(talks, readings, shift):
    """The median within 15 ms, and beyond the tolerance the clips are wrong."""
    read = []
    for clip, reading in zip(talks, readings, strict=True):
        speech = lips.envelope(shifted(clip.samples, shift))
        found = lips.agreement(reading.mouths.sum(0), reading.fps, speech)
        read.append(found.offset)
        assert abs(shift) < 0.05 or not found.follow
    assert abs(np.median(read) - shift) < 0.015


def test_a_delay_between_two_lags_is_refined():
    """A smooth mouth, and its envelope 33 ms late."""
    times = (np.arange(33) + 0.5) / 16
    heard = np.arange(207) * 0.01
    bump = lambda t: np.exp(-(((t - 1.0) / 0.15) ** 2))
    found = lips.agreement(0.1 * bump(times), 16.0, bump(heard - 0.033))
    assert found.offset == pytest.approx(0.033, abs=1e-3) and found.correlation > 0.999


def test_other_sounds_do_not_follow(talks):
    assert score(examples.exchanged_audio(talks)) <= 0.25
    for corruption in LIPS.corruptions:
        assert score(corruption(talks)) <= 0.25, corruption.name


def test_nobody_to_follow(talks):
    """Without a face, without a moving mouth, and in silence there are no lips to judge."""
    assert score(examples.empty(talks[:2])) == 0.0
    silent = dataclasses.replace(talks[0], samples=0.0 * talks[0].samples)
    assert Reading(silent).lips is None and not LIPS.judge(silent, Reading(silent))
    mute = dataclasses.replace(talks[0], samples=None)
    assert Reading(mute).lips is None and "no audio" in Reading(mute).lips_fault


def test_at_8_frames_a_second_lips_are_not_judged(talks):
    slow = dataclasses.replace(talks[0], frames=talks[0].frames[::2], fps=8)
    reading = Reading(slow)
    said = "lips are not judged at 8 frames/s; at least 12 are needed"
    assert LIPS.judge(slow, reading) is None and reading.lips_fault == said
    assert unread("lips", reading) == said and unread("speakers", reading) is None
    assert reading.to_dict()["lips"] == {"offset_ms": None, "correlation": None, "unscored": said}


def test_what_is_measured(talks, readings):
    rows = LIPS.measured(talks, readings)
    assert len(rows) == len(lips.SHIFTS) + 1 and all(n == len(talks) for _, _, n in rows)
    assert "shifted by -160 ms" in rows[0][0] and rows[0][1].startswith("-1")


@pytest.mark.parametrize(
    ("constant", "value"), [("HOP", 320), ("MIN_CORRELATION", 0.99), ("MAX_OFFSET", 0.001)]
)
def test_a_broken_oracle_is_found_out(talks, monkeypatch, constant, value):
    monkeypatch.setattr(lips, constant, value)
    assert score(talks) < 0.7
