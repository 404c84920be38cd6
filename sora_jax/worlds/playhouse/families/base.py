"""What a family of scenes is: it draws scenes, describes them, reads descriptions back, and judges
clips by them.

    @FAMILIES.register
    class Rain(Family):
        name, facts_type, words = "rain", RainFacts, WORDS

        def draw_facts(self, stream, split, aim): ...
        def draw_scene(self, stream, facts, seconds): ...
        def caption(self, facts, variant, split): ...
        def parse(self, text): ...
        def judge(self, facts, reading): ...

A subclass of a family of ours, with a name of its own, is the shortest way to another one
(`docs/examples/own_family.py`).
"""

import abc
import dataclasses
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from sora_jax.worlds.playhouse.captions import MAX_BALLS
from sora_jax.worlds.playhouse.spec import CLIP_SECONDS, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

# Random keys of the first families, by name. Every other key is made of the family's name, above
# these numbers.
FIRST_KEYS: dict[str, tuple[int, ...]] = {
    "room": (),
    "court": (1,),
    "film": (2,),
    "occlude": (3,),
}
MADE_OF_NAMES = 1 << 32


@dataclasses.dataclass(frozen=True)
class Line:
    """One fact of a prompt, as asked and as seen in a clip.

    Attributes:
        ball: the ball's colour; None for a fact of the whole clip.
        fact: its name, such as "size".
        asked: the prompt's value; None where the prompt has no such ball.
        seen: the oracles' value; None where there is none.
        met: whether both agree; None where no oracle reads the fact. A line that is not read does
            not count against the prompt.
        reason: why the fact is not read or not met, where there is more to say.
    """

    ball: str | None
    fact: str
    asked: Any
    seen: Any
    met: bool | None
    reason: str | None = None

    @classmethod
    def compare(
        cls, ball: str | None, fact: str, asked: Any, seen: Any, reason: str | None = None
    ) -> "Line":
        """A fact that is met if it is seen as asked."""
        met = asked == seen
        return cls(ball, fact, asked, seen, met, None if met else reason)

    @classmethod
    def unread(cls, ball: str | None, fact: str, asked: Any, reason: str) -> "Line":
        """A fact that no oracle reads."""
        return cls(ball, fact, asked, None, None, reason)


def unasked(seen: Iterable[str], asked: Iterable[str]) -> list[Line]:
    """Lines for the colours of balls that are seen and not asked for."""
    return [Line.compare(c, "colour", None, c) for c in sorted(set(seen) - set(asked))]


class Reading(Protocol):
    """What a judge may ask of a clip; `oracles.reading.Reading` answers.

    Attributes:
        frames, fps: [F, H, W, 3] in [0, 1]; frames/s.
        unheard: why nothing can be said about the sound; None where something can.
        tracks: a track (`colour`, `radius` in m [F], `copies` [F]) of every colour seen.
        seen: times of the impacts in the picture, s.
        balls: `captions.BallFacts` of every ball, also of one that is hidden most of the time.
        facts: `captions.Facts` of the balls that are seen in half of the frames.
        landings: the colours of the balls in the order in which they first strike the floor.
        coherent: whether every ball of a room is one thing throughout.
        words: the words heard, in order.
        style: the style; None for none of the world's.
        camera: `kind`, `direction` and `views` [F, 3] of a film's camera; None without posts.
        steady: the same clip as if that camera stood still; None without posts.
        stage: of a clip with a panel, its `camera`, `panel` (`left`, `right`, `there` [F]) and the
            clip as if that camera stood still (`steady`); None without posts.
        outcome: `action`, `direction`, `outcome` and `why` of a court; None without furniture.
        permanence: `same`, `back` and `on_course` of a ball that goes behind a panel; None where
            none does.
    """

    frames: np.ndarray
    unheard: str | None
    fps: float
    tracks: Sequence[Any]
    seen: Sequence[float]
    balls: Sequence[Any]
    landings: Sequence[str]
    steady: "Reading | None"
    stage: Any
    facts: Any
    coherent: bool
    words: Sequence[str]
    style: str | None
    camera: Any
    outcome: Any
    permanence: Any


class Family(Protocol):
    """A family of scenes. `FAMILIES` holds them by name; `draw.draw` turns one into a data set.

    Attributes:
        name: of the family, in flags and files.
        facts_type: class of its facts, with `key()`, `to_dict()` and `from_dict()`.
        words: every word of its captions and intents.
        version: raised when the family's takes change.
        max_balls: the most balls of a scene; renderers make room for them.
        splits: names of its splits, of `draw.SPLITS`.
        styles: styles that can be asked for; () where the family draws its own.
        text_length: words and marks that a prompt of it needs.
        formats: names of the formats that its data sets come in.
        train_size: takes in `train`; None where there is no end of them.
        longest: seconds for which its scenes are played, and their labels hold.
        alike: whether pictures of all its scenes are made of the same arrays, without shapes,
            moving cameras and styles; a tokenizer then renders them in its training step.
    """

    name: str
    facts_type: type
    words: tuple[str, ...]
    version: int = 1
    max_balls: int = MAX_BALLS
    splits: tuple[str, ...] = ("train", "val")
    styles: tuple[str, ...] = ()
    text_length: int = 48
    formats: tuple[str, ...] = ("nano",)
    train_size: int | None = None
    longest: float = CLIP_SECONDS
    alike: bool = False

    @property
    def random_key(self) -> tuple[int, ...]:
        """The family's part of the random key. Unless overridden it follows from the name, so a
        subclass with a name of its own draws other scenes.
        """
        own = (MADE_OF_NAMES + zlib.crc32(self.name.encode()),)
        return FIRST_KEYS.get(self.name, own)

    def styles_of(self, split: str) -> tuple[str, ...]:
        """The styles that can be asked for in a split. Default: all."""
        return self.styles

    def aim(self, stream: Stream, split: str, index: int, style: str | None) -> Any:
        """What is drawn once for a take, and kept while facts and scenes are drawn again, so that
        aims with few scenes are not rarer. Default: nothing.

        Args:
            style: the one that is asked for, or None.
        Raises:
            ValueError: the family is finite and has no take `index`.
        """
        return None

    @abc.abstractmethod
    def draw_facts(self, stream: Stream, split: str, aim: Any) -> Any:
        """Facts that a scene of this split could have."""

    def split_of(self, facts: Any) -> str:
        """The split that facts belong to. Default: one combination in ten is `val`."""
        return "val" if zlib.crc32(facts.key().encode()) % 10 == 0 else "train"

    @abc.abstractmethod
    def draw_scene(
        self, stream: Stream, facts: Any, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """A scene that fulfils the facts, with its motion; None if this draw does not."""

    @abc.abstractmethod
    def caption(self, facts: Any, variant: int, split: str) -> str:
        """The paraphrase number `variant` (any non-negative integer) of the facts."""

    def intent(self, facts: Any, variant: int) -> str | None:
        """A paraphrase of what is tried, without what comes of it. Default: None, there is none."""
        return None

    def details(self, scene: Scene, motion: Trajectory, facts: Any, seconds: float) -> dict:
        """Further fields of the `Take`. Default: none."""
        return {}

    @abc.abstractmethod
    def parse(self, text: str) -> Any:
        """Read a caption or an intent back into facts.

        Raises:
            captions.CaptionError: it is neither; with the column and what was expected there.
        """

    @abc.abstractmethod
    def judge(self, facts: Any, reading: Reading) -> list[Line]:
        """The facts of a caption as a clip shows them, a line for each; lines that no oracle reads
        say so (`Line.unread`).
        """
