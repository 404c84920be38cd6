"""Oracle `shots`: whether each shot of a story shows what the storyboard states of it.

A story is a clip with cuts, and a shot is the part between two cuts. The storyboard holds the facts
of every shot (`shot_facts.py`), such as place, frame size and acts. `story_shots.py` reads them
from the frames.
"""

import dataclasses
import itertools
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import (
    BLANK,
    DEGRADATIONS,
    GROUND_TRUTH,
    Condition,
    corrupt,
    redrawn,
)
from sora_jax.oracles.corruptions import freeze, mirror
from sora_jax.oracles.examples import VIDEO, Example
from sora_jax.oracles.shot_facts import Facts, differs, stated, wrong
from sora_jax.oracles.story_shots import Shot
from sora_jax.worlds.playhouse.families.story import StoryFacts
from sora_jax.worlds.playhouse.storyboard import DOOR, HAT, LAMP

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

ACTED = (LAMP, DOOR, HAT)  # what acts change for all later shots, visibly


def _facts(example: Example) -> list[Facts]:
    """Returns the facts that the storyboard states of each shot; [] if the take is no story."""
    facts = example.take.facts
    return stated(facts.board) if isinstance(facts, StoryFacts) else []


def shots_of(example: Example, reading: "Reading") -> list[Shot]:
    """Returns what each shot of a clip shows, with cuts where the format of the example has them
    (not where they are read).
    """
    return reading.shots_from(tuple(int(s) for s in np.cumsum(example.format.shots[:-1])))


def _order(example: Example) -> list[int] | None:
    """Returns a random permutation of the shots of a story in which some shot lacks a fact of its
    place in the order; None if 12 draws give none.
    """
    facts = _facts(example)
    orders = [example.rng.permutation(len(facts)).tolist() for _ in range(12)]
    told = (o for o in orders if any(differs(facts[i], facts[k]) for i, k in enumerate(o)))
    return next(told, None)


def in_place(example: Example, reading: "Reading") -> bool | None:
    """Returns whether the shots of a clip agree better with the facts of the storyboard in the
    order in which they are shown than in any other order.

    Only orders with other facts are compared; None if there are none, because all shots are alike.
    """
    facts = _facts(example)
    numbers = range(len(facts))
    orders = [
        order
        for order in itertools.permutations(numbers)
        if any(differs(facts[i], facts[k]) for i, k in enumerate(order))
    ]
    if not orders:
        return None
    shots = shots_of(example, reading)
    missed = [[len(wrong(shot, asked)) for asked in facts] for shot in shots]
    own = sum(missed[i][i] for i in numbers)
    return all(own < sum(missed[k][i] for i, k in enumerate(order)) for order in orders)


def in_order(example: Example, order: list[int]) -> Example:
    """Returns an example whose shots are shown in another order: shot `order[i]` at position i."""
    parts = np.split(example.frames, np.cumsum(example.format.shots[:-1]))
    return dataclasses.replace(example, frames=np.concatenate([parts[i] for i in order]))


@corrupt(VIDEO)
def exchanged(clips: list[Example]) -> list[Example]:
    """Corruption: the clips, each with one shot replaced by the same shot of another clip, whose
    facts differ.
    """
    made = []
    for i, c in enumerate(clips):
        number = int(c.rng.integers(len(c.format.shots)))
        facts, others = _facts(c)[number], clips[i + 1 :] + clips[:i]
        other = next((o for o in others if differs(facts, _facts(o)[number])), c)
        own = c.format.frame_shots() == number
        frames = np.where(own[:, None, None, None], other.frames, c.frames)
        made.append(dataclasses.replace(c, frames=frames))
    return made


@corrupt(VIDEO)
def unacted(clips: list[Example]) -> list[Example]:
    """Corruption: the clips without the effects of acts on lamps, doors and hats, which stay as
    they are at the start.
    """
    takes = []
    for c in clips:
        plot = c.take.scene.plot
        assert plot is not None, "a story has a plot"
        events = tuple(event for event in plot.events if event.kind not in ACTED)
        scene = dataclasses.replace(c.take.scene, plot=dataclasses.replace(plot, events=events))
        takes.append(dataclasses.replace(c.take, scene=scene))
    return redrawn(clips, takes)


class ShotsOracle(Oracle):
    """Oracle `shots`: the facts of each shot of a story.

    They are place and frame size, the number of characters, what acts do to lamp, door and hats,
    throws, the score, walks, and the ball's colour, each where a shot shows it.
    """

    name = "shots"
    media = (VIDEO,)
    tolerance = "every fact of every shot"
    corruptions = (exchanged, unacted, mirror, freeze)
    stage = "story"
    empty = BLANK

    def read(self, reading: "Reading") -> list[Shot]:
        """Returns what each shot of a clip shows, with cuts where the oracle `cuts` reads them."""
        return reading.shots_from(tuple(round(cut * reading.fps) for cut in reading.cuts))

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether every shot shows the facts that the take's storyboard states of it; None
        for a take that is no story.
        """
        facts = _facts(example)
        if not facts:
            return None
        shots = shots_of(example, reading)
        return not any(wrong(shot, asked) for shot, asked in zip(shots, facts, strict=True))

    def applies(self, condition: Condition, example: Example) -> bool:
        """Returns whether a condition may be judged on the example: a corruption must change a fact
        of it; ground truth and degradations always may.
        """
        facts = _facts(example)
        if condition is unacted:
            return any(one.get(kind) for one in facts for kind in ACTED)
        if condition is freeze:
            return any(one != facts[0] for one in facts) or any(map(_changes, facts))
        return condition in (GROUND_TRUTH, *DEGRADATIONS) or bool(facts)

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns the clips with their shots in another order. A clip is left out if no other order
        contradicts its storyboard.
        """
        orders = [(c, _order(c)) for c in clips]
        return [in_order(c, order) for c, order in orders if order]

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns rows (name of a fact, share of the shots that show it as stated, number of shots
        of which it is stated).
        """
        rows: dict[str, list[bool]] = {}
        for example, reading in zip(examples, readings, strict=True):
            shots = shots_of(example, reading)
            for shot, asked in zip(shots, _facts(example), strict=True):
                missed = wrong(shot, asked)
                for name in asked:
                    rows.setdefault(name, []).append(name not in missed)
        return [
            (f"shots, {name}", f"{np.mean(values):.3f}", len(values))
            for name, values in rows.items()
        ]


def _changes(facts: Facts) -> bool:
    """Returns whether something moves or changes within a shot of these facts."""
    return any(facts.get(kind) for kind in (*ACTED, "throw", "walk"))
