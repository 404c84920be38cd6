"""The conditions under which oracles are calibrated: ground truth, what a codec or a model's blur
does to it, and what must fail.

A condition turns clips into clips. The first group must not change what an oracle reads; in the
second the clip no longer shows what the scene says, so a reading that still agrees is no
measurement. `shuffled` keeps the clips and gives them each other's scenes.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from sora_jax import media
from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.examples import AUDIO, VIDEO, Example, empty_rooms, quiet, render_takes
from sora_jax.oracles.words import shuffled_pieces
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.draw import in_style
from sora_jax.worlds.playhouse.simulate import simulate
from sora_jax.worlds.playhouse.spec import COLOURS, FILM_STYLES, Ball
from sora_jax.worlds.playhouse.trajectory import Trajectory

LATE = 0.16  # seconds by which corrupted_late delays the sound
EARLY = 0.6  # metres by which corrupted_early is ahead
HASTE = 1.3  # how much faster corrupted_hasten runs after the first bounce


def _frames(change: Callable[[Example], np.ndarray]):
    return lambda clips: [
        dataclasses.replace(c, frames=change(c).astype(np.float32)) for c in clips
    ]


def _samples(change: Callable[[Example], np.ndarray]):
    return lambda clips: [
        dataclasses.replace(c, samples=change(c).astype(np.float32)) for c in clips
    ]


def _white(c: Example) -> np.ndarray:
    noise = c.rng.normal(size=c.samples.shape)
    return c.samples + noise * np.sqrt(np.mean(c.samples**2)) * 10 ** (-20 / 20)


def _through_file(medium: str, crf: int):
    """One medium of each clip through an mp4 and back; the other is left as it was, so that a miss
    has one cause.
    """

    def change(clips):
        out = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            for c in clips:
                media.write_mp4(path, c, crf=crf)
                read = media.fit_clip(media.read_video(path), c.format)
                if medium == VIDEO:
                    out.append(dataclasses.replace(c, frames=read.frames))
                else:
                    silence = np.zeros_like(c.samples)
                    samples = silence if read.samples is None else read.samples
                    out.append(dataclasses.replace(c, samples=samples))
        return out

    return change


def _balls(c: Example) -> np.ndarray:
    """bool [F, H, W]: where the render differs from the same room without balls."""
    return np.abs(c.frames - _empty_room(c)).max(-1) > 0.02


def _empty_room(c: Example) -> np.ndarray:
    return empty_rooms([c])[0]


def _vanish(c: Example) -> np.ndarray:
    frames, room = c.frames.copy(), _empty_room(c)
    middle = c.format.frames // 2
    frames[middle - 1 : middle + 2] = room[middle - 1 : middle + 2]
    return frames


def _teleport(c: Example) -> np.ndarray:
    """The middle third of the clip is shown a quarter of the picture further to the right."""
    frames, third = c.frames.copy(), c.format.frames // 3
    frames[third : 2 * third] = np.roll(frames[third : 2 * third], c.format.size // 4, axis=2)
    return frames


def _double(c: Example) -> np.ndarray:
    """Every ball is there twice: a copy half a picture away, where the room is empty."""
    moved = np.roll(c.frames, c.format.size // 2, axis=2)
    there = np.roll(_balls(c), c.format.size // 2, axis=2) & ~_balls(c)
    return np.where(there[..., None], moved, c.frames)


def _visitor(c: Example) -> np.ndarray:
    """In five frames of the middle there are other balls besides, of other colours."""
    there, middle = _double(c), c.format.frames // 2
    other = np.abs(there - c.frames).max(-1, keepdims=True) > 0
    shown = np.abs(np.arange(c.format.frames) - middle)[:, None, None, None] <= 2
    return np.where(other & shown, there[..., [2, 0, 1]], c.frames)


def _late(c: Example) -> np.ndarray:
    shift = int(LATE * SAMPLE_RATE)
    return np.concatenate([quiet(c)[:shift], c.samples[:-shift]])


def moved(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The sound later by `seconds` (earlier: negative), as long as before; what comes in is its own
    other end, played backwards.
    """
    shift = round(abs(seconds) * SAMPLE_RATE)
    if seconds < 0:
        return moved(samples[::-1], -seconds)[::-1]
    return np.concatenate([samples[:shift][::-1], samples[: len(samples) - shift]])


def _slow(c: Example) -> np.ndarray:
    """The picture runs at three quarters of its speed, the sound as before: impacts drift apart."""
    index = np.minimum((np.arange(c.format.frames) * 0.75).astype(int), c.format.frames - 1)
    return c.frames[index]


def tiles(frames: np.ndarray, seed: int, across: int = 8) -> np.ndarray:
    """Frames [F, H, W, 3] cut into across x across tiles, which are put together in another
    order.
    """
    count, height, width = frames.shape[:3]
    cut = frames.reshape(count, across, height // across, across, width // across, 3).swapaxes(2, 3)
    order = np.random.default_rng([18, seed]).permutation(across * across)
    mixed = cut.reshape(count, across * across, *cut.shape[3:])[:, order].reshape(cut.shape)
    return mixed.swapaxes(2, 3).reshape(frames.shape)


def _restyled(clips: list[Example]) -> list[Example]:
    """The same film in the next style."""
    after = dict(zip(FILM_STYLES, FILM_STYLES[1:] + FILM_STYLES[:1]))
    made = render_takes(
        [in_style(c.take, after[c.take.scene.style]) for c in clips],
        clips[0].format,
        min(16, len(clips)),
    )
    return [dataclasses.replace(c, frames=other.frames) for c, other in zip(clips, made)]


def _turned(clips: list[Example]) -> list[Example]:
    """The second half of every film is in the next style."""
    half = clips[0].format.frames // 2
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:-half], o.frames[-half:]]))
        for c, o in zip(clips, _restyled(clips))
    ]


def _pitched(c: Example) -> np.ndarray:
    """Played at half the speed: every mode an octave down, every decay twice as long."""
    n = len(c.samples)
    return np.interp(np.arange(n) / 2.0, np.arange(n), c.samples)


def _swap(clips: list[Example]) -> list[Example]:
    """The second half of every picture is that of the next clip."""
    half = clips[0].format.frames // 2
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:-half], o.frames[-half:]]))
        for c, o in zip(clips, clips[1:] + clips[:1])
    ]


def _moved(motion: Callable[[Example], Trajectory]):
    """The picture shows another motion than the take's."""

    def change(clips):
        takes = [dataclasses.replace(c.take, trajectory=motion(c)) for c in clips]
        return [
            dataclasses.replace(c, frames=made.frames)
            for c, made in zip(clips, render_takes(takes, clips[0].format, min(16, len(takes))))
        ]

    return change


class _Hastened(Trajectory):
    """A motion that runs HASTE times as fast after its first rebound from the floor."""

    def positions(self, times):
        first = min(
            (c.time for c in self.contacts if c.kind == "floor" and c.rebound > 0), default=np.inf
        )
        return super().positions(
            np.where(times > first, first + HASTE * (times - first), times)
            if np.isfinite(first)
            else times
        )


class _Quickened(Trajectory):
    """A motion that begins at half its speed and ends, after as long, at one and a half times."""

    def positions(self, times):
        times = np.asarray(times)
        return super().positions(0.5 * times * (1.0 + times / self.seconds))


def _quicken(c: Example) -> Trajectory:
    quickened = _Quickened(**vars(c.take.trajectory))
    object.__setattr__(quickened, "seconds", c.format.seconds)
    return quickened


def _hasten(c: Example) -> Trajectory:
    return _Hastened(**vars(simulate(c.take.scene, HASTE * c.format.seconds)))


def _tunnel(c: Example) -> Trajectory:
    """Walls let everything through."""
    return simulate(dataclasses.replace(c.take.scene, bounds="floor"), c.format.seconds)


def _unstopped(c: Example) -> Trajectory:
    """A thrown ball goes on through everything but floor and walls; a jump, which would lie on
    nothing, is as it was.
    """
    shapes = tuple(dataclasses.replace(s, material=None) for s in c.take.scene.shapes)
    return (
        c.take.trajectory
        if c.take.facts.action == "jump"
        else simulate(dataclasses.replace(c.take.scene, shapes=shapes), c.format.seconds)
    )


class _Stopped(Trajectory):
    """A motion of the balls that ends at the time `since`."""

    def positions(self, times):
        return super().positions(np.minimum(times, self.since))


def _hovering(c: Example) -> Trajectory:
    """The ball stays in the air: after what it met first, or, in a jump, before."""
    met = min((x.time for x in c.take.trajectory.contacts), default=c.format.seconds)
    stopped = _Stopped(**vars(c.take.trajectory))
    object.__setattr__(stopped, "since", met - 0.1 if c.take.facts.action == "jump" else met + 0.1)
    return stopped


def _unfurnished(clips: list[Example]) -> list[Example]:
    """In the second half nothing stands there any more."""
    # contacts still name them
    away = lambda shape: dataclasses.replace(
        shape, points=tuple((x + 100.0, y) for x, y in shape.points)
    )
    bare = [
        dataclasses.replace(
            c.take,
            scene=dataclasses.replace(c.take.scene, shapes=tuple(map(away, c.take.scene.shapes))),
        )
        for c in clips
    ]
    half = clips[0].format.frames // 2
    made = render_takes(bare, clips[0].format, min(16, len(clips)))
    return [
        dataclasses.replace(c, frames=np.concatenate([c.frames[:-half], o.frames[-half:]]))
        for c, o in zip(clips, made)
    ]


class _Late(Trajectory):
    """A motion that after the time `since` is another one: positions(times) are then those of
    `after`(times).
    """

    def positions(self, times):
        times = np.asarray(times)
        return np.where(
            (times > self.since)[:, None, None],
            self.after(super().positions, times),
            super().positions(times),
        )


def _behind(after: Callable):
    """A motion that changes while the ball is hidden: after(positions, times, since, speed) says to
    what.
    """

    def motion(c: Example) -> Trajectory:
        ((_, start, end),) = c.take.hidden
        since = 0.5 * (start + end)
        longer = simulate(c.take.scene, 2.0 * c.format.seconds)
        x = longer.positions(np.array([start - 0.05, start]))[:, 0, 0]
        late = _Late(**vars(longer))
        object.__setattr__(late, "since", since)
        object.__setattr__(
            late,
            "after",
            lambda positions, times: after(positions, times, since, abs(x[1] - x[0]) / 0.05),
        )
        return late

    return motion


_lost = _behind(lambda positions, times, since, speed: positions(times) - 1e3)
_stuck = _behind(lambda positions, times, since, speed: positions(np.full_like(times, since)))
_early = _behind(lambda positions, times, since, speed: positions(times + EARLY / speed))


def _other_ball(change: Callable[[Ball], Ball]):
    """Another ball comes out from behind the panel; where there is none, balls become others in the
    middle of the clip.
    """

    def swap(clips):
        takes, out = [], []
        for c in clips:
            scene = dataclasses.replace(c.take.scene, balls=tuple(map(change, c.take.scene.balls)))
            takes.append(dataclasses.replace(c.take, scene=scene))
        for c, other in zip(clips, render_takes(takes, clips[0].format, min(16, len(clips)))):
            _, start, end = c.take.hidden[0] if c.take.hidden else (0, 0.0, c.format.seconds)
            late = c.format.frame_times() > 0.5 * (start + end)
            out.append(
                dataclasses.replace(
                    c, frames=np.where(late[:, None, None, None], other.frames, c.frames)
                )
            )
        return out

    return swap


_NEXT = dict(zip(COLOURS, (*COLOURS, *COLOURS)[2:]))


def _in_front(clips: list[Example]) -> list[Example]:
    """The ball goes before the panel, not behind it."""
    takes = []
    for c in clips:
        shapes = tuple(dataclasses.replace(s, front=False) for s in c.take.scene.shapes)
        takes.append(
            dataclasses.replace(
                c.take, hidden=(), scene=dataclasses.replace(c.take.scene, shapes=shapes)
            )
        )
    made = render_takes(takes, clips[0].format, min(16, len(clips)))
    return [dataclasses.replace(c, frames=other.frames) for c, other in zip(clips, made)]


def _upside_down(c: Example) -> np.ndarray:
    """What struck loudest sounds faintest: every gain g becomes max min / g."""
    inputs = sound.sound_inputs([c.take], c.format)
    gains = inputs["click"]
    there = gains > 0
    if there.any():
        factor = np.where(
            there, gains[there].max() * gains[there].min() / np.where(there, gains, 1.0) ** 2, 0.0
        )
        inputs["click"] = gains * factor
        inputs["coarse"] = inputs["coarse"] * factor[..., None, None].astype(np.float32)
    return np.asarray(sound.synthesise(inputs, c.format))[0]


# name -> (medium, change). `ground_truth`, `shuffled` and `empty` are for all oracles.
KEPT = {
    "blur_1px": (VIDEO, _frames(lambda c: ndimage.gaussian_filter(c.frames, (0, 1, 1, 0)))),
    "noise_10": (
        VIDEO,
        _frames(
            lambda c: np.clip(c.frames + c.rng.normal(scale=10 / 255, size=c.frames.shape), 0, 1)
        ),
    ),
    "h264_crf23": (VIDEO, _through_file(VIDEO, 23)),
    "noise_20db": (AUDIO, _samples(_white)),
    "aac": (AUDIO, _through_file(AUDIO, 12)),
}
CORRUPTED = {
    "corrupted_vanish": (VIDEO, _frames(_vanish)),
    "corrupted_teleport": (VIDEO, _frames(_teleport)),
    "corrupted_double": (VIDEO, _frames(_double)),
    "corrupted_visitor": (VIDEO, _frames(_visitor)),
    "corrupted_recolour": (
        VIDEO,
        _frames(lambda c: np.where(_balls(c)[..., None], c.frames[..., [2, 0, 1]], c.frames)),
    ),
    "corrupted_mirror": (VIDEO, _frames(lambda c: c.frames[:, :, ::-1])),
    "corrupted_reverse": (VIDEO, _frames(lambda c: c.frames[::-1])),
    "corrupted_freeze": (
        VIDEO,
        _frames(lambda c: np.repeat(c.frames[:1], c.format.frames, axis=0)),
    ),
    "corrupted_slow": (VIDEO, _frames(_slow)),
    "corrupted_swap": (VIDEO, _swap),
    "corrupted_hasten": (VIDEO, _moved(_hasten)),
    "corrupted_quicken": (VIDEO, _moved(_quicken)),
    "corrupted_tunnel": (VIDEO, _moved(_tunnel)),
    "corrupted_unstopped": (VIDEO, _moved(_unstopped)),
    "corrupted_tiles": (VIDEO, _frames(lambda c: tiles(c.frames, c.take.index))),
    "corrupted_restyle": (VIDEO, _restyled),
    "corrupted_turn": (VIDEO, _turned),
    "corrupted_lost": (VIDEO, _moved(_lost)),
    "corrupted_stuck": (VIDEO, _moved(_stuck)),
    "corrupted_early": (VIDEO, _moved(_early)),
    "corrupted_swapped": (
        VIDEO,
        _other_ball(lambda ball: dataclasses.replace(ball, colour=_NEXT[ball.colour])),
    ),
    "corrupted_resized": (
        VIDEO,
        _other_ball(lambda ball: dataclasses.replace(ball, radius=0.7 * ball.radius)),
    ),
    "corrupted_in_front": (VIDEO, _in_front),
    "corrupted_hovering": (VIDEO, _moved(_hovering)),
    "corrupted_unfurnished": (VIDEO, _unfurnished),
    "corrupted_late": (AUDIO, _samples(_late)),
    "corrupted_backwards": (AUDIO, _samples(lambda c: c.samples[::-1])),
    "corrupted_octave": (AUDIO, _samples(_pitched)),
    "corrupted_loudness": (AUDIO, _samples(_upside_down)),
    "corrupted_pieces": (AUDIO, _samples(lambda c: shuffled_pieces(c.samples, c.take.index))),
}
