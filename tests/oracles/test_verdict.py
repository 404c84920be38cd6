"""Asked, seen and met, on clips whose truth is known: renders of the world."""

import dataclasses
import re

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.config import near_miss
from sora_jax.modality import FORMATS
from sora_jax.oracles.corruptions import double
from sora_jax.oracles.examples import ground_truth
from sora_jax.oracles.facts import compare
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.verdict import judge_prompt, say_impacts
from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.families.room import judge_balls


@pytest.fixture(scope="module")
def truth():
    return ground_truth("val", range(6), FORMATS["nano"], batch=6)


@pytest.fixture(scope="module")
def clips(truth):
    return [(clip.take.facts, Reading(clip)) for clip in truth]


def test_a_true_caption_is_met_and_a_false_one_is_told(clips):
    for told, reading in clips:
        assert all(line.met for line in judge_balls(told, reading))
        first, *others = told.balls
        size = {"small": "large", "large": "small"}[first.size]
        false = Facts((dataclasses.replace(first, size=size, bounces=first.bounces + 1), *others))
        missed = [line for line in judge_balls(false, reading) if not line.met]
        assert [(line.ball, line.fact, line.asked, line.seen) for line in missed] == [
            (first.colour, "size", size, first.size),
            (first.colour, "bounces", first.bounces + 1, first.bounces),
        ]


def test_the_verdict_is_that_of_the_scores(truth, clips):
    """Also for captions of other clips, with balls that are missing or not asked for, and where the
    balls are there twice.
    """
    pairs = [(told, reading) for told, _ in clips for _, reading in clips]
    doubled = [(clip.take.facts, Reading(clip)) for clip in double(truth[:2])]
    assert all(
        [line.fact for line in judge_balls(*pair) if not line.met][:1] == ["persistent"]
        for pair in doubled
    )
    pairs += doubled
    met = [all(line.met for line in judge_balls(told, reading)) for told, reading in pairs]
    assert met == [
        compare(reading.facts, told, reading.coherent)["all"] for told, reading in pairs
    ] and not all(met)


def said(seen, heard, samples=True):
    """What is said of a clip in which these impacts are seen and heard."""
    frames = np.zeros((17, 8, 8, 3), np.float32)
    reading = Reading(Clip(frames, np.zeros(34_000, np.float32) if samples else None, 8))
    reading.seen_impacts, reading.heard_impacts = seen, heard
    return say_impacts(reading)


def test_impacts_without_a_partner_are_unmatched():
    assert said([], []) == "no impact seen; no impact heard"
    assert said([0.5], []) == "impacts seen at 0.50 s; no impact heard; unmatched: 1 seen"
    assert (
        said([0.5], [1.0, 1.5])
        == "impacts seen at 0.50 s; impacts heard at 1.00 1.50 s; unmatched: 1 seen and 2 heard"
    )
    assert (
        said([0.5], [0.52])
        == "impacts seen at 0.50 s; impacts heard at 0.52 s; 1 agree to 100 ms (F1 1.00)"
    )
    assert said([0.5, 1.0], [0.52]).endswith("1 agree to 100 ms (F1 0.67), unmatched: 1 seen")
    assert said([0.5], [], samples=False).endswith(
        "their agreement is not scored: the clip has no audio"
    )


@pytest.mark.parametrize(
    "text, family, reason",
    [
        (
            "a large red ball is flung to the left",
            None,
            "after 'red ball is', expected a launch such as .*, found 'flung'$",
        ),
        ("a red ball", "court", "after 'a', expected a size .small, large., found 'red'$"),
        ("a large gren ball", None, r"found 'gren' \(did you mean green\?\)$"),
        ("a gren ball", None, r"after 'a', .* found 'gren' \(did you mean green\?\)$"),
        (
            "a large red ball is dropped and bounces 2 times",
            None,
            r"found '2' \(write numbers in words: once, twice, three times\)$",
        ),
        (
            "a large red ball is thrown to the left at the moon",
            "room",
            "after 'left at the', expected an attempt",
        ),
        (
            "anime, the camera dances: a",
            None,
            "after 'anime, the camera', expected a camera .* found 'dances'$",
        ),
        ("anime, the camera shakes", None, "expected ':' .*, found end of text$"),
        ("rain", "phyworld_uniform_30k", "that the world knows; write for example 'a large red"),
        ("my dog bounecs", None, r"knows: bounecs \(did you mean bounces\?\); write for"),
        ("3 balls: a", None, r"knows: 3 \(write numbers in words: once, .*\); write for"),
        ("rain", "zoo", "trained on family 'zoo', which is not registered here"),
        ("  ", None, "the prompt is empty"),
    ],
)
def test_a_prompt_that_nobody_reads_has_no_verdict(text, family, reason):
    told = judge_prompt(text, None, (family,) if family else ())
    assert told.met is None and re.search(reason, told.reason) and not told.lines
    assert told.to_dict() == {"met": None, "family": None, "reason": told.reason}
    assert "column" not in told.reason and "\n" not in told.reason


def test_only_near_misses_are_misspellings():
    words = ("is", "an", "not", "time", "glances", "green", "large", "red", "yellow", "twice")
    strangers = ("hits", "rain", "out", "anime", "dances", "cat", "", "q" * 80)
    assert [near_miss(word, words) for word in strangers] == [None] * 8
    assert [near_miss(word, words) for word in ("gren", "lrage", "rde", "yelow", "twise")] == [
        *("green", "large", "red", "yellow", "twice")
    ]
