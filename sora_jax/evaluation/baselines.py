"""Baselines: clips made without a model, which give each metric its floor and ceiling.

    ground truth             the scene's own render: the ceiling
    tokenizer round trip     encoded and decoded: the upper bound for a model on these tokenizers
    copy last frame          the first GIVEN frames, then the last of them repeated; silence
    linear extrapolation     every ball continues its motion of the first GIVEN frames through any
                             obstacle; silence
    nearest training clip    the training scene that shares most facts: memorization without
                             generalization

Each row has its own floor: its clips against other scenes, or mixed (`mixed`). A clip with
constant rattling agrees with any video, and its floor shows that.

For PhyWorld, the extrapolation reads the ball positions from the pixels, as a model does.
Elsewhere it uses the true positions.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sora_jax.oracles import examples, phyworld
from sora_jax.oracles.examples import Example
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.words import pieces
from sora_jax.worlds.playhouse.captions import Facts
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.families.phyworld import PhyWorldFacts
from sora_jax.worlds.playhouse.trajectory import Trajectory

GIVEN = phyworld.GIVEN  # conditioning frames
PARTNERS = 4  # number of other clips that the floor of a take is read from
Pair = tuple[Example, Reading]


def copy_last_frame(clips: list[Example]) -> list[Example]:
    """Baseline: returns the clips with the last of their first GIVEN frames repeated, and silent
    audio.
    """
    index = np.minimum(np.arange(clips[0].format.frames), GIVEN - 1)
    return [
        dataclasses.replace(c, frames=c.frames[index], samples=np.zeros_like(c.samples))
        for c in clips
    ]


def _straight(clip: Example) -> Take:
    """Returns the take with every ball on a straight line, fitted to its positions in the first
    GIVEN frames by least squares.
    """
    take, times = clip.take, clip.format.frame_times()[:GIVEN]
    positions = take.trajectory.positions(times)
    if isinstance(take.facts, PhyWorldFacts):
        for k, ball in enumerate(take.scene.balls):
            centres = phyworld.centres(clip.frames[:GIVEN], ball.colour, take.scene.extent)
            positions[:, k] = np.where(np.isfinite(centres), centres, positions[:, k])
    arcs = []
    for k in range(len(take.scene.balls)):
        velocity, start = np.polyfit(times, positions[:, k], 1)
        arcs.append(np.array([[0.0, *start, *velocity, 0.0]]))
    motion = Trajectory(tuple(arcs), (), (), take.trajectory.shifts)
    return dataclasses.replace(take, trajectory=motion)


def linear_extrapolation(clips: list[Example]) -> list[Example]:
    """Baseline: returns the clips with every ball on a straight line, and silent audio.

    The line is fitted to the ball's positions in the first GIVEN frames.
    """
    renders = examples.render_takes([_straight(c) for c in clips], clips[0].format, len(clips))
    return [
        dataclasses.replace(c, frames=render.frames, samples=np.zeros_like(c.samples))
        for c, render in zip(clips, renders, strict=True)
    ]


def nearest(take: Take, pool: list[Take]) -> Take:
    """Returns the take of a pool whose facts are most similar to those of `take`."""
    return max(pool, key=lambda other: likeness(take.facts, other.facts))


def likeness(a: Any, b: Any) -> float:
    """Returns how similar the facts a and b of two captions are, a number that is larger for more
    similar ones.

    It is the number of facts shared, or for PhyWorld the negative distance of speeds and radii.
    """
    if isinstance(a, PhyWorldFacts):
        return -sum(
            abs(x - y) for x, y in zip((*a.speeds, *a.radii), (*b.speeds, *b.radii), strict=True)
        )
    if not isinstance(a, Facts):
        pairs = (
            (getattr(a, field.name), getattr(b, field.name)) for field in dataclasses.fields(a)
        )
        return sum(
            likeness(x, y) if dataclasses.is_dataclass(x) else float(x == y) for x, y in pairs
        )
    others = {ball.colour: ball for ball in b.balls}
    # the ball count, and the colour of a ball, each weigh as much as a ball's other four facts
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
    """Returns, for each take, the indices of PARTNERS takes with another caption, for its floor.

    They are the next ones in order, wrapping around at the end. Takes with the same number of balls
    are preferred.
    """
    keys, balls = (
        [examples.facts_key(take) for take in takes],
        [len(take.scene.balls) for take in takes],
    )
    chosen = []
    for i in range(len(takes)):
        following = (*range(i + 1, len(takes)), *range(i))
        other = [j for j in following if keys[j] != keys[i]]
        alike = [j for j in other if balls[j] == balls[i]]
        chosen.append((alike or other)[:PARTNERS])
    return chosen


def mixed(how: str | None, clip: Example, reading: Reading, others: Iterable[Pair]) -> list[Pair]:
    """Returns (clip, reading) pairs that match by chance alone: the floor of a clip's score is
    computed from them.

    Args:
        how: what is exchanged or permuted, `suites.Suite.mixed`; None for no floor.
        clip: the clip.
        reading: its reading.
        others: the clips of its `partners` in the same row, with their readings.
    """
    if how is None:
        return []
    if how == "frames":
        return [(c, Reading(c)) for c in examples.disordered([clip])]
    if how == "pieces":
        return [(c, reading.with_audio_of(Reading(c))) for c in pieces([clip])]
    if how == "sounds":
        return [
            (dataclasses.replace(clip, samples=other.samples), reading.with_audio_of(heard))
            for other, heard in others
        ]
    return [(dataclasses.replace(other, take=clip.take), read) for other, read in others]
