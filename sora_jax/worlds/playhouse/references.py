"""References of a character: four stills and a sample of its voice, which a model is given.

They alone tell a model who is meant by a name such as "@mika" in a prompt. The stills show the
front, the head turned to the left and to the right, and a blink, in a style and on a background
that do not depend on the clip. The voice says words that the clip does not contain.
"""

import dataclasses
import zlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.worlds.playhouse import acting, render, sound, voice
from sora_jax.worlds.playhouse.cast import Actor, Character
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import FILM_STYLES, ROOM_BACKDROPS, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

VIEWS = ("front", "left", "right", "blink")
TURN = 0.5  # radians: angle of a three-quarter view
WIDTH = 1.45  # metres shown by a still
VOICE_SECONDS = 1.5  # duration of the voice sample
_STILLS = ClipFormat(frames=5, fps=10)  # one frame more than stills, as a clip has 1 + 4k frames


@dataclasses.dataclass(frozen=True)
class References:
    """The references of a character: pictures and a voice, from which a model knows it.

    Attributes:
        stills: float32 [4, H, W, 3] in [0, 1], in the order of VIEWS.
        samples: float32 [S] in [-1, 1], VOICE_SECONDS at 16 kHz; None for an animal.
        words: the words that the voice says; () for an animal.
        style: the style of the stills, a name in FILM_STYLES.
        character: the character that they show.
    """

    stills: np.ndarray
    samples: np.ndarray | None
    words: tuple[str, ...]
    style: str
    character: Character


def cast_references(takes: Sequence[Take], slots: int, size: int = 64) -> dict[str, Any]:
    """Returns the references of the characters of B takes, padded to `slots` characters each.

    The voices say no word that is spoken in the clip. The references are a pure function of the
    characters and of the take's family, split and index.

    Args:
        takes: the B takes.
        slots: R, the number of characters for which the arrays have space. Further ones are left
            out.
        size: side of the stills in pixels. Default: 64.

    Returns:
        A dict of "names": B lists of names without "@", in the order of the slots; "stills":
        float32 [B, R, 4, size, size, 3] in [0, 1]; "voices": float32 [B, R, S] in [-1, 1] at
        16 kHz; "present": bool [B, R], True where a slot holds a character; "heard": bool [B, R],
        True where it has a voice.
    """
    shape = (len(takes), slots)
    stills = np.zeros((*shape, len(VIEWS), size, size, 3), np.float32)
    voices = np.zeros((*shape, round(VOICE_SECONDS * SAMPLE_RATE)), np.float32)
    present, heard = np.zeros(shape, bool), np.zeros(shape, bool)
    for i, take in enumerate(takes):
        said = {word for actor in take.scene.cast for _, word in actor.speech}
        for slot, actor in enumerate(take.scene.cast[:slots]):
            key = f"{take.family}/{take.split}/{take.index}/{slot}"
            own = references(actor.character, zlib.crc32(key.encode()), excluded=said, size=size)
            stills[i, slot], present[i, slot] = own.stills, True
            if own.samples is not None:
                voices[i, slot], heard[i, slot] = own.samples, True
    names = [[actor.name for actor in take.scene.cast[:slots]] for take in takes]
    return {
        "names": names,
        "stills": stills,
        "voices": voices,
        "present": present,
        "heard": heard,
    }


def references(
    character: Character,
    seed: int,
    style: str | None = None,
    excluded: Collection[str] = (),
    size: int = 64,
) -> References:
    """Renders the references of a character: four stills and a sample of its voice.

    They are a pure function of the arguments.

    Args:
        character: the character.
        seed: seed of the style, the background and the words.
        style: a name in FILM_STYLES. Default: None, drawn from the styles other than cinematic,
            whose bars hide hats.
        excluded: words that the voice does not say, such as those spoken in the clip to be made.
        size: side of the stills in pixels. Default: 64.
    """
    stream = Stream(seed, 0x5EF)
    drawn = stream.choice([name for name in FILM_STYLES if name != "cinematic"])
    style = style or drawn
    times = _STILLS.frame_times()
    turns = ((times[0], 0.0), (times[1], -TURN), (times[2], TURN), (times[3], 0.0))
    actor = Actor(character, "", 0.5 * WIDTH, turn=turns, blinks=(times[3],))
    scene = Scene(
        seed=stream.integer(1 << 31),
        balls=(),
        style=style,
        backdrop=stream.integer(ROOM_BACKDROPS),
        bounds="floor",
        view=((0.0, 0.0, acting.head_height(character) + 0.55 * WIDTH, WIDTH),),
        cast=(actor,),
    )
    take = Take("train", 0, scene, Trajectory((), ()), None, (), "talk")
    format = dataclasses.replace(_STILLS, height=size, width=size)
    frames = np.asarray(render.render(render.render_inputs([take], format), format))[0, :4]
    if character.voice is None:
        return References(frames, None, (), style, character)
    words, samples = _voice_sample(stream, character.voice, excluded)
    return References(frames, samples, words, style, character)


def _voice_sample(
    stream: Stream, speaker: voice.Voice, excluded: Collection[str]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns as many words as fit into VOICE_SECONDS, and the samples [S] of a voice that says
    them.
    """
    track = np.zeros(round(VOICE_SECONDS * SAMPLE_RATE), np.float32)
    start, words = round(0.05 * SAMPLE_RATE), []
    vocabulary = [word for word in voice.WORDS if word not in excluded]
    while True:
        word = stream.choice(vocabulary)
        spoken = voice.speak(word, speaker)
        if start + len(spoken) > len(track):
            return tuple(words), track
        track[start : start + len(spoken)] = sound.SPEECH_RMS / voice.NOMINAL * spoken
        words.append(word)
        start += len(spoken) + round(0.12 * SAMPLE_RATE)
