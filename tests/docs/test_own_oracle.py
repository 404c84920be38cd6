"""The example of an oracle of one's own: it is loaded, calibrated and asked for in a metric."""

import math
from pathlib import Path

import pytest

from sora_jax.clip import Clip
from sora_jax.evaluation import calibrate, suites
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.reading import Reading
from sora_jax.registry import forget_file, load_module

PATH = Path(__file__).parents[2] / "docs" / "examples" / "own_oracle.py"


@pytest.fixture
def own():
    before = list(ORACLES)
    load_module(str(PATH))
    yield ORACLES["loudest"]
    del ORACLES["loudest"], suites.SUITES["own_loudest"]
    forget_file(PATH)
    assert list(ORACLES) == before


def test_it_keeps_its_limits(clips, own):
    scores = calibrate.calibrate(clips[:12], oracles=["loudest"])
    assert set(scores["loudest"]) == {
        "ground_truth",
        "noise_20db",
        "aac",
        "corrupted_late",
        "corrupted_backwards",
        "corrupted_muted",
        "empty",
        "shuffled",
    }
    assert calibrate.violations(scores, (1.0, 0.9)) == []


def test_without_its_judgement_it_is_found_out(clips, own, monkeypatch):
    monkeypatch.setattr(own, "judge", lambda example, reading: True)
    lines = calibrate.violations(calibrate.calibrate(clips[:3], oracles=["loudest"]))
    assert [line.split(":")[0].split(", ")[1] for line in lines] == [
        "corrupted_late",
        "corrupted_backwards",
        "corrupted_muted",
        "empty",
        "shuffled",
    ]


def test_a_suite_scores_it(clips, own):
    suite = suites.SUITES["own_loudest"]
    assert suite.ready == ("as_made",)
    assert suites.values(suite, clips[0], Reading(clips[0])) == {"as_made": 1.0}


def test_without_audio_nothing_is_loudest(clips, own):
    silent = Reading(Clip(clips[0].frames))
    assert math.isnan(silent.of("loudest")) and not own.judge(clips[0], silent)
