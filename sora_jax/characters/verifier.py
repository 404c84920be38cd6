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

# Distances are those of `heads.distance`, in standard deviations of the errors of the embedding.
TURNED = 3.0  # least distance of the frame that differs most from the whole clip: the head moves
LIVE = 33  # frames that are compared with the whole clip
PARTS = 4  # parts into which a clip is divided; the face must be the same in each
SAME_FACE = 12.0  # a part of the clip, or the stills, below this distance have the clip's face
RECORDED = 8.0  # two captures below this distance are of one face


@dataclasses.dataclass(frozen=True)
class Identity:
    """The face and the voice of a character, as numbers.

    Attributes:
        face: the embedding of its head (`heads.embed`).
        pitch: pitch of its voice in Hz.
        tract: factor on the formants of its voice, above 1 for a shorter vocal tract.
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
            stills: pictures of the character, [4, H, W, 3] in [0, 1], in the order of
                `references.VIEWS`.
            samples: its voice, [S] in [-1, 1] at 16 kHz.

        Raises:
            UserError: the capture or the references are refused, with the reason.
        """
        ...

    def same(self, a: Identity, b: Identity) -> bool:
        """Returns whether two identities are the same person. Two accounts may not both record the
        same.
        """
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
        """Implements `Verifier.verify`. A capture is refused unless one face is seen, its head
        moves, its mouth follows the words of the phrase, which are heard in one voice, and stills
        and samples are those of the speaker.
        """
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
    """Returns whether each word of a phrase is heard in its place by at least one of several
    oracles.

    `heard` has the words of each oracle. The oracles err independently, and confuse similar words
    only. So a false word passes only if one of them mistakes it for the word asked.
    """
    found = [one for one in heard if len(one) == len(words)]
    return bool(found) and all(
        word in alternatives for word, *alternatives in zip(words, *found, strict=True)
    )


def _live_face(reading: Reading) -> np.ndarray:
    """Returns the embedding of the only face, float [DIMENSIONS of `heads`].

    Raises:
        UserError: the head does not move, as in a photograph, or the face changes.
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
    """Returns pitch in Hz and tract of the voice of all words. Raises UserError if a word has
    another voice.
    """
    pitch, tract = voice_of(spoken)
    for word in spoken:
        if _apart(voice_of([word]), (pitch, tract)):
            raise _refused("the voice changes")
    return pitch, tract


def _apart(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Returns whether two voices, (pitch in Hz, tract), differ by more than half of the pitch or
    three quarters of the tract that makes voices distinct (APART_HZ, APART_TRACT).
    """
    return abs(a[0] - b[0]) > 0.5 * APART_HZ or abs(a[1] - b[1]) > 0.75 * APART_TRACT


def _check_references(
    face: np.ndarray, voice: tuple[float, float], stills: np.ndarray, samples: np.ndarray
) -> None:
    """Raises UserError if stills or voice are not those of the speaker of the capture.

    Args:
        face: embedding of the speaker's head.
        voice: the speaker's (pitch in Hz, tract).
        stills: pictures [4, H, W, 3] in [0, 1].
        samples: [S] in [-1, 1] at 16 kHz.
    """
    if heads.distance(face, heads.embed_stills(np.asarray(stills, np.float32))) >= SAME_FACE:
        raise _refused("the stills show somebody else")
    if not (heard := utterances(samples)) or _apart(voice_of(heard), voice):
        raise _refused("the sample of the voice is of somebody else")
