"""Verification of captures: one living speaker says the phrase, with one face and one voice."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from sora_jax.clip import Clip
from sora_jax.errors import UserError
from sora_jax.oracles import heads
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.voices import Utterance, utterances, voice_of
from sora_jax.worlds.playhouse.cast import APART_HZ, APART_TRACT

TURNED = 3.0  # distance of `heads` between the whole clip and the frame that differs most from it
LIVE = 33  # frames that are compared with the whole clip
PARTS = 4  # of a clip, in each of which the face has to be the same
SAME_FACE = 12.0  # distance of `heads`, of a part of a clip and of stills to the whole clip
RECORDED = 8.0  # distance of `heads` between two captures of one face


@dataclasses.dataclass(frozen=True)
class Identity:
    """The face and the voice of a character, as numbers.

    Attributes:
        face: the embedding of its head (`heads.embed`).
        pitch: of its voice, in Hz.
        tract: of its voice, as in `voice.Voice`.
    """

    face: tuple[float, ...]
    pitch: float
    tract: float


class Verifier(Protocol):
    """The protocol of a verifier: it reads who is seen and heard in a capture, or refuses it.

    `OracleVerifier` knows the faces and voices of the world. Give another one for real people.
    """

    def verify(
        self,
        capture: Clip,
        words: Sequence[str],
        stills: np.ndarray,
        samples: np.ndarray,
    ) -> Identity:
        """Returns the identity that a capture and its references show.

        Args:
            capture: the clip.
            words: the phrase of the challenge.
            stills: pictures of the character, [4, H, W, 3] in [0, 1], as `references.VIEWS`.
            samples: its voice, [S] in [-1, 1] at 16 kHz.

        Raises:
            UserError: the capture or the references are refused, with the reason.
        """
        ...

    def same(self, a: Identity, b: Identity) -> bool:
        """Returns whether two identities are one, so that two accounts may not both record it."""
        ...


class OracleVerifier:
    """A verifier of the characters of Playhouse, by the calibrated oracles."""

    def verify(
        self,
        capture: Clip,
        words: Sequence[str],
        stills: np.ndarray,
        samples: np.ndarray,
    ) -> Identity:
        """Returns the identity of a capture, as `Verifier.verify` describes."""
        reading = Reading(capture)
        if reading.samples is None or reading.lips_fault:
            raise _refused(reading.lips_fault or "the clip has no audio")
        if len(reading.faces) != 1:
            raise _refused(f"{len(reading.faces)} faces are seen; show one, close to the camera")
        spoken = utterances(reading.samples)
        if not spoken:
            raise _refused("no voice is heard")
        if not _says(list(words), reading.words, [one.word for one in spoken]):
            heard = " ".join(reading.words) or "no word"
            raise _refused(f'the phrase is "{" ".join(words)}", and "{heard}" is heard')
        face = _live_face(reading)
        if reading.lips is None or not reading.lips.follow:
            raise _refused("the mouth does not follow the words")
        pitch, tract = _one_voice(spoken)
        _check_references(face, (pitch, tract), stills, samples)
        return Identity(tuple(float(f"{part:.4g}") for part in face), pitch, tract)

    def same(self, a: Identity, b: Identity) -> bool:
        """Returns whether two identities have one face."""
        return bool(heads.distance(np.array(a.face), np.array(b.face)) < RECORDED)


def _refused(reason: str) -> UserError:
    return UserError(
        f"the capture is refused: {reason}; record it again", field="capture", code="capture"
    )


def _says(words: list[str], *heard: list[str]) -> bool:
    """Returns whether each word of a phrase is heard in its place by one of several oracles.

    They err independently, on similar words. Whoever says another word needs that very error.
    """
    found = [one for one in heard if len(one) == len(words)]
    return bool(found) and all(
        word in alternatives for word, *alternatives in zip(words, *found, strict=True)
    )


def _live_face(reading: Reading) -> np.ndarray:
    """Returns the embedding of the only face. Refuses a picture that does not move, and a face that
    changes.
    """
    (face,) = reading.faces
    whole = heads.embed(reading.frames, face)
    each = [heads.embed(frame[None], face) for frame in heads.looks(reading.frames, LIVE)]
    if max(heads.distance(whole, one) for one in each) < TURNED:
        raise _refused("the head does not move; turn it to both sides")
    for part in np.array_split(reading.frames, PARTS)[1:]:  # the head turns in the first
        if heads.distance(whole, heads.embed(part, face)) >= SAME_FACE:
            raise _refused("the face changes")
    return whole


def _one_voice(spoken: list[Utterance]) -> tuple[float, float]:
    """Returns pitch and tract of all words. Refuses words in distinct voices."""
    pitch, tract = voice_of(spoken)
    for word in spoken:
        if _apart(voice_of([word]), (pitch, tract)):
            raise _refused("the voice changes")
    return pitch, tract


def _apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Returns whether two voices, (pitch, tract), differ by more than half of what makes voices
    distinct (`cast.distinct`).
    """
    return abs(a[0] - b[0]) > 0.5 * APART_HZ or abs(a[1] - b[1]) > 0.75 * APART_TRACT


def _check_references(
    face: np.ndarray, voice: tuple[float, float], stills: np.ndarray, samples: np.ndarray
) -> None:
    """Refuses stills or a voice of somebody else than the speaker of the capture."""
    if heads.distance(face, heads.embed_stills(np.asarray(stills, np.float32))) >= SAME_FACE:
        raise _refused("the stills show somebody else")
    if not (heard := utterances(samples)) or _apart(voice_of(heard), voice):
        raise _refused("the sample of the voice is of somebody else")
