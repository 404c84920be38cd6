"""Playing: what actors do in each act of a storyboard, and what it changes.

A `Stage` plays acts one after another. Path and hands of an actor are given by knots (time,
values), linear between them. A held ball is in a hand. A thrown ball flies freely,

    x(t) = x0 + u t,      y(t) = y0 + v t - g t^2 / 2                                            (1)

It is caught if it crosses the upright line through the catcher's hands at most CATCH above or below
them, before it touches the floor. Otherwise it bounces until it rests (`simulate.py`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.acting import resting
from sora_jax.worlds.playhouse.cast import Character, voice_of
from sora_jax.worlds.playhouse.continuity import NOBODY, beginning
from sora_jax.worlds.playhouse.places import EXTENT, ROOMS, SCORE
from sora_jax.worlds.playhouse.plot import KINDS, Event
from sora_jax.worlds.playhouse.simulate import TooManyEvents, simulate
from sora_jax.worlds.playhouse.spec import MATERIALS, Ball, Scene
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    GO,
    HAT,
    IDLE,
    LAMP,
    LOOK,
    PLACES,
    SAY,
    THROW,
    WALK,
    Act,
    Storyboard,
)
from sora_jax.worlds.playhouse.stream import Stream
from sora_jax.worlds.playhouse.trajectory import Contact

GRAVITY = 9.8  # m/s^2
LEFT, RIGHT = 0.72, 3.28  # range in which actors stand, metres
NEAR, FAR = 1.40, 1.75  # distances at which two actors of one place start, metres
CLOSEST = 0.95  # distance below which they do not walk, metres
# metres of a walk; m/s of an actor that walks; m/s of one that goes to another place
STEP, SPEED, HURRY = 0.5, 1.1, 2.6
TURNED = 0.55  # rad: angle of the head of an actor that looks aside
# Positions of a hand, metres aside and up from the feet: with a ball, before its release, at its
# release, and of the catcher.
HOLD, BACK, RELEASE, HANDS = (0.46, 0.60), (0.50, 1.20), (0.55, 0.98), (0.46, 0.78)
# positions of a hand that reaches for the lamp, the door and a hat
REACHES = {LAMP: (0.52, 1.45), DOOR: (0.62, 0.85), HAT: (0.40, 1.55)}
CATCH = 0.30  # metres: largest height above or below the hands at which a ball is caught
RADIUS = (0.16, 0.19)  # range of the radius of the ball, metres
# Durations in seconds: an idle act, a look, a gesture, its part before the effect, the part of a
# throw before the release.
PAUSE, GLANCE, GESTURE, EFFECT, WINDUP = 0.4, 0.45, 0.55, 0.28, 0.30
FLIGHT = (0.48, 0.62)  # range of the time from release to the catcher, seconds
AFTER = 0.15  # seconds after a flight
CHANGE = 0.08  # seconds in which a ball goes half way from one hand to the other
WORD_GAP = 0.05  # seconds between two words


class Player:
    """The movements and the speech of one actor of a story while its acts are staged.

    Times are in seconds of the clip, positions in metres.

    Attributes:
        x: position of the actor after the acts so far.
        hang: (x, y) of the right hand when the arms hang, from the feet.
        path: knots (time, x, y) of the feet; y is 0.
        hands: {side: knots (time, x, y)} of each hand, from the feet; side -1 is the left of the
            frame, 1 the right.
        turn: knots (time, angle in radians) of the head.
        speech: the words so far, (start, word).
    """

    def __init__(self, character: Character, x: float) -> None:
        self.x, self.hang = x, resting(character)[2:]
        self.path = [(0.0, x, 0.0)]

        self.hands = {side: [(0.0, side * self.hang[0], self.hang[1])] for side in (-1, 1)}
        self.turn = [(0.0, 0.0)]
        self.speech: list[tuple[float, str]] = []

    def move(self, start: float, end: float, x: float) -> None:
        """Makes the actor walk to `x` in metres, from `start` to `end` in seconds of the clip."""
        self.path += [(start, self.x, 0.0), (end, x, 0.0)]
        self.x = x

    def head(self, time: float, angle: float) -> None:
        """Turns the head to `angle` in radians, within 0.15 s after `time`, seconds of the clip."""
        self.turn += [(time, self.turn[-1][1]), (time + 0.15, angle)]

    def hand(self, time: float, side: int, point: tuple[float, float], lasts: float = 0.2) -> None:
        """Moves one hand to a point, where it arrives at `time`.

        Args:
            time: seconds of the clip.
            side: -1 for the hand on the left of the frame, 1 for the other.
            point: (x, y) in metres from the feet, x positive away from the body.
            lasts: duration of the movement in seconds. Default: 0.2.
        """
        last = self.hands[side][-1]
        self.hands[side] += [
            (max(time - lasts, last[0]), *last[1:]),
            (time, side * point[0], point[1]),
        ]

    def position(self, time: float) -> float:
        """Returns the actor's x in metres, at a time in seconds of the clip."""
        return interpolate(self.path, time)[0]

    def hand_at(self, time: float, side: int) -> tuple[float, float]:
        """Returns (x, y) of a hand in metres at a time in seconds of the clip; side -1 is the left
        of the picture, 1 the right.
        """
        x, y = interpolate(self.hands[side], time)
        return self.position(time) + x, y

    def both_hands(self) -> tuple[tuple[float, float, float, float, float], ...]:
        """Returns the knots of both hands together, (time, x and y of the left hand, x and y of the
        right hand), as in `Actor.hands`.
        """
        times = sorted({knot[0] for knots in self.hands.values() for knot in knots})
        rows = []
        for t in times:
            left, right = interpolate(self.hands[-1], t), interpolate(self.hands[1], t)
            rows.append((t, left[0], left[1], right[0], right[1]))
        return tuple(rows)


def interpolate(knots: Sequence[tuple[float, ...]], time: float) -> tuple[float, ...]:
    """Returns the values at `time`, interpolated between knots (time, values...): linear between
    knots, constant outside of them.
    """
    before = knots[0]
    for knot in knots:
        if knot[0] > time:
            if before[0] >= time:
                return before[1:]
            part = (time - before[0]) / (knot[0] - before[0])
            return tuple(a + part * (b - a) for a, b in zip(before[1:], knot[1:], strict=True))
        before = knot
    return before[1:]


@dataclasses.dataclass
class Flight:
    """The flight of a thrown ball.

    Attributes:
        start: the release, in seconds of the clip.
        end: the catch, in seconds of the clip; infinite for a ball that is not caught.
        skipped: seconds of the world that time jumps left out before the release.
        arcs: pieces of the motion, float64 [pieces, 6]: start time in seconds from the release, x,
            y, v_x, v_y, a_y.
        contacts: impacts, in seconds from the release.
    """

    start: float
    end: float
    skipped: float
    arcs: np.ndarray
    contacts: tuple[Contact, ...]


class Stage:
    """The state of a story while its acts are staged, one after another.

    Places and actors have indices: of a place in PLACES, of an actor in the cast.

    Attributes:
        now: time in seconds of the clip at which the next act starts.
        skipped: seconds of the world that time jumps have skipped so far.
        board, cast, stream: the storyboard, its characters and the random numbers.
        state: the current state of the world, {kind of `plot.KINDS`: values}.
        start: the state at time 0, (kind, values) for each kind.
        players: the movements of each actor.
        side: side of the hand that holds the ball: -1 is the left of the frame, 1 the right.
        radius, material: of the ball; metres, a name in MATERIALS.
        events: the changes of the state so far.
        held: (time, actor, side) whenever a hand begins to hold the ball.
        flights: the throws so far.
    """

    def __init__(self, board: Storyboard, cast: tuple[Character, ...], stream: Stream) -> None:
        self.board, self.cast, self.stream = board, cast, stream
        known = beginning(board)
        rooms = [known.room.get(i, PLACES.index(board.shots[0].place)) for i in range(len(cast))]
        holder = known.holder
        if holder is None:
            holder = stream.integer(len(cast))
        self.state = {
            "lamp": [known.lamp.get(p, stream.integer(4) > 0) for p in range(len(PLACES))],
            "door": [known.door.get(p, stream.integer(2)) for p in range(len(PLACES))],
            "hat": [0] * len(cast),
            "room": rooms,
            "score": [0],
            "ball": [rooms[holder]],
            "holder": [holder],
        }
        self.start = tuple((kind, tuple(int(v) for v in self.state[kind])) for kind in KINDS)
        self.players = [
            Player(character, x) for character, x in zip(cast, self._places(rooms), strict=True)
        ]
        self.side = stream.choice((-1, 1))  # of the hand that holds the ball
        self.players[holder].hands[self.side] = [(0.0, self.side * HOLD[0], HOLD[1])]
        self.radius = stream.uniform(*RADIUS)
        self.material = stream.choice(tuple(MATERIALS))
        self.events: list[Event] = []
        # who holds the ball from when on: (time, actor, side); and the throws
        self.held = [(0.0, holder, self.side)]
        self.flights: list[Flight] = []
        self.now, self.skipped = 0.0, 0.0

    def _places(self, rooms: list[int]) -> list[float]:
        if len(rooms) == 1 or rooms[0] != rooms[1]:
            return [self.stream.uniform(1.2, EXTENT - 1.2) for _ in rooms]
        apart = self.stream.uniform(NEAR, FAR)
        x = self.stream.uniform(LEFT, RIGHT - apart)
        pair = [x, x + apart]
        return pair if self.stream.integer(2) else pair[::-1]

    def set(self, time: float, kind: str, index: int, value: int, actor: int) -> None:
        """Changes one number of the state, and records the event.

        Args:
            time: seconds of the clip.
            kind: one of `plot.KINDS`.
            index: index of the place or actor; 0 for the world.
            value: the new value.
            actor: index of the actor that causes the change.
        """
        self.state[kind][index] = value
        self.events.append(Event(time, kind, index, value, actor))

    def play(self, act: Act) -> bool:
        """Stages an act from `now` on and moves `now` to its end.

        Returns False if the act is impossible, such as a walk into another actor.
        """
        actor = self.board.cast.index(act.who)
        staged = {
            IDLE: self._idle,
            LOOK: self._look,
            WALK: self._walk,
            GO: self._go,
            THROW: self._throw,
            LAMP: self._switch,
            DOOR: self._switch,
            HAT: self._hat,
            SAY: self._say,
        }[act.kind]
        return staged(act, actor)

    def _idle(self, act: Act, actor: int) -> bool:
        self.now += PAUSE
        return True

    def _look(self, act: Act, actor: int) -> bool:
        self.players[actor].head(self.now, TURNED if act.to == "right" else -TURNED)
        self.now += GLANCE
        return True

    def _others(self, actor: int) -> list[float]:
        rooms = self.state["room"]
        return [
            player.x
            for i, player in enumerate(self.players)
            if i != actor and rooms[i] == rooms[actor]
        ]

    def _walk(self, act: Act, actor: int) -> bool:
        player = self.players[actor]
        x = player.x + (STEP if act.to == "right" else -STEP)
        if not LEFT <= x <= RIGHT or any(abs(x - other) < CLOSEST for other in self._others(actor)):
            return False
        end = self.now + STEP / SPEED
        player.move(self.now, end, x)
        self.now = end
        return True

    def _go(self, act: Act, actor: int) -> bool:
        player, place = self.players[actor], PLACES.index(act.to)
        door = ROOMS[self.state["room"][actor]].door
        end = self.now + max(abs(door - player.x) / HURRY, 0.3)
        player.move(self.now, end, door)
        self.set(end, "room", actor, place, actor)
        if self.state["holder"][0] == actor:
            self.set(end, "ball", 0, place, actor)
        room = ROOMS[place]
        x = room.door + room.inside * 0.6
        while any(abs(x - other) < NEAR for other in self._others(actor)):
            x += room.inside * 0.1
        if not LEFT <= x <= RIGHT:
            return False
        player.path.append((end, x, 0.0))
        player.x = x
        self.now = end + AFTER
        return True

    def _switch(self, act: Act, actor: int) -> bool:
        player, place = self.players[actor], self.state["room"][actor]
        room, lamp = ROOMS[place], act.kind == LAMP
        side = 1 if (room.lamp if lamp else room.door) > player.x else -1
        if self.state["holder"][0] == actor and side == self.side:
            side = -side
        effect = self.now + EFFECT
        player.hand(effect, side, REACHES[act.kind])
        self.set(effect, act.kind, place, int(act.to in ("on", "open")), actor)
        self.now += GESTURE
        player.hand(self.now, side, player.hang)
        return True

    def _hat(self, act: Act, actor: int) -> bool:
        player = self.players[actor]
        side = -self.side if self.state["holder"][0] == actor else self.stream.choice((-1, 1))
        effect = self.now + EFFECT
        player.hand(effect, side, REACHES[HAT])
        self.set(effect, "hat", actor, 1, actor)
        self.now += GESTURE
        player.hand(self.now, side, player.hang)
        return True

    def _say(self, act: Act, actor: int) -> bool:
        for word in act.words:
            self.players[actor].speech.append((self.now, word))
            states = [
                state[0] for name in voice.WORDS[word].split() for state in voice.SOUNDS[name]
            ]
            self.now += sum(states) / 1000.0 / voice_of(self.cast[actor]).rate + WORD_GAP
        return True

    def _throw(self, act: Act, actor: int) -> bool:
        receiver, stream = self.board.cast.index(act.to), self.stream
        thrower, catcher = self.players[actor], self.players[receiver]
        side = 1 if catcher.x > thrower.x else -1
        before = thrower.turn[-1][1], catcher.turn[-1][1]
        thrower.head(self.now, side * 0.8 * TURNED)
        catcher.head(self.now, -side * 0.8 * TURNED)
        release = self.now + WINDUP
        if side != self.side:  # the ball changes hands
            for hand in (-1, 1):
                thrower.hand(self.now + CHANGE, hand, (0.0, HOLD[1]), CHANGE)
            self.held.append((self.now + CHANGE, actor, side))
            thrower.hand(self.now + 2.0 * CHANGE, self.side, thrower.hang, CHANGE)
        thrower.hand(release - 0.1, side, BACK, 0.12)
        thrower.hand(release, side, RELEASE, 0.1)
        x, y = thrower.hand_at(release, side)
        line, span = catcher.x - side * HANDS[0], stream.uniform(*FLIGHT)
        if act.outcome == "caught":
            height = HANDS[1] + stream.uniform(-0.8, 0.8) * CATCH
        else:
            miss = (0.62, 0.95) if stream.integer(2) else (-0.72, -0.50)
            height = HANDS[1] + stream.uniform(*miss)
        velocity = (line - x) / span, (height - y) / span + 0.5 * GRAVITY * span
        if side * (line - x) < 0.3:
            return False
        thrown = Ball(
            self.board.ball, "small", self.material, "thrown", None, self.radius, (x, y), velocity
        )
        flight = self._flight(thrown, release)
        if flight is None:
            return False
        caught = abs(height - HANDS[1]) <= CATCH and not any(c.time < span for c in flight.contacts)
        if act.outcome and caught != (act.outcome == "caught"):
            return False
        self.flights.append(flight)
        self.set(release, "holder", 0, NOBODY, actor)
        arrival = release + span
        for hand in (-1, 1):
            catcher.hand(arrival - 0.1, hand, (side * hand * -HANDS[0], HANDS[1]), 0.25)
        if caught:
            flight.end = arrival
            for hand in (-1, 1):
                catcher.hand(arrival, hand, (side * hand * -HANDS[0], height), 0.1)
            self.set(arrival, "holder", 0, receiver, receiver)
            self.held.append((arrival, receiver, -side))
            self.side = -side
            self.set(arrival, "score", 0, min(self.state["score"][0] + 1, SCORE), receiver)
        self.now = arrival + AFTER
        thrower.head(self.now - 0.15, before[0])
        catcher.head(self.now - 0.15, before[1])
        thrower.hand(self.now, side, thrower.hang)
        catcher.hand(self.now, side, catcher.hang)
        catcher.hand(self.now, -side, HOLD if caught else catcher.hang, 0.1)
        return True

    def _flight(self, ball: Ball, release: float) -> Flight | None:
        """Simulates a free ball from its release on; None if it has too many events."""
        seconds = sum(shot.seconds + shot.later for shot in self.board.shots) + 1.0
        scene = Scene(0, (ball,), extent=EXTENT, gravity=GRAVITY)
        try:
            motion = simulate(scene, seconds)
        except TooManyEvents:
            return None
        return Flight(release, float("inf"), self.skipped, motion.arcs[0], motion.contacts)
