"""Family `story`: clips with cuts. All shots show one world, with a cast that acts and speaks.

Facts are a storyboard (the facts of each shot) and the characters that play its cast. A caption is
the storyboard as prose or as cards. Intents leave out the outcomes of throws.

**Splits**, by the facts alone:

    identity   characters that no other split has
    order      a kind of act before another (HELD_OUT_ORDERS); no other split has this order
    length     six shots
    gap_1 ... gap_6   a fact is shown again after 1 ... 6 shots that do not show it; the split train
                      has gaps up to TRAIN_GAP = 2
    val, paraphrase, train   by a hash of the other facts: two in twenty, one, and the others;
                             `paraphrase` uses held-out phrases

A take has as many shots as its family says (three in `story`), or SHOTS[split] in the splits of
SHOTS.
"""

import dataclasses
import functools
import itertools
import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.cast import catalogue, distinct, voice_of
from sora_jax.worlds.playhouse.continuity import gap
from sora_jax.worlds.playhouse.families.base import NO_STYLE, Family, Line, Reading
from sora_jax.worlds.playhouse.families.story_boards import draw_board
from sora_jax.worlds.playhouse.spec import FILM_STYLES, Scene
from sora_jax.worlds.playhouse.staging import stage, visible_cuts
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    HAT,
    LAMP,
    SECONDS,
    THROW,
    Act,
    Storyboard,
    frames_of,
)
from sora_jax.worlds.playhouse.storyboard_reader import read
from sora_jax.worlds.playhouse.storyboard_text import WORDS, write
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

FPS = 8  # frames per second of the clips; a shot has frames_of(SECONDS, FPS) frames
# shots of the split `length`; largest gap of all splits, and of train
LONG, MAX_GAP, TRAIN_GAP = 6, 6, 2
SHOTS = {"length": LONG} | {f"gap_{n}": n + 2 for n in range(1, MAX_GAP + 1)}
# (a, b): the first act of kind a comes before the first act of kind b
HELD_OUT_ORDERS = ((DOOR, LAMP), (HAT, DOOR), (THROW, HAT))
HATS = ("cap", "beanie", "top hat")  # of cast.HAIRS
UNREAD = "the oracle shots reads places, frames and effects of acts; this verdict does not"


@dataclasses.dataclass(frozen=True)
class StoryFacts:
    """The facts that a caption of family `story` states about a clip, and its characters.

    Attributes:
        board: the storyboard.
        characters: (part, index) in `cast.catalogue` of each character of the cast, with part
            "train" or "held_out"; captions do not state them. Default: (), unknown.
    """

    board: Storyboard
    characters: tuple[tuple[str, int], ...] = ()

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return {"board": self.board.to_dict(), "characters": [list(c) for c in self.characters]}

    @classmethod
    def from_dict(cls, fields: dict) -> "StoryFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        board = Storyboard.from_dict(fields["board"])
        return cls(board, tuple((part, index) for part, index in fields["characters"]))

    def key(self) -> str:
        """Returns the facts that decide the split of a take, as one string."""
        return f"{self.board.key()} | {self.characters}"


class Story(Family):
    """A family of stories: clips of several shots, with a cast that acts and speaks.

    Args:
        name: name of the family. Default: "story".
        shots: number of shots in the splits that SHOTS does not name. Default: 3.
    """

    splits = ("train", "val", "paraphrase", "order", "identity", "length")
    splits += tuple(f"gap_{n}" for n in range(1, MAX_GAP + 1))
    styles, facts_type, words = FILM_STYLES, StoryFacts, WORDS
    max_balls, max_cast, alike, own_seconds = 1, 2, True, True

    def __init__(self, name: str = "story", shots: int = 3) -> None:
        self.name, self.shots = name, shots
        if name != "story":
            self.splits = Story.splits[:5]
        self.formats = ("nano" if shots == 1 else f"story{shots}",)
        self.longest = shots * frames_of(SECONDS, FPS) / FPS
        self.text_length = 24 + 56 * shots

    def aim(self, stream: Stream, split: str, index: int, style: str | None) -> tuple[str, int]:
        """Draws the aim of a take, (style, number of shots). The arguments are those of
        `Family.aim`.
        """
        return style or stream.choice(FILM_STYLES), SHOTS.get(split, self.shots)

    def draw_facts(self, stream: Stream, split: str, aim: tuple[str, int]) -> StoryFacts:
        """Draws a storyboard and the characters of its cast.

        Args:
            stream: random numbers of the take.
            split: split of the take. "identity" has held-out characters. Splits whose names begin
                with "gap" have wide shots at both ends. The facts may belong to another split
                (`split_of`); the caller then draws again.
            aim: (style, number of shots) from `aim`.
        """
        style, shots = aim
        board = draw_board(stream, style, shots, wide_ends=split.startswith("gap"))
        part = "held_out" if split == "identity" else "train"
        known, bare = catalogue(part), bareheaded(part)
        chosen = [stream.choice(bare)]
        while len(chosen) < len(board.cast):
            other = stream.choice(bare)
            if other not in chosen and distinct(voice_of(known[other]), voice_of(known[chosen[0]])):
                chosen.append(other)
        return StoryFacts(board, tuple((part, index) for index in chosen))

    def split_of(self, facts: StoryFacts) -> str:
        """Returns the split of facts: the one that alone shows such facts, else one by a hash of
        `facts.key()`; "none" if two splits would.
        """
        largest, shots = gap(facts.board), len(facts.board.shots)
        held_out = {
            "identity": any(part == "held_out" for part, _ in facts.characters),
            "order": held_out_order(facts.board),
            "length": shots == LONG and largest <= TRAIN_GAP,
            f"gap_{largest}": largest > TRAIN_GAP,
        }
        matches = [split for split, applies in held_out.items() if applies]
        if matches:  # held out twice: belongs to no split
            return matches[0] if len(matches) == 1 else "none"
        rank = zlib.crc32(facts.key().encode()) % 20
        if rank < 3:
            return ("val", "val", "paraphrase")[rank]
        return f"gap_{largest}" if largest and rank == 3 else "train"

    def draw_scene(
        self, stream: Stream, facts: StoryFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, and its motion, which lasts as long as the shots.

        Returns None if this draw fails. `stream` gives the random numbers; `seconds` is not used.
        """
        cast = tuple(catalogue(part)[index] for part, index in facts.characters)
        lengths = tuple(frames_of(shot.seconds, FPS) / FPS for shot in facts.board.shots)
        return stage(facts.board, cast, stream, lengths)

    def caption(self, facts: StoryFacts, variant: int, split: str) -> str:
        """Returns the storyboard as text: prose for an even `variant`, cards for an odd one.

        `variant`, any non-negative integer, also selects the paraphrase.
        """
        cards = bool(variant % 2)
        return write(facts.board, variant, held_out=split == "paraphrase", cards=cards)

    def intent(self, facts: StoryFacts, variant: int) -> str | None:
        """Returns the storyboard as text without outcomes of throws; None if no act has one.

        `variant` selects the form and the paraphrase, as in `caption`.
        """
        acts = [act for shot in facts.board.shots for act in shot.acts]
        if not any(act.outcome for act in acts):
            return None
        return write(facts.board.intended(), variant, cards=bool(variant % 2))

    def restyled(self, facts: StoryFacts, style: str) -> StoryFacts:
        """Returns the facts with another style, a name in FILM_STYLES."""
        return dataclasses.replace(facts, board=dataclasses.replace(facts.board, style=style))

    def parse(self, text: str) -> StoryFacts:
        """Returns the facts of a storyboard, written as prose or cards. Raises CaptionError if the
        text is no storyboard.
        """
        return StoryFacts(read(text))

    def judge(self, facts: StoryFacts, reading: Reading) -> list[Line]:
        """Returns lines of ambience and cuts, compared with the clip, and unread lines of all other
        facts. `reading` holds the measurements of the clip.
        """
        board = facts.board
        if reading.audio_fault:
            judged = [Line.unread(None, "ambience", board.ambience, reading.audio_fault)]
        else:
            judged = [Line.compare(None, "ambience", board.ambience, reading.ambience)]
        judged.append(_cuts_line(board, reading))
        judged.append(Line.unread(None, "style", board.style, NO_STYLE))
        lines: list[tuple[str, Any]] = []
        for number, shot in enumerate(board.shots, 1):
            lines += [(f"shot {number}: place", shot.place), (f"shot {number}: frame", shot.frame)]
            lines.append((f"shot {number}: camera", shot.move))
            lines += [(f"shot {number}: {act.kind}", _act_text(act)) for act in shot.acts]
        return judged + [Line.unread(None, fact, value, UNREAD) for fact, value in lines]


def _cuts_line(board: Storyboard, reading: Reading) -> Line:
    """Returns the line of the cuts, with times in s.

    It is met if each visible cut of the storyboard (`visible_cuts`) is seen within one frame, and
    each cut that is seen is within one frame of a cut of the storyboard.
    """
    fps = Fraction(reading.fps).limit_denominator(1001)
    try:
        frames = [frames_of(shot.seconds, fps) for shot in board.shots[:-1]]
    except UserError as error:
        return Line.unread(None, "cuts", None, str(error))
    starts = [float(frame / fps) for frame in itertools.accumulate(frames)]
    visible = [t for t, shows in zip(starts, visible_cuts(board), strict=True) if shows]
    met = _all_near(visible, reading.cuts, fps) and _all_near(reading.cuts, starts, fps)
    asked, seen = ([round(t, 3) for t in times] for times in (visible, reading.cuts))
    return Line(None, "cuts", asked, seen, met)


def _all_near(times: Sequence[float], others: Sequence[float], fps: Fraction) -> bool:
    """Returns whether each of `times` is within one frame of one of `others`; all are in s."""
    return all(any(abs(time - other) <= 1.01 / fps for other in others) for time in times)


def _act_text(act: Act) -> str:
    return " ".join(part for part in (act.who, act.to, act.outcome, *act.words) if part)


@functools.cache
def bareheaded(part: str) -> tuple[int, ...]:
    """Returns the indices of the characters of a part of the catalogue that wear no hat.

    Only they play in stories, where a hat shows that an actor has put it on.
    """
    return tuple(i for i, character in enumerate(catalogue(part)) if character.hair not in HATS)


def held_out_order(board: Storyboard) -> bool:
    """Returns whether the acts of a storyboard have an order that only the split `order` shows."""
    kinds = [act.kind for shot in board.shots for act in shot.acts]
    first = {kind: kinds.index(kind) for kind in set(kinds)}
    pairs = itertools.permutations(first, 2)
    return any(first[a] < first[b] and (a, b) in HELD_OUT_ORDERS for a, b in pairs)
