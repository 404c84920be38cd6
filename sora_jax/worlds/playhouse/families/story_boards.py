"""Random drawing of storyboards (stories written shot by shot) that have no contradiction.

An act needs a state of the world and changes it. The state is tracked while acts are drawn
(`_Draft`), and only acts that it permits are drawn, up to MAX_ACTS for a shot and as long as the
shot has time.
"""

import dataclasses

from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.cast import NAMES, RATES
from sora_jax.worlds.playhouse.spec import COLOURS, DIRECTIONS, SOUNDSCAPES
from sora_jax.worlds.playhouse.storyboard import (
    DOOR,
    FRAMES,
    GO,
    HAT,
    IDLE,
    LAMP,
    LOOK,
    MAX_WORDS,
    MOVES,
    OUTCOMES,
    PLACES,
    SAY,
    THROW,
    WALK,
    Act,
    Shot,
    Storyboard,
)
from sora_jax.worlds.playhouse.stream import Stream

PAIR = 0.8  # fraction of stories with a cast of two
APART = 0.3  # fraction of pairs that start in two places
FRAME_WEIGHTS = (0.50, 0.22, 0.28)  # probabilities of storyboard.FRAMES
MOVE_WEIGHTS = (0.4, 0.15, 0.15, 0.15, 0.15)  # probabilities of storyboard.MOVES
JUMP, JUMPS = 0.15, (2.0, 5.0, 10.0)  # fraction of cuts with a time jump; its durations in s
OUTCOME_WEIGHTS = (0.65, 0.35)  # probabilities of storyboard.OUTCOMES
BUDGET = 1.90  # seconds for the acts of one shot
# upper bounds of the durations of acts, in seconds
COSTS = {IDLE: 0.4, LOOK: 0.45, WALK: 0.46, GO: 1.45, THROW: 1.25, LAMP: 0.55, DOOR: 0.55}
COSTS |= {HAT: 0.55, SAY: 0.45}
# relative frequencies of acts
WEIGHTS = {IDLE: 0.3, LOOK: 0.8, WALK: 1.5, GO: 0.7, THROW: 5.0, LAMP: 1.5, DOOR: 2.5}
WEIGHTS |= {HAT: 0.8, SAY: 2.5}
MAX_ACTS = 3  # of one shot
# {framing of a shot: kinds of acts that it can show}
SHOWN = {
    "wide": tuple(WEIGHTS),
    "two-shot": (IDLE, LOOK, THROW, LAMP, HAT, SAY),
    "close-up": (IDLE, LOOK, LAMP, HAT, SAY),
}


def draw_board(stream: Stream, style: str, shots: int, wide_ends: bool) -> Storyboard:
    """Draws a storyboard whose acts do not contradict each other.

    Args:
        stream: random numbers.
        style: its style, a name in FILM_STYLES.
        shots: number of shots.
        wide_ends: True for wide shots first and last and no other wide shot, in which nobody leaves
            a place, so that facts are out of sight for shots - 2 shots. False for any framings.
    """
    names = list(NAMES)
    count = 2 if stream.uniform() < PAIR else 1
    cast = tuple(f"@{names.pop(stream.integer(len(names)))}" for _ in range(count))
    draft = _Draft(stream, cast, apart=not wide_ends and stream.uniform() < APART)
    drawn = []
    for number in range(shots):
        ends = number in (0, shots - 1)
        drawn.append(draft.shot(number, None if not wide_ends else ends))
    ambience = stream.choice(SOUNDSCAPES)
    return Storyboard(style, ambience, cast, tuple(drawn), stream.choice(list(COLOURS)))


class _Draft:
    """A storyboard while it is drawn, and the part of the state of its world that acts need.

    Attributes:
        room: place of each actor.
        switched: {(LAMP or DOOR, place): "on", "off", "open" or "closed"}, as far as acts fix it.
        hats: handles of the actors that have put on a hat.
        holder: handle of the actor that holds the ball; None if nobody does.
    """

    def __init__(self, stream: Stream, cast: tuple[str, ...], apart: bool) -> None:
        self.stream, self.cast = stream, cast
        home = stream.choice(PLACES)
        other = stream.choice([place for place in PLACES if place != home])
        self.room = [home, other if apart else home][: len(cast)]
        self.switched: dict[tuple[str, str], str] = {}
        self.hats: set[str] = set()
        self.holder: str | None = stream.choice(cast)

    def shot(self, number: int, wide: bool | None) -> Shot:
        """Draws one shot: a wide one if `wide` is True, another framing if False, any if None."""
        stream = self.stream
        together = len(self.cast) == 2 and self.room[0] == self.room[1]
        weights = dict(zip(FRAMES, FRAME_WEIGHTS, strict=True))
        if not together:
            del weights["two-shot"]
        if wide is not None:
            weights = {f: w for f, w in weights.items() if (f == "wide") == wide}
        frame = stream.choice(list(weights), weights.values())
        actor = stream.integer(len(self.cast))
        place = self.room[actor]
        later = stream.choice(JUMPS) if number and stream.uniform() < JUMP else 0.0
        move = stream.choice(MOVES, MOVE_WEIGHTS)
        subject = self.cast[actor] if frame == "close-up" else ""
        shot = Shot(place, frame, subject, move, later=later)
        return dataclasses.replace(shot, acts=self._acts(shot, stay=wide is not None))

    def _acts(self, shot: Shot, stay: bool) -> tuple[Act, ...]:
        """Draws the acts of a shot. If `stay` is True, nobody goes to another place."""
        acts: list[Act] = []
        remaining = BUDGET
        for _ in range(1 + self.stream.integer(MAX_ACTS)):
            options = [act for act in self._options(shot) if not (stay and act.kind == GO)]
            options = [act for act in options if COSTS[act.kind] <= remaining]
            if acts and acts[-1].kind == IDLE:
                break
            kinds = {act.kind: WEIGHTS[act.kind] for act in options}
            for act in acts[-1:]:  # no two acts of one kind in a row
                kinds.pop(act.kind, None)
            if not kinds:
                break
            kind = self.stream.choice(list(kinds), kinds.values())
            act = self.stream.choice([act for act in options if act.kind == kind])
            cost = COSTS[kind]
            if kind == SAY:
                act, cost = self._speech(act, remaining)
                if not act.words:
                    break
            acts.append(self._done(act, shot))
            remaining -= cost
        return tuple(acts)

    def _options(self, shot: Shot) -> list[Act]:
        """Returns the acts that the actors of a shot can do now."""
        present = [
            name for name, room in zip(self.cast, self.room, strict=True) if room == shot.place
        ]
        options = []
        for actor in [shot.subject] if shot.subject else present:
            options += [Act(actor, IDLE), Act(actor, SAY)]
            options += [Act(actor, kind, d) for kind in (LOOK, WALK) for d in DIRECTIONS]
            for kind, values in ((LAMP, ("on", "off")), (DOOR, ("open", "closed"))):
                now = self.switched.get((kind, shot.place))
                options += [Act(actor, kind, value) for value in values if value != now]
            if actor not in self.hats:
                options.append(Act(actor, HAT, "on"))
            if self.holder == actor:
                options += [Act(actor, THROW, catcher) for catcher in present if catcher != actor]
            if self.switched.get((DOOR, shot.place)) != "closed":
                options += [Act(actor, GO, place) for place in PLACES if place != shot.place]
        return [act for act in options if act.kind in SHOWN[shot.frame]]

    def _speech(self, act: Act, remaining: float) -> tuple[Act, float]:
        """Draws the words of a speech of at most `remaining` seconds.

        Returns the act with its words, and its duration in s.
        """
        words: list[str] = []
        cost = 0.0
        for _ in range(1 + self.stream.integer(MAX_WORDS)):
            word = self.stream.choice(list(voice.WORDS))
            states = [s[0] for name in voice.WORDS[word].split() for s in voice.SOUNDS[name]]
            seconds = sum(states) / 1000.0 / min(RATES) + 0.05
            if cost + seconds > remaining:
                break
            words.append(word)
            cost += seconds
        return dataclasses.replace(act, words=tuple(words)), cost

    def _done(self, act: Act, shot: Shot) -> Act:
        """Applies an act to the state and returns it, with the outcome of a throw."""
        if act.kind in (LAMP, DOOR):
            self.switched[act.kind, shot.place] = act.to
        elif act.kind == HAT:
            self.hats.add(act.who)
        elif act.kind == GO:
            self.switched[DOOR, shot.place] = "open"
            self.room[self.cast.index(act.who)] = act.to
        elif act.kind == THROW:
            outcome = self.stream.choice(OUTCOMES, OUTCOME_WEIGHTS)
            self.holder = act.to if outcome == "caught" else None
            return dataclasses.replace(act, outcome=outcome)
        return act
