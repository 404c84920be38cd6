"""Family `court`: an attempted action that succeeds or fails.

    action                           outcomes
    throw   at a hoop                swish, rim-in, bank-in, rim-out, board-out, short, airball
    shot    at a goal with a keeper  in, saved, post
    jump    a ball rolls at a gap    lands, falls

The outcome is drawn first, each of the twelve with equal probability. Then a launch with this
outcome is drawn by rejection sampling: the ball is aimed at a point of the furniture that suits the
outcome, and `court_outcome.outcome` determines the actual outcome from the exact motion. Captions
state the action and the outcome. Intents state the action alone, so a model must infer the outcome
from given first frames.

**Margins.** Two clips with the same first frames but different outcomes cannot be told apart.
`Take.margin` (`court_outcome.margins`) is a lower bound of the distance between the paths of two
outcomes. Scores leave out scenes whose margin is under MARGIN_PX pixels. So that enough scenes are
left, half of the takes are the draw with the largest margin of up to CANDIDATES draws.

**Splits.** `combo` holds out one colour of the ball for each outcome; no other split shows the two
together. Of the other 20 combinations of colour, size and direction with an outcome, a hash assigns
two to `val` and one to `paraphrase`, whose captions use held-out phrases. `ood_velocity` has faster
balls than all other splits, `ood_size` smaller and larger ones, and `ood_gravity` the gravity of
Mars (on the moon a throw would outlast a clip).

Scenes are drawn with the target to the right. A target to the left is the mirror image.
"""

import functools
import math
import operator
import zlib

import numpy as np

from sora_jax.worlds.playhouse.families import court_captions, furniture
from sora_jax.worlds.playhouse.families.base import Family, Line, Reading, unasked
from sora_jax.worlds.playhouse.families.court_captions import ACTIONS, OUTCOMES, CourtFacts
from sora_jax.worlds.playhouse.families.court_outcome import margins, outcome
from sora_jax.worlds.playhouse.families.furniture import (
    BAR_RADIUS,
    BOARD,
    BOARD_RADIUS,
    BOARD_TOP,
    EXTENT,
    GOAL,
    GOAL_HEIGHTS,
    HOOP_BACK,
    HOOP_FRONT,
    HOOP_HEIGHTS,
    KEEPER,
    PAD_RADIUS,
    RIM_RADIUS,
    Point,
)
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import (
    AMBIENCES,
    BELOW_FLOOR,
    COLOURS,
    DIRECTIONS,
    GRAVITIES,
    ROOM_BACKDROPS,
    STYLES,
    Ball,
    Scene,
    Shape,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

RADII = {"small": (0.19, 0.22), "large": (0.27, 0.31)}  # ranges in metres
OOD_RADII = {"small": (0.13, 0.16), "large": (0.35, 0.38)}
MATERIALS = ("rubber", "wood", "metal")
LONGEST = 1.6  # seconds: longest flight of a throw to the hoop
HEADROOM = 0.05  # least distance in metres between a ball and the upper edge of the view
# least margin that is scored, in pixels at every frame size; scenes are drawn for 64 pixels
MARGIN_PX = 1.5
SIZE_EDGE = 0.5 * (RADII["small"][1] + RADII["large"][0])  # metres: smaller radii count as small
SHOWN = 0.25  # least fraction of the frames in which a ball is seen; nets hide it in others
CANDIDATES = 12  # draws of a scene of which the one with the largest margin is kept
Launch = tuple[Point, Point, float, str]  # start, velocity, spin in rad/s, name in spec.LAUNCHES


class Court(Family):
    """The family `court`: throws, shots and jumps that succeed or fail."""

    name, max_balls, formats = "court", 1, ("S",)
    splits = ("train", "val", "ood_velocity", "ood_size", "ood_gravity", "combo", "paraphrase")
    facts_type = CourtFacts
    words, text_length = court_captions.WORDS, 24

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> tuple[str, str]:
        """Draws the aim of a take, (action, outcome). The arguments are those of `Family.aim`."""
        return stream.choice([(action, name) for action in ACTIONS for name in OUTCOMES[action]])

    def draw_facts(self, stream: Stream, split: str, aim: tuple[str, str]) -> CourtFacts:
        """Draws the colour, size and direction of the ball, each uniformly.

        Args:
            stream: random numbers of the take.
            split: split of the take. If its name begins with "ood", it is the regime of the facts;
                else the regime is "usual". The facts may belong to another split (`split_of`); the
                caller then draws again.
            aim: (action, outcome) from `aim`, such as ("throw", "rim-out").
        """
        colour, size, direction = (
            stream.choice(list(COLOURS)),
            stream.choice(list(RADII)),
            stream.choice(DIRECTIONS),
        )
        return CourtFacts(
            colour, size, *aim, direction, split if split.startswith("ood") else "usual"
        )

    def split_of(self, facts: CourtFacts) -> str:
        """Returns the split of facts, by their regime and by a hash of `facts.key()`."""
        if facts.regime != "usual":
            return facts.regime
        return _splits(facts.action, facts.outcome).get(facts.key(), "train")

    def draw_scene(
        self, stream: Stream, facts: CourtFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, and its motion over `seconds`.

        Returns None if this draw fails. `stream` gives the random numbers.
        """
        # for half of the takes, the draw with the largest margin of up to CANDIDATES
        found, limit = [], stream.choice((1, CANDIDATES))
        for _ in range(40 * limit):
            scene = _draw_scene(stream, facts)
            if scene is None or outcome(scene, facts.action, seconds) != facts.outcome:
                continue
            found.append((margins(scene, facts, seconds)[0] if limit > 1 else 0.0, scene))
            if len(found) == limit or found[-1][0] * 64.0 / EXTENT >= MARGIN_PX:
                break
        if not found:
            return None
        scene = max(found, key=operator.itemgetter(0))[1]
        if facts.direction == "left":
            scene = furniture.mirrored_scene(scene)
        return scene, simulate(scene, seconds)

    def caption(self, facts: CourtFacts, variant: int, split: str) -> str:
        """Returns the caption of facts; `variant`, any non-negative integer, selects the
        paraphrase.

        The captions of the split `paraphrase` have phrases that no other split uses.
        """
        return court_captions.caption(facts, variant, held_out=split == "paraphrase")

    def intent(self, facts: CourtFacts, variant: int) -> str:
        """Returns a caption without the outcome; `variant` selects the paraphrase."""
        return court_captions.intent(facts, variant)

    def details(self, scene: Scene, motion: Trajectory, facts: CourtFacts, seconds: float) -> dict:
        """Returns {"margin": metres, "margin_speed": m/s}, two fields of the `Take`: how much the
        path, and the speed of the launch, differ from those of another outcome.
        """
        right = scene if facts.direction == "right" else furniture.mirrored_scene(scene)
        margin, speed = margins(right, facts, seconds)
        return {"margin": margin, "margin_speed": speed}

    def parse(self, text: str) -> CourtFacts:
        """Returns the facts of a caption, or of an intent, whose outcome is "".

        Raises:
            CaptionError: the text is neither.
        """
        return court_captions.parse(text)

    def judge(self, facts: CourtFacts, reading: Reading) -> list[Line]:
        """Returns a line for each fact: colour, size, action, direction, target and outcome.

        The direction is that of the ball, the target the side of the hoop, goal or gap. The facts
        of an intent have no outcome. `reading` holds the measurements of the clip.
        """
        visible = [t for t in reading.tracks if np.mean(t.copies > 0) >= SHOWN]
        ball = next((t for t in visible if t.colour == facts.colour), None)
        seen, size, direction = reading.outcome, None, None
        if ball is not None:
            # the 75th percentile, because a net may hide parts of the ball for half of the clip
            radius = float(np.nanpercentile(ball.radius, 75)) * EXTENT / Scene.extent
            size = "small" if radius < SIZE_EDGE else "large"
            direction = {b.colour: b.direction for b in reading.balls}.get(ball.colour)
        lines = [
            Line.compare(facts.colour, "colour", facts.colour, ball and ball.colour),
            Line.compare(facts.colour, "size", facts.size, size),
            Line.compare(None, "action", facts.action, seen and seen.action),
            Line.compare(facts.colour, "direction", facts.direction, direction),
            Line.compare(None, "target", facts.direction, seen and seen.direction),
        ]
        if facts.outcome:
            reason = seen.why if seen else "there is no hoop, goal or gap"
            lines.append(
                Line.compare(None, "outcome", facts.outcome, seen and seen.outcome, reason or None)
            )
        return lines + unasked([t.colour for t in visible], [facts.colour])


@functools.cache
def _splits(action: str, outcome: str) -> dict[str, str]:
    """Returns {key of facts: split} for the facts with an outcome that do not belong to `train`.

    The keys (`CourtFacts.key`) are ranked by their hash, so that every outcome is in every split.
    """
    held_out = list(COLOURS)[zlib.crc32(outcome.encode()) % len(COLOURS)]
    tuples = [
        CourtFacts(c, s, action, outcome, d) for c in COLOURS for s in RADII for d in DIRECTIONS
    ]
    ranked = sorted(
        (f.key() for f in tuples if f.colour != held_out), key=lambda key: zlib.crc32(key.encode())
    )
    # the facts that are left belong to `train`
    named = dict(zip(ranked, ("val", "val", "paraphrase"), strict=False))
    return named | {f.key(): "combo" for f in tuples if f.colour == held_out}


def _draw_scene(stream: Stream, facts: CourtFacts) -> Scene | None:
    gravity = GRAVITIES["mars" if facts.regime == "ood_gravity" else "earth"]
    radius = stream.uniform(*(OOD_RADII if facts.regime == "ood_size" else RADII)[facts.size])
    shapes = {"throw": _hoop, "shot": _goal, "jump": _gap}[facts.action](stream, facts)
    build = {"throw": _throw, "shot": _shot, "jump": _jump}[facts.action]
    launch = build(stream, facts, shapes, radius, gravity)
    if launch is None:
        return None
    start, velocity, spin, kind = launch
    top = start[1] + (max(velocity[1], 0.0) ** 2 / (2.0 * gravity))
    if top + radius > EXTENT - BELOW_FLOOR - HEADROOM:
        return None
    ball = Ball(
        facts.colour,
        facts.size,
        stream.choice(MATERIALS),
        kind,
        "right",
        radius,
        start,
        velocity,
        spin,
    )
    return Scene(
        seed=stream.integer(1 << 31),
        balls=(ball,),
        style=stream.choice(STYLES),
        ambience=stream.choice(AMBIENCES),
        backdrop=stream.integer(ROOM_BACKDROPS),
        extent=EXTENT,
        gravity=gravity,
        ground="ground",
        shapes=shapes,
    )


def _flight(start: Point, target: Point, time: float, gravity: float) -> Point:
    """Returns the velocity (m/s) with which a ball flies from start to target in `time` seconds."""
    return (target[0] - start[0]) / time, (target[1] - start[1]) / time + 0.5 * gravity * time


def _hoop(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    return furniture.hoop(stream.uniform(*HOOP_HEIGHTS))


def _throw(
    stream: Stream, facts: CourtFacts, shapes: tuple[Shape, ...], r: float, g: float
) -> Launch:
    h, outcome = shapes[0].points[0][1], facts.outcome
    start = stream.uniform(r + 0.15, 1.0), stream.uniform(0.9, 1.5)
    if outcome == "swish":
        target = stream.uniform(HOOP_FRONT + r + 0.1, HOOP_BACK - r - 0.1), h
    elif outcome in (
        "rim-in",
        "rim-out",
    ):  # the contact: mostly the inside of the back rim, or the outside of the front rim
        inside = outcome == "rim-in"
        nx = stream.uniform(-0.92, -0.72) if inside else stream.uniform(-1.0, -0.1)
        reach, rim = r + RIM_RADIUS, HOOP_BACK if inside else HOOP_FRONT
        target = rim + nx * reach, h + math.sqrt(1.0 - nx * nx) * reach
    elif outcome == "bank-in":
        target = BOARD - BOARD_RADIUS - r, h + stream.uniform(0.15, 0.9)
    elif outcome == "board-out":
        target = BOARD - BOARD_RADIUS - r, h + stream.uniform(0.6, 0.9)
    elif outcome == "short":
        target = HOOP_FRONT - r - stream.uniform(0.05, 1.0), h + stream.uniform(-0.6, 0.0)
    else:
        target = BOARD, h + BOARD_TOP + BOARD_RADIUS + r + stream.uniform(0.15, 0.7)
    # A faster throw is a higher one, so it takes longer. Under other gravity, times scale with
    # sqrt(1 / g).
    if facts.regime == "ood_velocity":
        time = stream.uniform(1.2, 1.42)
    elif outcome == "board-out":
        time = stream.uniform(0.42, 0.55)
    else:
        time = stream.uniform(0.75, 1.1)
    time *= math.sqrt(GRAVITIES["earth"] / g)
    return start, _flight(start, target, min(time, LONGEST), g), 0.0, "thrown"


def _goal(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    """Draws a goal with a keeper that moves up and down."""
    h = stream.uniform(*GOAL_HEIGHTS)
    low, high, knots, time = 0.32, h - 0.35, [], 0.0
    at = stream.uniform(low, high)
    while time < 2.6:
        knots.append((time, 0.0, at))
        time, at = time + stream.uniform(0.35, 0.6), stream.uniform(low, high)
    knots.append((time, 0.0, at))
    return furniture.goal(h, tuple(knots))


def _shot(
    stream: Stream, facts: CourtFacts, shapes: tuple[Shape, ...], r: float, g: float
) -> Launch:
    h, outcome = shapes[0].points[0][1], facts.outcome
    start = stream.uniform(r + 0.15, 1.0), stream.uniform(r + 0.02, 0.8)
    if outcome == "in":
        target = GOAL, stream.uniform(r, h - BAR_RADIUS - r)
    elif outcome == "saved":
        target = KEEPER - PAD_RADIUS - r, stream.uniform(0.2, h - 0.2)
    else:
        target = GOAL, h + stream.uniform(-1.0, 1.0) * (r + BAR_RADIUS)
    time = stream.uniform(
        *((0.34, 0.44) if facts.regime == "ood_velocity" else (0.5, 0.85))
    ) * math.sqrt(GRAVITIES["earth"] / g)
    return start, _flight(start, target, time, g), 0.0, "thrown"


def _gap(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    """Draws two platforms with a gap; the second one is somewhat lower."""
    edge, top = stream.uniform(1.5, 2.0), stream.uniform(1.2, 1.7)
    return furniture.gap(
        edge, top, edge + stream.uniform(0.75, 1.5), top - stream.uniform(0.25, 0.7)
    )


def _jump(
    stream: Stream, facts: CourtFacts, shapes: tuple[Shape, ...], r: float, g: float
) -> Launch | None:
    (edge, top), (far, low) = shapes[0].points[2], shapes[1].points[3]
    start = stream.uniform(r + 0.1, 0.6), top + r
    fall = math.sqrt(2.0 * (top - low) / g)
    needed = (far - edge) / fall
    speed = (
        stream.uniform(1.0, 1.5) * needed
        if facts.outcome == "lands"
        else stream.uniform(0.5, 1.0) * needed
    )
    slow, fast = (3.6, 4.6) if facts.regime == "ood_velocity" else (1.7, 3.5)
    if not slow <= speed / math.sqrt(g / GRAVITIES["earth"]) <= fast:
        return None
    return start, (speed, 0.0), -speed / r, "rolled"
