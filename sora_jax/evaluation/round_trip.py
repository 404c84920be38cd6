"""What the tokenizers keep: scenes through encoder and decoder and back, and what the oracles still
read in them.

    psnr        of a clip, 10 log10(1 / mean squared error); psnr_balls: over the pixels in the
                balls' boxes only
    tracker     _kept: share of balls found exactly once in every frame; _rms: distance of their
                read centres from the scene's (pixels)
    onsets      _kept: share of clips that keep all impacts and gain none; without: their largest
                distance from the scene's (ms)
    mode        share of lone impacts whose dominant mode stays within 3 % of the original's
    material    share of lone impacts whose material is read correctly

What is lost is a miss of the share, and has no distance. Mode and material are read where the sound
says that something struck, as they would be in a clip without a scene: an impact that is not heard
is a miss too.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.oracles.examples import Example
from sora_jax.oracles.facts import compare
from sora_jax.oracles.material import (
    dominant_mode,
    heard_at,
    lone_impacts,
    materials_correct,
)
from sora_jax.oracles.onsets import match, true_impacts
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import Track
from sora_jax.worlds.playhouse.spec import to_pixels


@jax.jit
def _video(tokenizer, frames):
    # a last latent may stand for fewer frames
    return jnp.clip(tokenizer.decode(tokenizer.encode(frames))[:, : frames.shape[1]], 0, 1)


@jax.jit
def _audio(tokenizer, samples):
    return tokenizer.decode(tokenizer.encode(samples), samples.shape[-1])


def _batched(through, tokenizer, arrays: list[np.ndarray], batch: int = 8) -> list[np.ndarray]:
    """Every array through a compiled function of batches; the last batch is filled up, since
    another size would be compiled anew.
    """
    out = []
    for first in range(0, len(arrays), batch):
        part = arrays[first : first + batch]
        full = part + [part[-1]] * (min(batch, len(arrays)) - len(part))
        out += list(np.asarray(through(tokenizer, jnp.stack(full)), np.float32)[: len(part)])
    return out


def pictures_through(tokenizer, clips: list[Example]) -> list[Example]:
    """The clips with their pictures encoded and decoded by a video tokenizer, beside themselves as
    reference.
    """
    return [
        dataclasses.replace(c, frames=frames, reference=c)
        for c, frames in zip(clips, _batched(_video, tokenizer, [c.frames for c in clips]))
    ]


def round_trip(pipeline, clips: list[Example]) -> list[Example]:
    """The clips, encoded and decoded by both of the pipeline's tokenizers."""
    sounds = _batched(_audio, pipeline.audio_tokenizer, [c.samples for c in clips])
    return [
        dataclasses.replace(c, samples=samples)
        for c, samples in zip(pictures_through(pipeline.video_tokenizer, clips), sounds)
    ]


def boxes(c: Example) -> np.ndarray:
    """bool [F, H, W]: the balls' bounding boxes, one pixel wider."""
    size = c.format.size
    centre = to_pixels(_places(c), c.take.scene.extent, size, c.take.scene.below)
    reach = np.array([b.radius for b in c.take.scene.balls]) * size / c.take.scene.extent + 1.0
    rows, columns = np.arange(size)[:, None], np.arange(size)
    inside = (np.abs(rows - centre[..., None, None, 1]) <= reach[:, None, None]) & (
        np.abs(columns - centre[..., None, None, 0]) <= reach[:, None, None]
    )
    return inside.any(1)


def _places(c: Example) -> np.ndarray:
    """Where the balls are: metres [F, K, 2]."""
    return c.take.trajectory.positions(c.format.frame_times())


def psnr(made: Example, where: np.ndarray | slice = np.s_[:]) -> float | None:
    """10 log10(1 / mean squared error) in dB of a clip's pictures beside its reference; None where
    they are the same.
    """
    squared = np.square(made.reference.frames - made.frames)[where].mean()
    return float(-10 * np.log10(squared)) if squared else None


def _psnr(made: Example, read: Reading) -> float | None:
    return psnr(made)


def _psnr_balls(made: Example, read: Reading) -> float | None:
    return psnr(made, boxes(made))


def _colour(made: Example, read: Reading) -> float:
    return float(compare(read.facts, made.take.facts)["colour"])


def _tracked(read: Reading) -> dict[str, Track]:
    return {track.colour: track for track in read.tracks if track.found.all()}


def _tracker_kept(made: Example, read: Reading) -> list[float]:
    return [float(ball.colour in _tracked(read)) for ball in made.take.scene.balls]


def _tracker_rms(made: Example, read: Reading) -> list[float]:
    tracks, true = _tracked(read), _places(made)
    return [
        tracks[ball.colour].rms_pixels(true[:, k], made.format.size)
        for k, ball in enumerate(made.take.scene.balls)
        if ball.colour in tracks
    ]


def _pairs(made: Example, found: list[float]) -> list[tuple[float, float]] | None:
    """(found, true) times of the impacts if all are found and none is gained; else None."""
    impacts = true_impacts(made.take)
    pairs = match(found, impacts, 0.06)
    if not len(pairs) == len(found) == len(impacts):
        return None
    return [(found[i], impacts[j]) for i, j in pairs]


def _onsets_kept(which: str) -> Callable[[Example, Reading], float | None]:
    def read(made: Example, reading: Reading) -> float | None:
        if not true_impacts(made.take):
            return None
        return float(_pairs(made, getattr(reading, which)) is not None)

    return read


def _onsets(which: str) -> Callable[[Example, Reading], float | None]:
    """The largest distance in ms."""

    def read(made: Example, reading: Reading) -> float | None:
        pairs = _pairs(made, getattr(reading, which))
        return 1e3 * max(abs(found - true) for found, true in pairs) if pairs else None

    return read


def _material(made: Example, read: Reading) -> list[float]:
    return [float(correct) for correct in materials_correct(made.take, read)]


def _mode(made: Example, read: Reading) -> list[float]:
    onsets = [(time, heard_at(read.heard, time)) for time, _ in lone_impacts(made.take)]
    return [float(onset is not None and _same_mode(made, time, onset)) for time, onset in onsets]


def _same_mode(made: Example, time: float, onset: float) -> bool:
    own, original = (
        dominant_mode(samples, at)
        for samples, at in ((made.samples, onset), (made.reference.samples, time))
    )
    return abs(own / original - 1) <= 0.03


# name -> (oracle, function of a clip that has a reference, unit)
METRICS = {
    "psnr": (None, _psnr, "dB"),
    "psnr_balls": (None, _psnr_balls, "dB"),
    "colour": ("facts", _colour, "share"),
    "tracker_kept": ("tracker", _tracker_kept, "share"),
    "tracker_rms": ("tracker", _tracker_rms, "px"),
    "onsets_video_kept": ("onsets_video", _onsets_kept("seen"), "share"),
    "onsets_video": ("onsets_video", _onsets("seen"), "ms"),
    "onsets_audio_kept": ("onsets_audio", _onsets_kept("heard"), "share"),
    "onsets_audio": ("onsets_audio", _onsets("heard"), "ms"),
    "material": ("material", _material, "share"),
    "mode": ("material", _mode, "share"),
}
