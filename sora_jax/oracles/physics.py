"""Physical laws: whether the balls of a clip obey gravity, rebound and contact laws, read from
tracks that are fitted by pieces of free flight and of rolling (`arcs.py`).

In this world free flight is a parabola, a rebound loses energy, two balls push each other
along one line, no object passes through another and no object is in two places. With v, v' the
velocities just before and after a contact, v_n the part normal to floor or wall, dv = v' - v,

    restitution      e = |v_n'| / |v_n|   of every rebound from floor or wall                    (1)
    energy gain      |v'|^2 > GAIN |v|^2 + NOISE |v|   at floor or wall; of two balls a, b with
                     m = m_b / m_a = |dv_a| / |dv_b|, |v_a'|^2 + m |v_b'|^2 >
                     GAIN (|v_a|^2 + m |v_b|^2) + 2 NOISE (|v_a| + m |v_b|)                      (2)
    momentum error   |dv_a / |dv_a| + dv_b / |dv_b|| / 2   of two colliding balls: 0 if their
                     pushes are opposite                                                         (3)
    slip             |v' - v| along a floor or wall more than SLIP; floor and walls are smooth and
                     push at right angles only
    kick             a change of velocity in the air with no other ball within REACH, or a gradual
                     one without a contact
    teleport         a step longer than any ball makes, or a gap between two pieces of a track
    lost             a frame in which a ball of the clip is not found exactly once, or one in which
                     another ball is present
    swelling         ratio of a ball's radius in one third of the clip to that in another
    overlap          depth to which two balls, or a ball and a wall or the floor, intersect      (4)
    residual         rms distance of the positions from the fitted pieces

The clip's gravity is the g that minimizes the total cost of the pieces (equation (2) of
`arcs.py`), over a grid refined by a parabola.

Limits: masses are not visible, so momentum is read as direction and ratio only. A clip without
a rebound from the floor stays lawful if it is reversed or sped up uniformly, and is read as
lawful. So is a hop too short to span four frames. Only balls are read: shapes (hoops, paddles)
are unknown to this oracle.
"""

import dataclasses
import functools
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles import arcs
from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.conditions import Condition, corrupt_motion
from sora_jax.oracles.corruptions import (
    double,
    resized,
    retimed,
    reverse,
    swap,
    teleport,
    vanish,
    visitor,
)
from sora_jax.oracles.examples import VIDEO, Example, disordered
from sora_jax.oracles.tracker import EXTENT, SAME_SIZE, Track, lasting
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import pixels_per_metre
from sora_jax.worlds.playhouse.trajectory import Trajectory

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

GAIN, NOISE = 1.05, 0.35  # factor; m/s: error of a velocity at 8 frames/s
SLIP = 0.25  # m/s: lawful clips show 0.14 at most, after h264
REACH = 0.20  # metres: largest gap between two balls' surfaces that counts as contact
# largest value of each quantity in a lawful clip
MAX_LAWFUL = {
    "residual_px": 0.5,
    "overlap_px": 2.0,
    "lost": 1,
    "swelling": SAME_SIZE,
    "kicks": 0,
    "slips": 0,
    "gains": 0,
    "teleports": 0,
}
GRID = np.array([0.0, 1.0, 2.5, 4.0, 6.0, 8.0, 9.8, 12.0, 15.0, 19.0, 24.0])  # m/s^2
SPEED_UP = 1.3  # factor by which `hasten` speeds up the motion after the first bounce
# m/s: a faster rebound still spans four frames at 8 frames a second after `hasten`; three frames
# fit any gravity
MIN_REBOUND = 3.2
EXIT_SECONDS = 0.4  # seconds after which a ball that passed through a wall is visibly outside


@dataclasses.dataclass(frozen=True)
class Physics:
    """How well the balls of one clip obey the laws of mechanics.

    Attributes:
        restitution: speed after over speed before each rebound from floor or wall.
        residual_px: rms distance of the positions from the fitted arcs, in pixels.
        gains: number of contacts that gain energy.
        kicks: number of changes of velocity in the air without a contact.
        slips: number of contacts that change the velocity along the smooth floor or wall.
        momentum_error: mean over contacts of two balls: 0 if their changes of velocity are
            opposite, 1 if they have one direction; None without such a contact.
        overlap_px: largest depth to which two balls, or a ball and wall or floor, intersect, in
            pixels.
        teleports: number of jumps in position.
        lost: number of frames in which a ball is not found exactly once, or another ball is
            present.
        swelling: largest over smallest radius of a ball among the thirds of the clip.
    """

    restitution: tuple[float, ...]
    residual_px: float
    gains: int
    kicks: int
    slips: int
    momentum_error: float | None
    overlap_px: float
    teleports: int
    lost: int
    swelling: float

    @property
    def violations(self) -> tuple[str, ...]:
        """The names of the broken laws: fields whose value exceeds that in MAX_LAWFUL."""
        return tuple(name for name, limit in MAX_LAWFUL.items() if getattr(self, name) > limit)


def read_physics(tracks: list[Track], fps: float, size: int) -> Physics | None:
    """Returns how well the tracks of a clip obey the laws of mechanics; None without a ball.

    Args:
        tracks: tracks of all colours.
        fps: frames/s.
        size: width of the frames in pixels.
    """
    visible = lasting(tracks)
    if not visible:
        return None
    balls = [_Ball(t, fps) for t in visible]
    gains, kicks, slips, errors, rebounds = (
        0,
        sum(arcs.drifts(b.pieces, fps) for b in balls),
        0,
        [],
        [],
    )
    for k, ball in enumerate(balls):
        for kink in ball.kinks:
            if kink.kind != "ball":
                gains += _energy(kink.after) > GAIN * _energy(kink.before) + NOISE * np.sqrt(
                    _energy(kink.before)
                )
                axis = 1 if kink.kind == "floor" else 0  # normal of the surface: y, or x of a wall
                slips += abs(kink.after[1 - axis] - kink.before[1 - axis]) > SLIP
                # a rebound needs a normal velocity before and after
                if min(abs(kink.before[axis]), abs(kink.after[axis])) > arcs.KINK:
                    rebounds.append(abs(kink.after[axis]) / abs(kink.before[axis]))
                continue
            near = [b for b in balls if b is not ball and ball.gap(b, kink.time) < REACH]
            kicks += not near
            for b in near:
                # Both balls have a kink at a contact; each pair is read once, from its first ball.
                push = b.push(kink.time)
                if push is not None and balls.index(b) > k:
                    error, gain = _meeting(kink, push)
                    errors.append(error)
                    gains += gain
    pixels = pixels_per_metre(EXTENT, size)
    squares = np.concatenate([b.squares for b in balls])
    return Physics(
        tuple(float(e) for e in rebounds),
        float(np.sqrt(np.mean(squares)) * pixels) if len(squares) else 0.0,
        int(gains),
        int(kicks),
        int(slips),
        float(np.mean(errors)) if errors else None,
        float(
            max(0.0, *(_overlap(b, [o for o in balls if o is not b]) for b in balls), 0.0) * pixels
        ),
        sum(
            t.jumps(fps) + arcs.tears(b.pieces, t, fps) for t, b in zip(visible, balls, strict=True)
        ),
        int(max(np.sum(~t.found if t.lasting else t.copies > 0) for t in tracks)),
        max(t.swelling for t in visible),
    )


class _Ball:
    """A track with its fitted pieces, contacts (`kinks`) and squared residuals in m^2."""

    def __init__(self, track: Track, fps: float) -> None:
        self.track, self.fps, self.radius = track, fps, float(np.nanmedian(track.radius))
        self.pieces = arcs.fit(track, fps)
        self.kinks = arcs.kinks(self.pieces, track, fps)
        t = (np.arange(len(track.position)) + 0.5) / fps
        fitted = np.array([self.at(x) for x in t])
        squares = np.sum((track.position - fitted) ** 2, axis=-1)
        self.squares = squares[np.isfinite(squares)]

    def at(self, time: float) -> np.ndarray:
        """Returns the ball's position by the fitted pieces at `time` (s), in metres."""
        frame = int(np.clip(time * self.fps, 0, len(self.track.position) - 1))
        return next(p for p in self.pieces if p.last >= frame).at(time)

    def gap(self, other: "_Ball", time: float) -> float:
        """Returns the distance in metres between the surfaces of this ball and another at `time`
        (s), negative where they overlap.
        """
        return float(np.linalg.norm(self.at(time) - other.at(time))) - self.radius - other.radius

    def push(self, time: float) -> arcs.Kink | None:
        """Returns the contact of this ball with another ball that is nearest to `time` (s), within
        one frame; None without one.
        """
        near = [k for k in self.kinks if abs(k.time - time) < 1.0 / self.fps and k.kind == "ball"]
        return min(near, key=lambda k: abs(k.time - time), default=None)


def _energy(v: tuple[float, float]) -> float:
    """Returns twice the kinetic energy of a unit mass."""
    return float(v[0] ** 2 + v[1] ** 2)


def _meeting(a: arcs.Kink, b: arcs.Kink) -> tuple[float, bool]:
    """Returns (momentum error (3), whether energy is gained (2)) of two balls that collide, from
    the change of velocity of each.
    """
    da, db = np.subtract(a.after, a.before), np.subtract(b.after, b.before)
    error = 0.5 * np.linalg.norm(da / np.linalg.norm(da) + db / np.linalg.norm(db))
    m = np.linalg.norm(da) / np.linalg.norm(db)
    before, after = (
        _energy(a.before) + m * _energy(b.before),
        _energy(a.after) + m * _energy(b.after),
    )
    noise = NOISE * (np.sqrt(_energy(a.before)) + m * np.sqrt(_energy(b.before)))
    return float(error), bool(after > GAIN * before + 2.0 * noise)


def _overlap(ball: _Ball, others: list[_Ball]) -> float:
    """Returns the deepest overlap (4) with other balls, walls and floor over all frames, in m."""
    p, r = ball.track.position, ball.radius
    depths = [r - p[:, 0], p[:, 0] + r - EXTENT, r - p[:, 1]]
    depths += [r + o.radius - np.linalg.norm(p - o.track.position, axis=-1) for o in others]
    return float(np.nanmax(np.stack(depths))) if np.isfinite(p).any() else 0.0


def read_gravity(tracks: list[Track], fps: float) -> float | None:
    """Returns the gravity g of a clip in m/s^2, fitted to all flights of its balls; None if no ball
    flies.

    Args:
        tracks: tracks of all colours.
        fps: frames/s.
    """
    visible = lasting(tracks)
    if not visible:
        return None

    @functools.cache
    def cost(g: float) -> float:
        return sum(arcs.cost(t, fps, g) for t in visible)

    costs = np.array([cost(float(g)) for g in GRID])
    if np.ptp(costs) < 2.0 * arcs.PENALTY:  # no ball flies, so all values of g fit alike
        return None
    g, step = float(GRID[np.argmin(costs)]), 0.6
    # Moves to the vertex of the parabola through three costs, or downhill where it is not convex.
    for _ in range(3):
        c = [cost(g - step), cost(g), cost(g + step)]
        curvature = c[0] - 2.0 * c[1] + c[2]
        if curvature <= 0.0:
            g += step * float(np.argmin(c) - 1)
            continue
        g += float(np.clip(0.5 * step * (c[0] - c[2]) / curvature, -step, step))
        step *= 0.5
    return g


def bounces(take: Take) -> bool:
    """Returns whether a ball of the take rebounds from the floor."""
    return any(c.kind == "floor" and c.rebound > 0 for c in take.trajectory.contacts)


def _hastened(since: float, times: np.ndarray) -> np.ndarray:
    return np.where(times > since, since + SPEED_UP * (times - since), times)


@corrupt_motion
def hasten(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c`, faster by the factor SPEED_UP after the first rebound
    from the floor.
    """
    longer = simulate(c.take.scene, SPEED_UP * c.format.seconds)
    assert longer is not None  # every contact is accepted
    rebounds = [x.time for x in longer.contacts if x.kind == "floor" and x.rebound > 0]
    return retimed(longer, functools.partial(_hastened, min(rebounds))) if rebounds else longer


def _quickened(seconds: float, times: np.ndarray) -> np.ndarray:
    return 0.5 * times * (1.0 + times / seconds)


@corrupt_motion
def quicken(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` sped up gradually, from half to one and a half times its
    speed.

    The clip's length is unchanged.
    """
    return retimed(c.take.trajectory, functools.partial(_quickened, c.format.seconds))


@corrupt_motion
def tunnel(c: Example) -> Trajectory:
    """Corruption: the motion of clip `c` with balls that pass through the walls."""
    motion = simulate(dataclasses.replace(c.take.scene, bounds="floor"), c.format.seconds)
    assert motion is not None  # every contact is accepted
    return motion


class PhysicsOracle(Oracle):
    """Oracle `physics`: whether the balls obey the laws of mechanics, such as energy and
    momentum.
    """

    name = "physics"
    media = (VIDEO,)
    tolerance = "no law broken"
    corruptions = (
        vanish,
        teleport,
        double,
        visitor,
        reverse,
        swap,
        hasten,
        quicken,
        tunnel,
        resized,
    )
    ceiling = STRICT

    def read(self, reading: "Reading") -> Physics | None:
        """Returns how well the balls of a clip obey the laws of mechanics; None without a ball."""
        return read_physics(reading.tracks, reading.fps, reading.frames.shape[2])

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether the clip has a ball and breaks no law of mechanics."""
        physics = reading.of(self.name)
        return physics is not None and not physics.violations

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a corruption breaks a law in this example.

        `reverse` needs a bounce, `hasten` one faster than MIN_REBOUND, and `tunnel` a wall contact
        at least EXIT_SECONDS before the end.
        """
        contacts = example.take.trajectory.contacts
        if condition is reverse:
            return bounces(example.take)
        if condition is hasten:
            return any(x.kind == "floor" and x.rebound > MIN_REBOUND for x in contacts)
        if condition is tunnel:
            last = example.format.seconds - EXIT_SECONDS
            return any(x.kind == "wall" and x.time < last for x in contacts)
        return True

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns the clips with their frames permuted at random. Exchanging takes would change no
        reading, because the oracle does not compare with the take.
        """
        return disordered(clips)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns the rows gravity, residual of the fit, and momentum error of two balls."""
        laws = [law for law in (read.of(self.name) for read in readings) if law]
        contacts = [law.momentum_error for law in laws if law.momentum_error is not None]
        read_g = (read_gravity(read.tracks, read.fps) for read in readings)
        gravities = [g for g in read_g if g is not None]
        residuals = [law.residual_px for law in laws]
        return [
            (
                "gravity, m/s^2: median (5 to 95 %)",
                "{} ({} to {})".format(*_percentiles(gravities, 50, 5, 95)),
                len(gravities),
            ),
            (
                "residual of the fitted arcs, px: median (95 %)",
                "{} ({})".format(*_percentiles(residuals, 50, 95)),
                len(laws),
            ),
            (
                "momentum error of two balls that meet: median",
                _percentiles(contacts, 50)[0],
                len(contacts),
            ),
        ]


def _percentiles(values: list[float], *percents: float) -> list[str]:
    found = np.percentile(values, percents) if values else ()
    return [f"{x:.3f}" for x in found] or ["-"] * len(percents)
