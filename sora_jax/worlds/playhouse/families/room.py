"""Family `room`: one to three balls are dropped, thrown or rolled in a room and bounce.

A scene is drawn again if its facts could not be read from a clip at 8 frames/s, where an arc
between two contacts needs two frames to be visible. This is so if it has one of the following:

    - a contact in the last QUIET_END seconds: the motion after it would not be visible
    - two contacts of one ball closer than CLEAR_GAP seconds, or of any two balls closer than APART
      seconds
    - a contact with walls or balls slower than FAINT: a graze is neither visible nor audible
    - a contact before CLEAR_START: the launch would not be visible
    - a ball that rises above the view, or a rolled ball that is knocked off the floor

The split is a hash of the facts (`Facts.key`): one combination of facts in ten belongs to `val`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sora_jax.worlds.playhouse.captions import WORDS, BallFacts, Facts, caption, parse
from sora_jax.worlds.playhouse.events import REST_GRAVITY, REST_SPEED
from sora_jax.worlds.playhouse.families.base import Family, Line, Reading, unasked
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import (
    AMBIENCES,
    BELOW_FLOOR,
    COLOURS,
    DIRECTIONS,
    GRAVITIES,
    MATERIALS,
    ROOM_BACKDROPS,
    SIZES,
    STYLES,
    Ball,
    Scene,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Contact, Trajectory

# seconds
QUIET_END = 0.27
CLEAR_GAP = 0.28
CLEAR_START = 0.25
APART = 0.04
FAINT = 0.7  # m/s
HEADROOM = 0.05  # least distance in metres between a ball and the upper edge of the view

# probabilities of the number of balls, of launches, and of the number of bounces
COUNT_WEIGHTS = {1: 0.45, 2: 0.42, 3: 0.13}
LAUNCH_WEIGHTS = {"dropped": 0.35, "thrown": 0.4, "rolled": 0.25}
BOUNCE_WEIGHTS = {1: 0.4, 2: 0.4, 3: 0.2}
OF_A_BALL = ("size", "launch", "direction", "bounces")  # facts that are judged for each ball


class Room(Family):
    """The family `room`: one to three balls bounce in a room.

    Attributes:
        gravity: in m/s^2; a subclass may have another one. Default: that of the earth.
    """

    name, facts_type, gravity = "room", Facts, GRAVITIES["earth"]
    # Captions of three balls need up to 52 tokens, once in thousands; these are cut.
    words, text_length = WORDS, 48
    alike = True

    def aim(self, stream: Stream, split: str, index: int, style: str | None = None) -> int:
        """Draws the aim of a take, its number of balls. The arguments are those of `Family.aim`."""
        return stream.choice(list(COUNT_WEIGHTS), COUNT_WEIGHTS.values())

    def draw_facts(self, stream: Stream, split: str, count: int) -> Facts:
        """Draws the facts of `count` balls, the aim of the take.

        `stream` gives the random numbers; `split` is not used.
        """
        return draw_balls(stream, count)

    def draw_scene(
        self, stream: Stream, facts: Facts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene that fulfils the facts, and its motion over `seconds`.

        Returns None if this draw fails. `stream` gives the random numbers.
        """
        scene = draw_alone(stream, facts, seconds, gravity=self.gravity)
        if scene is None:
            return None
        motion = play(scene, facts, seconds)
        return None if motion is None else (scene, motion)

    def caption(self, facts: Facts, variant: int, split: str) -> str:
        """Returns the caption of facts; `variant`, any non-negative integer, selects the
        paraphrase.

        `split` is not used.
        """
        return caption(facts, variant)

    def parse(self, text: str) -> Facts:
        """Returns the facts of a caption. Raises CaptionError if the text is no such caption."""
        return parse(text)

    def judge(self, facts: Facts, reading: Reading) -> list[Line]:
        """Returns a line for each fact of each ball (`judge_balls`). `reading` holds the
        measurements of the clip.
        """
        return judge_balls(facts, reading)


def judge_balls(facts: Facts, reading: Reading) -> list[Line]:
    """Compares the balls of a caption with those of a clip.

    A ball is identified by its colour.

    Args:
        facts: the facts of the caption.
        reading: the measurements of the clip.

    Returns:
        A line of the number of balls, one of whether each is one object throughout ("persistent"),
        one for each fact of each ball, and one for each ball that only the clip has.
    """
    balls = {ball.colour: ball for ball in reading.facts.balls}
    lines = [
        Line.compare(None, "balls", len(facts.balls), len(balls)),
        Line.compare(None, "persistent", True, reading.coherent if balls else None),
    ]
    for ball in facts.balls:
        seen = balls.get(ball.colour)
        lines.append(Line.compare(ball.colour, "colour", ball.colour, seen and seen.colour))
        for fact in OF_A_BALL:
            expected = getattr(ball, fact)
            # a dropped ball has no direction to judge
            if fact != "direction" or expected is not None:
                value = None if seen is None else getattr(seen, fact)
                lines.append(Line.compare(ball.colour, fact, expected, value))
    return lines + unasked(balls, [ball.colour for ball in facts.balls])


def draw_balls(stream: Stream, count: int, names: Sequence[str] = tuple(COLOURS)) -> Facts:
    """Draws the facts of `count` balls of different colours.

    Args:
        stream: random numbers.
        count: number of balls.
        names: names of the colours from which is drawn. Default: COLOURS.
    """
    colours, balls = list(names), []
    for _ in range(count):
        colour = colours.pop(stream.integer(len(colours)))
        size = stream.choice(list(SIZES))
        launch = stream.choice(list(LAUNCH_WEIGHTS), LAUNCH_WEIGHTS.values())
        direction = None if launch == "dropped" else stream.choice(DIRECTIONS)
        bounces = (
            0
            if launch == "rolled"
            else stream.choice(list(BOUNCE_WEIGHTS), BOUNCE_WEIGHTS.values())
        )
        balls.append(BallFacts(colour, size, launch, direction, bounces))
    return Facts(tuple(balls))


def draw_alone(
    stream: Stream,
    facts: Facts,
    seconds: float,
    sizes: Mapping[str, tuple[float, float]] = SIZES,
    speed: float = 1.0,
    gravity: float = GRAVITIES["earth"],
) -> Scene | None:
    """Draws a scene that would fulfil the facts if no ball met another.

    Args:
        stream: random numbers.
        facts: facts of the balls.
        seconds: duration of the clip.
        sizes: {size: range of the radius in metres}. Default: SIZES.
        speed: factor on the velocities of thrown and rolled balls. Default: 1.
        gravity: m/s^2. Default: that of the earth.

    Returns:
        The scene, or None if no such ball is found in 200 draws.
    """
    scene = Scene(
        seed=stream.integer(1 << 31),
        balls=(),
        style=stream.choice(STYLES),
        ambience=stream.choice(AMBIENCES),
        backdrop=stream.integer(ROOM_BACKDROPS),
        gravity=gravity,
    )
    balls: list[Ball] = []
    for fact in facts.balls:
        for _ in range(200):
            ball = draw_ball(stream, fact, scene.extent, sizes, speed)
            if _reads_alone(ball, fact, scene, seconds) and all(
                _apart(ball, other) for other in balls
            ):
                balls.append(ball)
                break
        else:
            return None
    return dataclasses.replace(scene, balls=tuple(balls))


def draw_ball(
    stream: Stream,
    fact: BallFacts,
    extent: float,
    sizes: Mapping[str, tuple[float, float]] = SIZES,
    speed: float = 1.0,
) -> Ball:
    """Draws a ball with the size and the launch of `fact`.

    Args:
        stream: random numbers.
        fact: facts of the ball.
        extent: width of the room in metres.
        sizes: {size: range of the radius in metres}. Default: SIZES.
        speed: factor on the velocity of a thrown or rolled ball. Default: 1.
    """
    radius = stream.uniform(*sizes[fact.size])
    sign = {None: 0.0, "left": -1.0, "right": 1.0}[fact.direction]
    margin = radius + 0.1
    if fact.launch == "dropped":
        x, height, velocity = (
            stream.uniform(margin, extent - margin),
            stream.uniform(0.5, 2.7),
            (0.0, 0.0),
        )
    else:  # start on the side from which there is room to move
        near = stream.uniform(margin, 0.55 * extent)
        x = near if sign > 0 else extent - near
        if fact.launch == "thrown":
            height, velocity = (
                stream.uniform(0.5, 2.4),
                (sign * (speed * stream.uniform(1.0, 2.6)), stream.uniform(0.0, 3.0)),
            )
        else:
            height, velocity = 0.0, (sign * (speed * stream.uniform(0.7, 2.2)), 0.0)
    material = stream.choice(list(MATERIALS))
    return Ball(
        fact.colour,
        fact.size,
        material,
        fact.launch,
        fact.direction,
        radius,
        (x, radius + height),
        velocity,
    )


def _reads_alone(ball: Ball, fact: BallFacts, scene: Scene, seconds: float) -> bool:
    """Returns whether a ball that meets no other would bounce as `fact` states and stay in view.

    It is computed in closed form, without a simulation. Walls do not change the result.
    """
    if fact.launch == "rolled":
        return True
    g, height, up = scene.gravity, ball.position[1] - ball.radius, ball.velocity[1]
    if ball.position[1] + ball.radius + up * up / (2.0 * g) > scene.extent - BELOW_FLOOR - HEADROOM:
        return False
    speed = math.sqrt(up * up + 2.0 * g * height)
    time, bounces = (up + speed) / g, 0
    while time < seconds:
        if time > seconds - QUIET_END:
            return False
        speed *= MATERIALS[ball.material].restitution
        if speed < REST_SPEED * (g / REST_GRAVITY):
            break
        bounces += 1
        time += 2.0 * speed / g
    return bounces == fact.bounces


def _apart(a: Ball, b: Ball) -> bool:
    dx, dy = a.position[0] - b.position[0], a.position[1] - b.position[1]
    reach = a.radius + b.radius + 0.15
    return dx * dx + dy * dy > reach * reach


def play(scene: Scene, facts: Facts, seconds: float) -> Trajectory | None:
    """Simulates a scene for `seconds` and returns its motion.

    Returns None if the motion does not fulfil the facts, or breaks a rule of the module docstring.
    """
    last, latest = [-1.0] * len(scene.balls), -1.0

    def readable(c: Contact) -> bool:
        nonlocal latest
        if (
            not CLEAR_START < c.time < seconds - QUIET_END
            or c.time - latest < APART
            or (c.speed < FAINT and c.kind != "floor")
        ):
            return False
        latest = c.time
        for k in (c.a, c.b) if c.b >= 0 else (c.a,):
            if c.time - last[k] < CLEAR_GAP or (
                c.kind == "floor" and scene.balls[k].launch == "rolled"
            ):
                return False
            last[k] = c.time
        return True

    try:
        motion = simulate(scene, seconds, readable)
    except TooManyEvents:
        return None
    if motion is None:
        return None
    if any(motion.bounces(k) != fact.bounces for k, fact in enumerate(facts.balls)):
        return None
    for ball, arcs in zip(scene.balls, motion.arcs, strict=True):
        ceiling = scene.extent - BELOW_FLOOR - HEADROOM - ball.radius
        apex = arcs[:, 2] + np.where(
            arcs[:, 5] < 0, np.maximum(arcs[:, 4], 0) ** 2 / (2 * scene.gravity), 0
        )
        if apex.max() > ceiling or (ball.launch == "rolled" and arcs[:, 2].max() > ball.radius):
            return None
    return motion
