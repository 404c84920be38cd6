"""Speakers: which mouth moves when a word is heard, and in which voice the word is spoken.

Each word that `voices.utterances` reads in the audio is said by the face whose mouth is open widest
on average while the word lasts (`faces.openings`), if its opening is at least MOVED. Successive
words of one face are a turn. A voice has a pitch in Hz and a tract (the factor by which the length
of the vocal tract scales the formants); those of a turn are read from all its words together
(`voices.voice_of`).

A turn is in the voice (p, q) of a character if both differ by less than half of what makes two
voices distinct (`cast.distinct`):

    |pitch - p| < APART_HZ / 2      and      |tract - q| < APART_TRACT / 2                       (1)

Limits: one speaker at a time. Words during which no mouth moves belong to no face.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.conditions import Condition, corrupt_samples
from sora_jax.oracles.corruptions import mirror
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.faces import Face
from sora_jax.oracles.voices import Utterance, utterances, voice_of
from sora_jax.worlds.playhouse import cast, sound
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.voice import Voice

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

MOVED = 1e-3  # square metres: least mean opening of a mouth that says a word


@dataclasses.dataclass(frozen=True)
class Turn:
    """A turn of a dialogue: successive words of one speaker.

    Attributes:
        face: index of the face whose mouth moves, from left to right; None if none moves.
        start, end: start of the first word and end of the last, in s.
        pitch: of the voice, in Hz.
        tract: of the voice: factor on the formants, above 1 for a shorter vocal tract.
    """

    face: int | None
    start: float
    end: float
    pitch: float
    tract: float


@dataclasses.dataclass(frozen=True)
class Speakers:
    """Who is seen and who speaks in a clip.

    Attributes:
        faces: the faces, from left to right.
        turns: the turns, in the order in which they are spoken.
    """

    faces: tuple[Face, ...]
    turns: tuple[Turn, ...]


def read_turns(words: list[Utterance], opening: np.ndarray, fps: float) -> tuple[Turn, ...]:
    """Returns the turns of a clip, in order of time.

    Args:
        words: the words heard, in order of time.
        opening: how far the mouth of each of N faces is open in each frame, [N, F] in square
            metres.
        fps: frames/s.
    """
    turns: list[tuple[int | None, list[Utterance]]] = []
    for word in words:
        face = _moving(opening, fps, word)
        if turns and turns[-1][0] == face:
            turns[-1][1].append(word)
        else:
            turns.append((face, [word]))
    return tuple(Turn(face, said[0].start, said[-1].end, *voice_of(said)) for face, said in turns)


def _moving(opening: np.ndarray, fps: float, word: Utterance) -> int | None:
    """Returns the index of the face whose mouth moves during a word; None if none does."""
    times = (np.arange(opening.shape[1]) + 0.5) / fps
    during = (times > word.start) & (times < word.end)
    if not len(opening) or not during.any():
        return None
    wide = opening[:, during].mean(1)
    return int(np.argmax(wide)) if wide.max() >= MOVED else None


def spoken_turns(take: Take) -> list[tuple[int, Voice]]:
    """Returns (index of the actor from left to right, its voice) of every turn of a take, in order
    of time: the ground truth of the oracle.
    """
    actors = sorted(take.scene.cast, key=_x)
    lines = sorted((start, i) for i, actor in enumerate(actors) for start, _ in actor.speech)
    faces = [i for _, i in lines]
    return [
        (i, cast.voice_of(actors[i].character))
        for i, before in zip(faces, [None, *faces[:-1]], strict=True)
        if i != before
    ]


def _x(actor: cast.Actor) -> float:
    return actor.x


def is_voice(turn: Turn, voice: Voice) -> bool:
    """Returns whether a turn is spoken in this voice: pitch and tract are near, equation (1)."""
    return not distinguishable((turn.pitch, turn.tract), voice)


def distinguishable(heard: tuple[float, float], voice: Voice) -> bool:
    """Returns whether a voice that is heard, (pitch in Hz, tract), is not the given voice: equation
    (1) does not hold.
    """
    pitch, tract = abs(heard[0] - voice.pitch), abs(heard[1] - voice.tract)
    return not (pitch < 0.5 * cast.APART_HZ and tract < 0.5 * cast.APART_TRACT)


def _agree(said: list[tuple[int, Voice]], speakers: Speakers) -> bool:
    """Returns whether the turns read in a clip have the faces and voices of `said`, the result of
    `spoken_turns`.
    """
    return len(said) == len(speakers.turns) and all(
        turn.face == face and is_voice(turn, voice)
        for turn, (face, voice) in zip(speakers.turns, said, strict=True)
    )


def _another_voice(actor: cast.Actor, others: list[cast.Actor]) -> Voice:
    """Returns a voice that is distinct from that of an actor: of one of `others`, or if there are
    none, of the first such character of the catalogue.
    """
    own = cast.voice_of(actor.character)
    voices = [cast.voice_of(other.character) for other in others] or [
        cast.voice_of(character) for character in cast.catalogue()
    ]
    return next(voice for voice in voices if cast.distinct(voice, own))


@corrupt_samples
def voices(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` with the voices of both actors exchanged. A single actor
    gets the distinct voice of another character.
    """
    actors = c.take.scene.cast
    changed = []
    for actor in actors:
        voice = _another_voice(actor, [other for other in actors if other is not actor])
        character = dataclasses.replace(actor.character, voice=voice)
        changed.append(dataclasses.replace(actor, character=character))
    scene = dataclasses.replace(c.take.scene, cast=tuple(changed))
    inputs = sound.sound_inputs([dataclasses.replace(c.take, scene=scene)], c.format)
    return np.asarray(sound.synthesise(inputs, c.format))[0]


class SpeakersOracle(Oracle):
    """Oracle `speakers`: whose mouth moves, and in whose voice, turn by turn."""

    name = "speakers"
    media = (VIDEO, AUDIO)
    tolerance = (
        f"every turn: the mouth that moves, pitch within {0.5 * cast.APART_HZ:.1f} Hz and tract "
        f"within {0.5 * cast.APART_TRACT:.2f}"
    )
    corruptions = (mirror, voices)
    ceiling = STRICT
    stage = "talk"

    def read(self, reading: "Reading") -> Speakers:
        """Returns the faces of a clip and the turns in which they speak."""
        said = []
        if reading.samples is not None and not reading.audio_fault:
            said = utterances(reading.samples)
        turns = read_turns(said, reading.mouths, reading.fps)
        return Speakers(tuple(reading.faces), turns)

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether as many faces are seen as the take has actors, and the turns read have
        the actors and voices of the take's; None if nobody speaks in the take.
        """
        said = spoken_turns(example.take)
        if not said:
            return None
        speakers = reading.of(self.name)
        return len(speakers.faces) == len(example.take.scene.cast) and _agree(said, speakers)

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns False for mirroring a clip of a single actor, whose face stays the only one; True
        for all others.
        """
        return condition is not mirror or len(example.take.scene.cast) > 1

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of the next clip whose turns differ. A clip is left out
        if there is none.
        """
        shuffled = []
        for i, clip in enumerate(clips):
            said = spoken_turns(clip.take)
            following = (o.take for o in clips[i + 1 :] + clips[:i])
            take = next((take for take in following if _differ(said, spoken_turns(take))), None)
            if take is not None:
                shuffled.append(dataclasses.replace(clip, take=take))
        return shuffled


def _differ(said: list[tuple[int, Voice]], other: list[tuple[int, Voice]]) -> bool:
    """Returns whether two lists of turns (`spoken_turns`) differ in their number, or in an actor or
    a distinct voice of one of them.
    """
    return len(said) != len(other) or any(
        face != other_face or cast.distinct(voice, other_voice)
        for (face, voice), (other_face, other_voice) in zip(said, other, strict=True)
    )
