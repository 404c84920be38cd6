"""Captures that pass, and attacks that do not."""

import dataclasses
import itertools

import numpy as np
import pytest
from attacks import ATTACKS, genuine, said, with_media

from sora_jax.characters import verifier
from sora_jax.characters.capture import FORMAT, capture
from sora_jax.characters.verifier import Identity, OracleVerifier
from sora_jax.errors import UserError
from sora_jax.oracles.examples import render_takes
from sora_jax.worlds.playhouse.cast import catalogue
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.references import references
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.voice import WORDS

VERIFIER = OracleVerifier()


@pytest.fixture(scope="module")
def identities(actors):
    return [VERIFIER.verify(*genuine(actor, None)) for actor in actors]


def test_a_capture_shows_who_it_is(actors, identities):
    for actor, identity in zip(actors, identities, strict=True):
        voice = actor.character.voice
        assert abs(identity.pitch - voice.pitch) < 4.0 and abs(identity.tract - voice.tract) < 0.02
    assert not any(VERIFIER.same(a, b) for a, b in itertools.pairwise(identities))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused(actors, attack):
    with pytest.raises(UserError, match=ATTACKS[attack]) as told:
        VERIFIER.verify(*attack(actors[0], actors[1]))
    assert told.value.code == "capture" and "\n" not in str(told.value)


def test_a_clip_without_audio_or_without_one_face(actors):
    clip, *rest = genuine(actors[0], None)
    mute = dataclasses.replace(clip, samples=None)
    with pytest.raises(UserError, match="the clip has no audio"):
        VERIFIER.verify(mute, *rest)
    grey = with_media(actors[0], frames=np.full_like(clip.frames, 0.5))
    with pytest.raises(UserError, match="0 faces are seen"):
        VERIFIER.verify(*grey)


def test_another_capture_of_a_face_is_the_same_identity(actors, identities):
    again = capture(actors[0].character, ("red", "up", "goal"), 99)
    (clip,) = render_takes([again], FORMAT, 1)
    shown = references(actors[0].character, 98)
    identity = VERIFIER.verify(clip, ("red", "up", "goal"), shown.stills, shown.samples)
    assert VERIFIER.same(identity, identities[0])
    assert not VERIFIER.same(identity, identities[1])
    assert not VERIFIER.same(identity, Identity(tuple(np.array(identity.face) + 3.0), 1.0, 1.0))


def test_a_capture_turns_its_head_and_says_the_phrase(actors):
    for actor in actors:
        (one,) = actor.take.scene.cast
        angles = [angle for _, angle in one.turn]
        assert min(angles) < -0.3 and max(angles) > 0.3 and said(actor) == ("purple", "six", "down")
        assert actor.clip.frames.shape == (65, 64, 64, 3)
    assert capture(actors[0].character, ("red",), 5) == capture(actors[0].character, ("red",), 5)
    with pytest.raises(UserError, match="lasts longer than a capture"):
        capture(actors[0].character, ["yellow"] * 8, 0)


def test_each_word_is_heard_by_one_of_two_oracles():
    says = verifier._says
    assert says(["red", "two"], ["red", "two"], ["red", "two"])
    assert says(["red", "two"], ["red", "blue"], ["up", "two"])
    assert says(["red", "two"], ["red"], ["red", "two"])
    assert not says(["red", "two"], ["red", "blue"], ["up", "blue"])
    assert not says(["red", "two"], ["two", "red"], ["two", "red"])
    assert not says(["red", "two"], ["red"], ["red", "two", "up"])
    assert not says(["red", "two"], [], [])


def test_a_broken_verifier_is_found_out(actors, monkeypatch):
    monkeypatch.setattr(verifier, "SAME_FACE", 2.0)
    with pytest.raises(UserError, match=r"face changes|stills show"):
        VERIFIER.verify(*genuine(actors[0], None))
    monkeypatch.setattr(verifier, "TURNED", 100.0)
    with pytest.raises(UserError, match="does not move"):
        VERIFIER.verify(*genuine(actors[0], None))


@pytest.mark.slow
@pytest.mark.exhaustive
def test_captures_of_held_out_characters(actors):
    """At least 0.98 of 200 captures pass, and at most 0.02 of each attack."""
    stream, cast, passed = Stream(77), catalogue("held_out"), {genuine: []}
    for i in range(200):
        words = []
        while len(words) < 3:
            word = stream.choice(list(WORDS))
            words += [word] if word not in words else []
        take = capture(cast[i % len(cast)], words, 40_000 + i)
        (clip,) = render_takes([take], FORMAT, 1)
        shown = references(cast[i % len(cast)], 41_000 + i)
        actor = dataclasses.replace(
            actors[0], character=cast[i % len(cast)], take=take, clip=clip, references=shown
        )
        other = actors[i % 3] if actors[i % 3].character != actor.character else actors[(i + 1) % 3]
        for attack in (genuine, *ATTACKS):
            try:
                VERIFIER.verify(*attack(actor, other))
                passed.setdefault(attack, []).append(True)
            except UserError:
                passed.setdefault(attack, []).append(False)
    assert np.mean(passed.pop(genuine)) >= 0.98
    assert max(np.mean(each) for each in passed.values()) <= 0.02, passed


def test_a_talk_is_no_capture(actors):
    """Two faces."""
    take = next(
        t for t in (draw("val", i, family="talk") for i in range(20)) if len(t.scene.cast) == 2
    )
    (clip,) = render_takes([take], FORMAT, 1)
    with pytest.raises(UserError, match="2 faces are seen"):
        VERIFIER.verify(clip, *genuine(actors[0], None)[1:])
