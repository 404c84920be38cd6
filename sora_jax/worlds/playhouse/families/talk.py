"""Family `talk`: one or two characters of the cast speak, in one of four styles.

One character says a line, or each of two says one, one after the other; one of the two may stay
silent. A line is one to four words. The mouth follows the phonemes (`acting.py`), and the voice is
that of the character. Characters blink, bob their heads, look aside, and turn to each other. The
camera stands still, in a medium shot or, for a single character, in a close-up.

A take in another style (`draw.in_style`) has the same mouths, words and poses. Clips have
16 frames/s (format `S`), because at 8 frames/s a frame is as long as a phoneme.

**Splits**

    speakers     faces of training characters with held-out voices
    identity     held-out characters with their own, held-out voices
    val, paraphrase, train   by a hash of the facts: two in twenty, one, and seventeen; `paraphrase`
                             uses held-out phrases
"""

import dataclasses
import zlib
from collections.abc import Sequence

from sora_jax.worlds.playhouse.acting import BLINK, head_height
from sora_jax.worlds.playhouse.cast import NAMES, Actor, Character, catalogue, distinct, voice_of
from sora_jax.worlds.playhouse.families.base import NO_STYLE, Family, Line, Reading
from sora_jax.worlds.playhouse.families.talk_captions import (
    MAX_WORDS,
    SHOTS,
    WORDS,
    TalkFacts,
    caption,
    parse,
)
from sora_jax.worlds.playhouse.spec import FILM_STYLES, ROOM_BACKDROPS, SOUNDSCAPES, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory
from sora_jax.worlds.playhouse.voice import WORDS as SPOKEN
from sora_jax.worlds.playhouse.voice import duration

WIDTHS = {"medium": 2.35, "close-up": 1.5}  # metres shown by a shot
MIDDLE = {"medium": 0.50, "close-up": 0.55}  # row of the head's centre, in frame heights
CROWN = 2.36  # metres: top of the view of a medium shot
FIRST, LAST = 0.08, 0.06  # seconds of silence at the start and, at least, at the end
PAUSE = 0.12  # least time between two words, seconds
SPLITS = ("train", "val", "paraphrase", "speakers", "identity")


class Talk(Family):
    """The family `talk`: one or two characters with a face and a voice speak."""

    name, facts_type, formats = "talk", TalkFacts, ("S",)
    max_balls, max_cast, own_seconds = 0, 2, True
    splits, styles = SPLITS, FILM_STYLES
    words, text_length = WORDS, 48

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> tuple[str, int]:
        """Draws the aim of a take, (style, number of characters). The arguments are those of
        `Family.aim`.
        """
        drawn = stream.choice(FILM_STYLES)
        return style or drawn, 1 + stream.integer(2)

    def draw_facts(self, stream: Stream, split: str, aim: tuple[str, int]) -> TalkFacts:
        """Draws who speaks, what each says, the framing of the shot and the ambience.

        Args:
            stream: random numbers of the take.
            split: split of the take. "speakers" has held-out voices, "identity" held-out
                characters; either is the regime of the facts, which else is "usual". The facts may
                belong to another split (`split_of`); the caller then draws again.
            aim: (style, number of speakers) from `aim`.
        """
        style, count = aim
        regime = split if split in ("speakers", "identity") else "usual"
        faces, voices = _draw_cast(stream, regime, count)
        names = list(NAMES)
        names = tuple(names.pop(stream.integer(len(names))) for _ in range(count))
        lines = draw_lines(stream, count)
        shot = stream.choice(SHOTS) if count == 1 else "medium"
        ambience = stream.choice(SOUNDSCAPES)
        return TalkFacts(style, ambience, shot, names, lines, faces, voices, regime)

    def split_of(self, facts: TalkFacts) -> str:
        """Returns the split of facts, by their regime and by a hash of `facts.key()`."""
        if facts.regime != "usual":
            return facts.regime
        return {0: "val", 1: "val", 2: "paraphrase"}.get(
            zlib.crc32(facts.key().encode()) % 20, "train"
        )

    def draw_scene(
        self, stream: Stream, facts: TalkFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, with an empty trajectory, as it has no balls.

        Returns None if the words do not fit into `seconds`. `stream` gives the random numbers.
        """
        seconds = min(seconds, 2.0625)  # that of format S
        speakers = characters(facts)
        spoken = schedule(stream, facts, speakers, seconds)
        if spoken is None:
            return None
        width = WIDTHS[facts.shot]
        places = (0.5,) if len(speakers) == 1 else (0.27, 0.73)
        cast = []
        for i, character in enumerate(speakers):
            x = width * places[i] + stream.uniform(-0.04, 0.04)
            fields = _act(stream, i, len(speakers), spoken, seconds)
            cast.append(Actor(character, facts.names[i], x, speech=tuple(spoken[i]), **fields))
        top = CROWN
        if facts.shot == "close-up":
            top = head_height(speakers[0]) + MIDDLE[facts.shot] * width
        scene = Scene(
            seed=stream.integer(1 << 31),
            balls=(),
            style=facts.style,
            ambience=facts.ambience,
            backdrop=stream.integer(ROOM_BACKDROPS),
            bounds="floor",
            view=((0.0, 0.0, top, width),),
            cast=tuple(cast),
        )
        return scene, Trajectory((), ())

    def restyled(self, facts: TalkFacts, style: str) -> TalkFacts:
        """Returns the facts with another style, a name in FILM_STYLES."""
        return dataclasses.replace(facts, style=style)

    def caption(self, facts: TalkFacts, variant: int, split: str) -> str:
        """Returns the caption of facts; `variant`, any non-negative integer, selects the
        paraphrase.

        The captions of the split `paraphrase` have phrases that no other split uses.
        """
        return caption(facts, variant, held_out=split == "paraphrase")

    def parse(self, text: str) -> TalkFacts:
        """Returns the facts of a caption. Raises CaptionError if the text is no such caption."""
        return parse(text)

    def judge(self, facts: TalkFacts, reading: Reading) -> list[Line]:
        """Returns lines of words, ambience, lips and speakers, and unread lines of the other facts.

        The other lines say why their facts are not read.
        `reading` holds the measurements of the clip.
        """
        unread = {
            "style": (facts.style, NO_STYLE),
            "shot": (facts.shot, "no oracle reads the framing of a talk"),
            "cast": (" ".join(facts.names), "no oracle reads names"),
        }
        return [
            _words(facts, reading),
            _ambience(facts, reading),
            _lips(reading),
            _speakers(facts, reading),
        ] + [
            Line.unread(None, fact, expected, reason) for fact, (expected, reason) in unread.items()
        ]


def _words(facts: TalkFacts, reading: Reading) -> Line:
    asked = " ".join(facts.words)
    if reading.audio_fault:
        return Line.unread(None, "words", asked, reading.audio_fault)
    return Line.compare(None, "words", asked, " ".join(reading.words) or None)


def _ambience(facts: TalkFacts, reading: Reading) -> Line:
    if reading.audio_fault:
        return Line.unread(None, "ambience", facts.ambience, reading.audio_fault)
    return Line.compare(None, "ambience", facts.ambience, reading.ambience)


def _lips(reading: Reading) -> Line:
    asked = "with the speech"
    if reading.lips_fault:
        return Line.unread(None, "lips", asked, reading.lips_fault)
    if not reading.lips:
        return Line.compare(None, "lips", asked, None, "no mouth moves, or nobody speaks")
    delay, correlation = 1e3 * reading.lips.offset, reading.lips.correlation
    seen = f"{delay:+.0f} ms before it, correlation {correlation:.2f}"
    return Line.compare(None, "lips", asked, asked if reading.lips.follow else seen)


def _speakers(facts: TalkFacts, reading: Reading) -> Line:
    """Returns the line of who speaks: names of the characters whose mouths move, turn by turn."""
    asked = " ".join(facts.names[speaker] for speaker, _ in facts.lines)
    if reading.audio_fault:
        return Line.unread(None, "speakers", asked, reading.audio_fault)
    if len(reading.faces) != len(facts.names):
        reason = f"{len(reading.faces)} faces are seen"
        return Line.compare(None, "speakers", asked, None, reason)
    seen = [
        "nobody" if turn.face is None else facts.names[turn.face] for turn in reading.speakers.turns
    ]
    return Line.compare(None, "speakers", asked, " ".join(seen) or None)


def _draw_cast(stream: Stream, regime: str, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws `count` faces and voices: their indices in the parts of the catalogue of a regime.

    The faces differ, and so do the voices (`cast.distinct`).
    """
    parts = _parts(regime)
    while True:
        faces = tuple(stream.integer(len(parts[0])) for _ in range(count))
        other = tuple(stream.integer(len(parts[1])) for _ in range(count))
        voices = other if regime == "speakers" else faces
        heard = [voice_of(parts[1][i]) for i in voices]
        if len(set(faces)) == count and (count == 1 or distinct(*heard)):
            return faces, voices


def _parts(regime: str) -> tuple[tuple[Character, ...], tuple[Character, ...]]:
    """Returns the characters of which a regime takes the faces, and those of which it takes the
    voices.
    """
    faces = catalogue("held_out" if regime == "identity" else "train")
    return faces, catalogue("train" if regime == "usual" else "held_out")


def characters(facts: TalkFacts) -> tuple[Character, ...]:
    """Returns the characters of a clip from left to right, each with the voice of the clip."""
    faces, voices = _parts(facts.regime)
    return tuple(
        dataclasses.replace(faces[face], voice=voices[voice].voice)
        for face, voice in zip(facts.faces, facts.voices, strict=True)
    )


def draw_lines(stream: Stream, count: int) -> tuple[tuple[int, tuple[str, ...]], ...]:
    """Draws what `count` characters say: (index of the character, words) in the order of speech.

    In one of four pairs, one of the two stays silent. `stream` gives the random numbers.
    """
    order = [0] if count == 1 else [stream.integer(2)]
    if count == 2 and stream.integer(4):
        order.append(1 - order[0])
    most = MAX_WORDS if len(order) == 1 else MAX_WORDS // 2 + 1
    vocabulary = list(SPOKEN)
    lines = []
    for speaker in order:
        length = 1 + stream.integer(most)
        lines.append((speaker, tuple(stream.choice(vocabulary) for _ in range(length))))
    return tuple(lines)


def schedule(
    stream: Stream, facts: TalkFacts, cast: tuple[Character, ...], seconds: float
) -> list[list[tuple[float, str]]] | None:
    """Draws when each word starts.

    Args:
        stream: random numbers.
        facts: the facts, whose `lines` are spoken.
        cast: the characters, whose voices speak at different rates.
        seconds: duration of the clip.

    Returns:
        For each character its words, (start in s, word). None if they do not fit into `seconds`.
    """
    words = [(i, word) for i, line in facts.lines for word in line]
    lengths = [duration(word, voice_of(cast[i])) for i, word in words]
    spare = seconds - FIRST - LAST - sum(lengths) - PAUSE * (len(words) - 1)
    if spare < 0.0:
        return None
    # the spare time is shared by the silences before, between and after the words
    shares = [stream.uniform() for _ in range(len(words) + 1)]
    total = sum(shares)
    time, spoken = FIRST, [[] for _ in cast]
    for (i, word), length, share in zip(words, lengths, shares[:-1], strict=True):
        time += 0.9 * spare * share / total
        spoken[i].append((time, word))
        time += length + PAUSE
    return spoken


def _act(
    stream: Stream,
    i: int,
    count: int,
    spoken: Sequence[Sequence[tuple[float, str]]],
    seconds: float,
) -> dict:
    """Draws how actor `i` of `count` moves: fields of `Actor` by name.

    It looks at the viewer, for a while at the other actor, or aside if it is alone, and then at the
    viewer again.
    """
    toward = (1.0 if i == 0 else -1.0) if count == 2 else stream.choice((-1.0, 1.0))
    start, hold = stream.uniform(0.0, 0.5) * seconds, stream.uniform(0.3, 0.9)
    angle = toward * stream.uniform(0.15, 0.5)
    up = stream.uniform(-0.3, 0.4)
    blinks = [stream.uniform(0.1, 0.9)]
    while blinks[-1] < seconds:
        blinks.append(blinks[-1] + stream.uniform(0.8, 1.8))
    end = start + hold
    return {
        "turn": ((start, 0.0), (start + 0.2, angle), (end + 0.2, angle), (end + 0.45, 0.0)),
        "look": (
            (max(start - 0.1, 0.0), 0.0, 0.0),
            (start + 0.05, toward, up),
            (end, toward, up),
            (end + 0.15, 0.0, 0.0),
        ),
        "blinks": tuple(time for time in blinks if time < seconds + BLINK),
        "bob": (stream.uniform(0.9, 1.6), stream.uniform()),
    }
