"""The interface of a family, a kind of scenes: drawing, captioning, parsing and judging.

    @FAMILIES.register
    class Rain(Family):
        name, facts_type, words = "rain", RainFacts, WORDS

        def draw_facts(self, stream, split, aim): ...         # what a caption will state
        def draw_scene(self, stream, facts, seconds): ...     # a scene that shows it
        def caption(self, facts, variant, split): ...
        def parse(self, text): ...                            # caption -> facts
        def judge(self, facts, reading): ...                  # facts against a clip

The shortest way to a new family is a subclass of a family of this package, with a name of its own
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

# Random keys of these families, by name. The keys of other families are hashes of their names plus
# MADE_OF_NAMES, so they differ from these.
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
NO_STYLE = "the oracle style is not calibrated on clips with faces"


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of a judgement: a fact with its value in the prompt and in a clip.

    Attributes:
        ball: colour of the ball that the fact is about; None for a fact of the whole clip.
        fact: name of the fact, such as "size".
        asked: value in the prompt; None if the prompt has no such ball.
        seen: value that the oracles read in the clip; None if they read none.
        met: True if both are equal; None if no oracle reads the fact. Unread facts are not counted.
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
        """Returns the line of a fact that an oracle reads: `met` is True if `asked` equals `seen`.

        The arguments are the attributes of `Line`. `reason` is kept only if the fact is not met.
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
    """Returns a line, not met, for each colour of a ball that is in the clip but not in the prompt.

    `seen` and `asked` are the colours of the balls in the clip and in the prompt.
    """
    return [Line.compare(c, "colour", None, c) for c in sorted(set(seen) - set(asked))]


class Reading(Protocol):
    """The measurements of a clip that a judge may use. `oracles.reading.Reading` implements it.

    Attributes:
        frames: the frames, [F, H, W, 3] in [0, 1].
        fps: frames/s.
        audio_fault: why the audio cannot be judged; None if it can.
        tracks: a track for each colour of a ball that is seen: `colour`, `position` [F, 2] and
            `radius` [F] in metres, and `copies` [F], the number of discs of the colour.
        seen_impacts: times of the visible impacts, s.
        balls: `captions.BallFacts` of every ball, also of one that is hidden most of the time.
        facts: `captions.Facts` of the balls that are visible in half of the frames.
        landings: colours of the balls in the order in which they first hit the floor.
        coherent: whether every ball of a room is one object throughout the clip.
        words: the words heard, in order.
        faces: the faces seen, from left to right.
        lips: how mouths and speech agree in time: `follow`, True if they do, `offset`, the delay of
            the sound in s, and `correlation`; None if no mouth moves or nothing is heard.
        lips_fault: why mouths and speech cannot be compared; None if they can.
        speakers: who speaks: its `turns`, in order, each with `face`, the index of the face whose
            mouth moves, or None.
        style: the style, such as "anime"; None if it is none of the world's styles.
        camera: the camera of a film: `kind`, `direction` and `views` [F, 3], (left, top, width) in
            metres; None if the posts at the sides of the scene are not seen.
        steady: a reading of the clip with the motion of that camera removed; None without posts.
        stage: for a clip with a panel that hides balls: its `camera`, its `panel` (`left` and
            `right` in metres, `present` [F]), and `steady`, a reading with the camera's motion
            removed; None without posts.
        outcome: `action`, `direction`, `outcome` and `why` (the reason if there is no outcome) of a
            clip of family `court`; None without its furniture.
        permanence: of a ball that goes behind a panel: `same`, True if it is one ball throughout,
            `back`, True if it is seen again, `on_course`, True if one path explains both; None if
            no ball does.
        cuts: times in s at which a shot begins, without the first shot.
        ambience: the background sound, a name in SOUNDSCAPES or SILENCE; None for another sound.
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
    """The interface of a family: a kind of scenes with its own facts, captions and judge.

    `FAMILIES` holds the families by name. `draw.draw` draws takes (scenes with motion, facts and
    captions) of a family. Facts are what a caption states of a scene.

    Attributes:
        name: name of the family, in flags and files.
        facts_type: class of its facts, with `key()`, `to_dict()` and `from_dict()`.
        words: every word of its captions and intents.
        version: raise it when the takes of the family change. Default: 1.
        max_balls: largest number of balls of a scene; arrays of the renderer have as many slots.
            Default: MAX_BALLS.
        max_cast: largest number of actors of a scene, likewise. Default: 0.
        splits: names of its splits, from `draw.SPLITS`. Default: train and val.
        styles: styles that a caller can choose. Default: (), the family draws its own.
        text_length: tokens (words and punctuation marks) that its prompts need. Default: 48.
        formats: names of the clip formats of its data sets. Default: ("nano",).
        train_size: number of takes in `train`. Default: None, without limit.
        longest: duration in seconds up to which the facts of its scenes hold. Default:
            CLIP_SECONDS.
        alike: True if the renderer needs the same arrays for all its scenes, because they have no
            shapes, moving cameras or styles of films. The training step of a tokenizer then renders
            them. Default: False.
        own_seconds: True if the scenes have a duration of their own, so that `draw` refuses another
            one. Default: False.
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
    own_seconds: bool = False

    @property
    def random_key(self) -> tuple[int, ...]:
        """The integers of the family in the random key of each of its takes (`stream.Stream`).

        By default they follow from the name, so a subclass with another name draws other scenes.
        """
        hashed = (MADE_OF_NAMES + zlib.crc32(self.name.encode()),)
        return FIRST_KEYS.get(self.name, hashed)

    def styles_of(self, split: str) -> tuple[str, ...]:
        """Returns the styles that a caller can choose in a split. Default: all."""
        return self.styles

    def aim(self, stream: Stream, split: str, index: int, style: str | None) -> Any:
        """Draws the aim of a take: a part of its facts, such as the outcome. Default: None.

        The aim stays while other facts and scenes are redrawn until they fit. Aims that few scenes
        fulfil are therefore as frequent as others.

        Args:
            stream: random numbers of the take.
            split: one of `splits`.
            index: index of the take in its split.
            style: the style that the caller chose; None if the family draws it.

        Raises:
            UserError: the family has a finite number of takes, and none with this index.
        """
        return None

    @abc.abstractmethod
    def draw_facts(self, stream: Stream, split: str, aim: Any) -> Any:
        """Draws facts that include the aim. They may belong to another split (`split_of`); the
        caller then draws again.

        Args:
            stream: random numbers of the take.
            split: one of `splits`.
            aim: the result of `aim` for the take.
        """

    def split_of(self, facts: Any) -> str:
        """Returns the name of the split that facts belong to.

        Default: "val" for one of ten combinations of facts, by a hash of `facts.key()`, else
        "train".
        """
        return "val" if zlib.crc32(facts.key().encode()) % 10 == 0 else "train"

    @abc.abstractmethod
    def draw_scene(
        self, stream: Stream, facts: Any, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene and its motion. Returns None if they do not fulfil the facts; the caller
        then draws again.

        Args:
            stream: random numbers of the take.
            facts: the facts that the scene must show.
            seconds: duration of the motion.
        """

    @abc.abstractmethod
    def caption(self, facts: Any, variant: int, split: str) -> str:
        """Returns a caption, a text that states the facts.

        Args:
            facts: the facts.
            variant: any non-negative integer, which selects the paraphrase.
            split: one of `splits`; those of "paraphrase" may have phrases of their own.
        """

    def intent(self, facts: Any, variant: int) -> str | None:
        """Returns a text that states the attempted action, but not its outcome.

        Default: None, for a family without outcomes.

        Args:
            facts: the facts.
            variant: any non-negative integer, which selects the paraphrase.
        """
        return None

    def restyled(self, facts: Any, style: str) -> Any:
        """Returns the facts with another style, for a family that has several styles.

        Default: the facts with this style in their `look`.
        """
        return dataclasses.replace(facts, look=dataclasses.replace(facts.look, style=style))

    def details(self, scene: Scene, motion: Trajectory, facts: Any, seconds: float) -> dict:
        """Returns further fields of the `Take`, {name: value}, such as "margin". Default: {}.

        Args:
            scene: the scene.
            motion: its motion.
            facts: its facts.
            seconds: duration of the motion.
        """
        return {}

    @abc.abstractmethod
    def parse(self, text: str) -> Any:
        """Returns the facts that a caption or an intent states.

        Args:
            text: a text such as `caption` and `intent` return.

        Raises:
            captions.CaptionError: it is no caption or intent of the family. The message says the
                column and what was expected there.
        """

    @abc.abstractmethod
    def judge(self, facts: Any, reading: Reading) -> list[Line]:
        """Compares the facts of a prompt with a clip. Returns a line for each fact.

        Facts that no oracle reads have a line that says so (`Line.unread`).

        Args:
            facts: the facts of the prompt.
            reading: the measurements of the clip.
        """
