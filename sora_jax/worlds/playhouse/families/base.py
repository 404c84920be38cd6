"""The interface of a family of scenes: drawing, captioning, parsing and judging.

    @FAMILIES.register
    class Rain(Family):
        name, facts_type, words = "rain", RainFacts, WORDS

        def draw_facts(self, stream, split, aim): ...
        def draw_scene(self, stream, facts, seconds): ...
        def caption(self, facts, variant, split): ...
        def parse(self, text): ...
        def judge(self, facts, reading): ...

The shortest way to a family of your own is a subclass of a family of this package, with a name
of its own (`docs/examples/own_family.py`).
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

# Random keys of these families, by name. The keys of other families are computed from their names
# and are above these numbers.
FIRST_KEYS: dict[str, tuple[int, ...]] = {
    "room": (),
    "court": (1,),
    "film": (2,),
    "occlude": (3,),
    "talk": (4,),
    "story": (5,),
    "story_1": (6,),
    "story_2": (7,),
    "story_4": (8,),
}
MADE_OF_NAMES = 1 << 32


@dataclasses.dataclass(frozen=True)
class Line:
    """One fact of a prompt, with its value in the prompt and in a clip.

    Attributes:
        ball: the ball's colour; None for a fact of the whole clip.
        fact: its name, such as "size".
        asked: the prompt's value; None if the prompt has no such ball.
        seen: the value that the oracles read; None if they read none.
        met: whether both agree; None if no oracle reads the fact. An unread fact does not count
            against the prompt.
        reason: why the fact is not read or not met, if that is not clear. Default: None.
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
        """Returns the line of a fact, with `met` True if the prompt's value equals the clip's.

        The arguments are the attributes of `Line`.
        """
        met = asked == seen
        return cls(ball, fact, asked, seen, met, None if met else reason)

    @classmethod
    def unread(cls, ball: str | None, fact: str, asked: Any, reason: str) -> "Line":
        """Returns the line of a fact that no oracle reads. The arguments are the attributes of
        `Line`.
        """
        return cls(ball, fact, asked, None, None, reason)


def unasked(seen: Iterable[str], asked: Iterable[str]) -> list[Line]:
    """Returns a line for each colour of a ball that is in the clip (`seen`) but not in the prompt
    (`asked`).
    """
    return [Line.compare(c, "colour", None, c) for c in sorted(set(seen) - set(asked))]


class Reading(Protocol):
    """The measurements of a clip that a judge may use. `oracles.reading.Reading` implements it.

    Attributes:
        frames, fps: [F, H, W, 3] in [0, 1]; frames/s.
        audio_fault: why the audio cannot be judged; None if it can.
        tracks: a track (`colour`, `radius` in m [F], `copies` [F]) of every colour seen.
        seen_impacts: times of the visible impacts, s.
        balls: `captions.BallFacts` of every ball, also of one that is hidden most of the time.
        facts: `captions.Facts` of the balls that are visible in half of the frames.
        landings: colours of the balls in the order in which they first hit the floor.
        coherent: whether every ball of a room is one object throughout the clip.
        words: the words heard, in order.
        faces: the faces seen, from left to right.
        lips: whether the mouths `follow` the speech, its `offset` in s and the `correlation`; None
            without either.
        lips_fault: why mouths and speech cannot be compared; None if they can.
        speakers: the `turns` of the speakers, each with the number of its `face`, or None.
        style: the style; None for none of the world's styles.
        camera: `kind`, `direction` and `views` [F, 3] of a film's camera; None without posts.
        steady: a reading of the clip with the motion of that camera removed; None without posts.
        stage: for a clip with a panel, its `camera`, its `panel` (`left`, `right`, `present` [F]),
            and a reading with the camera's motion removed (`steady`); None without posts.
        outcome: `action`, `direction`, `outcome` and `why` of a court; None without furniture.
        permanence: `same`, `back` and `on_course` of a ball that goes behind a panel; None if no
            ball does.
        cuts: times at which a new shot begins, after the first, s.
        ambience: the soundscape, a name in SOUNDSCAPES or SILENCE; None for another sound.
    """

    frames: np.ndarray
    audio_fault: str | None
    fps: float
    tracks: Sequence[Any]
    seen_impacts: Sequence[float]
    balls: Sequence[Any]
    landings: Sequence[str]
    steady: "Reading | None"
    stage: Any
    facts: Any
    coherent: bool
    words: Sequence[str]
    faces: Sequence[Any]
    lips: Any
    lips_fault: str | None
    speakers: Any
    style: str | None
    camera: Any
    outcome: Any
    permanence: Any
    cuts: Sequence[float]
    ambience: str | None


class Family(Protocol):
    """The interface of a family of scenes.

    `FAMILIES` holds the families by name. `draw.draw` turns one into a data set.

    Attributes:
        name: of the family, in flags and files.
        facts_type: class of its facts, with `key()`, `to_dict()` and `from_dict()`.
        words: every word of its captions and intents.
        version: raised when the family's takes change. Default: 1.
        max_balls: largest number of balls of a scene; renderers allocate as many slots. Default:
            MAX_BALLS.
        max_cast: largest number of actors of a scene, likewise. Default: 0.
        splits: names of its splits, from `draw.SPLITS`. Default: train and val.
        styles: styles that a caller can choose. Default: (), the family draws its own.
        text_length: tokens (words and punctuation marks) that its prompts need. Default: 48.
        formats: names of the clip formats of its data sets. Default: "nano".
        train_size: number of takes in `train`. Default: None, no end of them.
        longest: duration in seconds of its scenes, for which their labels hold. Default:
            CLIP_SECONDS.
        alike: True if the frames of all its scenes are made of the same arrays, without shapes,
            moving cameras and styles. A tokenizer then renders them in its training step. Default:
            False.
    """

    name: str
    facts_type: type
    words: tuple[str, ...]
    version: int = 1
    max_balls: int = MAX_BALLS
    max_cast: int = 0
    splits: tuple[str, ...] = ("train", "val")
    styles: tuple[str, ...] = ()
    text_length: int = 48
    formats: tuple[str, ...] = ("nano",)
    train_size: int | None = None
    longest: float = CLIP_SECONDS
    alike: bool = False

    @property
    def random_key(self) -> tuple[int, ...]:
        """The integers that begin the random key of each take of the family.

        By default they follow from the name, so a subclass with another name draws other scenes.
        """
        hashed = (MADE_OF_NAMES + zlib.crc32(self.name.encode()),)
        return FIRST_KEYS.get(self.name, hashed)

    def styles_of(self, split: str) -> tuple[str, ...]:
        """Returns the styles that a caller can choose in a split. Default: all."""
        return self.styles

    def aim(self, stream: Stream, split: str, index: int, style: str | None) -> Any:
        """Draws the aim of a take: what its scene must show. Default: None.

        An aim stays while facts and scenes are redrawn. Aims that few scenes fulfil are therefore
        as frequent as others.

        Args:
            stream: random numbers of the take.
            split: one of `splits`.
            index: number of the take.
            style: the style that the caller chose, or None.
        Raises:
            UserError: the family is finite and has no take `index`.
        """
        return None

    @abc.abstractmethod
    def draw_facts(self, stream: Stream, split: str, aim: Any) -> Any:
        """Draws facts that a scene of a split could have.

        Args:
            stream: random numbers of the take.
            split: one of `splits`.
            aim: the result of `aim` for the take.
        """

    def split_of(self, facts: Any) -> str:
        """Returns the name of the split that facts belong to.

        Default: `val` for one combination in ten, by a hash of `facts.key()`, else `train`.
        """
        return "val" if zlib.crc32(facts.key().encode()) % 10 == 0 else "train"

    @abc.abstractmethod
    def draw_scene(
        self, stream: Stream, facts: Any, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene and its motion; None if this draw does not fulfil the facts, and another is
        needed.

        Args:
            stream: random numbers of the take.
            facts: the facts that the scene must show.
            seconds: duration of the motion.
        """

    @abc.abstractmethod
    def caption(self, facts: Any, variant: int, split: str) -> str:
        """Returns the caption of facts.

        Args:
            facts: the facts.
            variant: any non-negative integer, which selects the paraphrase.
            split: one of `splits`.
        """

    def intent(self, facts: Any, variant: int) -> str | None:
        """Returns a text of the attempted action, without its outcome. Default: None, no outcomes.

        Args:
            facts: the facts.
            variant: any non-negative integer, which selects the paraphrase.
        """
        return None

    def restyled(self, facts: Any, style: str) -> Any:
        """Returns the facts with another style, for a family with several.

        Default: the facts with this style in their `look`.
        """
        return dataclasses.replace(facts, look=dataclasses.replace(facts.look, style=style))

    def details(self, scene: Scene, motion: Trajectory, facts: Any, seconds: float) -> dict:
        """Returns further fields of the `Take` by name. Default: {}.

        Args:
            scene: the scene.
            motion: its motion.
            facts: its facts.
            seconds: duration of the motion.
        """
        return {}

    @abc.abstractmethod
    def parse(self, text: str) -> Any:
        """Returns the facts of a caption or an intent.

        Args:
            text: what `caption` or `intent` returned.
        Raises:
            captions.CaptionError: it is neither; with the column and what was expected there.
        """

    @abc.abstractmethod
    def judge(self, facts: Any, reading: Reading) -> list[Line]:
        """Returns a line for each fact of a caption, which compares it with a clip.

        Facts that no oracle reads have a line that says so (`Line.unread`).

        Args:
            facts: the facts of the caption.
            reading: measurements of the clip.
        """
