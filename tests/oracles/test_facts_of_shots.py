"""Shots of stories: places, views, states, characters and balls, in four styles."""

import dataclasses

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import conditions, examples, pictures, place_pictures, shots
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.shot_facts import differs, stated, wrong
from sora_jax.worlds.playhouse.camera import views
from sora_jax.worlds.playhouse.draw import draw, in_style
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.storyboard import Act, Shot, Storyboard

FORM, ORACLE = FORMATS["story3"], ORACLES["shots"]
STARTS = (17, 34)
NUMBER = 28  # a lamp, a hat and two throws, in a close-up and two wide shots


@pytest.fixture(scope="module")
def story():
    """One story of `val` in every style."""
    take = draw("val", NUMBER, family="story")
    return examples.render_takes([in_style(take, name) for name in FILM_STYLES], FORM, batch=4)


@pytest.fixture(scope="module")
def readings(story):
    return [Reading(clip) for clip in story]


def judge(clip):
    return ORACLE.judge(clip, Reading(clip))


def test_every_fact_is_read_in_every_style(story, readings):
    for clip, reading in zip(story, readings, strict=True):
        read = reading.shots_from(STARTS)
        facts = stated(clip.take.facts.board)
        assert facts[0]["lamp"] == (0, 1) and facts[0]["hat"] == 1
        assert [one.get("throw") for one in facts] == [None, "missed", None] or facts[1]["throw"]
        assert [wrong(*pair) for pair in zip(read, facts, strict=True)] == [[], [], []]
        assert [shot.frame for shot in read] == ["close-up", "wide", "wide"]
        assert ORACLE.judge(clip, reading)


def test_the_state_is_that_of_the_world(story, readings):
    """Also what no storyboard states: the door, and where characters and ball are."""
    for clip, reading in zip(story, readings, strict=True):
        times = clip.format.frame_times()
        truth = clip.take.scene.plot.truth(times)
        ball = clip.take.trajectory.positions(times)[:, 0]
        for number, shot in enumerate(reading.shots_from(STARTS)):
            for moment, f in ((shot.start, 17 * number), (shot.end, 17 * number + 16)):
                place = truth["place"][f]
                assert moment.lamp == truth["lamp"][f, place]
                if shot.frame == "wide":
                    assert moment.door == truth["door"][f, place]
                    assert moment.score == truth["score"][f, 0]
                    assert len(moment.people) == (truth["room"][f] == place).sum()
                    assert np.hypot(*np.subtract(moment.ball, ball[f])) < 0.2
            assert shot.colour in (None, clip.take.facts.board.ball)


def test_a_picture_of_a_place_is_that_of_the_renderer(story):
    for clip in story:
        times = clip.format.frame_times()
        truth, view = clip.take.scene.plot.truth(times), views(clip.take.scene, times)
        for f, share in ((0, 0.35), (25, 0.7), (42, 0.7)):  # the lamp is off in the close-up
            place = int(truth["place"][f])
            state = (truth["lamp"][f, place], truth["door"][f, place], truth["score"][f, 0])
            look = place_pictures.Look(place, clip.take.scene.style, *map(float, state[:2]))
            look = dataclasses.replace(look, score=int(state[2]))
            picture = place_pictures.paint(look, view[f : f + 1], FORM.size)[0]
            apart = np.abs(picture - clip.frames[f]).max(-1)
            assert (apart < 0.06).mean() > share


@pytest.mark.parametrize("corruption", ORACLE.corruptions, ids=lambda c: c.name)
def test_a_corrupted_story_is_wrong(story, corruption):
    other = examples.render_takes([draw("val", 1, family="story")], FORM, batch=4)
    clips = story[:1] + other
    made = corruption(clips)
    assert ORACLE.applies(corruption, clips[0]) and not judge(made[0])


@pytest.mark.slow
def test_shots_in_another_order_are_wrong(story, readings):
    (made,) = ORACLE.shuffle(story[3:])
    assert not judge(made) and (made.frames != story[3].frames).any()
    assert shots.in_place(made, Reading(made)) is False
    assert shots.in_place(story[3], readings[3])
    blank = examples.blank(story[:1])[0]
    assert not judge(blank) and shots.in_place(blank, Reading(blank)) is False


@pytest.mark.slow
def test_a_degraded_story_is_read(story):
    for condition in conditions.DEGRADATIONS[:3]:
        assert judge(condition(story[1:2])[0]), condition.name


def test_facts_of_a_storyboard():
    board = Storyboard(
        "flat",
        "wind",
        ("@a", "@b"),
        (
            Shot("room a", "two-shot", acts=(Act("@a", "throw", "@b", "caught"),)),
            Shot("room a", acts=(Act("@b", "lamp", "off"), Act("@b", "lamp", "on"))),
            Shot("room a", acts=(Act("@a", "go", "room b"),)),
            Shot("room b", "close-up", "@a", acts=(Act("@a", "hat", "on"),)),
        ),
        "red",
    )
    first, second, third, last = stated(board)
    assert first["people"] == (2, 2) and first["throw"] == "caught" and "score" not in first
    assert second["lamp"] == (1, 1) and second["walk"] == 0 and second["hat"] == 0
    assert third["people"] == (2, 1) and "walk" not in third
    assert last["people"] == (1, 1) and last["hat"] == 1 and last["ball"] == "red"
    assert differs(first, second) and differs(second, first) and not differs(first, first)
    # the lamp may be switched, although the other shot does not state it
    assert differs({"place": "room a", "lamp": (0, 1)}, {"place": "room a"})
    assert not differs({"place": "room a"}, {"place": "room a", "lamp": (0, 1)})
    assert not differs({"ball": "red"}, {"ball": "blue"})


def test_orders_that_no_fact_tells_apart(story):
    same = dataclasses.replace(
        story[0].take.facts.board, shots=(Shot("room a"),) * 3, cast=("@a", "@b")
    )
    facts = dataclasses.replace(story[0].take.facts, board=same)
    clip = dataclasses.replace(story[0], take=dataclasses.replace(story[0].take, facts=facts))
    assert ORACLE.shuffle([clip]) == [] and shots.in_place(clip, Reading(clip)) is None
    room = examples.render_takes([draw("val", 0)], FORMATS["nano"], 1)[0]
    assert ORACLE.judge(room, Reading(room)) is None


def test_a_reading_holds_the_shots(story, readings):
    said = readings[0].to_dict()["shots"]
    assert [shot["frame"] for shot in said] == ["close-up", "wide", "wide"]
    assert said[0]["start"]["lamp"] == 0 and said[0]["end"]["lamp"] == 1
    assert ORACLE.read(readings[0]) == readings[0].shots_from(STARTS)
    sheet = pictures.shots_read(story[0].frames, STARTS, readings[0].shots_from(STARTS))
    assert sheet.size == (9 * 64 + pictures.WORDS, 3 * (3 * 64 + 4))
    words = np.asarray(sheet)[:, 9 * 64 :]
    assert all((words[196 * i : 196 * i + 190] < 128).sum() > 200 for i in range(3))


def test_what_is_measured_of_shots(story, readings):
    rows = {name: (value, n) for name, value, n in ORACLE.measured(story, readings)}
    assert rows["shots, place"] == ("1.000", 12) and rows["shots, lamp"] == ("1.000", 4)
