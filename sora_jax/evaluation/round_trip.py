"""What the tokenizers keep: scenes through encoder and decoder and back, and what the oracles still
read in them.

    psnr        of a clip, 10 log10(1 / mean squared error); psnr_balls: over the pixels in the
                balls' boxes only
    tracker     _kept: share of balls found exactly once in every frame; _rms: distance of their
                read centres from the scene's (pixels)
    onsets      _kept: share of clips that keep all impacts and gain none; without: their largest
                distance from the scene's (ms)
    mode        share of lone impacts whose dominant mode stays within 3 % of the original's
    material    share of lone impacts whose material is told right

What is lost is a miss of the share, and has no distance. Mode and material are read where the sound
says that something struck, as they would be in a clip without a scene: an impact that is not heard
is a miss too.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from sora_jax.evaluation.calibrate import heard_at, heard_right, lone_impacts, true_impacts
from sora_jax.evaluation.scoring import interval
from sora_jax.oracles.examples import Example
from sora_jax.oracles.facts import compare
from sora_jax.oracles.material import dominant_mode
from sora_jax.oracles.sync import match
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
    """The clips with their pictures encoded and decoded by a video tokenizer."""
    return [
        dataclasses.replace(c, frames=frames)
        for c, frames in zip(clips, _batched(_video, tokenizer, [c.frames for c in clips]))
    ]


def round_trip(pipeline, clips: list[Example]) -> list[Example]:
    """The clips, encoded and decoded by both of the pipeline's tokenizers."""
    sounds = _batched(_audio, pipeline.audio_tokenizer, [c.samples for c in clips])
    return [
        dataclasses.replace(c, samples=samples)
        for c, samples in zip(pictures_through(pipeline.video_tokenizer, clips), sounds)
    ]


def _boxes(c: Example) -> np.ndarray:
    """bool [F, H, W]: the balls' bounding boxes, one pixel wider."""
    size = c.format.size
    centre = to_pixels(
        c.take.trajectory.positions(c.format.frame_times()),
        c.take.scene.extent,
        size,
        c.take.scene.below,
    )
    reach = np.array([b.radius for b in c.take.scene.balls]) * size / c.take.scene.extent + 1.0
    rows, columns = np.arange(size)[:, None], np.arange(size)
    inside = (np.abs(rows - centre[..., None, None, 1]) <= reach[:, None, None]) & (
        np.abs(columns - centre[..., None, None, 0]) <= reach[:, None, None]
    )
    return inside.any(1)


def psnr(truth: Example, made: Example) -> dict[str, float]:
    """10 log10(1 / mean squared error) in dB of a clip's pictures, and of what lies in the balls'
    boxes.
    """
    squared, box = np.square(truth.frames - made.frames), _boxes(truth)
    return {
        name: float(-10 * np.log10(max(x.mean(), 1e-10)))
        for name, x in (("psnr", squared), ("psnr_balls", squared[box]))
    }


def _judge(truth: Example, made: Example) -> dict[str, list[float]]:
    """The values of one clip; a metric that asks nothing of it has none."""
    read = made.read()
    tracks = {t.colour: t for t in read.tracks if t.found.all()}
    true, colours = (
        truth.take.trajectory.positions(truth.format.frame_times()),
        [b.colour for b in truth.take.scene.balls],
    )
    values = {
        **{name: [value] for name, value in psnr(truth, made).items()},
        "colour": [float(compare(read.facts, truth.take.facts)["colour"])],
        "tracker_kept": [float(colour in tracks) for colour in colours],
        "tracker_rms": [
            tracks[c].rms_pixels(true[:, k], truth.format.size)
            for k, c in enumerate(colours)
            if c in tracks
        ],
    }
    impacts = true_impacts(truth.take)
    for name, found in (("onsets_video", read.seen), ("onsets_audio", read.heard)):
        pairs = match(found, impacts, 0.06)
        whole = len(pairs) == len(found) == len(impacts)
        values[name + "_kept"] = [float(whole)] if impacts else []
        values[name] = (
            [1e3 * max(abs(found[i] - impacts[j]) for i, j in pairs)] if whole and pairs else []
        )
    values["material"] = [float(right) for right in heard_right(made, read)]
    onsets = [(time, heard_at(read.heard, time)) for time, _ in lone_impacts(truth.take)]
    same = lambda time, onset: (
        abs(dominant_mode(made.samples, onset) / dominant_mode(truth.samples, time) - 1) <= 0.03
    )
    values["mode"] = [float(onset is not None and same(time, onset)) for time, onset in onsets]
    return values


UNITS = {
    "psnr": "dB",
    "psnr_balls": "dB",
    "tracker_rms": "px",
    "onsets_video": "ms",
    "onsets_audio": "ms",
}


def fidelity(truth: list[Example], made: list[Example]) -> dict[str, dict]:
    """{metric: {value, low, high, floor, ceiling, n, unit}}; the ceiling is the same reading of the
    untouched renders, there is no floor.
    """

    def columns(clips):
        rows = [_judge(t, c) for t, c in zip(truth, clips)]
        return {m: [v for row in rows for v in row[m]] for m in rows[0]}

    got, best, table = columns(made), columns(truth), {}
    for metric, values in got.items():
        low, high = interval(values) if values else (None, None)
        table[metric] = {
            "value": round(float(np.mean(values)), 4) if values else None,
            "low": None if low is None else round(low, 4),
            "high": None if high is None else round(high, 4),
            "floor": None,
            # A render against itself has no finite psnr.
            "ceiling": None
            if metric.startswith("psnr") or not best[metric]
            else round(float(np.mean(best[metric])), 4),
            "n": len(values),
            "unit": UNITS.get(metric, "share"),
        }
    return table
