"""Cuts of stories in four styles, of changed stories, and of clips of one shot."""

import dataclasses
import functools

import numpy as np
import pytest

from sora_jax.clip import Clip
from sora_jax.modality import FORMATS
from sora_jax.oracles import conditions, cuts, examples, film_cuts
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.read_clip import read_clip
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse.draw import draw, in_style
from sora_jax.worlds.playhouse.families import FAMILIES
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.staging import visible_cuts
from sora_jax.worlds.playhouse.storyboard import MOVES, Shot, Storyboard

FORM, ORACLE = FORMATS["story3"], ORACLES["cuts"]


def judge(clip):
    return ORACLE.judge(clip, Reading(clip))


@pytest.fixture(scope="module")
def stories():
    """The first story of `val` with two visible cuts, in every style."""
    takes = (draw("val", i, family="story") for i in range(9))
    take = next(take for take in takes if all(visible_cuts(take.facts.board)))
    return examples.render_takes([in_style(take, name) for name in FILM_STYLES], FORM, batch=4)


def test_cuts_are_read_in_every_style(stories):
    for clip in stories:
        assert Reading(clip).cuts == [17 / 8, 34 / 8] and judge(clip)
    noisy = np.clip(stories[0].frames + stories[0].rng.normal(0, 10 / 255, FORM_SHAPE), 0, 1)
    large = stories[1].frames.repeat(2, axis=1).repeat(2, axis=2)
    for frames in (noisy, large, np.round(255 * stories[2].frames).astype(np.uint8)):
        assert Reading(Clip(frames, None, 8)).cuts == [17 / 8, 34 / 8]


FORM_SHAPE = (FORM.frames, FORM.height, FORM.width, 3)


@pytest.mark.parametrize("corruption", ORACLE.corruptions, ids=lambda c: c.name)
def test_a_corrupted_cut_is_wrong_and_adds_no_other(stories, corruption):
    for clip, made in zip(stories, corruption(stories), strict=True):
        read = Reading(made).cuts
        kept = [t for t in Reading(clip).cuts if t in read]
        assert not judge(made) and len(kept) == 1
        assert len(read) == 1 or corruption is cuts.moved
    if corruption is cuts.moved:  # by half a second
        assert read[0] == 17 / 8 + 0.5 or read[1] == 34 / 8 + 0.5


def test_a_flash_or_a_lamp_inside_a_shot_is_no_cut(stories):
    for clip in stories:
        frames = clip.frames.copy()
        frames[9], frames[13] = 1.0, clip.frames[40]
        frames[25:] *= np.array([0.5, 0.53, 0.66], np.float32)
        assert Reading(Clip(frames, None, 8)).cuts == [17 / 8, 34 / 8]


def test_clips_of_one_shot_have_no_cut(stories, clips):
    for clip in (*clips[:4], *(Clip(c.frames[:17], None, 8) for c in stories)):
        assert Reading(clip).cuts == []
    for blank in examples.blank(stories):
        assert Reading(blank).cuts == [] and not judge(blank)
    assert film_cuts.read_cuts(stories[0].frames[:2], 8) == []


def test_a_cut_between_equal_views_need_not_be_read(stories):
    still = Storyboard("flat", "wind", ("@a",), (Shot("room a"), Shot("room a"), Shot("room b")))
    facts = dataclasses.replace(stories[0].take.facts, board=still)
    first = [cuts.shot_starts(dataclasses.replace(c, take=with_facts(c, facts))) for c in stories]
    assert first == [([34], [17, 34])] * 4
    same = dataclasses.replace(still, shots=(Shot("room a"),) * 3)
    facts = dataclasses.replace(facts, board=same)
    clip = dataclasses.replace(stories[0], take=with_facts(stories[0], facts))
    assert judge(clip) is None and not ORACLE.applies(cuts.joined, clip)
    assert ORACLE.applies(conditions.GROUND_TRUTH, clip)
    assert (cuts.joined([clip])[0].frames == clip.frames).all()


def with_facts(clip, facts):
    return dataclasses.replace(clip.take, facts=facts)


def test_a_cut_is_visible_unless_the_camera_goes_on():
    shown = {
        (a, b)
        for a in MOVES
        for b in MOVES
        if not visible_cuts(
            Storyboard("flat", "wind", ("@a",), (Shot("room a", move=a), Shot("room a", move=b)))
        )[0]
    }
    still_at_the_end, still_at_the_start = {"static", "push in"}, {"static", "pull out"}
    assert shown == {
        *((a, b) for a in still_at_the_end for b in still_at_the_start),
        ("pan left", "pan right"),
        ("pan right", "pan left"),
        ("pull out", "push in"),
    }


def test_a_reading_and_a_judge_of_stories_use_the_cuts(stories):
    clip = stories[0]
    said = read_clip(clip)
    assert said["cuts"] == [2.125, 4.25] and said["ambience"] == clip.take.scene.ambience
    few = read_clip(Clip(clip.frames[:3], None, 8))
    assert few["cuts"] is None and "ambience" not in few
    lines = functools.partial(_lines, clip.take.facts)
    good = lines(Reading(clip))
    assert good["cuts"].met and good["ambience"].met and good["cuts"].asked == [2.125, 4.25]
    others = {fact: line for fact, line in good.items() if fact not in ("cuts", "ambience")}
    assert {line.met for line in others.values()} == {None}
    assert "style is not calibrated on clips with faces" in others["style"].reason
    assert others["shot 1: place"].reason.startswith("the oracle shots reads places")
    assert lines(Reading(cuts.joined([clip])[0]))["cuts"].met is False
    silent = lines(Reading(Clip(clip.frames, None, 8)))
    assert silent["ambience"].met is None and silent["ambience"].reason == "the clip has no audio"
    odd = lines(Reading(Clip(clip.frames, None, 5)))
    assert odd["cuts"].met is False


def _lines(facts, reading):
    return {line.fact: line for line in FAMILIES["story"].judge(facts, reading)}


def test_what_is_measured_of_cuts(stories, clips):
    both = [*stories, *clips[:2]]
    rows = {name: (value, n) for name, value, n in ORACLE.measured(both, list(map(Reading, both)))}
    assert rows == {
        "clips of one shot in which a cut is read": ("0", 2),
        "precision of cuts": ("1.000", 8),
        "recall of visible cuts": ("1.000", 8),
        "clips in which a dissolve adds a cut": ("0", 4),
        "clips in which a flash adds a cut": ("0", 4),
    }
    assert len(ORACLE.measured(clips[:1], [Reading(clips[0])])) == 1


def test_the_registration_finds_a_camera_that_jumps(stories):
    """Four pixels to the side, or a tenth larger, in one place; a pan at half a pixel a frame."""
    flat = stories[0]
    wide = np.tile(flat.frames[4], (1, 1, 1)).astype(np.float32)
    still = [wide] * 8
    aside = [np.roll(wide, 4, axis=1)] * 8
    assert film_cuts.read_cuts(np.stack(still + aside), 8) == [1.0]
    larger = wide[3:61, 3:61]
    grid = np.linspace(0, 57, 64).round().astype(int)
    assert film_cuts.read_cuts(np.stack(still + [larger[grid][:, grid]] * 8), 8) == [1.0]
    pan = [np.roll(wide, t // 2, axis=1) for t in range(16)]
    assert film_cuts.read_cuts(np.stack(pan), 8) == []
    shaken = still + aside[:1] + still
    assert film_cuts.read_cuts(np.stack(shaken), 8) == []


@pytest.mark.slow
def test_a_broken_constant_is_found_out(stories, monkeypatch):
    monkeypatch.setattr(film_cuts, "ALIKE", -0.5)
    assert not any(judge(clip) for clip in stories)
