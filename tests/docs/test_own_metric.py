"""The example of a metric with a value: it is loaded, calibrated, and scored only where a scene has
a red ball.
"""

from pathlib import Path

import pytest

from sora_jax.evaluation import calibrate, suites
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.reading import Reading
from sora_jax.registry import forget_file, load_module

PATH = Path(__file__).parents[2] / "docs" / "examples" / "own_metric.py"


@pytest.fixture
def own():
    load_module(str(PATH))
    yield ORACLES["red"]
    del ORACLES["red"], suites.SUITES["own_red"]
    forget_file(PATH)


def red_and_other(clips):
    """One clip with a red ball and one without."""
    red = [any(b.colour == "red" for b in clip.take.scene.balls) for clip in clips]
    return clips[red.index(True)], clips[red.index(False)]


def test_it_keeps_its_limits(clips, own):
    scores = calibrate.calibrate(clips, oracles=["red"])
    assert calibrate.violations(scores, (1.0, 0.9)) == []
    assert scores["red"]["corrupted_grey"]["score"] == 0.0
    assert 0 < scores["red"]["ground_truth"]["n"] < len(clips)


def test_a_scene_without_red_has_no_value(clips, own):
    red, other = red_and_other(clips)
    suite = suites.SUITES["own_red"]
    found = suites.values(suite, red, Reading(red))
    assert 0.002 < found["red"] < 0.2 and found["as_made"] == 1.0
    assert suites.values(suite, other, Reading(other)) == {"red": None, "as_made": None}
