"""Tokenizer quality: clips are encoded and decoded, and the oracles read the result.

    psnr                10 log10(1 / mean squared error) of the frames, in dB; psnr_balls: over the
                        pixels in the bounding boxes of the balls only
    colour              share of clips in which the set of the balls' colours is read correctly
    tracker_kept        share of balls found exactly once in every frame
    tracker_rms         rms distance of their centres from the true ones, in pixels
    onsets_video_kept   share of clips that keep all visible impacts and gain none
    onsets_video        largest distance in time of such an impact from the true one, in ms
    onsets_audio_kept   likewise of audible impacts, and onsets_audio
    mode                share of isolated impacts whose strongest frequency stays within 3 % of the
                        original's
    material            share of isolated impacts whose material is read correctly

A lost ball or impact lowers the share and enters no distance. Mode and material are read at
audible onsets, as in a clip whose scene is unknown, so an inaudible impact counts as a miss.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.clip import Clip
from sora_jax.modality import ClipFormat
from sora_jax.oracles.examples import Example
from sora_jax.oracles.facts import ball_facts, compare
from sora_jax.oracles.material import (
    dominant_mode,
    isolated_impacts,
    materials_correct,
    nearest_onset,
)
from sora_jax.oracles.onsets import match, true_impacts
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import Track
from sora_jax.worlds.playhouse.camera import project, views


class Tokenizers(Protocol):
    """The protocol of a pair of tokenizers; a `Pipeline` satisfies it.

    Attributes:
        video_tokenizer, audio_tokenizer: objects with `encode` and `decode`.
    """

    video_tokenizer: Any
    audio_tokenizer: Any


@functools.partial(jax.jit, static_argnames="format")
def _video(tokenizer: Any, frames: jax.Array, format: ClipFormat) -> jax.Array:
    _, count, height, width, _ = frames.shape
    if format.shots and count == format.frames:
        decoded = tokenizer.decode(tokenizer.encode(frames, format.shots), format.shot_latents)
    else:
        decoded = tokenizer.decode(tokenizer.encode(frames))
    # decoding completes the last group of frames and the last latents of a side, which are cut off
    return jnp.clip(decoded[:, :count, :height, :width], 0, 1)


@jax.jit
def _audio(tokenizer: Any, samples: jax.Array) -> jax.Array:
    return tokenizer.decode(tokenizer.encode(samples), samples.shape[-1])


def _batched(
    apply: Callable[[Any, jax.Array], jax.Array],
    tokenizer: Any,
    arrays: Sequence[np.ndarray],
    batch: int = 8,
) -> list[np.ndarray]:
    """Returns apply(tokenizer, x) of every array x of `arrays`, computed in batches. The last batch
    is padded, because another batch size would compile again.
    """
    out = []
    for first in range(0, len(arrays), batch):
        part = arrays[first : first + batch]
        full = [*part, *[part[-1]] * (min(batch, len(arrays)) - len(part))]
        out += list(np.asarray(apply(tokenizer, jnp.stack(full)), np.float32)[: len(part)])
    return out


def videos_through(tokenizer: Any, clips: list[Example]) -> list[Example]:
    """Returns clips, which have one format, with their video encoded and decoded by a video
    tokenizer. The original becomes the `reference` of each.
    """
    through = functools.partial(_video, format=clips[0].format)
    made = _batched(through, tokenizer, [c.frames for c in clips])
    return [
        dataclasses.replace(c, frames=frames, reference=c)
        for c, frames in zip(clips, made, strict=True)
    ]


def round_trip(tokenizers: Tokenizers, clips: list[Example]) -> list[Example]:
    """Returns clips, which have one format, with video and audio encoded and decoded by both
    tokenizers. The original becomes the `reference` of each.
    """
    audio = _batched(_audio, tokenizers.audio_tokenizer, [_samples(c) for c in clips])
    return [
        dataclasses.replace(c, samples=samples)
        for c, samples in zip(videos_through(tokenizers.video_tokenizer, clips), audio, strict=True)
    ]


def _samples(clip: Clip) -> np.ndarray:
    assert clip.samples is not None
    return clip.samples


def boxes(c: Example) -> np.ndarray:
    """Returns a mask, bool [F, H, W]: pixels in the bounding boxes of the balls of clip `c`, with a
    margin of one pixel. It is all False for a story, which shows the ball in some shots only.
    """
    scene, size = c.take.scene, c.format.size
    if scene.plot is not None:
        return np.zeros(c.frames.shape[:3], bool)
    view = views(scene, c.format.frame_times())[:, None]
    centre = project(view, _true_centres(c), size)[..., None, None, :]
    radius = np.array([b.radius for b in scene.balls])
    reach = (radius * size / view[..., 2] + 1.0)[..., None, None]
    rows, columns = np.arange(size)[:, None], np.arange(size)
    inside = (np.abs(rows - centre[..., 1]) <= reach) & (np.abs(columns - centre[..., 0]) <= reach)
    above, before = (c.format.height - size) // 2, (c.format.width - size) // 2
    return np.pad(inside.any(1), ((0, 0), (above, above), (before, before)))


def _true_centres(c: Example) -> np.ndarray:
    """Returns the true centres of the balls in metres, [F, K, 2]."""
    return c.take.trajectory.positions(c.format.frame_times())


def psnr(decoded: Example, pixels: np.ndarray | slice = np.s_[:]) -> float | None:
    """Returns the peak signal-to-noise ratio of a clip's frames to those of its reference, in dB.

    It is 10 log10(1 / mean squared error); None if the frames are equal, or no pixel is compared.

    Args:
        decoded: a clip whose `reference` is the original.
        pixels: index of the pixels to compare, such as a mask [F, H, W]. Default: all.
    """
    assert decoded.reference is not None
    squared = np.square(decoded.reference.frames - decoded.frames)[pixels]
    return float(-10 * np.log10(squared.mean())) if squared.any() else None


def _psnr(decoded: Example, read: Reading) -> float | None:
    return psnr(decoded)


def _psnr_balls(decoded: Example, read: Reading) -> float | None:
    return psnr(decoded, boxes(decoded))


def _colour(decoded: Example, read: Reading) -> float:
    return float(bool(compare(read.facts, ball_facts(decoded.take))["colour"]))


def _tracked(read: Reading) -> dict[str, Track]:
    return {track.colour: track for track in read.tracks if track.found.all()}


def _tracker_kept(decoded: Example, read: Reading) -> list[float]:
    return [float(ball.colour in _tracked(read)) for ball in decoded.take.scene.balls]


def _tracker_rms(decoded: Example, read: Reading) -> list[float]:
    tracks, target = _tracked(read), _true_centres(decoded)
    return [
        tracks[ball.colour].rms_pixels(target[:, k], decoded.format.size)
        for k, ball in enumerate(decoded.take.scene.balls)
        if ball.colour in tracks
    ]


def _pairs(decoded: Example, predicted: list[float]) -> list[tuple[float, float]] | None:
    """Returns (predicted, true) times in s of the impacts of a clip; None if one is lost or gained,
    or if they are more than 60 ms apart.
    """
    impacts = true_impacts(decoded.take)
    pairs = match(predicted, impacts, 0.06)  # seconds
    if not len(pairs) == len(predicted) == len(impacts):
        return None
    return [(predicted[i], impacts[j]) for i, j in pairs]


def _onsets_kept(which: str) -> Callable[[Example, Reading], float | None]:
    def read(decoded: Example, reading: Reading) -> float | None:
        if not true_impacts(decoded.take):
            return None
        return float(_pairs(decoded, getattr(reading, which)) is not None)

    return read


def _onsets(which: str) -> Callable[[Example, Reading], float | None]:
    """Returns a function (clip, its reading) -> largest distance in time of an impact from the true
    one, in ms. which: "seen_impacts" or "heard_impacts".
    """

    def read(decoded: Example, reading: Reading) -> float | None:
        pairs = _pairs(decoded, getattr(reading, which))
        return 1e3 * max(abs(predicted - target) for predicted, target in pairs) if pairs else None

    return read


def _material(decoded: Example, read: Reading) -> list[float]:
    return [float(correct) for correct in materials_correct(decoded.take, read)]


def _mode(decoded: Example, read: Reading) -> list[float]:
    onsets = [
        (time, nearest_onset(read.heard_impacts, time))
        for time, _ in isolated_impacts(decoded.take)
    ]
    return [float(onset is not None and _same_mode(decoded, time, onset)) for time, onset in onsets]


def _same_mode(decoded: Example, time: float, onset: float) -> bool:
    reference = decoded.reference
    assert reference is not None
    frequency, original = (
        dominant_mode(samples, at)
        for samples, at in ((_samples(decoded), onset), (_samples(reference), time))
    )
    return abs(frequency / original - 1) <= 0.03


# name -> (oracle, function (clip with a reference, its reading) -> value, unit)
METRICS = {
    "psnr": (None, _psnr, "dB"),
    "psnr_balls": (None, _psnr_balls, "dB"),
    "colour": ("facts", _colour, "share"),
    "tracker_kept": ("tracker", _tracker_kept, "share"),
    "tracker_rms": ("tracker", _tracker_rms, "px"),
    "onsets_video_kept": ("onsets_video", _onsets_kept("seen_impacts"), "share"),
    "onsets_video": ("onsets_video", _onsets("seen_impacts"), "ms"),
    "onsets_audio_kept": ("onsets_audio", _onsets_kept("heard_impacts"), "share"),
    "onsets_audio": ("onsets_audio", _onsets("heard_impacts"), "ms"),
    "material": ("material", _material, "share"),
    "mode": ("material", _mode, "share"),
}
