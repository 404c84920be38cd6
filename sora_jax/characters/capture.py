"""Captures: clips in which a character of the world turns its head and says a phrase.

They are rendered, and stand for what the camera of an account would record. The scene is one of the
family `talk`: one character in a close-up, at 16 frames/s, in `FORMAT`. The head turns to one side
and to the other, and looks ahead while it speaks.
"""

import dataclasses
from collections.abc import Sequence

from sora_jax.errors import UserError
from sora_jax.modality import FORMATS
from sora_jax.worlds.playhouse.acting import head_height
from sora_jax.worlds.playhouse.cast import Actor, Character, voice_of
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.talk import FIRST, LAST, MIDDLE, PAUSE, WIDTHS
from sora_jax.worlds.playhouse.families.talk_captions import TalkFacts
from sora_jax.worlds.playhouse.spec import FILM_STYLES, ROOM_BACKDROPS, SOUNDSCAPES, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory
from sora_jax.worlds.playhouse.voice import duration

FORMAT = dataclasses.replace(FORMATS["S"], frames=65)  # 4.1 s
TURNING = 1.5  # seconds before the first word, in which the head turns
# The style `cinematic` has bars, which hide hats; rain hides the consonants of words.
STYLES = tuple(name for name in FILM_STYLES if name != "cinematic")
AMBIENCES = tuple(name for name in SOUNDSCAPES if name != "rain")
SHOT = "close-up"


def capture(character: Character, words: Sequence[str], seed: int) -> Take:
    """Returns a capture as a take (a scene with its motion and facts), to be rendered in FORMAT.

    Args:
        character: the character who speaks, a person.
        words: the phrase, names in `voice.WORDS`.
        seed: draws style, light, ambience and timing.

    Raises:
        UserError: the phrase does not fit into the clip.
    """
    stream, who = Stream(seed, 0xCA9), voice_of(character)
    lengths = [duration(word, who) for word in words]
    spare = FORMAT.seconds - TURNING - FIRST - LAST - sum(lengths) - PAUSE * (len(words) - 1)
    if spare < 0.0:
        raise UserError(
            f"the phrase {' '.join(words)!r} lasts longer than a capture; give fewer words",
            field="words",
        )
    time, speech = TURNING + FIRST, []
    for word, length in zip(words, lengths, strict=True):
        time += stream.uniform(0.2, 0.8) * spare / len(words)
        speech.append((time, word))
        time += length + PAUSE
    side = stream.choice((-1.0, 1.0))
    first, second = (stream.uniform(0.35, 0.5) for _ in range(2))
    start = stream.uniform(0.1, 0.3)
    turn = (
        (start, 0.0),
        (start + 0.25, side * first),
        (start + 0.4, side * first),
        (start + 0.8, -side * second),
        (start + 0.95, -side * second),
        (start + 1.15, 0.0),
    )
    actor = Actor(
        character,
        "me",
        0.5 * WIDTHS[SHOT],
        speech=tuple(speech),
        turn=turn,
        blinks=(stream.uniform(TURNING, FORMAT.seconds),),
        bob=(stream.uniform(0.9, 1.6), stream.uniform()),
    )
    style, ambience = stream.choice(STYLES), stream.choice(AMBIENCES)
    scene = Scene(
        seed=stream.integer(1 << 31),
        balls=(),
        style=style,
        ambience=ambience,
        backdrop=stream.integer(ROOM_BACKDROPS),
        bounds="floor",
        view=((0.0, 0.0, head_height(character) + MIDDLE[SHOT] * WIDTHS[SHOT], WIDTHS[SHOT]),),
        cast=(actor,),
    )
    facts = TalkFacts(style, ambience, SHOT, ("me",), ((0, tuple(words)),))
    return Take("val", seed, scene, Trajectory((), ()), facts, (), "talk")
