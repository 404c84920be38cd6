"""Family `court`: something is tried, and it succeeds or fails.

    throw   at a hoop                swish, rim-in, bank-in, rim-out, board-out, short, airball
    shot    at a goal with a keeper  in, saved, post
    jump    a ball rolls at a gap    lands, falls

The outcome is drawn first, each of the twelve equally often, then a launch that has it, by
rejection: the ball is aimed at a point of the furniture that suits the outcome, and `judge` reads
from the exact motion what became of it. Captions say intention and outcome; `intents` say the
intention alone, for which the first frames decide.

**Margins.** Two clips whose first frames are alike but whose outcomes differ cannot be told apart.
`details` changes the launch's velocity by dv in eight directions (a jump: its speed) until the
outcome is another one. Before the outcome is decided, at time t, the paths then differ by

    d = |dv| t                                                                                   (1)

and `margin` is the largest d of a short ladder up to which no direction changes the outcome: a
lower bound in metres. Scores leave out scenes whose margin is under MARGIN_PX pixels; so that
enough are left, every other take is the clearest of up to CANDIDATES draws.

**Splits.** `combo` holds one colour of each outcome, a pair that no other split shows; of the other
20 factor tuples of an outcome a hash gives two to `val` and one to `paraphrase`, whose captions use
held-out phrases. `ood_velocity` (faster), `ood_size` (smaller or larger) and `ood_gravity` (that of
Mars: on the moon a throw outlasts a clip) have a factor of their own value.

Everything is drawn as if the target were to the right; to the left it is the mirror image.
"""

import dataclasses
import functools
import math
import zlib

import numpy as np

from sora_jax.worlds.playhouse.families import court_captions, furniture
from sora_jax.worlds.playhouse.families.court_captions import ACTIONS, OUTCOMES, CourtFacts
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
)
from sora_jax.worlds.playhouse.simulate import NoClosedForm, TooManyEvents, simulate
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

RADII = {"small": (0.19, 0.22), "large": (0.27, 0.31)}
OOD_RADII = {"small": (0.13, 0.16), "large": (0.35, 0.38)}
MATERIALS = ("rubber", "wood", "metal")
CLEAR_START, QUIET_END = 0.25, 0.4  # seconds in which nothing is decided
LONGEST = 1.6  # seconds in which a throw reaches the hoop
HEADROOM = 0.05  # metres between a ball and the upper edge
PASS = 1e-6  # metres: rounding of where a line is passed
MARGIN_PX = 1.5  # at 64 pixels and everywhere else
CANDIDATES = 12
LADDER = (0.75, 1.5, 2.5, 4.0)  # d of equation (1) in pixels at 64
WAYS = tuple(
    (x, y)
    for x, y in (
        (1, 0),
        (-1, 0),
        (0, 1),
        (0, -1),
        (0.7, 0.7),
        (-0.7, 0.7),
        (0.7, -0.7),
        (-0.7, -0.7),
    )
)


class Court:
    """The family as `draw.py` wants it."""

    name, number, version, max_balls = "court", 1, 1, 1
    splits = ("train", "val", "ood_velocity", "ood_size", "ood_gravity", "combo", "paraphrase")
    styles = ()
    facts_type = CourtFacts
    words, text_length = court_captions.WORDS, 24

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> tuple[str, str]:
        """Action and outcome."""
        return stream.choice(
            [(action, outcome) for action in ACTIONS for outcome in OUTCOMES[action]]
        )

    def draw_facts(self, stream: Stream, split: str, aim: tuple[str, str]) -> CourtFacts:
        colour, size, direction = (
            stream.choice(list(COLOURS)),
            stream.choice(list(RADII)),
            stream.choice(DIRECTIONS),
        )
        return CourtFacts(
            colour, size, *aim, direction, split if split.startswith("ood") else "usual"
        )

    def split_of(self, facts: CourtFacts) -> str:
        if facts.regime != "usual":
            return facts.regime
        return _splits(facts.action, facts.outcome).get(facts.key(), "train")

    def draw_scene(
        self, stream: Stream, facts: CourtFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        # every other take is the clearest of several
        found, most = [], stream.choice((1, CANDIDATES))
        for _ in range(40 * most):
            scene = _draw_scene(stream, facts)
            if scene is None or judge(scene, facts.action, seconds) != facts.outcome:
                continue
            found.append((margins(scene, facts, seconds)[0] if most > 1 else 0.0, scene))
            if len(found) == most or found[-1][0] * 64.0 / EXTENT >= MARGIN_PX:
                break
        if not found:
            return None
        scene = max(found, key=lambda pair: pair[0])[1]
        if facts.direction == "left":
            scene = mirrored(scene)
        return scene, simulate(scene, seconds)

    def caption(self, facts: CourtFacts, variant: int, split: str) -> str:
        return court_captions.caption(facts, variant, held_out=split == "paraphrase")

    def details(self, scene: Scene, motion: Trajectory, facts: CourtFacts, seconds: float) -> dict:
        margin, speed = margins(
            scene if facts.direction == "right" else mirrored(scene), facts, seconds
        )
        intents = tuple(court_captions.intent(facts, v) for v in range(4))
        return {"intents": intents, "margin": margin, "margin_speed": speed}


@functools.cache
def _splits(action: str, outcome: str) -> dict[str, str]:
    """The split of every factor tuple of an outcome that is not in `train`: by rank of its hash, so
    that no outcome is without one.
    """
    held_out = list(COLOURS)[zlib.crc32(outcome.encode()) % len(COLOURS)]
    tuples = [
        CourtFacts(c, s, action, outcome, d) for c in COLOURS for s in RADII for d in DIRECTIONS
    ]
    ranked = sorted(
        (f.key() for f in tuples if f.colour != held_out), key=lambda key: zlib.crc32(key.encode())
    )
    named = dict(zip(ranked, ("val", "val", "paraphrase")))
    return named | {f.key(): "combo" for f in tuples if f.colour == held_out}


# Drawing.


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


def _flight(start, target, time, gravity):
    """The velocity that brings a ball from start to target in `time`."""
    return (target[0] - start[0]) / time, (target[1] - start[1]) / time + 0.5 * gravity * time


def _hoop(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    return furniture.hoop(stream.uniform(*HOOP_HEIGHTS))


def _throw(stream, facts, shapes, r, g):
    h, out = shapes[0].points[0][1], facts.outcome
    start = stream.uniform(r + 0.15, 1.0), stream.uniform(0.9, 1.5)
    if out == "swish":
        target = stream.uniform(HOOP_FRONT + r + 0.1, HOOP_BACK - r - 0.1), h
    elif out in (
        "rim-in",
        "rim-out",
    ):  # where it touches: mostly the inside of the back, or the outside of the front
        inside = out == "rim-in"
        nx = stream.uniform(-0.92, -0.72) if inside else stream.uniform(-1.0, -0.1)
        reach, rim = r + RIM_RADIUS, HOOP_BACK if inside else HOOP_FRONT
        target = rim + nx * reach, h + math.sqrt(1.0 - nx * nx) * reach
    elif out == "bank-in":
        target = BOARD - BOARD_RADIUS - r, h + stream.uniform(0.15, 0.9)
    elif out == "board-out":
        target = BOARD - BOARD_RADIUS - r, h + stream.uniform(0.6, 0.9)
    elif out == "short":
        target = HOOP_FRONT - r - stream.uniform(0.05, 1.0), h + stream.uniform(-0.6, 0.0)
    else:
        target = BOARD, h + BOARD_TOP + BOARD_RADIUS + r + stream.uniform(0.15, 0.7)
    # A fast throw is a high one: it takes longer. Elsewhere than on earth all flights last as long
    # as they must.
    time = stream.uniform(
        *(
            (1.2, 1.42)
            if facts.regime == "ood_velocity"
            else (0.42, 0.55)
            if out == "board-out"
            else (0.75, 1.1)
        )
    )
    time *= math.sqrt(GRAVITIES["earth"] / g)
    return start, _flight(start, target, min(time, LONGEST), g), 0.0, "thrown"


def _goal(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    """With a keeper that goes up and down."""
    h = stream.uniform(*GOAL_HEIGHTS)
    low, high, knots, time = 0.32, h - 0.35, [], 0.0
    at = stream.uniform(low, high)
    while time < 2.6:
        knots.append((time, 0.0, at))
        time, at = time + stream.uniform(0.35, 0.6), stream.uniform(low, high)
    knots.append((time, 0.0, at))
    return furniture.goal(h, tuple(knots))


def _shot(stream, facts, shapes, r, g):
    h, out = shapes[0].points[0][1], facts.outcome
    start = stream.uniform(r + 0.15, 1.0), stream.uniform(r + 0.02, 0.8)
    if out == "in":
        target = GOAL, stream.uniform(r, h - BAR_RADIUS - r)
    elif out == "saved":
        target = KEEPER - PAD_RADIUS - r, stream.uniform(0.2, h - 0.2)
    else:
        target = GOAL, h + stream.uniform(-1.0, 1.0) * (r + BAR_RADIUS)
    time = stream.uniform(
        *((0.34, 0.44) if facts.regime == "ood_velocity" else (0.5, 0.85))
    ) * math.sqrt(GRAVITIES["earth"] / g)
    return start, _flight(start, target, time, g), 0.0, "thrown"


def _gap(stream: Stream, facts: CourtFacts) -> tuple[Shape, ...]:
    """The second platform begins after the gap and is somewhat lower."""
    edge, top = stream.uniform(1.5, 2.0), stream.uniform(1.2, 1.7)
    return furniture.gap(
        edge, top, edge + stream.uniform(0.75, 1.5), top - stream.uniform(0.25, 0.7)
    )


def _jump(stream, facts, shapes, r, g):
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


def mirrored(scene: Scene) -> Scene:
    """The scene with left and right exchanged."""
    e = scene.extent
    balls = tuple(
        dataclasses.replace(
            b,
            position=(e - b.position[0], b.position[1]),
            velocity=(-b.velocity[0], b.velocity[1]),
            spin=-b.spin,
            direction={"left": "right", "right": "left"}.get(b.direction),
        )
        for b in scene.balls
    )
    return dataclasses.replace(
        scene, balls=balls, shapes=tuple(furniture.mirrored(s) for s in scene.shapes)
    )


# Judging. All of it for a target to the right.


def judge(scene: Scene, action: str, seconds: float) -> str | None:
    """The outcome, or None for one that has no name here, or that comes too early or too late to be
    seen.
    """
    found = _judged(scene, action, seconds)
    return found[0] if found and CLEAR_START <= found[1] <= seconds - QUIET_END else None


def _judged(scene: Scene, action: str, seconds: float) -> tuple[str, float] | None:
    """(outcome, the moment from which it is decided)."""
    try:
        motion = simulate(scene, seconds)
    except (TooManyEvents, NoClosedForm):
        return None
    return {"throw": _judge_throw, "shot": _judge_shot, "jump": _judge_jump}[action](
        scene, motion, seconds
    )


def _crossings(
    motion: Trajectory, axis: int, where: float, seconds: float
) -> list[tuple[float, float, float]]:
    """When the ball's centre passes x = where (axis 0) or y = where (axis 1): (time, the other
    coordinate, speed along the axis).
    """
    found, arcs = [], motion.arcs[0]
    ends = [*arcs[1:, 0].tolist(), seconds]
    slides = motion.turns[0][:, 0].tolist() if motion.turns else [0.0] * len(arcs)
    for (t, x, y, vx, vy, ay), ax, end in zip(arcs.tolist(), slides, ends):
        (p, v, a), (q, w, b) = (
            ((x, vx, ax), (y, vy, ay)) if axis == 0 else ((y, vy, ay), (x, vx, ax))
        )
        for dt in _when(p - where, v, a, end - t):
            found.append((t + dt, q + w * dt + 0.5 * b * dt * dt, v + a * dt))
    return found


def _when(p: float, v: float, a: float, end: float) -> list[float]:
    """Roots of p + v t + a t^2 / 2 in (0, end), ascending."""
    if a == 0.0:
        return [-p / v] if v != 0.0 and 0.0 < -p / v < end else []
    inside = v * v - 2.0 * a * p
    if inside < 0.0:
        return []
    root = math.sqrt(inside)
    return [t for t in sorted(((-v - root) / a, (-v + root) / a)) if 0.0 < t < end]


def _judge_throw(scene: Scene, motion: Trajectory, seconds: float):
    h, r = scene.shapes[0].points[0][1], scene.balls[0].radius
    floor = next((c.time for c in motion.contacts if c.kind == "floor"), seconds)
    touched = [
        (c.time, "board" if c.b == 2 else "rim")
        for c in motion.contacts
        if c.kind == "shape" and c.time < floor
    ]
    passes = [(t, x, v) for t, x, v in _crossings(motion, 1, h, seconds)]
    through = [(t, v) for t, x, v in passes if HOOP_FRONT < x < HOOP_BACK]
    if any(v > 0.0 for _, v in through) and not (
        touched and touched[0][0] < min(t for t, v in through if v > 0.0)
    ):
        return None  # up through the hoop
    down = [t for t, v in through if v < 0.0]
    if down and (down[0] > floor or len(down) > 1):
        return None
    over = [
        t
        for t, y, v in _crossings(motion, 0, BOARD, seconds)
        if v > 0.0 and y > scene.shapes[2].points[1][1] and t < floor
    ]
    if over:  # what it touches on its way back from the wall is of no account
        touched = [(t, what) for t, what in touched if t < over[0]]
    before = [what for t, what in touched if not down or t < down[0]]
    decided = touched[0][0] if before else (down[0] if down else None)
    if down:
        if not before:
            return "swish", decided
        return (
            "bank-in" if before[0] == "board" else "rim-in" if set(before) == {"rim"} else None
        ), decided
    if before:
        return (
            "board-out" if before[0] == "board" else "rim-out" if set(before) == {"rim"} else None
        ), decided
    wall = next((c.time for c in motion.contacts if c.kind == "wall"), seconds)
    if over and over[0] < wall:
        return "airball", over[0]
    reached = [x for t, x, v in passes if v < 0.0 and t < floor]
    x_floor = motion.positions(np.array([floor]))[0, 0, 0]
    if all(x < HOOP_FRONT for x in reached) and x_floor - r < HOOP_BACK and wall > floor:
        return "short", next((t for t, x, v in passes if v < 0.0), floor)
    return None


def _judge_shot(scene: Scene, motion: Trajectory, seconds: float):
    h = scene.shapes[0].points[0][1]
    touched = [
        (c.time, ("bar", "keeper", "net", "net")[c.b]) for c in motion.contacts if c.kind == "shape"
    ]
    across = [(t, y, v) for t, y, v in _crossings(motion, 0, GOAL, seconds)]
    first = touched[0] if touched else (seconds, None)
    last = motion.positions(np.array([seconds - 1e-6]))[0, 0, 0]
    if across and across[0][0] < first[0]:
        t, y, _ = across[0]
        return ("in", t) if y < h and len(across) == 1 and last > GOAL else None
    if across or first[1] not in ("keeper", "bar"):
        return None
    return ("saved" if first[1] == "keeper" else "post"), first[0]


def _judge_jump(scene: Scene, motion: Trajectory, seconds: float):
    (edge, _), (far, low), r = (
        scene.shapes[0].points[2],
        scene.shapes[1].points[3],
        scene.balls[0].radius,
    )
    if not motion.contacts:
        return None
    first = motion.contacts[0]
    x, y = motion.positions(np.array([first.time]))[0, 0]
    end_x, end_y = motion.positions(np.array([seconds - 1e-6]))[0, 0]
    if first.kind == "shape" and first.b == 1 and x >= far and y > low:
        steady = (
            all(x >= far for _, x, _ in _crossings(motion, 1, low, seconds))
            and end_x >= far
            and end_y > low
        )
        return ("lands", first.time) if steady else None
    on_top = any(
        c.kind == "shape" and c.b == 1 and _top(motion, c.time, far, low + r)
        for c in motion.contacts
    )
    return ("falls", first.time) if not on_top and edge < end_x < far and end_y < low else None


def _top(motion, time, far, height):
    x, y = motion.positions(np.array([time]))[0, 0]
    return x >= far - PASS and abs(y - height) < PASS


def margins(scene: Scene, facts: CourtFacts, seconds: float) -> tuple[float, float]:
    """(metres, m/s): `Take.margin` and `Take.margin_speed` of a scene whose target is to the right;
    equation (1).
    """
    _, decided = _judged(scene, facts.action, seconds)
    ball, ways = scene.balls[0], WAYS[:2] if facts.action == "jump" else WAYS
    safe = 0.0
    for pixels in LADDER:
        distance = pixels * EXTENT / 64.0
        dv = distance / decided
        for x, y in ways:
            velocity = ball.velocity[0] + x * dv, ball.velocity[1] + y * dv
            spin = -velocity[0] / ball.radius if facts.action == "jump" else ball.spin
            other = dataclasses.replace(
                scene, balls=(dataclasses.replace(ball, velocity=velocity, spin=spin),)
            )
            found = _judged(other, facts.action, seconds)
            if found is None or found[0] != facts.outcome:
                return safe, safe / decided
        safe = distance
    return safe, safe / decided
