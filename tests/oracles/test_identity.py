"""Whose face is seen: held-out characters among 64, impostors, and the embedding of heads."""

import dataclasses

import numpy as np
import pytest

from sora_jax.evaluation.suites import SUITES, values
from sora_jax.oracles import examples, faces, heads, heads_fit, identity
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import STAGES
from sora_jax.oracles.reading import Reading
from sora_jax.worlds.playhouse import cast
from sora_jax.worlds.playhouse.spec import FILM_STYLES
from sora_jax.worlds.playhouse.stream import Stream

IDENTITY = ORACLES["identity"]


@pytest.fixture(scope="module")
def strangers(clips):
    """8 talks of held-out characters, two in each style."""
    return STAGES["held_out"](clips[:8])


@pytest.fixture(scope="module")
def readings(strangers):
    return [Reading(clip) for clip in strangers]


@pytest.fixture
def forgotten():
    """Embeddings of stills are made anew in the test, and after it."""
    caches = (identity.gallery, identity._still)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def score(clips):
    return np.mean([IDENTITY.judge(clip, Reading(clip)) for clip in clips])


def test_held_out_characters_are_known_by_their_stills(strangers, readings):
    for clip, reading in zip(strangers, readings, strict=True):
        assert clip.take.split == "identity"
        assert all(actor.character.held_out for actor in clip.take.scene.cast)
        assert IDENTITY.judge(clip, reading), clip.take.captions[0]
    assert {clip.take.scene.style for clip in strangers} == set(FILM_STYLES)
    assert {len(clip.take.scene.cast) for clip in strangers} == {1, 2}


def test_other_faces_are_wrong(strangers):
    for corruption in IDENTITY.corruptions:
        assert score(corruption(strangers)) == 0.0, corruption.name
    shuffled = IDENTITY.shuffle(strangers)
    assert len(shuffled) == len(strangers) and score(shuffled) == 0.0
    assert score(examples.empty(strangers[:2])) == 0.0


def test_an_impostor_keeps_everything_but_the_looks(strangers):
    clip = strangers[0]
    (changed,) = IDENTITY.corruptions[0]([clip])
    assert changed.samples is clip.samples and changed.take is clip.take
    assert 0.02 < np.abs(changed.frames - clip.frames).mean() < 0.3


def test_distances_part_own_from_other_stills(strangers, readings):
    own, others = [], []
    for clip, reading in zip(strangers, readings, strict=True):
        for mine, far in identity.distances(clip.take, reading.of("identity")):
            assert len(far) == 63
            own.append(mine)
            others.append(far)
    rate, at = identity.equal_error(np.array(own), np.concatenate(others))
    assert rate < 0.01 and 8.0 < at < 16.0
    assert np.mean(np.array(own) < heads.SAME) > 0.9


def test_a_character_of_training_is_compared_with_all_held_out_ones(talks):
    clip = talks[0]
    ((mine, far), *_) = identity.distances(clip.take, Reading(clip).of("identity"))
    assert len(far) == 64 and mine < far.min()


def test_the_equal_error_rate():
    own, others = np.array([1.0, 2.0, 3.0, 9.0]), np.array([4.0, 8.0, 10.0, 11.0])
    rate, at = identity.equal_error(own, others)
    assert rate == 0.25 and 4.0 <= at < 8.0
    assert identity.equal_error(own[:3], others)[0] == 0.0


def test_a_look_alike_differs_in_two_factors():
    for i, who in enumerate(cast.catalogue("held_out")[:16]):
        other = identity.look_alike(who, i)
        different = [n for n in cast.FACTORS if getattr(who, n) != getattr(other, n)]
        assert len(different) == 2 and "height" not in different


def test_a_misplaced_face_is_aligned(strangers):
    for clip in strangers[:4]:
        for face, centre in zip(
            faces.find_faces(clip.frames), examples.head_centres(clip).mean(1), strict=True
        ):
            exact = dataclasses.replace(face, x=centre[0], y=centre[1])
            moved = heads.moved(exact, np.array([0.025, -0.025]))
            near, far = (heads.embed(clip.frames, one) for one in (exact, moved))
            assert heads.distance(near, far) < 0.6 * heads.SAME


def test_a_crop_beyond_the_frame_repeats_its_border():
    frames = np.linspace(0.0, 1.0, 64)[None, None, :, None] * np.ones((2, 64, 64, 3), np.float32)
    x = heads.crop(frames, faces.Face(0.0, 0.5, 2.35, 1.0)).reshape(heads.ROWS, heads.COLUMNS, 3)
    assert (x[:, : heads.COLUMNS // 2] == 0.0).all()
    assert np.isclose(x[10, -1, 0], 9.5 * heads.CELL / 2.35, atol=0.01)


def test_a_broken_embedding_is_found_out(strangers, monkeypatch, forgotten):
    monkeypatch.setattr(heads, "ABOVE", heads.ABOVE - 0.3)
    assert score(strangers) < 0.7


def test_the_suite_of_likeness(strangers, readings):
    suite = SUITES["likeness"]
    found = [values(suite, *pair) for pair in zip(strangers, readings, strict=True)]
    assert all(one["rank_1"] == 1.0 for one in found)
    assert np.mean([one["verified"] for one in found]) > 0.9
    assert np.mean([one["taken_for_others"] for one in found]) < 0.02
    assert np.mean([one["voice"] for one in found]) > 0.9
    (impostor,) = IDENTITY.corruptions[0](strangers[:1])
    wrong = values(suite, impostor, Reading(impostor))
    assert wrong["rank_1"] == wrong["verified"] == 0.0 and wrong["voice"] == 1.0
    (bare,) = examples.empty(strangers[:1])
    nobody = values(suite, bare, Reading(bare))
    assert "not as many faces" in nobody["verified"] and nobody["voice"] == 0.0


def test_a_stranger_is_not_held_out():
    stream = Stream(1)
    drawn = [heads_fit.stranger(stream) for _ in range(40)]
    assert not any(one.held_out for one in drawn) and len({one.key() for one in drawn}) == 40


@pytest.mark.slow
def test_the_table_can_be_made_again(strangers, monkeypatch, forgotten):
    """From few clips: most faces are known."""
    table = heads_fit.fit(256, 192)
    monkeypatch.setattr(heads, "_table", lambda: table)
    assert score(strangers) >= 0.75
