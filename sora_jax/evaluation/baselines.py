"""What stands beside a model on the scoreboard: clips that nobody learned to make, so that every
number has its scale.

    ground truth             the scene's own render: the ceiling
    tokenizer round trip     encoded and decoded: the most that a model on these tokenizers can
                             reach
    copy last frame          the first GIVEN frames, and the last of them from there on; silence
    linear extrapolation     every ball goes on as it moved in the first GIVEN frames, whatever is
                             in its way; silence
    nearest training clip    the training scene that shares most facts: what a memory without
                             understanding makes
    shuffled                 another scene's clip, or the same one mixed: the floor
                             (`suites.Suite.mixed`)

For PhyWorld the extrapolation reads the frames' pixels, as a model does; elsewhere it knows where
the balls are.
"""

import dataclasses

import numpy as np

from sora_jax.evaluation import scoring
from sora_jax.oracles import examples, phyworld
from sora_jax.oracles.examples import Example
from sora_jax.oracles.words import shuffled_pieces
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.trajectory import Trajectory

GIVEN = phyworld.GIVEN  # frames


def copy_last_frame(clips: list[Example]) -> list[Example]:
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
    if take.family.startswith("phyworld"):
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
    made = examples.render_takes([_straight(c) for c in clips], clips[0].format, len(clips))
    return [
        dataclasses.replace(c, frames=m.frames, samples=np.zeros_like(c.samples))
        for c, m in zip(clips, made)
    ]


def nearest(take: Take, pool: list[Take]) -> Take:
    """The take of the pool whose facts are most like the take's."""
    return max(pool, key=lambda other: scoring.likeness(take.facts, other.facts))


def shuffled(clips: list[Example], others: list[Example], mixed: str) -> list[Example]:
    """The clips mixed as `suites.Suite.mixed` says; others: for each clip that of another scene."""
    if mixed == "frames":
        return examples.disordered(clips)
    if mixed == "pieces":
        return [
            dataclasses.replace(
                c, samples=shuffled_pieces(c.samples, c.take.index).astype(np.float32)
            )
            for c in clips
        ]
    if mixed == "sounds":
        return [dataclasses.replace(c, samples=o.samples) for c, o in zip(clips, others)]
    return [
        dataclasses.replace(c, frames=o.frames, samples=o.samples) for c, o in zip(clips, others)
    ]
