"""Facts, suites, floors and intervals."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from toy_board import measure, scores

import sora_jax
from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.evaluation import statistics, suites
from sora_jax.evaluation.cells import groups
from sora_jax.oracles import corruptions, examples
from sora_jax.oracles.facts import compare, tracked
from sora_jax.oracles.read_clip import read_clip
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse.captions import BallFacts, Facts

RED = BallFacts("red", "large", "thrown", "left", 2)
BLUE = BallFacts("blue", "small", "dropped", None, 1)


def test_compare_finds_each_wrong_fact():
    told = Facts((RED, BLUE))
    assert compare(Facts((BLUE, RED)), told)["all"]
    for kind, wrong in (
        ("size", "small"),
        ("launch", "dropped"),
        ("direction", "right"),
        ("bounces", 1),
    ):
        other = BallFacts(**{**vars(RED), kind: wrong})
        held = compare(Facts((other, BLUE)), told)
        assert [k for k, v in held.items() if not v] == [kind, "all"]
    assert not compare(Facts((RED,)), told)["count"]
    assert compare(Facts((BLUE,)), Facts((BLUE,)))["direction"] is None


def test_reading_is_json_and_right(clips):
    clip = clips[0]
    reading = json.loads(json.dumps(read_clip(clip)))
    assert reading["count"] == len(clip.take.facts.balls)
    assert {b["colour"] for b in reading["balls"]} == {b.colour for b in clip.take.facts.balls}
    assert len(reading["heard_materials"]) == len(reading["heard_impacts"])


def test_what_cannot_be_scored_says_why(clips):
    """Never zero, never one, never left out: no sound, too few frames, too short a sound, nothing
    that strikes.
    """
    clip, still = clips[0], examples.empty(clips[:1])[0]
    assert (
        "3 frames are too few"
        in Reading(Clip(clip.frames[:3], clip.samples, clip.format.fps)).to_dict()["unscored"]
    )
    assert "unscored" not in read_clip(clip)
    for frames, samples, reason in (
        (clip.frames, None, "the clip has no audio"),
        (clip.frames[:3], clip.samples, "3 frames are too few"),
        (clip.frames, clip.samples[:1600], "0.10 s of audio are too short"),
        (still.frames, still.samples, "no impact is in the video or in the audio"),
    ):
        reading = Reading(Clip(frames, samples, clip.format.fps))
        sync = json.loads(json.dumps(reading.to_dict()))["sync"]
        assert (
            sync["f1_50ms"] is sync["f1_100ms"] is sync["offset_ms"] is None
            and reason in sync["unscored"]
        )


FRAMES = np.zeros((17, 64, 64, 3))


@pytest.mark.parametrize(
    "frames,samples,field,said",
    [
        (FRAMES.astype(int), None, "frames", "frames are int64"),
        (FRAMES[0], None, "frames", "give floats .*, or uint8, \\[frames, height"),
        (FRAMES[0].astype(np.uint8), None, "frames", "frames are uint8 \\(64, 64, 3\\)"),
        (FRAMES[:0], None, "frames", "give floats"),
        (FRAMES + np.nan, None, "frames", "from nan to nan"),
        (FRAMES + 200.0, None, "frames", "from 200 to 200"),
        (FRAMES, np.zeros((2, 16000)), "samples", "samples are float64 .*; give .* one channel"),
        (FRAMES, np.zeros(16000, np.int16), "samples", "samples are int16 .*; give floats"),
    ],
)
def test_frames_and_samples_of_another_kind_are_refused(frames, samples, field, said):
    with pytest.raises(UserError, match=said) as told:
        read_clip(Clip(frames, samples))
    assert told.value.field == field and "\n" not in str(told.value)


@pytest.mark.parametrize("given", ["out.mp4", Path("out.mp4"), FRAMES, None], ids=str)
def test_what_is_no_clip_is_refused_with_the_way_to_one(given):
    with pytest.raises(UserError) as told:
        read_clip(given)
    said = str(told.value)
    assert said.startswith(f"clip is a {type(given).__name__}; give a Clip") and "\n" not in said
    assert "sora_jax.fit_clip(sora_jax.read_video(path), format)" in said
    assert callable(sora_jax.fit_clip) and callable(sora_jax.read_video)


def test_bytes_are_read_as_floats(clips):
    """Floats are read as they are, to the bit and in their own precision."""
    clip = clips[0]
    in_bytes = dataclasses.replace(clip, frames=np.round(255 * clip.frames).astype(np.uint8))
    of_bytes = dataclasses.replace(clip, frames=in_bytes.frames.astype(np.float32) / 255)
    assert read_clip(in_bytes) == read_clip(of_bytes) and read_clip(in_bytes)["count"]
    doubles = clip.frames.astype(np.float64)
    assert Reading(dataclasses.replace(clip, frames=doubles)).frames is doubles


def test_a_frozen_clip_is_not_tracked(clips):
    for clip, still in zip(clips[:6], corruptions.freeze(clips[:6]), strict=True):
        assert tracked(Reading(clip).tracks, clip.take.facts).all()
        assert not tracked(Reading(still).tracks, clip.take.facts).any()


def test_ground_truth_lies_far_above_its_floor(clips):
    facts, sync = (scores(suites.SUITES[name], clips) for name in ("facts", "sync"))
    for cell in (facts["all"], facts["tracked_frames"]):
        assert cell["value"] >= 0.95 and cell["floor"] < 0.5
        assert cell["low"] <= cell["value"] <= cell["high"]
    assert sync["f1_100ms"]["raw"] >= 0.95 and sync["f1_100ms"]["floor"] < 0.7
    assert sync["f1_100ms"]["value"] > 0.9
    alone = sum(len(c.take.facts.balls) == 1 for c in clips)
    assert facts["all_one_ball"]["n"] == alone < len(clips)


def test_a_clip_that_rattles_all_the_time_earns_no_sync(clips):
    """Its raw F1 is high, for some rattle is near every impact. So is that of any other picture
    with its sound, and corrected nothing is left.
    """
    rattle = np.zeros(len(clips[0].samples), np.float32)
    for start in range(1600, len(rattle) - 1600, 1600):
        rattle[start : start + 400] = np.sin(np.arange(400)) * np.exp(-np.arange(400) / 80)
    found = scores(suites.SUITES["sync"], [dataclasses.replace(c, samples=rattle) for c in clips])
    assert found["f1_100ms"]["raw"] > 0.2 and abs(found["f1_100ms"]["value"]) < 0.1


def test_a_silent_still_clip_earns_no_sync(clips):
    clip = next(c for c in examples.empty(clips[:4]) if c.take.trajectory.contacts)
    assert suites.values(suites.SUITES["sync"], clip, Reading(clip))["f1_100ms"] == 0.0


def test_a_clip_without_sound_scores_no_zero(clips):
    clip = next(c for c in clips if c.take.trajectory.contacts)
    silent = dataclasses.replace(clip, samples=None)
    found = suites.values(suites.SUITES["sync"], silent, Reading(silent))
    assert {type(value) for value in found.values()} == {suites.Unscored}


def test_intervals():
    low, high = statistics.interval([1.0] * 8 + [0.0] * 2)
    # Wilson's, from published tables
    assert low == pytest.approx(0.490, abs=0.001) and high == pytest.approx(0.943, abs=0.001)
    low, high = statistics.interval(np.linspace(0.4, 0.6, 50))
    assert 0.47 < low < 0.5 < high < 0.53
    assert statistics.interval([0.3]) == (0.3, 0.3)


def test_a_corrected_figure_is_paired_with_its_floor():
    values = np.random.default_rng(0).random(64)
    none, low, high = statistics.corrected(values, values)
    assert none == pytest.approx(0) and low == pytest.approx(0) and high == pytest.approx(0)
    half, low, high = statistics.corrected(0.5 + 0.5 * values, values)
    assert half == pytest.approx(0.5) and low == pytest.approx(0.5) and high == pytest.approx(0.5)


def test_groups_share_out_the_clips(clips):
    suite = suites.SUITES["facts"]
    found = groups(suite.metrics["all"], "all", measure(suite, clips))
    assert sum(one["n"] for one in found["balls"].values()) == len(clips)
    assert set(found["launch"]) <= {"dropped", "thrown", "rolled"}
    assert sum(one["n"] for one in found["launch"].values()) == found["balls"]["1"]["n"]


@pytest.mark.parametrize(
    "metric,reason",
    [
        ("faster_is_louder", "no two impacts that are visible and audible differ clearly in speed"),
        ("rebounds_lose_speed", "no rebound is visible"),
    ],
)
def test_a_clip_that_shows_nothing_of_what_is_asked_is_unscored(clips, metric, reason):
    """Not left out: else a model that rarely strikes would be scored on its best clips alone."""
    suite = suites.SUITES["sound" if "louder" in metric else "physics"]
    for clip in clips[:6]:
        asked = suite.metrics[metric].read(clip, Reading(clip))
        still = dataclasses.replace(
            clip,
            frames=np.repeat(clip.frames[:1], len(clip.frames), axis=0),
            samples=0.0 * clip.samples,
        )
        value = suite.metrics[metric].read(still, Reading(still))
        assert (
            value is None
            if asked is None
            else isinstance(value, suites.Unscored) and reason in value
        )
    assert any(suite.metrics[metric].read(clip, Reading(clip)) is not None for clip in clips[:6])
