"""Captions of the family `talk` (characters that speak): captions from facts, and back.

    caption = style "," ambience "," shot ":" line [line]
    shot    = phrase of `ONE_PHRASES` with a name, or of `TWO_PHRASES` with two
    line    = "@" name, phrase of `SAYS`, the words in quotation marks

A caption states style, ambience, shot, who stands where, who speaks in which order, and the
words. It does not state which characters and voices of the catalogue (`cast.py`) bear the names.
The last phrase of every table is held out: only the split `paraphrase` uses it.
"""

import dataclasses
from typing import Any

from sora_jax.worlds.playhouse.captions import CaptionError, Picker, Reader
from sora_jax.worlds.playhouse.cast import NAMES
from sora_jax.worlds.playhouse.families.look import STYLE_PHRASES
from sora_jax.worlds.playhouse.spec import FILM_STYLES, SOUNDSCAPES
from sora_jax.worlds.playhouse.voice import WORDS as SPOKEN

SHOTS = ("medium", "close-up")
MAX_WORDS = 4  # words of a line
AMBIENCE_PHRASES = {
    "wind": ("in the wind", "wind blows", "while the wind blows", "on a windy day"),
    "hum": ("in a humming room", "something hums", "a machine hums", "with a low hum"),
    "rain": ("in the rain", "it rains", "while rain falls", "on a rainy day"),
    "crickets": ("among crickets", "crickets chirp", "on a night of crickets", "with crickets"),
}
ONE_PHRASES = {
    "medium": ("a medium shot of {a}", "{a} stands alone", "here is {a}", "we see {a}"),
    "close-up": ("a close-up of {a}", "close on {a}", "the face of {a}", "very near to {a}"),
}
TWO_PHRASES = (
    "{a} on the left and {b} on the right",
    "{a} stands on the left, {b} on the right",
    "to the left {a}, to the right {b}",
    "{a} is left of {b}",
)
SAYS = ("says", "speaks", "calls out", "tells us")
ANSWERS = ("answers", "replies", "says in turn", "responds")
JOINTS = (". ", " and ", ", then ", "; ")


@dataclasses.dataclass(frozen=True)
class TalkFacts:
    """The facts that a caption states about a clip of family `talk`, and the characters behind the
    names.

    Attributes:
        style: a name in FILM_STYLES.
        ambience: a name in SOUNDSCAPES.
        shot: framing of the clip, a name in SHOTS; two characters are always in a medium shot.
        names: one or two names without "@", from left to right.
        lines: (index in `names`, words) of every line, in the order in which they are spoken.
        faces: for each name, the index of its character in a part of `cast.catalogue`. Captions do
            not state it. Default: (), unknown, as after parsing.
        voices: for each name, the index of the character whose voice it has, likewise.
        regime: "usual", or "speakers" or "identity" for voices or characters that are held out from
            training. Captions do not state it. Default: "usual".
    """

    style: str
    ambience: str
    shot: str
    names: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]
    faces: tuple[int, ...] = ()
    voices: tuple[int, ...] = ()
    regime: str = "usual"

    @property
    def words(self) -> tuple[str, ...]:
        """All words, in the order in which they are spoken."""
        return sum((words for _, words in self.lines), ())

    def stated(self) -> "TalkFacts":
        """Returns the facts without those that a caption does not state: faces, voices and
        regime.
        """
        return dataclasses.replace(self, faces=(), voices=(), regime="usual")

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "TalkFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        lines = tuple((int(speaker), tuple(words)) for speaker, words in fields["lines"])
        known = {name: tuple(fields[name]) for name in ("names", "faces", "voices")}
        values: dict[str, Any] = {**fields, **known, "lines": lines}
        return cls(**values)

    def key(self) -> str:
        """Returns the facts that decide the split of a take, as one string.

        Names are left out, because every clip draws them afresh.
        """
        lines = " / ".join(f"{speaker}: {' '.join(words)}" for speaker, words in self.lines)
        return f"{self.style} {self.ambience} {self.shot} {len(self.names)} | {lines}"


def caption(facts: TalkFacts, variant: int = 0, held_out: bool = False) -> str:
    """Returns the caption of facts.

    Args:
        facts: the facts.
        variant: any non-negative integer, which selects the paraphrase. Default 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    pick = Picker(variant, held_out)
    names = [f"@{name}" for name in facts.names]
    phrases = ONE_PHRASES[facts.shot] if len(names) == 1 else TWO_PHRASES
    shot = pick.phrase(phrases).format(a=names[0], b=names[-1])
    text = (
        f"{pick.phrase(STYLE_PHRASES[facts.style])}, "
        f"{pick.phrase(AMBIENCE_PHRASES[facts.ambience])}, {shot}: "
    )
    for i, (speaker, words) in enumerate(facts.lines):
        verb = pick.phrase(ANSWERS if i else SAYS)
        text += f'{pick.phrase(JOINTS) if i else ""}{names[speaker]} {verb} "{" ".join(words)}"'
    return text


def parse(text: str) -> TalkFacts:
    """Returns the facts that a caption of family `talk` states.

    Raises:
        CaptionError: the text is no caption. The message says the column and what was expected.
    """
    reader = Reader(text)
    style = reader.phrase(STYLE_PHRASES, f"a style ({', '.join(FILM_STYLES)})")
    ambience = reader.phrase(AMBIENCE_PHRASES, f"an ambience ({', '.join(SOUNDSCAPES)})")
    shot, names = _shot(reader)
    lines: list[tuple[int, tuple[str, ...]]] = []
    while not lines or not reader.ended:
        if len(lines) == len(names):
            reader.finish(f"the end after {len(lines)} line{'s' * (len(lines) > 1)}")
        if lines:
            reader.skip(("and", "then"))
        silent = [
            name for name in names if names.index(name) not in {speaker for speaker, _ in lines}
        ]
        name = reader.take(
            [f"@{name}" for name in silent], " or ".join(f"@{name}" for name in silent)
        )
        verbs = ANSWERS if lines else SAYS
        reader.phrase({"": verbs}, f"a verb such as {verbs[0]!r}")
        words = [reader.take(SPOKEN, f"a word to say ({', '.join(list(SPOKEN)[:3])}, ...)")]
        while reader.peek()[0] in SPOKEN:
            if len(words) == MAX_WORDS:
                word, column = reader.peek()
                raise CaptionError(column, f"the end of the line after {MAX_WORDS} words", word)
            words.append(reader.take(SPOKEN, "a word"))
        lines.append((names.index(name[1:]), tuple(words)))
    return TalkFacts(style, ambience, shot, names, tuple(lines))


def _shot(reader: Reader) -> tuple[str, tuple[str, ...]]:
    """Reads the phrase of a shot. Returns its name in SHOTS and the names in it, left to right."""
    ahead = [word for word, _ in reader.words[reader.at :]]
    named = [word for word in dict.fromkeys(ahead) if word[:1] == "@"]
    for word, column in reader.words[reader.at :]:
        if word[:1] == "@" and word[1:] not in NAMES:
            raise CaptionError(column, f"a name (@{NAMES[0]}, @{NAMES[1]}, ...)", word)
    first, second = (*named, "@?", "@?")[:2]
    table: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {
        (shot, (first[1:],)): tuple(p.format(a=first) for p in phrases)
        for shot, phrases in ONE_PHRASES.items()
    }
    table["medium", (first[1:], second[1:])] = tuple(
        p.format(a=first, b=second).replace(",", "") for p in TWO_PHRASES
    )
    return reader.phrase(table, f"a shot such as {ONE_PHRASES['medium'][0].format(a='@mika')!r}")


def _vocabulary() -> tuple[str, ...]:
    phrases = [*TWO_PHRASES, *SAYS, *ANSWERS, *JOINTS]
    for table in (STYLE_PHRASES, AMBIENCE_PHRASES, ONE_PHRASES):
        phrases += [phrase for group in table.values() for phrase in group]
    text = " ".join(phrases).replace("{a}", "").replace("{b}", "").replace("close-up", "close up")
    words = text.replace(",", " ").replace(".", " ").replace(";", " ").split()
    return tuple(sorted({*words, *NAMES, *SPOKEN}))


WORDS = _vocabulary()  # every word that a caption can contain
