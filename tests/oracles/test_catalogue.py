"""Every registered oracle is whole, and one that is not is refused."""

import pytest

from sora_jax.errors import UserError
from sora_jax.evaluation.calibrate import conditions_of, plan
from sora_jax.oracles import base, conditions, corruptions, tracker
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import AUDIO, STAGES, VIDEO
from sora_jax.oracles.reading import Reading


class Count(Oracle):
    name = "count"
    media = (VIDEO,)
    tolerance = "as many balls"

    def read(self, reading):
        return len(tracker.lasting(reading.tracks))

    def judge(self, example, reading):
        return reading.of(self.name) == len(example.take.scene.balls)


@pytest.mark.parametrize("oracle", ORACLES.values(), ids=ORACLES)
def test_an_oracle_is_whole(oracle):
    assert type(oracle).__doc__ and oracle.tolerance
    assert set(oracle.media) <= {VIDEO, AUDIO} and oracle.media
    assert oracle.stage in STAGES and 0.0 < oracle.ceiling <= 0.25
    assert oracle.corruptions and all(c.modality in oracle.media for c in oracle.corruptions)
    names = [condition.name for condition in conditions_of(oracle)]
    assert len(names) == len(set(names))
    assert names[0] == "ground_truth" and names[-2:] == ["empty", "shuffled"]


def test_an_oracle_sits_in_its_own_file():
    """Except the two of onsets, which share `match`."""
    files = [type(oracle).__module__ for oracle in ORACLES.values()]
    assert len(set(files)) == len(files) - 1
    assert all(file.startswith("sora_jax.oracles.") for file in files)


def test_what_an_oracle_lacks_is_named():
    half = type("Half", (Oracle,), {"name": "half", "read": lambda self, reading: None})
    with pytest.raises(UserError, match=r"oracle 'half' of .* lacks media, tolerance, judge; .*"):
        ORACLES.register(half)
    with pytest.raises(UserError, match="'tracker' is registered twice"):
        ORACLES.register(type("Other", (Count,), {"name": "tracker"}))
    assert "half" not in ORACLES


@pytest.mark.parametrize("media", ["video", ["video"], ("picture",), (VIDEO, None), ()])
def test_an_oracle_reads_video_or_audio(media):
    with pytest.raises(
        UserError, match=r"oracle 'count' of .*: media is .*; give \(VIDEO,\)"
    ) as told:
        ORACLES.register(type("Wrong", (Count,), {"media": media}))
    assert repr(media) in str(told.value) and "\n" not in str(told.value)
    assert "count" not in ORACLES


def test_a_corruption_of_what_an_oracle_does_not_read_is_refused():
    wrong = type("Wrong", (Count,), {"corruptions": (corruptions.vanish, corruptions.backwards)})
    with pytest.raises(UserError, match="corrupted_backwards changes the audio, which it does not"):
        ORACLES.register(wrong)
    named = type("Wrong", (Count,), {"corruptions": ("recolour",)})
    with pytest.raises(UserError, match="holds 'recolour'; give the function itself, such as reco"):
        ORACLES.register(named)
    assert "count" not in ORACLES


def test_a_reading_is_read_once(clips, monkeypatch):
    calls = []
    counted = Count()
    counted.read = lambda reading: calls.append(1) or Count.read(counted, reading)
    monkeypatch.setitem(ORACLES, "count", counted)
    reading = Reading(clips[0])
    assert counted.judge(clips[0], reading) and counted.judge(clips[0], reading)
    assert reading.of("count") == len(clips[0].take.scene.balls) and len(calls) == 1
    with pytest.raises(UserError, match="no oracle 'cont'; did you mean 'count'"):
        reading.of("cont")


def test_conditions_are_made_once_for_all_oracles_of_a_stage():
    planned = plan(("tracker", "facts", "style", "camera"))
    assert set(planned) == {"room", "film"}
    names = [[oracle.name for oracle in oracles] for oracles in planned["room"].values()]
    assert names.count(["tracker", "facts"]) == 11 and names.count(["tracker"]) == 1  # shuffled
    film = {c: [oracle.name for oracle in of] for c, of in planned["film"].items()}
    assert film[conditions.BLANK] == ["style"] and film[conditions.EMPTY] == ["camera"]


def test_a_corruption_is_named_after_its_function(clips):
    @conditions.corrupt_frames
    def dark(example):
        return 0.5 * example.frames

    assert (dark.name, dark.modality) == ("corrupted_dark", VIDEO)
    (made,) = dark(clips[:1])
    assert (made.frames == 0.5 * clips[0].frames).all() and made.samples is clips[0].samples


def test_the_limits_are_those_of_the_documents():
    assert (base.GROUND_TRUTH, base.DEGRADED, base.CEILING, base.STRICT) == (0.98, 0.95, 0.2, 0.05)
