"""Acting: the pose of an actor at any time, and the mouth that follows the phonemes.

A viseme is a shape of the mouth, (openness, width), each in [0, 1]. A phoneme is spoken as one or
more states of constant sound (`voice.SOUNDS`), each of which has one of six visemes. Between words
the mouth is closed. With s_i the start of state i of a word, v_i its viseme, and the closed mouth
before the first and after the last state, the mouth is

    m(t) = v_i                                             away from the boundaries of state i
    m(t) = v_(i-1) + (v_i - v_(i-1)) (t - s_i + BLEND/2) / BLEND        for |t - s_i| < BLEND/2  (1)

A state shorter than BLEND is blended from its middle and to its middle. The pose is a pure function
of the actor and the time, so the mouth is known exactly, and it is the same in every style.
"""

from collections.abc import Sequence

import numpy as np

from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.cast import HEADS, HEIGHTS, Actor, Character, voice_of

BLEND = 0.04  # seconds in which the mouth changes from one viseme to the next
BLINK = 0.09  # seconds from the middle of a blink until the eyes are open
BOB = 0.018  # metres: amplitude of the idle up and down of the head
VISEMES = {
    "closed": (0.0, 0.50),
    "small": (0.28, 0.50),
    "mid": (0.62, 0.62),
    "open": (1.0, 0.72),
    "round": (0.72, 0.30),
    "wide": (0.42, 1.0),
}
# Phonemes by the viseme of all their states. Those of GLIDES have one viseme for each state.
MOUTHS = {
    "closed": ("M", "B", "P"),
    "small": ("L", "R", "N", "D", "G", "T", "K", "JH", "F", "V", "TH", "S", "HH"),
    "mid": ("AH", "EH", "ER"),
    "open": ("AA", "AE"),
    "round": ("UW", "AO", "W"),
    "wide": ("IY", "IH", "Y"),
}
GLIDES = {"AW": ("open", "round"), "AY": ("open", "wide"), "OW": ("mid", "round")}


def visemes(word: str, speaker: int | voice.Voice) -> list[tuple[float, float, str]]:
    """Returns (start, end, viseme) of every state of a spoken word, in seconds from its start.

    Args:
        word: a name in `voice.WORDS`.
        speaker: a voice, or its index in `voice.VOICES`.

    Returns:
        A list in order of time. Each viseme is a name in VISEMES.

    Raises:
        ValueError: the word is not in `voice.WORDS`.
    """
    shapes = {name: (shape,) for shape, names in MOUTHS.items() for name in names} | GLIDES
    timed = []
    for start, _, name in voice.phonemes(word, speaker):
        states = voice.SOUNDS[name]
        for i, state in enumerate(states):
            end = start + state[0] / 1000.0 / voice.parameters(speaker).rate
            timed.append((start, end, shapes[name][min(i, len(shapes[name]) - 1)]))
            start = end
    return timed


def mouth(actor: Actor, times: np.ndarray) -> np.ndarray:
    """Returns openness and width of an actor's mouth, each in [0, 1], float64 [T, 2], at times [T]
    in s.
    """
    knots = [(-1e3, *VISEMES["closed"])]
    for start, word in actor.speech:
        states = visemes(word, voice_of(actor.character))
        reach = [min(0.5 * BLEND, 0.5 * (end - first)) for first, end, _ in states]
        knots.append((start + states[0][0] - reach[0], *VISEMES["closed"]))
        for (first, end, shape), half in zip(states, reach, strict=True):
            knots += [
                (start + first + half, *VISEMES[shape]),
                (start + end - half, *VISEMES[shape]),
            ]
        knots.append((start + states[-1][1] + reach[-1], *VISEMES["closed"]))
    table = np.array(knots)
    return np.stack([np.interp(times, table[:, 0], table[:, i]) for i in (1, 2)], axis=-1)


def shut(actor: Actor, times: np.ndarray) -> np.ndarray:
    """Returns how far an actor's eyes are closed, float64 [T] in [0, 1], at times [T] in s."""
    distance = np.abs(times[:, None] - np.array(actor.blinks or (-1e3,)))
    return np.clip(1.5 * (1.0 - distance.min(-1) / BLINK), 0.0, 1.0)


def head_height(character: Character) -> float:
    """Returns the height in metres of the centre of a character's head above the ground."""
    return HEIGHTS[character.height] - HEADS[character.head][1]


def pose(actor: Actor, times: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the pose of an actor at times [T] in s, float64 arrays by name.

    Keys:
        ground [T, 2]: the middle of the feet, in metres of the world.
        head [T, 2]: the centre of the head, in metres from `ground`.
        turn [T]: angle of the head in radians; > 0 to the right.
        look [T, 2]: direction of the eyes, right and up, each in [-1, 1].
        blink [T]: how far the eyes are closed, in [0, 1].
        mouth [T, 2]: openness and width, in [0, 1].
        hands [T, 4]: x and y of the left and of the right hand, in metres from `ground`.
    """
    period, phase = actor.bob
    swing = BOB * np.sin(2.0 * np.pi * (times / period + phase)) if period else np.zeros(len(times))
    high = head_height(actor.character) + swing
    hang = (0.0, *resting(actor.character))
    return {
        "ground": np.array([actor.x, actor.y])
        + _interpolate(actor.path or ((0.0, 0.0, 0.0),), times),
        "head": np.stack([np.zeros(len(times)), high], axis=-1),
        "turn": _interpolate(actor.turn or ((0.0, 0.0),), times)[:, 0],
        "look": _interpolate(actor.look or ((0.0, 0.0, 0.0),), times),
        "blink": shut(actor, times),
        "mouth": mouth(actor, times),
        "hands": _interpolate(actor.hands or (hang,), times),
    }


def resting(character: Character) -> tuple[float, float, float, float]:
    """Returns the positions of the hands when the arms hang: (x, y) of the left hand, then of the
    right one, in metres from the middle of the feet.
    """
    hip = HEIGHTS[character.height] - 2.0 * HEADS[character.head][1] - 0.56
    return -0.42, hip, 0.42, hip


def _interpolate(knots: Sequence[tuple[float, ...]], times: np.ndarray) -> np.ndarray:
    """Interpolates knots (time, V values) linearly at times [T]; constant outside of the knots.
    Returns float64 [T, V].
    """
    table = np.array(knots, float)
    columns = [np.interp(times, table[:, 0], table[:, i]) for i in range(1, table.shape[1])]
    return np.stack(columns, axis=-1)
