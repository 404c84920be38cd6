"""What a round trip loses is a miss in its scores; a condition touches one modality; every format
is calibrated on the same scenes.
"""

import dataclasses
from operator import attrgetter

import numpy as np
import pytest
from toy_board import scores

from sora_jax.evaluation import suites
from sora_jax.modality import FORMATS
from sora_jax.oracles import corruptions, examples
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import DEGRADATIONS
from sora_jax.oracles.examples import AUDIO, VIDEO
from sora_jax.worlds.playhouse.draw import draw


@pytest.fixture(scope="module")
def few(clips):
    return clips[:8]


def fidelity(truth, made):
    """{metric: cell} of the suite `tokenizers`, as for clips that came out of a round trip."""
    beside = [dataclasses.replace(c, reference=t) for t, c in zip(truth, made, strict=True)]
    return scores(suites.SUITES["tokenizers"], beside)


def test_what_is_kept_scores_one(few):
    scores = fidelity(few, few)
    for metric in (
        "colour",
        "tracker_kept",
        "onsets_video_kept",
        "onsets_audio_kept",
        "material",
        "mode",
    ):
        assert scores[metric]["value"] == 1.0, metric
    assert (
        scores["tracker_kept"]["n"]
        == scores["tracker_rms"]["n"]
        == sum(len(c.take.scene.balls) for c in few)
    )


def test_a_lost_ball_is_a_miss_without_a_distance(few):
    """One clip of eight loses its balls for three frames."""
    made = corruptions.vanish(few[:1]) + few[1:]
    scores, whole, lost = fidelity(few, made), fidelity(few, few), len(few[0].take.scene.balls)
    assert (
        scores["tracker_kept"]["n"]
        == whole["tracker_kept"]["n"]
        == scores["tracker_rms"]["n"] + lost
    )
    assert scores["tracker_kept"]["value"] == pytest.approx(
        1 - lost / scores["tracker_kept"]["n"], abs=1e-3
    )
    assert scores["tracker_rms"]["value"] < 0.3


def test_material_is_read_where_it_is_heard(few):
    """20 ms late an impact is still that impact, and rings as before after its own onset; 160 ms
    late it is none of the scene's.
    """
    delayed = [
        dataclasses.replace(
            c, samples=np.concatenate([np.zeros(320, np.float32), c.samples[:-320]])
        )
        for c in few
    ]
    whole, shifted, late = (fidelity(few, made) for made in (few, delayed, corruptions.late(few)))
    for metric in ("material", "mode"):
        assert whole[metric]["n"] == shifted[metric]["n"] == late[metric]["n"] > 5
        assert shifted[metric]["value"] == 1.0 and late[metric]["value"] < 0.3, metric


# What changes a style needs films, what changes a ball behind a panel needs one.
STAGE = dict.fromkeys(("corrupted_restyle", "corrupted_turn"), "film")
STAGE |= dict.fromkeys(
    [f"corrupted_{name}" for name in ("lost", "stuck", "early", "swapped", "resized", "in_front")],
    "occlude",
)
STAGE |= dict.fromkeys(
    ("corrupted_unstopped", "corrupted_hovering", "corrupted_unfurnished"), "court"
)
STAGE |= dict.fromkeys(
    [f"corrupted_{name}" for name in ("moved", "joined", "flash", "dissolve", "hiss")], "scenes"
)
STAGE |= dict.fromkeys(
    [
        f"corrupted_{name}"
        for name in ("exchanged", "unacted", "lamp", "door", "score", "hat", "position", "ball")
    ],
    "story",
)
STAGE |= {"corrupted_another_soundscape": "scenes", "corrupted_voices": "talk"}
STAGE |= {"corrupted_impostors": "held_out"}


@pytest.fixture(scope="module")
def staged(few):
    """stage -> a few of its clips."""
    return {stage: examples.STAGES[stage](few) for stage in ("room", *set(STAGE.values()))}


CHANGES = dict.fromkeys([*DEGRADATIONS, *(c for o in ORACLES.values() for c in o.corruptions)])


def test_there_are_forty_seven_corruptions_of_as_many_names():
    assert len({c.name for c in CHANGES} - {c.name for c in DEGRADATIONS}) == 47
    assert len({c.name for c in CHANGES}) == len(CHANGES)


@pytest.mark.parametrize("condition", CHANGES, ids=attrgetter("name"))
def test_a_condition_touches_its_own_medium_only(staged, condition):
    few = staged[STAGE.get(condition.name, "room")]
    made = condition(few)  # some change only what bounces, or what meets a wall
    touched = {
        m: any(
            not np.array_equal(getattr(a, m), getattr(b, m)) for a, b in zip(made, few, strict=True)
        )
        for m in ("frames", "samples")
    }
    assert touched == {
        m: condition.modality == kind for m, kind in (("frames", VIDEO), ("samples", AUDIO))
    }


def test_every_format_is_calibrated_on_the_scenes_of_training():
    shown = examples.ground_truth("val", range(2), FORMATS["S"], batch=2)
    for i, c in enumerate(shown):  # drawn for the 2.06 s of S, scene 1 would be another
        assert c.take.scene == draw("val", i).scene and c.frames.shape == (33, 64, 64, 3)
