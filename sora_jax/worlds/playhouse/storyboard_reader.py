"""The parser of storyboards: reads prose or cards (`storyboard_text.py`) as a `Storyboard`.

Phrases are kept in tries (trees of words), so a phrase is found in one pass over its words, and an
error names the words that could have followed. Punctuation only separates words, except for the
brackets and bars of cards.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.spec import COLOURS
from sora_jax.worlds.playhouse.storyboard import (
    FRAMES,
    MAX_WORDS,
    MOVES,
    PLACES,
    SAY,
    SECONDS,
    THROW,
    Act,
    Shot,
    Storyboard,
)
from sora_jax.worlds.playhouse.storyboard_text import (
    ACT_PHRASES,
    AMBIENCE_PHRASES,
    BALL_PHRASES,
    CAST_PHRASES,
    CUT_PHRASES,
    FIRST_PHRASES,
    FRAME_PHRASES,
    JOINT_WORDS,
    LASTING_PHRASES,
    LATER_PHRASES,
    MOVE_PHRASES,
    OUTCOME_PHRASES,
    PLACE_PHRASES,
    STYLE_PHRASES,
)

_TOKEN = re.compile(r"\d+(?:\.\d+)?|@?\w+(?:[-']\w+)*|[\[\]|]")
_HANDLE = "@name"
MAX_CAST = max(CAST_PHRASES)
T = TypeVar("T")


class StoryboardError(CaptionError):
    """Parsing error: a text is no storyboard.

    Its message says the shot (0 is before the first), the column from 1, and what was expected.
    """

    def __init__(self, shot: int, column: int, expected: str, found: str) -> None:
        super().__init__(column, expected, found)
        self.shot = shot
        where = f"shot {shot}, " if shot else ""
        self.args = (f"{where}{self.args[0]}",)


@dataclasses.dataclass
class _Trie(Generic[T]):
    """A node of a tree of words. A path from the root spells a phrase, which has a meaning.

    Attributes:
        words: {next word: node}; _HANDLE stands for any handle such as "@mika".
        leaf: (meaning,) of the phrase that ends here. Default: None, no phrase ends here.
    """

    words: dict[str, "_Trie[T]"] = dataclasses.field(default_factory=dict)
    leaf: tuple[T] | None = None


def _trie(table: Mapping[T, Sequence[str]]) -> _Trie[T]:
    """Returns the trie of {meaning: phrases}. A slot such as {b} in a phrase is any handle."""
    root: _Trie[T] = _Trie()
    for meaning, phrases in table.items():
        for phrase in phrases:
            node = root
            for word in phrase.split():
                node = node.words.setdefault(_HANDLE if word[0] == "{" else word, _Trie())
            node.leaf = (meaning,)
    return root


_PLACE_TABLE = {place: tuple(p.format(p=place) for p in PLACE_PHRASES) for place in PLACES}
_STYLES, _AMBIENCES = _trie(STYLE_PHRASES), _trie(AMBIENCE_PHRASES)
_CAST = _trie(CAST_PHRASES)
_BALL = _trie({c: tuple(p.format(c=c) for p in BALL_PHRASES) for c in COLOURS})
_FIRST, _CUT = _trie({True: FIRST_PHRASES}), _trie({True: CUT_PHRASES})
_LATER, _LASTING = _trie({True: LATER_PHRASES}), _trie({True: LASTING_PHRASES})
_FRAMES, _IN_PLACE, _CAMERA = _trie(FRAME_PHRASES), _trie(_PLACE_TABLE), _trie(MOVE_PHRASES)
_ACTS = _trie(
    {(kind, to): phrases for kind, table in ACT_PHRASES.items() for to, phrases in table.items()}
)
_RESULTS = _trie(OUTCOME_PHRASES)
_FIELDS = _trie(
    {
        **{("frame", f): (f"{f} on {{a}}" if f == "close-up" else f,) for f in FRAMES},
        **{("move", move): (move,) for move in MOVES},
        **{("place", place): (place,) for place in PLACES},
    }
)


class _Reader:
    """The tokens of a text, the position of the next, and the column at which each shot began."""

    def __init__(self, text: str) -> None:
        self.tokens = [(m.group().lower(), m.start() + 1) for m in _TOKEN.finditer(text)]
        self.at, self.end = 0, len(text) + 1
        self.shots: list[int] = []

    @property
    def shot(self) -> int:
        """The number of the shot that is read, for errors."""
        return len(self.shots)

    def begin_shot(self) -> None:
        """Records that a shot begins at the next token."""
        self.shots.append(self.tokens[self.at][1] if self.at < len(self.tokens) else self.end)

    @property
    def word(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def fail(self, expected: str, at: int | None = None) -> NoReturn:
        at = self.at if at is None else at
        word, column = self.tokens[at] if at < len(self.tokens) else ("end of text", self.end)
        raise StoryboardError(self.shot, column, expected, word)

    def skip(self, *words: str) -> bool:
        if self.word in words and self.word:
            self.at += 1
            return True
        return False

    def take(self, options: Collection[str], expected: str) -> str:
        if self.word not in options:
            self.fail(expected)
        self.at += 1
        return self.tokens[self.at - 1][0]

    def find(self, trie: _Trie[T]) -> tuple[tuple[int, T, tuple[str, ...]] | None, int, _Trie[T]]:
        """Finds the longest phrase that starts at the next token, without reading it.

        Returns (phrase, index of the token at which the search stopped, its node). The phrase is
        (index of the token after it, meaning, handles in it); None if there is none.
        """
        node, at = trie, self.at
        handles: tuple[str, ...] = ()
        best: tuple[int, T, tuple[str, ...]] | None = None
        while True:
            if node.leaf is not None:
                best = at, node.leaf[0], handles
            word = self.tokens[at][0] if at < len(self.tokens) else ""
            if word in node.words:
                node = node.words[word]
            elif word[:1] == "@" and _HANDLE in node.words:
                node, handles = node.words[_HANDLE], (*handles, word)
            else:
                return best, at, node
            at += 1

    def maybe(self, trie: _Trie[T]) -> tuple[T, tuple[str, ...]] | None:
        """Reads a phrase if one starts here. Returns (meaning, handles in it), or None."""
        best, _, _ = self.find(trie)
        if best is None:
            return None
        self.at, meaning, handles = best
        return meaning, handles

    def phrase(self, trie: _Trie[T], expected: str) -> tuple[T, tuple[str, ...]]:
        """Reads a phrase and returns (meaning, handles in it).

        Raises:
            StoryboardError: no phrase starts here. Its column is after the longest partial match.
        """
        best, stopped, node = self.find(trie)
        if best is None:
            options = " or ".join(repr(word) for word in sorted(node.words))
            self.fail(expected if stopped == self.at or len(node.words) > 6 else options, stopped)
        self.at, meaning, handles = best
        return meaning, handles

    def number(self) -> float | None:
        """Reads and returns a number, or returns None if the next token is none."""
        if not self.word[:1].isdigit():
            return None
        self.at += 1
        return float(self.tokens[self.at - 1][0])

    def handle(self, cast: tuple[str, ...], expected: str = "") -> str:
        """Reads and returns a handle of the cast."""
        return self.take(cast, expected or _member(cast))


def _member(cast: tuple[str, ...]) -> str:
    return f"a name of the cast ({', '.join(cast)})"


def read(text: str) -> Storyboard:
    """Parses a storyboard, written as cards or as prose.

    A text that starts with "[" is read as cards, any other as prose (`storyboard_text.py`).

    Raises:
        StoryboardError: the text is no storyboard.
    """
    return _read(_Reader(text))


def shot_starts(text: str) -> tuple[int, ...]:
    """Returns the number of characters before each shot; () for a text that is no storyboard."""
    reader = _Reader(text)
    try:
        _read(reader)
    except StoryboardError:
        return ()
    return tuple(column - 1 for column in reader.shots)


def _read(reader: _Reader) -> Storyboard:
    return _read_cards(reader) if reader.word == "[" else _read_prose(reader)


def _read_cards(reader: _Reader) -> Storyboard:
    style, ambience, cast, ball = _card_head(reader)
    shots: list[Shot] = []
    while reader.at < len(reader.tokens) or not shots:
        reader.begin_shot()
        reader.take("[", f"'[SHOT {reader.shot} | ...]'")
        reader.take(("shot",), "'SHOT'")
        reader.take((str(reader.shot),), f"the number {reader.shot}")
        shot = _card(reader, cast, shots[-1].place if shots else "")
        shots.append(dataclasses.replace(shot, acts=_acts(reader, cast, ball, "", ("[",))))
    return Storyboard(style, ambience, cast, tuple(shots), ball)


def _card_head(reader: _Reader) -> tuple[str, str, tuple[str, ...], str]:
    reader.take("[", "'['")
    reader.take(("style",), "'STYLE'")
    style = reader.take(tuple(STYLE_PHRASES), f"a style ({', '.join(STYLE_PHRASES)})")
    reader.take("|", "'|'")
    reader.take(("ambience",), "'AMBIENCE'")
    ambience = reader.take(tuple(AMBIENCE_PHRASES), f"an ambience ({', '.join(AMBIENCE_PHRASES)})")
    reader.take("|", "'|'")
    reader.take(("cast",), "'CAST'")
    cast: list[str] = []
    while reader.word[:1] == "@" or not cast:
        if reader.word[:1] != "@" or reader.word in cast or len(cast) == MAX_CAST:
            reader.fail("one or two names such as @mika")
        cast.append(reader.word)
        reader.at += 1
    ball = ""
    if reader.skip("|"):
        reader.take(("ball",), "'BALL'")
        ball = reader.take(tuple(COLOURS), f"a colour ({', '.join(COLOURS)})")
    reader.take("]", "']'")
    return style, ambience, tuple(cast), ball


def _card(reader: _Reader, cast: tuple[str, ...], place: str) -> Shot:
    """Reads the fields of a card up to its "]". `place` is that of the shot before, the default."""
    fields: dict[str, Any] = {}
    while not reader.skip("]"):
        reader.take("|", "'|' or ']'")
        start, number = reader.at, reader.number()
        if number is not None:
            reader.take(("s",), "'s', for seconds")
            name, value = ("later" if reader.skip("later") else "seconds"), number
        else:
            (name, value), handles = reader.phrase(
                _FIELDS, "a frame (wide, two-shot, close-up on @name), a move, a place or seconds"
            )
            if handles:
                if handles[0] not in cast:
                    reader.fail(_member(cast), reader.at - 1)
                fields["subject"] = handles[0]
        if name in fields:
            reader.fail(f"only one {name}", start)
        fields[name] = value
    if not fields.setdefault("place", place):
        reader.fail(f"a place ({', '.join(PLACES)})", reader.at - 1)
    _check_frame(reader, fields.get("frame", "wide"), cast)
    return Shot(**fields)


def _check_frame(reader: _Reader, frame: str, cast: tuple[str, ...]) -> None:
    if frame == "two-shot" and len(cast) < 2:
        reader.fail("a frame that one actor fills (wide, close-up)", reader.at - 1)


def _read_prose(reader: _Reader) -> Storyboard:
    style, _ = reader.phrase(_STYLES, f"a style such as {STYLE_PHRASES['anime'][0]!r}, or '['")
    ambience, _ = reader.phrase(_AMBIENCES, f"an ambience such as {AMBIENCE_PHRASES['rain'][0]!r}")
    start = reader.at
    _, cast = reader.phrase(_CAST, "the cast, such as 'with @mika and @rolo'")
    if len(set(cast)) < len(cast):
        reader.fail("two names", start)
    ball, _ = reader.maybe(_BALL) or ("", ())
    shots: list[Shot] = []
    while reader.at < len(reader.tokens) or not shots:
        reader.begin_shot()
        reader.phrase(_CUT if shots else _FIRST, "'cut to'" if shots else "'first'")
        shot = _prose_shot(reader, cast, shots[-1].place if shots else "")
        shots.append(dataclasses.replace(shot, acts=_acts(reader, cast, ball, shot.subject, _CUT)))
    return Storyboard(style, ambience, cast, tuple(shots), ball)


def _prose_shot(reader: _Reader, cast: tuple[str, ...], place: str) -> Shot:
    later, seconds, subject = 0.0, SECONDS, ""
    number = reader.number()
    if number is not None:
        later = number
        reader.take(("second", "seconds"), "'seconds'")
        reader.phrase(_LATER, "'later'")
    frame, handles = reader.phrase(_FRAMES, "a frame such as 'a wide shot' or 'a close-up of @...'")
    if handles:
        subject = handles[0]
        if subject not in cast:
            reader.fail(_member(cast), reader.at - 1)
    _check_frame(reader, frame, cast)
    if not place or reader.word in _IN_PLACE.words:
        place, _ = reader.phrase(_IN_PLACE, f"a place such as 'in {PLACES[0]}'")
    if reader.maybe(_LASTING):
        number = reader.number()
        if number is None:
            reader.fail("a number of seconds")
        seconds = number
        reader.take(("second", "seconds"), "'seconds'")
    move, _ = reader.maybe(_CAMERA) or ("static", ())
    return Shot(place, frame, subject, move, seconds, later)


def _acts(
    reader: _Reader,
    cast: tuple[str, ...],
    ball: str,
    subject: str,
    stop: _Trie[bool] | tuple[str, ...],
) -> tuple[Act, ...]:
    """Reads acts up to a word of `stop`, or up to a phrase if `stop` is a trie.

    A first word "who" is read as `subject`, the handle in a close-up ("" for none).
    """
    acts: list[Act] = []

    def stops() -> bool:
        if isinstance(stop, _Trie):
            return reader.find(stop)[0] is not None
        return reader.word in stop

    if subject and reader.word == "who":
        reader.tokens[reader.at] = (subject, reader.tokens[reader.at][1])
    while reader.at < len(reader.tokens) and not stops():
        acts.append(_act(reader, cast, ball))
        while reader.skip(*JOINT_WORDS):
            if reader.at == len(reader.tokens):
                reader.fail("an act")
    return tuple(acts)


def _act(reader: _Reader, cast: tuple[str, ...], ball: str) -> Act:
    next_shot = f"or shot {reader.shot + 1}"
    actor = reader.handle(cast, f"{_member(cast)}, {next_shot}")
    start = reader.at
    (kind, to), handles = reader.phrase(
        _ACTS, "an act such as 'waits' or 'throws the ball to @...'"
    )
    if kind == SAY:
        words = []
        while reader.word in voice.WORDS and len(words) < MAX_WORDS:
            words.append(reader.word)
            reader.at += 1
        if not words or reader.word in voice.WORDS:
            reader.fail(f"one to {MAX_WORDS} words of {', '.join(voice.WORDS)}")
        return Act(actor, SAY, words=tuple(words))
    if kind != THROW:
        return Act(actor, kind, to)
    others = tuple(name for name in cast if name != actor)
    if handles[0] not in others:
        at = next(i for i in range(start, reader.at) if reader.tokens[i][0] == handles[0])
        reader.fail(f"another of the cast ({', '.join(others) or 'there is none'})", at)
    if not ball:
        reader.fail("a ball in the head of the storyboard", start)
    return Act(actor, THROW, handles[0], _outcome(reader, handles[0]))


def _outcome(reader: _Reader, catcher: str) -> str:
    """Reads the outcome of a throw, such as "and @rolo catches it"; "" if none is stated."""
    start = reader.at
    reader.skip("and")
    if reader.skip(catcher) and (found := reader.maybe(_RESULTS)):
        return found[0]
    reader.at = start
    return ""
