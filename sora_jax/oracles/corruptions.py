"""Corruptions that several oracles must notice; those of one oracle are in its own file."""

import dataclasses
from collections.abc import Callable

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.conditions import corrupt, corrupt_frames, corrupt_samples, redrawn
from sora_jax.oracles.examples import VIDEO, Example, empty_rooms, quiet
from sora_jax.worlds.playhouse.spec import Ball
from sora_jax.worlds.playhouse.trajectory import Trajectory

LATE = 0.16  # seconds by which `late` delays the sound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retimed(Trajectory):
    """A motion by another clock: its positions at `times` are the motion's at clock(times)."""

    clock: Callable[[np.ndarray], np.ndarray]

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Centres in metres, float64 [T, K, 2], at times [T] in seconds."""
        return super().positions(self.clock(np.asarray(times)))


def retimed(motion: Trajectory, clock: Callable[[np.ndarray], np.ndarray]) -> Retimed:
    """`motion` by another clock, clock(times [T] in s) -> times [T]."""
    return Retimed(**vars(motion), clock=clock)


def then(clips: list[Example], others: list[Example]) -> list[Example]:
    """The clips with the second half of the others' pictures."""
    half = clips[0].format.frames // 2
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:-half], o.frames[-half:]]))
        for c, o in zip(clips, others)
    ]


def other_ball(clips: list[Example], change: Callable[[Ball], Ball]) -> list[Example]:
    """Another ball comes out from behind the panel; without a panel, balls become others in the
    middle of the clip.
    """
    takes, out = [], []
    for c in clips:
        scene = dataclasses.replace(c.take.scene, balls=tuple(map(change, c.take.scene.balls)))
        takes.append(dataclasses.replace(c.take, scene=scene))
    for c, other in zip(clips, redrawn(clips, takes)):
        _, start, end = c.take.hidden[0] if c.take.hidden else (0, 0.0, c.format.seconds)
        late = (c.format.frame_times() > 0.5 * (start + end))[:, None, None, None]
        out.append(dataclasses.replace(c, frames=np.where(late, other.frames, c.frames)))
    return out


def _empty_room(c: Example) -> np.ndarray:
    return empty_rooms([c])[0]


def _balls(c: Example) -> np.ndarray:
    """bool [F, H, W]: where the render differs from the same room without balls."""
    return np.abs(c.frames - _empty_room(c)).max(-1) > 0.02


def _doubled(c: Example) -> np.ndarray:
    """Every ball has a copy half a picture away, where the room is empty."""
    balls = _balls(c)
    moved = np.roll(c.frames, c.format.size // 2, axis=2)
    copies = np.roll(balls, c.format.size // 2, axis=2) & ~balls
    return np.where(copies[..., None], moved, c.frames)


@corrupt_frames
def vanish(c: Example) -> np.ndarray:
    """The balls are away in three frames of the middle."""
    frames, room = c.frames.copy(), _empty_room(c)
    middle = c.format.frames // 2
    frames[middle - 1 : middle + 2] = room[middle - 1 : middle + 2]
    return frames


@corrupt_frames
def teleport(c: Example) -> np.ndarray:
    """The middle third of the clip is shown a quarter of the picture further to the right."""
    frames, third = c.frames.copy(), c.format.frames // 3
    frames[third : 2 * third] = np.roll(frames[third : 2 * third], c.format.size // 4, axis=2)
    return frames


@corrupt_frames
def double(c: Example) -> np.ndarray:
    """Every ball is in the picture twice."""
    return _doubled(c)


@corrupt_frames
def visitor(c: Example) -> np.ndarray:
    """Five frames of the middle show additional balls of other colours."""
    doubled, middle = _doubled(c), c.format.frames // 2
    added = np.abs(doubled - c.frames).max(-1, keepdims=True) > 0
    shown = np.abs(np.arange(c.format.frames) - middle)[:, None, None, None] <= 2
    return np.where(added & shown, doubled[..., [2, 0, 1]], c.frames)


@corrupt_frames
def recolour(c: Example) -> np.ndarray:
    """The balls have other colours."""
    return np.where(_balls(c)[..., None], c.frames[..., [2, 0, 1]], c.frames)


@corrupt(VIDEO)
def resized(clips: list[Example]) -> list[Example]:
    """The balls shrink in the middle of the clip, or behind the panel."""
    return other_ball(clips, _smaller)


def _smaller(ball: Ball) -> Ball:
    return dataclasses.replace(ball, radius=0.7 * ball.radius)


@corrupt_frames
def mirror(c: Example) -> np.ndarray:
    """Left and right are exchanged."""
    return c.frames[:, :, ::-1]


@corrupt_frames
def reverse(c: Example) -> np.ndarray:
    """The picture runs backwards."""
    return c.frames[::-1]


@corrupt_frames
def freeze(c: Example) -> np.ndarray:
    """Every frame is the first one."""
    return np.repeat(c.frames[:1], c.format.frames, axis=0)


@corrupt_frames
def slow(c: Example) -> np.ndarray:
    """The picture runs at three quarters of its speed, the sound as before: impacts drift apart."""
    index = np.minimum((np.arange(c.format.frames) * 0.75).astype(int), c.format.frames - 1)
    return c.frames[index]


@corrupt(VIDEO)
def swap(clips: list[Example]) -> list[Example]:
    """The second half of every picture is that of the next clip."""
    return then(clips, clips[1:] + clips[:1])


@corrupt_samples
def late(c: Example) -> np.ndarray:
    """The sound comes LATE seconds after the picture."""
    shift = int(LATE * SAMPLE_RATE)
    return np.concatenate([quiet(c)[:shift], c.samples[:-shift]])


@corrupt_samples
def backwards(c: Example) -> np.ndarray:
    """The sound runs backwards."""
    return c.samples[::-1]
