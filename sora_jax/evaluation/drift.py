"""Drift: how far a clip moves from its beginning when it is extended again and again.

A clip is generated from the caption of a held-out scene and extended n times from its own end, with
the same prompt. Window 0 is the first clip, window k what the k-th extension added. With window 0
each window is compared in four measures:

    background   mean over red, green and blue of |b_k - b_0|                                    (1)
    ball         the same of the colour of a ball, mean over the balls of both windows           (2)
    level        L_k - L_0, in dB; L is the RMS level of the audio, at least QUIET
    kept         1 if window k has exactly the balls of window 0, each found once in nearly all
                 frames; else 0

b is the median over all frames and pixels, and a ball's colour the median over the pixels within
half a radius of its centre; both from 0 to 255. A ball is identified by its palette colour, so (2)
is drift within that colour. A clip without any ball in window 0 has no values of `ball` and `kept`.
The audio of a room falls silent when its balls come to rest, so `level` is no error by itself.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sora_jax import files
from sora_jax.clip import Clip
from sora_jax.config import known_keywords
from sora_jax.evaluation.results import claim, sign
from sora_jax.evaluation.statistics import interval
from sora_jax.flow.sampler import SamplerConfig
from sora_jax.oracles.facts import MIN_FOUND
from sora_jax.oracles.reading import Reading
from sora_jax.oracles.tracker import EXTENT, Track, lasting
from sora_jax.pipelines.generate import Pipeline
from sora_jax.pipelines.request import Request
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import pixels_per_metre, to_pixels

MEASURES = {
    "background": "colour of the background, of 255",
    "ball": "colour of the balls, of 255",
    "level": "level of the audio, dB",
    "kept": "share with the balls of window 0",
}
APART = 100_000  # between the seeds of a clip and of its next extension
QUIET = -80.0  # dB below full scale
CLIPS, RESULT, PICTURE = "clips.jsonl", "drift.json", "drift.png"

Row = dict[str, list[float | None]]  # measure -> value of each window


@known_keywords
def measure_drift(
    pipeline: Pipeline,
    output: str | os.PathLike,
    *,
    num_clips: int = 16,
    extensions: int = 10,
    seconds: float = 2.0,
    sampler: SamplerConfig | None = None,
    seed: int = 0,
    family: str = "room",
    say: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Extends clips of held-out captions, and writes how they drift to a folder.

    Args:
        pipeline: the model and its tokenizers.
        output: folder of the results: new, or of the same measurement, which then goes on.
        num_clips: number of clips, of the first scenes of the split val. Default 16.
        extensions: how often each is extended. Default 10.
        seconds: duration of an extension. Default 2.
        sampler: settings of the sampler. Default: SamplerConfig().
        seed: seed of the first clip; those of the next clips follow, and extension k of a clip has
            its seed + k APART. Default 0.
        family: the family of the scenes, one with balls. Default "room".
        say: called with a line of text after each clip. Default: none.

    Returns:
        {"windows": [{"seconds": end of the window, measure: {"value", "low", "high", "n"}}]} and
        the settings. The folder has it in drift.json, with drift.png and made_with.json.

    Raises:
        UserError: the folder holds another measurement, or a clip cannot be extended.
    """
    folder, sampler = files.check_output("output", os.fspath(output)), sampler or SamplerConfig()
    settings = {"extensions": extensions, "seconds": seconds, "seed": seed, "family": family}
    identity = {"measured": "drift", **pipeline.fingerprints, **settings}
    identity["sampler"] = dataclasses.asdict(sampler)
    with files.locked(folder, "measuring drift"):
        claim(folder, identity)
        done = folder / CLIPS
        rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        for number in range(len(rows), num_clips):
            prompt = draw("val", number, family=family).captions[0]
            clip = pipeline.generate(Request(prompt, seed=seed + number, sampler=sampler))
            ends = [len(clip.frames)]
            for k in range(1, extensions + 1):
                again = seed + number + k * APART
                request = Request(
                    prompt, seed=again, sampler=sampler, continued=clip, seconds=seconds
                )
                clip = pipeline.generate(request)
                ends.append(len(clip.frames))
            rows.append({"ends": ends, "fps": float(clip.fps), **compared(clip, ends)})
            with done.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            say(f"{number + 1} of {num_clips}: {prompt}")
        result = {**summary(rows[:num_clips]), **settings}
        files.write(folder / RESULT, json.dumps(result, indent=1) + "\n")
        with files.replacing(folder / PICTURE) as partial:
            picture(result["windows"]).savefig(partial, format="png", dpi=120, metadata={})
        sign(folder)
    return result


def compared(clip: Clip, ends: Sequence[int]) -> Row:
    """Returns the measures of every window of a clip; None where there is no value.

    Args:
        clip: the clip, with audio.
        ends: the first frame after each window.
    """
    rate = clip.rate / float(clip.fps)
    readings = []
    for start, end in zip((0, *ends), ends, strict=False):
        samples = np.asarray(clip.samples)[round(start * rate) : round(end * rate)]
        readings.append(Reading(Clip(clip.frames[start:end], samples, clip.fps, clip.rate)))
    first, found = readings[0], {name: [] for name in MEASURES}
    colours = [_colours(reading) for reading in readings]
    for reading, balls in zip(readings, colours, strict=True):
        both = balls.keys() & colours[0].keys()
        apart = [np.abs(balls[name] - colours[0][name]).mean() for name in both]
        found["background"].append(float(np.abs(_background(reading) - _background(first)).mean()))
        found["ball"].append(float(np.mean(apart)) if both else None)
        found["level"].append(_level(reading) - _level(first))
        same = _once(reading) == set(colours[0])
        found["kept"].append(float(same) if colours[0] else None)
    return found


def _background(reading: Reading) -> np.ndarray:
    return 255 * np.median(reading.frames.reshape(-1, 3), axis=0)


def _level(reading: Reading) -> float:
    power = float(np.mean(np.square(np.asarray(reading.samples, np.float64))))
    return max(QUIET, 10 * np.log10(max(power, 1e-12)))


def _once(reading: Reading) -> set[str]:
    """Returns the colours of balls that are found once in nearly all frames, and of all others that
    are visible in a third of the frames, marked by a "?".
    """
    return {
        track.colour if np.mean(track.found) >= MIN_FOUND else f"{track.colour}?"
        for track in lasting(reading.tracks)
    }


def _colours(reading: Reading) -> dict[str, np.ndarray]:
    """Returns the colour of each ball, [3] from 0 to 255, by the name of its palette colour."""
    found = {}
    for track in lasting(reading.tracks):
        pixels = _inside(track, reading.frames)
        if len(pixels):
            found[track.colour] = 255 * np.median(pixels, axis=0)
    return found


def _inside(track: Track, frames: np.ndarray) -> np.ndarray:
    """Returns the pixels [n, 3] within half a radius of the ball's centre, of all frames in which
    it is found once.
    """
    size = frames.shape[2]
    rows, columns = np.mgrid[: frames.shape[1], :size]
    centres = to_pixels(track.position, EXTENT, size)
    parts = [np.zeros((0, 3))]
    for f in np.flatnonzero(track.found):
        reach = max(1.0, track.radius[f] / 2 * pixels_per_metre(EXTENT, size))
        near = np.hypot(columns - centres[f, 0], rows - centres[f, 1]) <= reach
        parts.append(frames[f][near])
    return np.concatenate(parts)


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the means over clips of every window, with 95 % intervals: {"clips", "windows"}."""
    windows = []
    for k, end in enumerate(rows[0]["ends"]):
        window: dict[str, Any] = {"seconds": end / rows[0]["fps"]}
        for name in MEASURES:
            values = [row[name][k] for row in rows if row[name][k] is not None]
            low, high = interval(values) if values else (None, None)
            if k == 0 and name != "kept":
                low = high = 0.0  # a difference from itself
            mean = float(np.mean(values)) if values else None
            window[name] = {"value": mean, "low": low, "high": high, "n": len(values)}
        windows.append(window)
    return {"clips": len(rows), "windows": windows}


def picture(windows: Sequence[Mapping[str, Any]]) -> Figure:
    """Returns a figure with a curve of each measure over the seconds, with 95 % intervals."""
    figure = Figure(figsize=(12, 3), layout="constrained")
    seconds = [window["seconds"] for window in windows]
    for axis, (name, label) in zip(figure.subplots(1, 4), MEASURES.items(), strict=True):
        known = [window[name] for window in windows]
        value, low, high = (
            np.array([one[key] for one in known], float) for key in ("value", "low", "high")
        )
        axis.fill_between(seconds, low, high, alpha=0.25)
        axis.plot(seconds, value, "o-", markersize=3)
        axis.set(xlabel="seconds", title=label)
        axis.spines[["top", "right"]].set_visible(False)
    return figure
