"""The caption grammar of the family `room` (scenes of balls): captions from facts, and back.

    caption  = [count ":"] clause {joint clause} ["."]
    clause   = article size colour noun launch bounce
    launch   = one of the phrases of `LAUNCH_PHRASES`, with the direction for thrown and rolled
             balls
    bounce   = one of the phrases of `BOUNCE_PHRASES`
    joint    = one of `JOINTS`

Every caption states colour, size, launch, direction and number of bounces of every ball. The
count of balls follows from the clauses. A variant number selects the paraphrase, so a caption
is a pure function of (facts, variant). `parse` reads any paraphrase back.
"""

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from sora_jax.config import near_miss
from sora_jax.worlds.playhouse.spec import COLOURS, SIZES, palette

NOUNS = ("ball", "sphere")
COUNT_WORDS = {1: "one", 2: "two", 3: "three"}
LAUNCH_PHRASES = {
    "dropped": ("is dropped", "falls", "falls down", "is let go"),
    "thrown": ("is thrown to the {d}", "is thrown {d}", "is tossed to the {d}", "flies to the {d}"),
    "rolled": (
        "rolls to the {d}",
        "rolls {d}",
        "is rolled to the {d}",
        "rolls along the floor to the {d}",
    ),
}
BOUNCE_PHRASES = {
    0: ("and does not bounce", "and never bounces", "without bouncing"),
    1: ("and bounces once", "and bounces one time", "bouncing once"),
    2: ("and bounces twice", "and bounces two times", "bouncing twice"),
    3: ("and bounces three times", "bouncing three times", "and makes three bounces"),
}
JOINTS = (", and", ";", ", while", ". Then")
JOINT_WORDS = ("and", "while", "then")
MAX_BALLS = max(COUNT_WORDS)
END = "end of text"  # stands for the word after the last
T = TypeVar("T")


class CaptionError(ValueError):
    """Parsing error: a caption does not follow the grammar.

    Its message says the column, from 1, and what was expected there.

    Attributes:
        column: the column, from 1.
        expected: what was expected there, in words.
        found: the word that stands there, or END.
    """

    def __init__(self, column: int, expected: str, found: str) -> None:
        super().__init__(f"column {column}: expected {expected}, found {found!r}")
        self.column, self.expected, self.found = column, expected, found


def word_hint(word: str, known: Iterable[str]) -> str:
    """Returns a remark in brackets on a word that is not known: the known word of which it is
    probably a misspelling, or how numbers are written. "" for another word.
    """
    if word.isdigit():
        return " (write numbers in words: once, twice, three times)"
    near = near_miss(word, known)
    return f" (did you mean {near}?)" if near else ""


@dataclasses.dataclass(frozen=True)
class BallFacts:
    """The facts that a caption states about one ball.

    Attributes:
        colour: a name in `spec.palette()`.
        size: a name in SIZES.
        launch: "dropped", "thrown" or "rolled".
        direction: "left" or "right"; None for a dropped ball.
        bounces: times that the ball hits the floor and leaves it again.
    """

    colour: str
    size: str
    launch: str
    direction: str | None
    bounces: int


@dataclasses.dataclass(frozen=True)
class Facts:
    """The facts that a caption of family `room` states about a clip.

    Attributes:
        balls: the facts of each ball, in the order in which a caption mentions them. The order has
            no meaning.
    """

    balls: tuple[BallFacts, ...]

    def to_dict(self) -> dict:
        """Returns the fields and the count of balls as JSON values."""
        return {"count": len(self.balls), "balls": [dataclasses.asdict(b) for b in self.balls]}

    @classmethod
    def from_dict(cls, fields: dict) -> "Facts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        return cls(tuple(BallFacts(**b) for b in fields["balls"]))

    def key(self) -> str:
        """Returns the facts as one string, whose hash decides the split of a take.

        It does not depend on the order of the balls.
        """
        return " + ".join(
            sorted(f"{b.colour} {b.size} {b.launch} {b.direction} {b.bounces}" for b in self.balls)
        )


class Picker:
    """A deterministic choice of the phrases of a paraphrase.

    Args:
        variant: any non-negative integer. A choice among n options takes its remainder by n, and
            leaves the quotient for later choices.
        held_out: True for the last phrase of every table, which only the split `paraphrase` uses.
            Default: False, one of the others.
    """

    def __init__(self, variant: int, held_out: bool = False) -> None:
        self.variant, self.held_out = variant, held_out

    def any(self, options: Sequence[T]) -> T:
        """Returns one of the options, by the variant, and updates the variant."""
        self.variant, i = divmod(self.variant, len(options))
        return options[i]

    def phrase(self, phrases: Sequence[str]) -> str:
        """Returns one phrase of a table of phrases: the last one if `held_out`, else one of the
        others.
        """
        return phrases[-1] if self.held_out else self.any(phrases[:-1])


def caption(facts: Facts, variant: int = 0) -> str:
    """Returns the caption of facts; `variant`, any non-negative integer, selects the paraphrase."""
    pick = Picker(variant).any
    start = pick(range(len(facts.balls)))
    balls = facts.balls[start:] + facts.balls[:start]
    parts = []
    for ball in balls:
        article = "an" if ball.size[0] in "aeiou" else "a"
        launch = pick(LAUNCH_PHRASES[ball.launch]).format(d=ball.direction)
        parts.append(
            f"{article} {ball.size} {ball.colour} {pick(NOUNS)} {launch} "
            f"{pick(BOUNCE_PHRASES[ball.bounces])}"
        )
    text = parts[0]
    for part in parts[1:]:
        text += f"{pick(JOINTS)} {part}"
    if len(balls) > 1 and pick((False, True)):
        text = f"{COUNT_WORDS[len(balls)]} balls: {text}"
    return text


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Returns how many words two texts share before the first that differs."""
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    return sum(1 for _ in alike)


def _words(text: str) -> list[tuple[str, int]]:
    """Returns the lower-case words and their columns, from 1. Punctuation only separates words."""
    words, start = [], None
    for i, char in enumerate(text.lower() + " "):
        if char.isalnum() or char in "'-@":
            start = i if start is None else start
        elif start is not None:
            words.append((text[start:i].lower(), start + 1))
            start = None
    return words


class Reader:
    """A word-by-word reader of captions. Punctuation only separates words.

    Its errors say the column and what was expected there.
    """

    def __init__(self, text: str) -> None:
        self.words, self.at, self.end = _words(text), 0, len(text) + 1

    def peek(self) -> tuple[str, int]:
        """Returns the next word and its column, from 1; END after the last."""
        return self.words[self.at] if self.at < len(self.words) else (END, self.end)

    def skip(self, options: Collection[str]) -> bool:
        """Reads the next word if it is one of `options`. Returns True if it is."""
        if self.peek()[0] in options:
            self.at += 1
            return True
        return False

    def take(self, options: Collection[str], expected: str) -> str:
        """Reads and returns the next word, which must be one of `options`.

        `expected` says in words what was expected, for the error.

        Raises:
            CaptionError: the next word is another one.
        """
        word, column = self.peek()
        if word not in options:
            raise CaptionError(column, expected, word)
        self.at += 1
        return word

    def phrase(self, table: Mapping[T, Sequence[str]], expected: str) -> T:
        """Reads the longest phrase of a table that starts at the next word; returns its meaning.

        Args:
            table: {meaning: phrases}.
            expected: says in words what was expected, for the error.

        Raises:
            CaptionError: no phrase of the table starts here. Its column is that of the first word
                after the longest partial match.
        """
        rest = [w for w, _ in self.words[self.at :]]
        best: tuple[int, T] | None = None
        common = 0
        for meaning, phrases in table.items():
            for phrase in phrases:
                words = phrase.split()
                alike = _shared(rest, words)
                common = max(common, alike)
                if alike == len(words) and (best is None or len(words) > best[0]):
                    best = len(words), meaning
        if best is None:
            self.at += common
            word, column = self.peek()
            raise CaptionError(column, expected, word)
        self.at += best[0]
        return best[1]

    def ball(self, articles: tuple[str, ...] = ("a",)) -> tuple[str, str]:
        """Reads "a SIZE COLOUR ball" and returns (size, colour).

        `articles` are the words allowed for "a". Default: "a" alone.
        """
        self.take(articles, " or ".join(map(repr, articles)))
        size = self.take(tuple(SIZES), f"a size ({', '.join(SIZES)})")
        colours = tuple(palette())
        colour = self.take(colours, f"a colour ({', '.join(colours)})")
        self.take(NOUNS, "'ball' or 'sphere'")
        return size, colour

    @property
    def ended(self) -> bool:
        """True if all words are read."""
        return self.at == len(self.words)

    def finish(self, expected: str = "the end") -> None:
        """Raises CaptionError if words are left; `expected` says in words what was expected."""
        if not self.ended:
            word, column = self.peek()
            raise CaptionError(column, expected, word)


_LAUNCH_TABLE = {
    (launch, d): tuple(p.format(d=d) for p in phrases)
    for launch, phrases in LAUNCH_PHRASES.items()
    for d in ((None,) if launch == "dropped" else ("left", "right"))
}


def parse(text: str) -> Facts:
    """Returns the facts of a caption of family `room`.

    Raises:
        CaptionError: the text is no caption. The message says the column and what was expected.
    """
    reader = Reader(text)
    counted = None
    if len(reader.words) > 1 and reader.words[1][0] == "balls":
        counted = reader.take(tuple(COUNT_WORDS.values()), "a count (one, two, three)")
        reader.take(("balls",), "'balls'")
    balls = []
    while True:
        size, colour = reader.ball(("a", "an"))
        launch, direction = reader.phrase(
            _LAUNCH_TABLE, "a launch such as 'is dropped' or 'is thrown to the left'"
        )
        bounces = reader.phrase(
            BOUNCE_PHRASES, "a bounce count such as 'and bounces twice' or 'and does not bounce'"
        )
        balls.append(BallFacts(colour, size, launch, direction, bounces))
        if reader.ended:
            if counted not in (None, COUNT_WORDS[len(balls)]):
                raise CaptionError(
                    reader.words[0][1],
                    f"{COUNT_WORDS[len(balls)]!r}, the number of balls described",
                    counted,
                )
            return Facts(tuple(balls))
        if len(balls) == MAX_BALLS:
            reader.finish(f"the end after {MAX_BALLS} balls")
        reader.skip(JOINT_WORDS)


def _vocabulary() -> tuple[str, ...]:
    texts = [*COLOURS, *SIZES, *NOUNS, *COUNT_WORDS.values(), *JOINT_WORDS, "a an balls"]
    texts += [p for phrases in (*_LAUNCH_TABLE.values(), *BOUNCE_PHRASES.values()) for p in phrases]
    return tuple(sorted({word for text in texts for word in text.split()}))


WORDS = _vocabulary()  # every word that a caption can contain
