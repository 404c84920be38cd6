"""Baselines: clips made without a model, which give each metric its floor and ceiling.

    ground truth             the scene's own render: the ceiling
    tokenizer round trip     the render encoded and decoded: the upper bound for a model on these
                             tokenizers
    copy last frame          the first GIVEN frames, then the last of them repeated; silence
    linear extrapolation     every ball continues its motion of the first GIVEN frames through any
                             obstacle; silence
    nearest training clip    a render of the training scene that shares most facts with the prompt:
                             memorization without generalization

The clips of the model and of each baseline have a floor of their own, the score by chance: the
clips are judged by the takes (ground truth) of other clips, or their frames or sounds are mixed
(`mixed`). For example, the impacts of a clip that rattles all the time agree with any video; its
floor is as high as its score.

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

GIVEN = phyworld.GIVEN  # number of first frames that are given
PARTNERS = 4  # number of other clips that the floor of a clip is read from
Pair = tuple[Example, Reading]  # a clip and its reading


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
    """Returns the take of a clip with every ball on a straight line at constant speed, fitted to
    its positions in the first GIVEN frames by least squares.
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
    """Baseline: returns the clips with every ball on a straight line at constant speed, fitted to
    its positions in the first GIVEN frames, and silent audio.
    """
    renders = examples.render_takes([_straight(c) for c in clips], clips[0].format, len(clips))
    return [
        dataclasses.replace(c, frames=render.frames, samples=np.zeros_like(c.samples))
        for c, render in zip(clips, renders, strict=True)
    ]


def nearest(take: Take, pool: list[Take]) -> Take:
    """Returns the take of a pool whose facts are most similar to those of `take` (`likeness`)."""
    return max(pool, key=lambda other: likeness(take.facts, other.facts))


def likeness(a: Any, b: Any) -> float:
    """Returns how similar the facts a and b of two takes are, a number that is larger for more
    similar ones.

    For PhyWorld it is the negative sum of the distances of speeds and radii; for rooms, a weighted
    number of facts that balls of the same colour share; else the number of equal fields.
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
    """Returns, for each take, the indices of PARTNERS takes with other facts, whose clips its floor
    is computed with.

    They are the next such takes in order, wrapping around at the end, with the same number of balls
    if there is any.
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
        how: "clips": other clips with this clip's take; "frames": this clip with its frames
            permuted; "sounds": with the audio of other clips; "pieces": with its own audio in
            permuted pieces of 50 ms. None: no pairs, so no floor.
        clip: the clip.
        reading: its reading.
        others: other clips of the same model or baseline (`partners`), with their readings.
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
