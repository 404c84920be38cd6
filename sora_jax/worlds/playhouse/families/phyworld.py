"""Families `phyworld_{uniform,collision,parabola}_{30k,300k}`: the scenes of PhyWorld.

PhyWorld is Kang et al. 2024, "How Far Is Video Generation from World Model"
(arXiv:2411.02385). Its world is 10 x 10 units without bounds, with ideal balls on a blank
background, no text and no sound. One unit is called a metre here.

    uniform     a red ball moves to the right at constant velocity
    parabola    a red ball is thrown horizontally near the top, g = 2.5 m/s^2
    collision   a red ball from the left and a blue one from the right meet head-on, elastically;
                their masses are proportional to r^2

`train` has one scene for each point of the paper's grid of speeds, 1 to 4 m/s, and radii, 0.7 to
1.4 m (collision: 0.5 to 1.5 m). The grid of one ball has 300 x 100 (30k) or 1000 x 300 (300k)
points. That of two balls is the grid of the published generator, 21^2 x 8^2 = 28,224 or 41^2 x 14^2
= 329,476 points. The radii of one ball are also those of the published generator; the paper's text
says 1.5. `val` has any speeds and radii of the same ranges.

Out-of-distribution radii are 0.3 to 0.6 and 1.5 to 2.0 m (collision: 0.3 to 0.4 and 1.7 to 2.0 m).
Out-of-distribution speeds are 0 to 0.8 and 4.5 to 6.0 m/s. `ood_size` has such radii,
`ood_velocity` such speeds, `ood_velocity_size` both. Of two balls, the first one or both are
out of distribution, as in the paper's levels.

Two more training sets have the scenes of `train`, transformed by a symmetry of the laws of motion.
They ask whether the symmetries help a model beyond the range of speeds:

    train_flips   half of the clips are mirrored left to right; without gravity, half also upside
                  down
    train_boosts  the balls have an additional velocity, up or down, of at most 1 m/s (Galilean
                  boost). Speeds along x stay in [1, 4], so `ood_velocity` stays out of distribution

One ball starts so that, where possible, it stays in view for 24 frames of 0.1 s. Two balls
meet after frame 4 and at least 8 frames before the end.

Clips have the paper's 32 frames at 10 fps (`modality.FORMATS["phyworld"]`).
"""

import dataclasses
import math

from sora_jax.errors import UserError
from sora_jax.worlds.playhouse.captions import CaptionError
from sora_jax.worlds.playhouse.families.base import Family, Line, Reading
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import BACKDROPS, GRAVITIES, SILENCE, Ball, Scene
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Trajectory

TASKS = ("uniform", "collision", "parabola")
EXTENT, STEP, FRAMES = 10.0, 0.1, 32  # side of the view in metres, seconds per frame, frames
EDGE = 0.5  # least distance in metres between a ball and the upper and lower edge of the view
# ranges of speeds in m/s: usual, and the two out of distribution
SPEEDS, SLOW, FAST = (1.0, 4.0), (0.0, 0.8), (4.5, 6.0)
# ranges of radii in metres by the number of balls: usual, and the two out of distribution
RADII = {1: (0.7, 1.4), 2: (0.5, 1.5)}
TINY, HUGE = {1: (0.3, 0.6), 2: (0.3, 0.4)}, {1: (1.5, 2.0), 2: (1.7, 2.0)}
# (number of speeds, number of radii) of each ball, by the number of balls and the size of the set
GRIDS = {
    (1, "30k"): (300, 100),
    (1, "300k"): (1000, 300),
    (2, "30k"): (21, 8),
    (2, "300k"): (41, 14),
}
# Coprime to the size of every grid: neighbours in the set are not neighbours in the grid.
SHUFFLE = 7919
TRAIN = ("train", "train_flips", "train_boosts")
BOOST = 1.0  # largest additional speed in train_boosts, m/s
IN_VIEW, BEFORE, AFTER = 24, 4, 8  # least frames in view, before a collision and after it
Range = tuple[float, float]
Point = tuple[float, float]  # (x, y) in metres


@dataclasses.dataclass(frozen=True)
class PhyWorldFacts:
    """The facts of a scene of PhyWorld.

    Attributes:
        task: "uniform", "collision" or "parabola".
        split: the split from whose ranges speeds and radii are drawn.
        speeds: initial speed of each ball, one or two, in m/s.
        radii: radius of each ball in metres.
    """

    task: str
    split: str
    speeds: tuple[float, ...]
    radii: tuple[float, ...]

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "PhyWorldFacts":
        """Returns the facts of `fields`, the result of `to_dict`."""
        return cls(fields["task"], fields["split"], tuple(fields["speeds"]), tuple(fields["radii"]))

    def key(self) -> str:
        """Returns the facts as one string."""
        return f"{self.task} v {self.speeds} r {self.radii}"


SETS = tuple((task, size) for task in TASKS for size in ("30k", "300k"))


class PhyWorld(Family):
    """The family of one task of PhyWorld, with one size of its training set.

    Args:
        task: "uniform", "collision" or "parabola".
        size: size of the training set, "30k" or "300k".

    Attributes:
        balls: number of balls of a scene.
        grid: number of values of each speed, then of each radius, in the training set.
    """

    splits = (*TRAIN, "val", "ood_velocity", "ood_size", "ood_velocity_size")
    facts_type = PhyWorldFacts
    words, text_length, formats = (), 1, ("phyworld",)  # there are no captions
    longest = math.inf  # its balls never hit a floor
    alike = True

    def __init__(self, task: str, size: str) -> None:
        self.task, self.size, self.name = task, size, f"phyworld_{task}_{size}"
        self.balls = self.max_balls = 2 if task == "collision" else 1
        speeds, radii = GRIDS[self.balls, size]
        self.grid = (speeds,) * self.balls + (radii,) * self.balls
        self.train_size = math.prod(self.grid)

    @property
    def random_key(self) -> tuple[int, ...]:
        """The integers of the family in the random key of each of its takes (`stream.Stream`).

        They are the same for both sizes of a task, so both have the same scenes in the splits other
        than the training sets.
        """
        return (10 + TASKS.index(self.task),)

    def aim(
        self, stream: Stream, split: str, index: int, style: str | None = None
    ) -> PhyWorldFacts | None:
        """Returns the point of the grid that belongs to an index in a split of TRAIN, as facts.

        It is None in other splits. The arguments are those of `Family.aim`.

        Raises:
            UserError: the index is not below the number of points.
        """
        if split not in TRAIN:
            return None
        size = math.prod(self.grid)
        if not 0 <= index < size:
            raise UserError(
                f"index {index}: {self.name} has {size} scenes in train; give 0 to {size - 1}",
                field="index",
            )
        cell, values = index * SHUFFLE % size, []
        for n, (low, high) in zip(
            self.grid, (SPEEDS,) * self.balls + (RADII[self.balls],) * self.balls, strict=True
        ):
            cell, i = divmod(cell, n)
            values.append(low + (high - low) * (i / (n - 1)))
        return PhyWorldFacts(
            self.task, split, tuple(values[: self.balls]), tuple(values[self.balls :])
        )

    def draw_facts(self, stream: Stream, split: str, aim: PhyWorldFacts | None) -> PhyWorldFacts:
        """Returns `aim` if it is given, else facts with speeds and radii drawn from the ranges of
        the split.

        `stream` gives the random numbers.
        """
        if aim is not None:
            return aim
        # how many balls are out of distribution
        n, ood = self.balls, stream.integer(self.balls) + 1

        def values(inside: Range, below: Range, above: Range, out: bool) -> tuple[float, ...]:
            return tuple(
                stream.uniform(*(stream.choice((below, above)) if out and k < ood else inside))
                for k in range(n)
            )

        speeds = values(SPEEDS, SLOW, FAST, split in ("ood_velocity", "ood_velocity_size"))
        radii = values(RADII[n], TINY[n], HUGE[n], split in ("ood_size", "ood_velocity_size"))
        return PhyWorldFacts(self.task, split, speeds, radii)

    def split_of(self, facts: PhyWorldFacts) -> str:
        """Returns the split of the facts, from whose ranges speeds and radii are drawn."""
        return facts.split

    def draw_scene(
        self, stream: Stream, facts: PhyWorldFacts, seconds: float
    ) -> tuple[Scene, Trajectory] | None:
        """Draws a scene with the speeds and radii of the facts, and its motion.

        The motion lasts `seconds`, and at least FRAMES + 1 time steps of the paper. Returns None if
        two balls cannot meet in view. `stream` gives the random numbers.
        """
        starts = (
            self._two_starts(stream, facts) if self.balls == 2 else self._one_start(stream, facts)
        )
        if starts is None:
            return None
        motions = self._seen(stream, facts, starts)
        balls = tuple(
            Ball(
                colour,
                "large",
                "ideal",
                "thrown",
                "left" if velocity[0] < 0 else "right",
                r,
                start,
                velocity,
            )
            for colour, r, (start, velocity) in zip(
                ("red", "blue"),
                facts.radii,
                motions,
                strict=False,  # one ball takes the first colour
            )
        )
        gravity = GRAVITIES["phyworld" if self.task == "parabola" else "none"]
        blank = len(BACKDROPS) - 1
        scene = Scene(0, balls, "flat", SILENCE, blank, EXTENT, gravity, below=0.0, bounds="open")
        return scene, simulate(scene, max(seconds, (FRAMES + 1) * STEP))

    def _seen(
        self, stream: Stream, facts: PhyWorldFacts, starts: tuple[Point, ...]
    ) -> list[tuple[Point, Point]]:
        """Returns (start, velocity) of each ball, flipped or boosted in `train_flips` and
        `train_boosts`.

        A boost is so slow that, without gravity, the balls stay in view for IN_VIEW time steps.
        """
        speeds = (facts.speeds[0], -facts.speeds[-1])
        motions = [(start, (v, 0.0)) for start, v in zip(starts, speeds, strict=False)]
        if facts.split == "train_boosts":
            y, r, time = starts[0][1], max(facts.radii), IN_VIEW * STEP
            low, high = (r - y) / time, (EXTENT - r - y) / time
            boost = stream.uniform(max(-BOOST, low), min(BOOST, high))
            motions = [(start, (v, boost)) for start, (v, _) in motions]
        if facts.split == "train_flips":
            left = stream.choice((False, True))
            down = stream.choice((False, True)) and self.task != "parabola"
            motions = [
                (
                    (EXTENT - x if left else x, EXTENT - y if down else y),
                    (-v if left else v, 0.0),
                )
                for (x, y), (v, _) in motions
            ]
        return motions

    def _one_start(self, stream: Stream, facts: PhyWorldFacts) -> tuple[Point, ...]:
        (v,), (r,) = facts.speeds, facts.radii
        furthest = EXTENT - IN_VIEW * STEP * v - r
        x = stream.uniform(r, furthest) if furthest > r else r + stream.uniform(0.0, 0.5)
        low, high = r + EDGE, EXTENT - EDGE - r
        return ((x, stream.uniform(high - 1.0 if self.task == "parabola" else low, high)),)

    def _two_starts(self, stream: Stream, facts: PhyWorldFacts) -> tuple[Point, ...] | None:
        (v1, v2), (r1, r2) = facts.speeds, facts.radii
        nearest = BEFORE * STEP * (v1 + v2)
        furthest = min((FRAMES - AFTER) * STEP * (v1 + v2), EXTENT - 2.0 * (r1 + r2))
        if furthest <= nearest:
            return None
        distance = stream.uniform(nearest, furthest) + r1 + r2
        x, r = stream.uniform(r1, EXTENT - r2 - distance), max(r1, r2)
        y = stream.uniform(r + EDGE, EXTENT - EDGE - r)
        return (x, y), (x + distance, y)

    def caption(self, facts: PhyWorldFacts, variant: int, split: str) -> str:
        """Returns "": these scenes have no captions."""
        return ""

    def parse(self, text: str) -> PhyWorldFacts:
        """Raises CaptionError for every text: these scenes have no captions."""
        raise CaptionError(1, "no text, for scenes of PhyWorld have no captions", text)

    def judge(self, facts: PhyWorldFacts, reading: Reading) -> list[Line]:
        """Returns an unread line for each speed and radius, because there are no prompts.

        A clip of PhyWorld is scored against its scene instead (`oracles.phyworld`).
        """
        reason = "no prompt asks it; oracles.phyworld scores a clip against its scene"
        numbers = [("speed", v) for v in facts.speeds] + [("radius", r) for r in facts.radii]
        return [Line.unread(None, fact, value, reason) for fact, value in numbers]
