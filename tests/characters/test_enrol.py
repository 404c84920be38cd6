"""Challenges and enrolment: a phrase is valid once and for five minutes, and a face for one
account.
"""

import dataclasses
import random

import numpy as np
import pytest
from attacks import genuine, stills_of_another

from sora_jax.characters.challenge import PHRASE, VALID_SECONDS, Challenges
from sora_jax.characters.enrol import enrol
from sora_jax.characters.records import Records, fingerprint
from sora_jax.characters.verifier import OracleVerifier
from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.voice import WORDS


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Fixed(Challenges):
    """Challenges with a phrase that was recorded before the test."""

    def issue(self, account):
        one = dataclasses.replace(super().issue(account), words=("purple", "six", "down"))
        self._open[one.number] = one
        return one


@pytest.fixture
def clock():
    return Clock()


def refused(challenges, number, account, words):
    with pytest.raises(UserError, match=words) as told:
        challenges.redeem(number, account)
    assert told.value.code == "challenge"


def test_a_challenge_is_valid_once(clock):
    challenges = Challenges(clock, random.Random(3))
    one = challenges.issue("ann")
    assert len(set(one.words)) == PHRASE and set(one.words) <= set(WORDS) and one.issued == 1000.0
    refused(challenges, one.number, "bob", "unknown")
    clock.now += VALID_SECONDS
    assert challenges.redeem(one.number, "ann") == one
    refused(challenges, one.number, "ann", "was used already")
    refused(challenges, "0", "ann", "unknown")


def test_a_challenge_ends_after_five_minutes(clock):
    challenges = Challenges(clock)
    one = challenges.issue("ann")
    clock.now += 300.1
    refused(challenges, one.number, "ann", "is 300 s old and was valid for 300 s")
    refused(challenges, one.number, "ann", "unknown")
    two = challenges.issue("ann")
    clock.now += 301.0
    challenges.issue("bob")  # forgets old ones
    refused(challenges, two.number, "ann", "unknown")


def test_phrases_differ():
    phrases = {Challenges().issue("ann").words for _ in range(20)}
    assert len(phrases) > 15


def ask(folder, account, handle, actor, challenges, made=None, told=None):
    number = challenges.issue(account).number
    clip, _, stills, samples = made or genuine(actor, None)
    records, verifier = Records(folder), OracleVerifier()
    parts = (clip, stills, samples, challenges, verifier, records)
    return enrol(account, handle, number, *parts, tell=told)


def test_a_capture_becomes_a_record(actors, tmp_path, clock):
    challenges, told = Fixed(clock), []
    ann = ask(tmp_path, "ann", "mika", actors[0], challenges)
    assert (ann.owner, ann.grant, ann.revoked) == ("ann", "nobody", False)
    stills, samples = Records(tmp_path).references("mika")
    np.testing.assert_array_equal(stills, actors[0].references.stills)
    assert ann.references == fingerprint(stills, samples)

    def tell(*message):
        told.append(message)

    with pytest.raises(UserError, match="another account has recorded this face") as error:
        ask(tmp_path, "bob", "mine", actors[0], challenges, told=tell)
    assert error.value.code == "recorded"
    assert told == [("ann", "another account tried to record @mika")]
    assert ask(tmp_path, "bob", "rolo", actors[1], challenges, told=tell).owner == "bob"
    assert ask(tmp_path, "ann", "again", actors[0], challenges).owner == "ann"
    assert [one.handle for one in Records(tmp_path)] == ["again", "mika", "rolo"] and len(told) == 1


def test_a_refused_capture_uses_the_challenge_up(actors, tmp_path, clock):
    challenges = Fixed(clock)
    number = challenges.issue("ann").number
    clip, _, stills, samples = stills_of_another(actors[0], actors[1])
    parts = (clip, stills, samples, challenges, OracleVerifier(), Records(tmp_path))
    with pytest.raises(UserError, match="stills show somebody else"):
        enrol("ann", "mika", number, *parts)
    with pytest.raises(UserError, match="was used already"):
        enrol("ann", "mika", number, *parts)
    assert list(Records(tmp_path)) == []
