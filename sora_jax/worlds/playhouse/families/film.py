"""Family `film`: the balls of a room, in one of four styles, with a camera and sometimes a voice.

The camera stands still or moves. The voice, if there is one, says the colour of a ball at the
start.

Facts are those of a room (family `room`), style and camera, the order in which the first two balls
land if two bounce, and the index of the voice.

**Splits**, by the facts alone:

    ood_velocity   thrown or rolled faster than in any other split
    ood_size       balls smaller or larger than in any other split
    ood_gravity    the gravity of Mars
    length         clips that last twice as long; the facts are those of the whole clip
    speakers       a voice that no other split has
    combo          a style with a camera move (3 of 20 pairs) that no other split shows together
    order          a colour that lands before another (6 of 30 pairs); no other split has this order
    val, paraphrase, train   all other facts, by a hash: two in twenty, one, and seventeen;
                             `paraphrase` uses held-out phrases
"""

import dataclasses
import re
import zlib
from collections.abc import Sequence

import numpy as np

from sora_jax.worlds.playhouse import captions
from sora_jax.worlds.playhouse.camera import SHAKEN, WIDE, WIDTH, filmed
from sora_jax.worlds.playhouse.captions import Facts, Picker
from sora_jax.worlds.playhouse.families import room
from sora_jax.worlds.playhouse.families.base import Family, Line, Reading
from sora_jax.worlds.playhouse.families.look import WORDS as LOOK_WORDS
from sora_jax.worlds.playhouse.families.look import (
    Look,
    draw_look,
    judge_look,
    pairs,
    parse_look,
    words_of,
)
from sora_jax.worlds.playhouse.spec import (
    COLOURS,
    FILM_STYLES,
    GRAVITIES,
    SIZES,
    Ball,
    Narration,
    Scene,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory
from sora_jax.worlds.playhouse.voice import HELD_OUT_VOICES, TRAIN_VOICES

OOD_SIZES = {"small": (0.15, 0.18), "large": (0.50, 0.54)}
# factor on the speeds of `ood_velocity`; fastest sideways speed of all other splits, m/s
OOD_SPEED, FASTEST = 1.5, 2.6
LONGER = 2.0  # duration of clips of the split `length`, in usual durations
NAMED = 0.2  # time in s at which a voice says the colour of the first ball
HELD_OUT_PAIRS = (("realistic", "shake"), ("cinematic", "pan"), ("anime", "follow"))
ORDER_PHRASES = (
    ". The {a} one lands before the {b} one",
    ". First the {a} one lands, then the {b} one",
    ". The {b} one lands after the {a} one",
)
VOICE_PHRASES = (". A voice says {a}", ". Someone says {a}", ". {a} is said aloud")
_ENDS = re.sub(r"[.,]|\{.\}", " ", " ".join((*ORDER_PHRASES, *VOICE_PHRASES)).lower())
WORDS = tuple(sorted({*captions.WORDS, *LOOK_WORDS, *_ENDS.split()}))


def held_out_order(first: tuple[str, str]) -> bool:
    """Returns whether only the split `order` shows two balls that land in this order.

    `first` holds their colours, in the order of landing. The reverse order is not held out.
    """
    colours = list(COLOURS)
    return (colours.index(first[1]) - colours.index(first[0])) % len(colours) == 2


@dataclasses.dataclass(frozen=True)
class FilmFacts:
    """The facts that a caption states about a clip of family `film`, and its regime.

    Attributes:
        balls: the facts of the balls. A voice names the first one.
        look: style and camera.
        first: colours of the first two balls that land, in order. Default: None, fewer than two
            balls bounce.
        voice: index in `voice.VOICES` of the voice that speaks. Default: None, no voice.
        regime: "usual", or the name of a split, `ood_...` or `length`, whose speeds, sizes, gravity
            or duration the scene has; captions do not state it. Default: "usual".
    """

    balls: Facts
    look: Look
    first: tuple[str, str] | None = None
    voice: int | None = None
    regime: str = "usual"

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return {
            "balls": self.balls.to_dict(),
            "look": dataclasses.asdict(self.look),
            "first": self.first,
            "voice": self.voice,
            "regime": self.regime,
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "FilmFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        first = (fields["first"][0], fields["first"][1]) if fields["first"] else None
        return cls(
            Facts.from_dict(fields["balls"]),
            Look(**fields["look"]),
            first,
            fields["voice"],
            fields["regime"],
        )

    def key(self) -> str:
        """Returns the facts that decide the split of a take, as one string."""
        return f"{self.balls.key()} | {self.look} | {self.first} | {self.voice} | {self.regime}"


class Film(Family):
    """The family `film`: balls in a room, in one of four styles, seen by a camera that may move.

    In half of the clips a voice names a ball.
    """

    name, formats = "film", ("nano", "S")
    splits = (
        "train",
        "val",
        "ood_velocity",
        "ood_size",
        "ood_gravity",
        "combo",
        "order",
        "paraphrase",
        "speakers",
        "length",
    )
    styles = FILM_STYLES
    facts_type = FilmFacts
    words, text_length = WORDS, 80

    def styles_of(self, split: str) -> tuple[str, ...]:
        """Returns the styles that a caller can choose in a split: all, except "flat" in `combo`."""
        held_out = {style for style, _ in HELD_OUT_PAIRS}
        return tuple(style for style in self.styles if split != "combo" or style in held_out)

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> tuple[int, Look]:
        """Draws the aim of a take, (number of balls, look). The arguments are those of
        `Family.aim`.
        """
        count = stream.choice(list(room.COUNT_WEIGHTS), room.COUNT_WEIGHTS.values())
        if split == "order":
            count = max(count, 2)
        return count, draw_look(
            stream,
            *stream.choice(
                [p for p in pairs(style) if (p in HELD_OUT_PAIRS) == (split == "combo")]
            ),
        )

    def draw_facts(self, stream: Stream, split: str, aim: tuple[int, Look]) -> FilmFacts:
        """Draws the balls, the order in which they land, and the voice, if there is one.

        Args:
            stream: random numbers of the take.
            split: split of the take. "speakers" has the held-out voices. "length", or a name that
                begins with "ood", is the regime of the facts; else the regime is "usual". The facts
                may belong to another split (`split_of`); the caller then draws again.
            aim: (number of balls, look) from `aim`; the look is style and camera.
        """
        balls = room.draw_balls(stream, aim[0])
        landing = [ball.colour for ball in balls.balls if ball.bounces]
        first = (
            (landing.pop(stream.integer(len(landing))), stream.choice(landing))
            if len(landing) > 1
            else None
        )
        voice = stream.choice(TRAIN_VOICES) if stream.integer(2) else None
        if split == "speakers":
            voice = stream.choice(HELD_OUT_VOICES)
        return FilmFacts(
            balls,
            aim[1],
            first,
            voice,
            split if split.startswith("ood") or split == "length" else "usual",
        )

    def split_of(self, facts: FilmFacts) -> str:
        """Returns the split of facts: the one that alone shows such facts, else one by a hash of
        `facts.key()`; "none" if two splits would.
        """
        held_out = {
            "speakers": facts.voice in HELD_OUT_VOICES,
            "combo": (facts.look.style, facts.look.camera) in HELD_OUT_PAIRS,
            "order": facts.first is not None and held_out_order(facts.first),
        }
        if sum(held_out.values()) > 1 or (facts.regime != "usual" and any(held_out.values())):
            return "none"  # held out twice: belongs to no split
        if any(held_out.values()):
            return next(split for split, applies in held_out.items() if applies)
        if facts.regime != "usual":
            return facts.regime
        return {0: "val", 1: "val", 2: "paraphrase"}.get(
            zlib.crc32(facts.key().encode()) % 20, "train"
        )

    def draw_scene(
        self, stream: Stream, facts: FilmFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, and its motion over `seconds`, twice as long in the
        split `length`.

        Returns None if this draw fails. `stream` gives the random numbers.
        """
        seconds *= LONGER if facts.regime == "length" else 1.0
        sizes, speed = (
            OOD_SIZES if facts.regime == "ood_size" else SIZES,
            OOD_SPEED if facts.regime == "ood_velocity" else 1.0,
        )
        gravity = GRAVITIES["mars" if facts.regime == "ood_gravity" else "earth"]
        scene = room.draw_alone(stream, facts.balls, seconds, sizes, speed, gravity)
        if scene is None:
            return None
        if facts.regime == "ood_velocity" and not faster(scene.balls, FASTEST):
            return None
        motion = room.play(scene, facts.balls, seconds)
        if motion is None or (facts.first and landings(scene, motion)[:2] != facts.first):
            return None
        scene = filmed(
            dataclasses.replace(scene, style=facts.look.style),
            motion,
            facts.look.camera,
            facts.look.direction,
            seconds,
        )
        if facts.voice is not None:
            scene = dataclasses.replace(
                scene, narration=Narration(facts.voice, ((NAMED, facts.balls.balls[0].colour),))
            )
        return scene, motion

    def caption(self, facts: FilmFacts, variant: int, split: str) -> str:
        """Returns the caption of facts; `variant`, any non-negative integer, selects the
        paraphrase.

        The captions of the split `paraphrase` have phrases that no other split uses.
        """
        return caption(facts, variant, held_out=split == "paraphrase")

    def parse(self, text: str) -> FilmFacts:
        """Returns the facts of a caption. Raises CaptionError if the text is no such caption."""
        return parse(text)

    def judge(self, facts: FilmFacts, reading: Reading) -> list[Line]:
        """Returns a line for each fact: style, camera, voice, order of landing, and the balls.

        Balls are read with the motion of the camera removed. `reading` holds the measurements of
        the clip.
        """
        steady = reading.steady
        lines = judge_look(facts.look, reading.style, seen_camera(reading))
        lines += _judge_voice(facts, reading)
        if steady is None:
            return lines + [
                Line.unread(ball.colour, "colour", ball.colour, "no posts show the camera's move")
                for ball in facts.balls.balls
            ]
        if facts.first is not None:
            landed = " before ".join(steady.landings[:2]) or None
            lines.append(Line.compare(None, "landing", " before ".join(facts.first), landed))
        return lines + room.judge_balls(facts.balls, steady)


def seen_camera(reading: Reading) -> tuple[str | None, str | None]:
    """Returns (move, direction) of the camera in a clip of family `film`; (None, None) if unknown.

    A camera that follows a ball which falls straight down, or that shakes in a clip without
    impacts, does not move. Only the width of its view then differs from that of a static camera.
    """
    camera, steady = reading.camera, reading.steady
    if camera is None or camera.kind != "static":
        return (None, None) if camera is None else (camera.kind, camera.direction)
    assert steady is not None, "a clip whose camera was read has a steady reading"
    width = float(np.median(camera.views[:, 2])) / Scene.extent
    lawful = {"static": WIDTH}
    if any(ball.launch == "dropped" for ball in steady.balls):
        lawful["follow"] = WIDE
    if not steady.seen_impacts:
        lawful["shake"] = SHAKEN
    return min(lawful, key=lambda kind: abs(lawful[kind] - width)), None


def _judge_voice(facts: FilmFacts, reading: Reading) -> list[Line]:
    """Returns the line of the spoken word; none if the prompt has no voice and no word is heard."""
    expected = None if facts.voice is None else facts.balls.balls[0].colour
    if reading.audio_fault:
        return [Line.unread(None, "voice", expected, reading.audio_fault)] if expected else []
    heard = " ".join(reading.words) or None
    return [Line.compare(None, "voice", expected, heard)] if expected or heard else []


def faster(balls: Sequence[Ball], limit: float) -> bool:
    """Returns whether every thrown or rolled ball is faster than `limit` m/s sideways; False if all
    balls are dropped.
    """
    speeds = [abs(ball.velocity[0]) for ball in balls if ball.launch != "dropped"]
    return bool(speeds) and min(speeds) > limit


def landings(scene: Scene, motion: Trajectory) -> tuple[str, ...]:
    """Returns the colours of the balls of a scene, in the order in which they first hit the floor.

    Rolled balls lie on the floor and are left out. `motion` is that of the scene.
    """
    return tuple(
        dict.fromkeys(scene.balls[c.a].colour for c in motion.contacts if c.kind == "floor")
    )


def caption(facts: FilmFacts, variant: int = 0, held_out: bool = False) -> str:
    """Returns the caption of facts.

    Args:
        facts: the facts.
        variant: any non-negative integer, which selects the paraphrase. Default 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    pick = Picker(variant, held_out)
    text = words_of(facts.look, pick)
    ends = (
        pick.phrase(ORDER_PHRASES).format(a=facts.first[0], b=facts.first[1]) if facts.first else ""
    )
    ends += (
        pick.phrase(VOICE_PHRASES).format(a=facts.balls.balls[0].colour)
        if facts.voice is not None
        else ""
    )
    return text + captions.caption(facts.balls, pick.variant) + ends


def parse(text: str) -> FilmFacts:
    """Returns the facts of a caption of family `film`.

    A caption does not state which voice speaks, so `voice` is 0 for any voice.

    Raises:
        CaptionError: the text is no caption. The message says the column and what was expected.
    """
    look, rest = parse_look(text)
    rest, named = _ending(rest, VOICE_PHRASES)
    rest, order = _ending(rest, ORDER_PHRASES)
    balls = captions.parse(rest)
    if named:  # the named ball is the first of the facts, in any order of mention
        balls = Facts(tuple(sorted(balls.balls, key=lambda ball: ball.colour != named["a"])))
    return FilmFacts(balls, look, (order["a"], order["b"]) if order else None, 0 if named else None)


def _ending(text: str, phrases: Sequence[str]) -> tuple[str, dict | None]:
    """Splits off one of `phrases` at the end of a text.

    Returns (the text before it, the colours in it by the names of their slots), or (text, None) if
    the text ends with none of the phrases.
    """
    colour = "|".join(COLOURS)
    for phrase in phrases:
        pattern = (
            re.escape(phrase)
            .replace(r"\{a\}", f"(?P<a>{colour})")
            .replace(r"\{b\}", f"(?P<b>{colour})")
        )
        found = re.search(pattern + r"\.?\s*$", text, re.IGNORECASE)
        if found:
            return text[: found.start()], {
                name: value.lower() for name, value in found.groupdict().items()
            }
    return text, None
