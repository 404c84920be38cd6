"""What persists in stories, and what does not."""

import dataclasses

import numpy as np
import pytest

from sora_jax.evaluation.metrics import order, persists, shot_fact
from sora_jax.evaluation.suites import SUITES
from sora_jax.modality import FORMATS
from sora_jax.oracles import examples, state
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.people import Person
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.story_pairs import KINDS, Pair, keeps, pairs_of
from sora_jax.oracles.story_shots import Moment
from sora_jax.oracles.story_shots import Shot as Seen
from sora_jax.worlds.playhouse.draw import draw, in_style
from sora_jax.worlds.playhouse.storyboard import Act, Shot, Storyboard

FORM, ORACLE = FORMATS["story3"], ORACLES["state"]
STARTS = (17, 34)
NUMBERS = (14, 36)  # stories in which all kinds of state can be tested


@pytest.fixture(scope="module")
def stories():
    takes = [
        in_style(draw("val", i, family="story"), style)
        for i, style in zip(NUMBERS, ("anime", "realistic"), strict=True)
    ]
    return examples.render_takes(takes, FORM, batch=2)


@pytest.fixture(scope="module")
def readings(stories):
    return [Reading(clip) for clip in stories]


def test_everything_persists(stories, readings):
    for clip, reading in zip(stories, readings, strict=True):
        assert ORACLE.judge(clip, reading)
        found = state.kept(clip.take.facts.board, reading.shots_from(STARTS))
        assert {pair.kind for pair, _ in found} == set(KINDS) and all(kept for _, kept in found)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(i, id=kind, marks=() if kind == "door" else pytest.mark.slow)
        for i, kind in enumerate(KINDS)
    ],
)
def test_a_flip_is_found_in_its_own_kind(stories, number):
    flip, kind = ORACLE.corruptions[number], KINDS[number]
    assert flip.name == f"corrupted_{kind}"
    for clip, made in zip(stories, flip(stories), strict=True):
        assert ORACLE.applies(flip, clip) and (made.frames[:17] == clip.frames[:17]).all()
        reading = Reading(made)
        assert not ORACLE.judge(made, reading)
        found = state.kept(made.take.facts.board, reading.shots_from(STARTS))
        assert {pair.kind for pair, kept in found if not kept} == {kind}


@pytest.mark.slow
def test_other_places_and_blank_frames_are_wrong(stories):
    for made in (*ORACLE.shuffle(stories), *examples.blank(stories[:1])):
        assert ORACLE.judge(made, Reading(made)) is False


def test_metrics_by_kind_and_gap(stories, readings):
    clip, reading = stories[0], readings[0]
    assert persists("lamp")(clip, reading) == [1.0, 1.0]
    assert persists(gap=0)(clip, reading)[:2] == [1.0, 1.0]
    assert persists(gap=5)(clip, reading) is None
    assert shot_fact("place")(clip, reading) == [1.0] * 3 and order(clip, reading) == 1.0
    assert shot_fact("door")(clip, reading) == [1.0]
    # a copy of the first shot persists, but a close-up is no wide shot
    close = stories[1]
    assert shot_fact("people")(close, readings[1]) == [1.0] * 3
    still = dataclasses.replace(close, frames=np.repeat(close.frames[:1], 51, axis=0))
    copied = Reading(still)
    assert order(still, copied) == 0.0 and shot_fact("place")(still, copied)[0] == 1.0
    assert min(persists()(still, copied)) == 0.0
    suite = SUITES["persistence"]
    part = suite.parts[""]
    assert part.keep(clip.take, FORM) and not part.keep(clip.take, FORMATS["story4"])
    assert set(KINDS) < set(suite.metrics) and "gap_6" in suite.metrics


def board(*shots):
    return Storyboard("flat", "wind", ("@a", "@b"), shots)


WIDE = Shot("room a")


def test_pairs_of_a_storyboard():
    close = Shot("room a", "close-up", "@a")
    both = Shot("room a", "two-shot")
    pairs = pairs_of(board(both, close, WIDE))
    assert Pair("lamp", 0, 0, 1) in pairs and Pair("hat", 1, 0, 2) in pairs
    assert {p.gap for p in pairs if p.kind == "position"} == {0, 1}
    assert not any(p.kind in ("door", "score") for p in pairs)
    away = Shot("room a", acts=(Act("@a", "go", "room b"),))
    pairs = pairs_of(board(both, away, Shot("room b"), WIDE))
    assert not any(p.kind == "hat" and p.number == 0 and p.first == 1 for p in pairs)
    assert Pair("door", 0, 1, 3) in pairs


def moment(lamp=1, door=0, score=0, people=(1.0, 2.5), hats=(False, False)):
    persons = tuple(Person(x, hat) for x, hat in zip(people, hats, strict=True))
    return Moment(lamp, door, score, persons, None)


def seen(start, end=None, frame="wide", placed=True, place="room a"):
    return Seen(place, frame, "static", placed, start, end or start, None, None, 0)


def test_acts_between_two_shots_change_what_is_expected():
    throw = Shot("room a", "two-shot", acts=(Act("@a", "throw", "@b", "caught"),))
    story = board(WIDE, throw, WIDE)
    pair = Pair("score", 0, 0, 2)
    middle = seen(moment(), frame="two-shot")
    assert keeps(story, [seen(moment()), middle, seen(moment(score=1))], pair)
    assert not keeps(story, [seen(moment()), middle, seen(moment())], pair)
    hat = Shot("room a", "close-up", "@a", acts=(Act("@a", "hat", "on"),))
    story, pair = board(WIDE, hat, WIDE), Pair("hat", 1, 0, 2)
    middle = seen(moment(people=(1.0,), hats=(True,)), frame="close-up")
    one = seen(moment(hats=(True, False)))
    assert keeps(story, [seen(moment()), middle, one], pair)
    assert not keeps(story, [seen(moment()), middle, seen(moment())], pair)
    assert not keeps(story, [one, middle, seen(moment(hats=(False, True)))], pair)


def test_what_is_unseen_is_not_judged():
    close = Shot("room a", "close-up", "@a")
    story, pair = board(WIDE, close), Pair("position", 0, 0, 1)
    wide = seen(moment())
    at = seen(moment(people=(1.1,), hats=(False,)), frame="close-up")
    assert keeps(story, [wide, at], pair)
    assert keeps(story, [wide, dataclasses.replace(at, placed=False)], pair) is None
    hats, one_hat = Pair("hat", 0, 0, 1), seen(moment(hats=(True, False)))
    unplaced = dataclasses.replace(at, placed=False)
    assert keeps(story, [one_hat, unplaced], hats) is None and keeps(story, [wide, unplaced], hats)
    assert not keeps(story, [one_hat, at], hats)
    unsure = seen(moment(people=(1.1,), hats=(None,)), frame="close-up")
    assert keeps(story, [wide, unsure], hats) is None
    elsewhere = seen(moment(people=(1.1,), hats=(False,)), frame="close-up", place="room b")
    assert keeps(story, [wide, elsewhere], pair) is False
    door = Pair("door", 0, 0, 1)
    assert keeps(board(WIDE, WIDE), [wide, seen(moment(door=None))], door) is None


def test_a_story_that_shows_nothing_again_is_not_judged(stories):
    other = board(Shot("room a", "close-up", "@a"), Shot("room b", "close-up", "@b"))
    facts = dataclasses.replace(stories[0].take.facts, board=other)
    take = dataclasses.replace(stories[0].take, facts=facts)
    clip = dataclasses.replace(stories[0], take=take)
    assert ORACLE.judge(clip, Reading(clip)) is None


def test_what_is_measured_of_the_state(stories, readings):
    rows = {name: (value, n) for name, value, n in ORACLE.measured(stories, readings)}
    assert rows["state persists, lamp"] == ("1.000", 4)
    assert rows["state persists, gap 0"][0] == "1.000"
