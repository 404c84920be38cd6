"""Family `occlude`: object permanence. A ball goes behind a panel and still exists, in four styles.

The ball has one of three fates:

    passes     it comes out on the other side
    returns    it hits the wall behind the panel and comes out where it went in
    revealed   it stays behind the panel until the panel lifts

The panel does not affect the motion. The interval in which it hides the whole ball is exact
(`hiding.py`) and stored with the take. Intents state only that the ball goes behind the panel, so
a model must infer the fate from given first frames.

The ball is in full view for at least the first and the last CLEAR seconds, and fully hidden for at
least HIDDEN seconds in between. The camera stands still, pans or pushes in. A camera that
follows the ball, or shakes at an impact, would reveal where a hidden ball is.

**Splits**, by the facts alone: `ood_velocity` has faster balls than all other splits, `ood_size`
smaller and larger ones. `combo` holds out one colour of the ball for each fate. Of the other facts,
a hash assigns two in twenty to `val` and one to `paraphrase`, whose captions use held-out phrases.
"""

import dataclasses
import zlib
from typing import Any

import numpy as np

from sora_jax.worlds.playhouse.camera import filmed
from sora_jax.worlds.playhouse.captions import NOUNS, BallFacts, Picker, Reader
from sora_jax.worlds.playhouse.families.base import Family, Line, Reading, unasked
from sora_jax.worlds.playhouse.families.film import FASTEST, OOD_SIZES, OOD_SPEED, faster
from sora_jax.worlds.playhouse.families.look import WORDS as LOOK_WORDS
from sora_jax.worlds.playhouse.families.look import (
    Look,
    draw_look,
    judge_look,
    pairs,
    parse_look,
    words_of,
)
from sora_jax.worlds.playhouse.families.room import draw_ball
from sora_jax.worlds.playhouse.hiding import hidden
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import (
    AMBIENCES,
    BELOW_FLOOR,
    COLOURS,
    DIRECTIONS,
    FILM_STYLES,
    ROOM_BACKDROPS,
    SIZES,
    Scene,
    Shape,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

CLEAR, HIDDEN = 0.25, 0.2  # seconds: least time in full view at each end, and fully hidden
HEADROOM = 0.05  # least distance in metres between a ball and the upper edge of the view
FOOT = -0.15  # metres: y of a panel's foot, which is nearer to the viewer than the balls
SPEED = 1.2  # factor on the speeds of balls of family `room`
LIFT = 0.25  # seconds in which a panel lifts
MOVES = ("static", "pan", "push-in")  # camera moves
LAUNCHES = {
    "thrown": ("is thrown to the {d}", "flies to the {d}", "is tossed {d}"),
    "rolled": ("rolls to the {d}", "rolls {d}", "is rolled to the {d}"),
}
GOES = ("and goes behind the panel", "and passes behind the panel", "and vanishes behind the panel")
FATES = {
    "passes": (
        "and comes out on the other side",
        "and appears on the other side",
        "and leaves it on the far side",
    ),
    "returns": ("and comes back", "and comes out where it went in", "and returns from there"),
    "revealed": (
        "and is there when the panel lifts",
        "and the lifting panel shows it",
        "until the panel lifts",
    ),
}
_LAUNCHES = {
    (launch, d): tuple(p.format(d=d) for p in phrases)
    for launch, phrases in LAUNCHES.items()
    for d in DIRECTIONS
}
_PHRASES = [
    phrase for phrases in (*_LAUNCHES.values(), GOES, *FATES.values()) for phrase in phrases
]
WORDS = tuple(sorted({*" ".join(_PHRASES).split(), "a", *NOUNS, *COLOURS, *SIZES, *LOOK_WORDS}))


@dataclasses.dataclass(frozen=True)
class OccludeFacts:
    """The facts that a caption states about a clip of family `occlude`, and its regime.

    Attributes:
        colour: colour of the ball, a name in COLOURS.
        size: size of the ball, "small" or "large".
        launch: "thrown" or "rolled".
        direction: direction of the ball, "left" or "right".
        fate: "passes", "returns" or "revealed"; "" for an intent.
        look: style and camera.
        regime: "usual", or the split `ood_...` whose speed or size the ball has; captions do not
            state it. Default: "usual".
    """

    colour: str
    size: str
    launch: str
    direction: str
    fate: str
    look: Look
    regime: str = "usual"

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "OccludeFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        values: dict[str, Any] = {**fields, "look": Look(**fields["look"])}
        return cls(**values)

    def key(self) -> str:
        """Returns the facts that decide the split of a take, as one string."""
        return (
            f"{self.colour} {self.size} {self.launch} {self.direction} {self.fate} "
            f"{self.look} {self.regime}"
        )


class Occlude(Family):
    """The family `occlude`: a ball goes behind a panel and comes out, returns or is revealed."""

    name, max_balls, formats = "occlude", 1, ("nano", "S")
    splits = ("train", "val", "ood_velocity", "ood_size", "combo", "paraphrase")
    styles = FILM_STYLES
    facts_type = OccludeFacts
    words, text_length = WORDS, 36

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> tuple[str, Look]:
        """Draws the aim of a take, (fate, look). The arguments are those of `Family.aim`."""
        return stream.choice(list(FATES)), draw_look(stream, *stream.choice(pairs(style, MOVES)))

    def draw_facts(self, stream: Stream, split: str, aim: tuple[str, Look]) -> OccludeFacts:
        """Draws the colour, size, launch and direction of the ball, each uniformly.

        Args:
            stream: random numbers of the take.
            split: split of the take. If its name begins with "ood", it is the regime of the facts;
                else the regime is "usual". The facts may belong to another split (`split_of`); the
                caller then draws again.
            aim: (fate, look) from `aim`. The fate is "passes", "returns" or "revealed"; the look is
                style and camera.
        """
        colour, size, launch, direction = (
            stream.choice(list(options)) for options in (COLOURS, SIZES, LAUNCHES, DIRECTIONS)
        )
        return OccludeFacts(
            colour, size, launch, direction, *aim, split if split.startswith("ood") else "usual"
        )

    def split_of(self, facts: OccludeFacts) -> str:
        """Returns the split of facts, by their regime and by a hash of `facts.key()`."""
        if facts.regime != "usual":
            return facts.regime
        if list(COLOURS).index(facts.colour) == zlib.crc32(facts.fate.encode()) % len(COLOURS):
            return "combo"
        return {0: "val", 1: "val", 2: "paraphrase"}.get(
            zlib.crc32(facts.key().encode()) % 20, "train"
        )

    def draw_scene(
        self, stream: Stream, facts: OccludeFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, and its motion over `seconds`.

        Returns None if this draw fails. `stream` gives the random numbers.
        """
        scene = Scene(
            seed=stream.integer(1 << 31),
            balls=(),
            style=facts.look.style,
            ambience=stream.choice(AMBIENCES),
            backdrop=stream.integer(ROOM_BACKDROPS),
        )
        sizes, speed = (
            OOD_SIZES if facts.regime == "ood_size" else SIZES,
            OOD_SPEED if facts.regime == "ood_velocity" else SPEED,
        )
        ball = draw_ball(
            stream,
            BallFacts(facts.colour, facts.size, facts.launch, facts.direction, 0),
            scene.extent,
            sizes,
            speed,
        )
        if facts.regime == "ood_velocity" and not faster((ball,), SPEED * FASTEST):
            return None
        scene = dataclasses.replace(scene, balls=(ball,))
        try:
            motion = simulate(scene, seconds)
        except TooManyEvents:
            return None
        path = motion.positions(np.arange(65) / 64.0 * seconds)[:, 0]
        if path[:, 1].max() + ball.radius > scene.extent - BELOW_FLOOR - HEADROOM:
            return None
        for _ in range(12):
            staged = dataclasses.replace(
                scene, shapes=(_panel(stream, facts, scene, float(path[-1, 0]), seconds),)
            )
            if fate(staged, motion, seconds) == facts.fate:
                staged = filmed(staged, motion, facts.look.camera, facts.look.direction, seconds)
                return staged, simulate(staged, seconds)  # same motion, plus the panel's
        return None

    def caption(self, facts: OccludeFacts, variant: int, split: str) -> str:
        """Returns the caption of facts; `variant`, any non-negative integer, selects the
        paraphrase.

        The captions of the split `paraphrase` have phrases that no other split uses.
        """
        return caption(facts, variant, held_out=split == "paraphrase")

    def details(
        self, scene: Scene, motion: Trajectory, facts: OccludeFacts, seconds: float
    ) -> dict:
        """Returns {"hidden": (ball, start, end) in s of each interval in which the panel hides the
        whole ball}, a field of the `Take`.
        """
        return {"hidden": hidden(scene, motion, seconds)}

    def intent(self, facts: OccludeFacts, variant: int) -> str:
        """Returns a caption without the fate of the ball; `variant` selects the paraphrase."""
        return caption(dataclasses.replace(facts, fate=""), variant)

    def parse(self, text: str) -> OccludeFacts:
        """Returns the facts of a caption, or of an intent, whose fate is "". Raises CaptionError if
        the text is neither.
        """
        return parse(text)

    def judge(self, facts: OccludeFacts, reading: Reading) -> list[Line]:
        """Returns a line for each fact: look, colour, size, launch, direction, and whether the ball
        goes behind the panel.

        For a caption there are also lines of the fate, and of whether the ball is the same one
        afterwards and on its course. `reading` holds the measurements of the clip.
        """
        stage, permanence = reading.stage, reading.permanence
        move = (None, None) if stage is None else (stage.camera.kind, stage.camera.direction)
        balls = {} if stage is None else {ball.colour: ball for ball in stage.steady.balls}
        ball = balls.get(facts.colour)
        lines = judge_look(facts.look, reading.style, move)
        for fact in ("colour", "size", "launch", "direction"):
            seen = None if ball is None else getattr(ball, fact)
            lines.append(Line.compare(facts.colour, fact, getattr(facts, fact), seen))
        lines.append(
            Line.compare(facts.colour, "goes behind the panel", True, permanence is not None)
        )
        if facts.fate:
            seen = seen_fate(reading, facts.colour)
            lines.append(Line.compare(facts.colour, "fate", facts.fate, seen))
            for fact, field in (("is the same", "same"), ("on its course", "on_course")):
                seen = None if permanence is None else getattr(permanence, field)
                lines.append(Line.compare(facts.colour, fact, True, seen))
        return lines + unasked(balls, [facts.colour])


def seen_fate(reading: Reading, colour: str) -> str | None:
    """Returns the fate of the ball of a colour in a clip: "passes", "returns" or "revealed".

    It is None without a panel, or if the ball is not visible both before and after the panel hides
    it. `reading` holds the measurements of the clip.
    """
    stage, permanence = reading.stage, reading.permanence
    if stage is None or stage.panel is None or permanence is None or not permanence.back:
        return None
    if not stage.panel.present[-1]:
        return "revealed"
    track = next((t for t in stage.steady.tracks if t.colour == colour), None)
    if track is None:
        return None
    visible = np.flatnonzero(track.copies > 0)
    if len(visible) < 2 or np.diff(visible).max() < 2:
        return None
    longest = int(np.argmax(np.diff(visible)))
    before, after = track.position[visible[longest : longest + 2], 0]
    middle = 0.5 * (stage.panel.left + stage.panel.right)
    return "passes" if (before < middle) != (after < middle) else "returns"


def _panel(stream: Stream, facts: OccludeFacts, scene: Scene, last: float, seconds: float) -> Shape:
    """Draws a panel that stands on the floor.

    For "returns" it stands at the wall to which the ball moves. For "revealed" it stands at x =
    `last`, the end of the ball's motion, and lifts. For "passes" it stands anywhere.
    """
    wide, high = stream.uniform(0.9, 1.9), stream.uniform(1.2, 2.9)
    if facts.fate == "returns":
        left = scene.extent - wide + 0.3 if facts.direction == "right" else -0.3
    elif facts.fate == "revealed":
        left = last - wide * stream.uniform(0.2, 0.8)
    else:
        left = stream.uniform(0.6, scene.extent - 0.6 - wide)
    corners = ((left, FOOT), (left + wide, FOOT), (left + wide, high), (left, high))
    path: tuple[tuple[float, float, float], ...] = ()
    if facts.fate == "revealed":
        lifts = seconds - CLEAR - LIFT - stream.uniform(0.1, 0.4)
        path = ((0.0, 0.0, 0.0), (lifts, 0.0, 0.0), (lifts + LIFT, 0.0, scene.extent + 1.0))
    return Shape(corners, "panel", front=True, path=path)


def fate(scene: Scene, motion: Trajectory, seconds: float) -> str | None:
    """Returns the fate of the ball of a scene: "passes", "returns" or "revealed".

    It is None unless the exact motion shows it clearly: hidden once, for at least HIDDEN seconds,
    with CLEAR seconds before and after. `seconds` is the duration of the clip.
    """
    behind, partly = hidden(scene, motion, seconds), hidden(scene, motion, seconds, fully=False)
    if len(behind) != 1 or len(partly) != 1 or behind[0][2] - behind[0][1] < HIDDEN:
        return None
    _, enters, leaves = partly[0]
    if enters < CLEAR or leaves > seconds - CLEAR:
        return None
    if scene.shapes[0].moves:
        return (
            "revealed"
            if behind[0][2] >= scene.shapes[0].path[1][0] >= behind[0][1] + HIDDEN
            else None
        )
    (x0, y0), (x1, y1) = motion.positions(np.array([enters, leaves]))[:, 0]
    left, right, top = (
        scene.shapes[0].points[0][0],
        scene.shapes[0].points[1][0],
        scene.shapes[0].points[2][1],
    )
    if max(y0, y1) > top:  # the ball passes over the panel
        return None
    middle = 0.5 * (left + right)
    return "passes" if (x0 < middle) != (x1 < middle) else "returns"


def caption(facts: OccludeFacts, variant: int = 0, held_out: bool = False) -> str:
    """Returns the caption of facts, or their intent if they have no fate.

    Args:
        facts: the facts.
        variant: any non-negative integer, which selects the paraphrase. Default 0.
        held_out: True for the phrases that only the split `paraphrase` uses. Default False.
    """
    pick = Picker(variant, held_out)
    look, launch, goes = (
        words_of(facts.look, pick),
        pick.phrase(LAUNCHES[facts.launch]).format(d=facts.direction),
        pick.phrase(GOES),
    )
    text = f"{look}a {facts.size} {facts.colour} {NOUNS[pick.variant % 2]} {launch} {goes}"
    return f"{text} {pick.phrase(FATES[facts.fate])}" if facts.fate else text


def parse(text: str) -> OccludeFacts:
    """Returns the facts of a caption, or of an intent, whose fate is "".

    Raises:
        CaptionError: the text is neither. The message says the column and what was expected there.
    """
    look, rest = parse_look(text)
    reader = Reader(rest)
    size, colour = reader.ball()
    launch, direction = reader.phrase(_LAUNCHES, "a launch such as 'rolls to the left'")
    reader.phrase({"": GOES}, f"{GOES[0]!r}")
    fate = ""
    if not reader.ended:
        fate = reader.phrase(FATES, f"a fate such as {FATES['passes'][0]!r}")
        reader.finish()
    return OccludeFacts(colour, size, launch, direction, fate, look)
