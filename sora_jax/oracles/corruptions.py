"""Corruptions: changes of clips that must make an oracle's reading incorrect.

This file holds those that several oracles share. The file of an oracle holds those that it alone
uses. A decorator (`conditions.py`) makes each function below a `Condition`, which is called with a
list of examples.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.conditions import corrupt, corrupt_frames, corrupt_samples, redrawn
from sora_jax.oracles.examples import VIDEO, Example, empty_rooms, quiet
from sora_jax.worlds.playhouse.spec import Ball
from sora_jax.worlds.playhouse.trajectory import Trajectory

DELAY = 0.16  # seconds by which `late` delays the sound


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retimed(Trajectory):
    """A trajectory with a remapped time axis: balls are at time t where those of the original are
    at clock(t).

    Attributes:
        clock: function of times [T] in s that returns the times [T] of the original.
    """

    clock: Callable[[np.ndarray], np.ndarray]

    def positions(self, times: np.ndarray) -> np.ndarray:
        """Returns ball centres in metres, float64 [T, K, 2], at times [T] in seconds."""
        return super().positions(self.clock(np.asarray(times)))


def retimed(motion: Trajectory, clock: Callable[[np.ndarray], np.ndarray]) -> Retimed:
    """Returns a motion whose balls are at time t where those of `motion` are at time clock(t).

    Contacts, velocities, spins and the displacements of shapes are not remapped.

    Args:
        motion: the original, which is not changed.
        clock: maps times [T] of the result to times [T] of `motion`, in seconds.
    """
    return Retimed(**vars(motion), clock=clock)


def shifted(samples: np.ndarray, seconds: float) -> np.ndarray:
    """Returns samples [S] at 16 kHz delayed by `seconds` (negative: advanced), with the same
    length.

    The gap at the start or end is filled with the adjacent samples in reverse order.
    """
    shift = round(abs(seconds) * SAMPLE_RATE)
    if seconds < 0:
        return shifted(samples[::-1], -seconds)[::-1]
    return np.concatenate([samples[:shift][::-1], samples[: len(samples) - shift]])


def splice(clips: list[Example], others: list[Example]) -> list[Example]:
    """Returns the clips with the second half of their frames replaced by that of the clip at the
    same index in `others`. All clips have as many frames as the first.
    """
    half = clips[0].format.frames // 2
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:-half], o.frames[-half:]]))
        for c, o in zip(clips, others, strict=True)
    ]


def other_ball(clips: list[Example], change: Callable[[Ball], Ball]) -> list[Example]:
    """Returns the clips with other balls in the last part of their video.

    If a panel hides the ball, that part starts in the middle of the hidden interval; otherwise in
    the middle of the clip.

    Args:
        clips: the clips.
        change: function of a ball that returns the ball that replaces it.
    """
    takes, out = [], []
    for c in clips:
        scene = dataclasses.replace(c.take.scene, balls=tuple(map(change, c.take.scene.balls)))
        takes.append(dataclasses.replace(c.take, scene=scene))
    for c, other in zip(clips, redrawn(clips, takes), strict=True):
        _, start, end = c.take.hidden[0] if c.take.hidden else (0, 0.0, c.format.seconds)
        after = (c.format.frame_times() > 0.5 * (start + end))[:, None, None, None]
        out.append(dataclasses.replace(c, frames=np.where(after, other.frames, c.frames)))
    return out


def _empty_room(c: Example) -> np.ndarray:
    return empty_rooms([c])[0]


def _balls(c: Example) -> np.ndarray:
    """Returns a mask of the balls of clip `c`, bool [F, H, W]: pixels where its frames differ from
    a render of the same room without balls.
    """
    return np.abs(c.frames - _empty_room(c)).max(-1) > 0.02


def _doubled(c: Example) -> np.ndarray:
    """Returns the frames of clip `c` with a copy of every ball half a frame width to the side,
    except where the copy would cover a ball.
    """
    balls = _balls(c)
    moved = np.roll(c.frames, c.format.size // 2, axis=2)
    copies = np.roll(balls, c.format.size // 2, axis=2) & ~balls
    return np.where(copies[..., None], moved, c.frames)


@corrupt_frames
def vanish(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with the balls removed from the middle three frames."""
    frames, room = c.frames.copy(), _empty_room(c)
    middle = c.format.frames // 2
    frames[middle - 1 : middle + 2] = room[middle - 1 : middle + 2]
    return frames


@corrupt_frames
def teleport(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with those of the middle third shifted to the right by a
    quarter of the width, cyclically.
    """
    frames, third = c.frames.copy(), c.format.frames // 3
    frames[third : 2 * third] = np.roll(frames[third : 2 * third], c.format.size // 4, axis=2)
    return frames


@corrupt_frames
def double(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with every ball twice."""
    return _doubled(c)


@corrupt_frames
def visitor(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with a second ball of another colour for every ball, in
    the middle five frames.
    """
    doubled, middle = _doubled(c), c.format.frames // 2
    added = np.abs(doubled - c.frames).max(-1, keepdims=True) > 0
    shown = np.abs(np.arange(c.format.frames) - middle)[:, None, None, None] <= 2
    return np.where(added & shown, doubled[..., [2, 0, 1]], c.frames)


@corrupt_frames
def recolour(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` with the colour channels of the balls permuted, so balls
    have other colours.
    """
    return np.where(_balls(c)[..., None], c.frames[..., [2, 0, 1]], c.frames)


@corrupt(VIDEO)
def resized(clips: list[Example]) -> list[Example]:
    """Corruption: the clips with balls of 0.7 times the radius from the middle on, or from the
    middle of the interval in which a panel hides them.
    """
    return other_ball(clips, _smaller)


def _smaller(ball: Ball) -> Ball:
    return dataclasses.replace(ball, radius=0.7 * ball.radius)


@corrupt_frames
def mirror(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` mirrored left to right."""
    return c.frames[:, :, ::-1]


@corrupt_frames
def reverse(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` in reverse order."""
    return c.frames[::-1]


@corrupt_frames
def freeze(c: Example) -> np.ndarray:
    """Corruption: the first frame of clip `c`, repeated for the whole clip."""
    return np.repeat(c.frames[:1], c.format.frames, axis=0)


@corrupt_frames
def slow(c: Example) -> np.ndarray:
    """Corruption: the frames of clip `c` played at three quarters of their speed.

    The audio is unchanged, so visible and audible impacts drift apart.
    """
    index = np.minimum((np.arange(c.format.frames) * 0.75).astype(int), c.format.frames - 1)
    return c.frames[index]


@corrupt(VIDEO)
def swap(clips: list[Example]) -> list[Example]:
    """Corruption: the clips, each with the second half of its video from the next clip."""
    return splice(clips, clips[1:] + clips[:1])


@corrupt_samples
def late(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` delayed by DELAY seconds, after ambient noise."""
    assert c.samples is not None
    shift = int(DELAY * SAMPLE_RATE)
    return np.concatenate([quiet(c)[:shift], c.samples[:-shift]])


@corrupt_samples
def backwards(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` in reverse order."""
    assert c.samples is not None
    return c.samples[::-1]
