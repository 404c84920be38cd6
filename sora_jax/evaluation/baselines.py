"""Baselines: clips made without a model, which give each metric its floor and ceiling.

    ground truth             the scene's own render: the ceiling
    tokenizer round trip     encoded and decoded: the most that a model on these tokenizers can
                             reach
    copy last frame          the first GIVEN frames, and the last of them from there on; silence
    linear extrapolation     every ball goes on as it moved in the first GIVEN frames, whatever is
                             in its way; silence
    nearest training clip    the training scene that shares most facts: what a memory without
                             understanding makes

Each row has its own floor: its clips against other scenes, or mixed (`mixed`). A clip that rattles
all the time agrees with any picture, and its floor says so.

For PhyWorld the extrapolation reads the frames' pixels, as a model does; elsewhere it knows where
the balls are.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from sora_jax.oracles import examples, phyworld
from sora_jax.oracles.examples import Example
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.words import pieces
from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.phyworld import PhyWorldFacts
from sora_jax.worlds.playhouse.trajectory import Trajectory

GIVEN = phyworld.GIVEN  # frames
PARTNERS = 4  # other clips that each take is paired with for its floor
Pair = tuple[Example, Reading]


def copy_last_frame(clips: list[Example]) -> list[Example]:
    """The first GIVEN frames, and the last of them from there on; silence."""
    index = np.minimum(np.arange(clips[0].format.frames), GIVEN - 1)
    return [
        dataclasses.replace(c, frames=c.frames[index], samples=np.zeros_like(c.samples))
        for c in clips
    ]


def _straight(clip: Example) -> Take:
    """The take with every ball on the line through its places in the first GIVEN frames, by least
    squares.
    """
    take, times = clip.take, clip.format.frame_times()[:GIVEN]
    places = take.trajectory.positions(times)
    if isinstance(take.facts, PhyWorldFacts):
        for k, ball in enumerate(take.scene.balls):
            seen = phyworld.centres(clip.frames[:GIVEN], ball.colour, take.scene.extent)
            places[:, k] = np.where(np.isfinite(seen), seen, places[:, k])
    arcs = []
    for k in range(len(take.scene.balls)):
        velocity, start = np.polyfit(times, places[:, k], 1)
        arcs.append(np.array([[0.0, *start, *velocity, 0.0]]))
    motion = Trajectory(tuple(arcs), (), (), take.trajectory.shifts)
    return dataclasses.replace(take, trajectory=motion)


def linear_extrapolation(clips: list[Example]) -> list[Example]:
    """Every ball goes on in a straight line at the speed of the first GIVEN frames; silence."""
    made = examples.render_takes([_straight(c) for c in clips], clips[0].format, len(clips))
    return [
        dataclasses.replace(c, frames=m.frames, samples=np.zeros_like(c.samples))
        for c, m in zip(clips, made)
    ]


def nearest(take: Take, pool: list[Take]) -> Take:
    """The take of the pool whose facts are most like the take's."""
    return max(pool, key=lambda other: likeness(take.facts, other.facts))


def likeness(a, b) -> float:
    """How many facts of a caption b shares, and of PhyWorld's, how near they are."""
    if isinstance(a, PhyWorldFacts):
        return -sum(abs(x - y) for x, y in zip((*a.speeds, *a.radii), (*b.speeds, *b.radii)))
    if not isinstance(a, Facts):
        pairs = (
            (getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
        return sum(
            likeness(x, y) if dataclasses.is_dataclass(x) else float(x == y) for x, y in pairs
        )
    others = {ball.colour: ball for ball in b.balls}
    score = 4 * (len(a.balls) == len(b.balls))
    for ball in a.balls:
        other = others.get(ball.colour)
        if other:
            score += 4 + sum(
                getattr(ball, k) == getattr(other, k)
                for k in ("size", "launch", "direction", "bounces")
            )
    return score


def partners(takes: Sequence[Take]) -> list[list[int]]:
    """For each take the next PARTNERS others, around the end, whose caption says something else, of
    as many balls where there are such.
    """
    keys, balls = [take.facts.key() for take in takes], [len(take.scene.balls) for take in takes]
    chosen = []
    for i in range(len(takes)):
        ring = (*range(i + 1, len(takes)), *range(i))
        other = [j for j in ring if keys[j] != keys[i]]
        alike = [j for j in other if balls[j] == balls[i]]
        chosen.append((alike or other)[:PARTNERS])
    return chosen


def mixed(how: str | None, clip: Example, reading: Reading, others: Iterable[Pair]) -> list[Pair]:
    """What the floor of a clip is read from, mixed as `suites.Suite.mixed` says.

    Args:
        others: the clips of its `partners` in the same row, with their readings.
    """
    if how is None:
        return []
    if how == "frames":
        return [(c, Reading(c)) for c in examples.disordered([clip])]
    if how == "pieces":
        return [(c, reading.with_sound_of(Reading(c))) for c in pieces([clip])]
    if how == "sounds":
        return [
            (dataclasses.replace(clip, samples=other.samples), reading.with_sound_of(heard))
            for other, heard in others
        ]
    return [(dataclasses.replace(other, take=clip.take), read) for other, read in others]
