"""Enrolment: a capture that passes becomes the record of a character."""

from collections.abc import Callable

import numpy as np

from sora_jax.characters.challenge import Challenges
from sora_jax.characters.records import Character, Records, fingerprint
from sora_jax.characters.verifier import Verifier
from sora_jax.clip import Clip
from sora_jax.errors import UserError


def enrol(
    account: str,
    handle: str,
    challenge: str,
    capture: Clip,
    stills: np.ndarray,
    samples: np.ndarray,
    challenges: Challenges,
    verifier: Verifier,
    records: Records,
    tell: Callable[[str, str], object] | None = None,
) -> Character:
    """Verifies a capture, and returns the new record of its character, granted to nobody yet.

    The challenge is used up, whether or not the capture passes.

    Args:
        account: name of the account that enrols.
        handle: name of the character, without "@".
        challenge: number of the challenge, which names the phrase.
        capture: a clip in which the character says the phrase.
        stills: its pictures, floats [4, H, W, 3] in [0, 1], in the order of `references.VIEWS`.
        samples: its voice, floats [S] in [-1, 1] at 16 kHz.
        challenges: the open challenges.
        verifier: reads the capture.
        records: the recorded characters.
        tell: called with the name of an owner and a message, if somebody else tries to record the
            owner's character. Default: None, nobody is told.

    Raises:
        UserError: the challenge is not valid, the capture is refused, the handle is taken or not a
            valid name, or another account recorded the same face.
    """
    asked = challenges.redeem(challenge, account)
    identity = verifier.verify(capture, asked.words, stills, samples)
    for known in records:
        if known.owner != account and verifier.same(identity, known.identity):
            if tell:
                tell(known.owner, f"another account tried to record @{known.handle}")
            raise UserError(
                "another account has recorded this face; its owner is told",
                field="capture",
                code="recorded",
            )
    character = Character(handle, account, fingerprint(stills, samples), identity)
    records.add(character, stills, samples)
    return character
