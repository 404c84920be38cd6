"""Measures the invisible marks that published clips carry (`sora_jax.provenance`): how often their
payload, a number of 32 bits, is found after each treatment, how much marking changes a clip, and
whether an unmarked clip is ever taken for a marked one.

A treatment is a change of a file, such as compression. Every treatment begins from the file as
published: frames in h264 at crf 12 (quality; lower is better), sound as aac at 96 kbit/s.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import stats

from sora_jax.clip import Clip
from sora_jax.media import read_audio, read_video
from sora_jax.mp4 import to_uint8, write_mp4
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.examples import STAGES, Example
from sora_jax.oracles.reading import Reading
from sora_jax.provenance import code, picture_mark, sound_mark
from sora_jax.provenance.code import Detection
from sora_jax.provenance.write import mark, write_sound

Row = dict[str, Any]
KEY = b"measured with this key"  # the secret key of the marks
AAC, CUT = 64_000, 0.5  # of treatments of the sound: bits per second; seconds that are cut out


def recoded(clip: Clip, crf: int = 12) -> Clip:
    """Returns a clip written to an mp4 file of this crf (quality of h264) and read back. Default
    12.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_mp4(Path(folder) / "clip.mp4", clip, crf=crf)
        media = read_video(Path(folder) / "clip.mp4")
    samples = None if media.samples is None else media.samples.mean(1)
    return dataclasses.replace(clip, frames=media.frames, samples=samples)


def cropped(clip: Clip, share: float = 0.1) -> Clip:
    """Returns a clip without a share of its height and width, half of it on either side (default:
    0.1), and recoded.
    """
    height, width = (round(side * share / 2) for side in clip.frames.shape[1:3])
    frames = clip.frames[:, height : clip.frames.shape[1] - height]
    return recoded(dataclasses.replace(clip, frames=frames[:, :, width : frames.shape[2] - width]))


def scaled(clip: Clip, scale: float) -> Clip:
    """Returns a clip with the sides of its frames resized by the factor `scale`, and recoded."""
    height, width = (round(side * scale) for side in clip.frames.shape[1:3])
    resized = [Image.fromarray(frame).resize((width, height)) for frame in clip.frames]
    return recoded(dataclasses.replace(clip, frames=np.stack([np.asarray(x) for x in resized])))


def as_aac(clip: Clip) -> Clip:
    """Returns a clip with its sound compressed as aac of AAC bits per second and read back."""
    with tempfile.TemporaryDirectory() as folder:
        write_sound(Path(folder) / "clip.m4a", clip, AAC)
        samples, _ = read_audio(Path(folder) / "clip.m4a")
    return dataclasses.replace(clip, samples=samples.mean(1))


def cut(clip: Clip) -> Clip:
    """Returns a clip with its sound compressed as in `as_aac`, and CUT seconds removed from a third
    of its length on.
    """
    samples = as_aac(clip).samples
    assert samples is not None
    first = len(samples) // 3
    kept = np.append(samples[:first], samples[first + round(CUT * clip.rate) :])
    return dataclasses.replace(clip, samples=kept)


PICTURE: dict[str, Callable[[Clip], Clip]] = {
    "as published": lambda clip: clip,
    "h264 crf 23": lambda clip: recoded(clip, 23),
    "h264 crf 30": lambda clip: recoded(clip, 30),
    "crop of 10 %": cropped,
    "scaled to 50 %": lambda clip: scaled(clip, 0.5),
    "scaled to 200 %": lambda clip: scaled(clip, 2.0),
}
SOUND: dict[str, Callable[[Clip], Clip]] = {"aac 64k": as_aac, "aac 64k, 0.5 s cut out": cut}


def measure(example: Example, keys: int) -> Row:
    """Returns the row of one clip: what was found after each treatment, and how much the marks
    change it.

    Args:
        example: the clip, which is marked with a random payload.
        keys: number of other keys with which a mark is searched in the unmarked clip.

    Returns:
        {"size": height in pixels; "found": {treatment: "found", "wrong" or "missed"}; "psnr",
        "snr": of the marked frames and sound to the unmarked ones, in dB; "false_alarms": number of
        marks found in the unmarked clip, of "searches"}.
    """
    rng = np.random.default_rng([23, example.take.index])
    payload = int(rng.integers(2**code.BITS))
    marked, _ = mark(example, payload, KEY)
    published = recoded(marked)
    found: dict[str, str] = {}
    for name, treat in PICTURE.items():
        found[name] = _outcome(picture_mark.detect(treat(published).frames, KEY), payload)
    for name, treat in SOUND.items():
        changed = treat(published).samples
        assert changed is not None
        found[name] = _outcome(sound_mark.detect(changed, KEY), payload)
    frames = to_uint8(example.frames)
    error = np.mean((marked.frames.astype(np.float64) - frames) ** 2)
    assert marked.samples is not None and example.samples is not None
    noise = np.mean((marked.samples - example.samples) ** 2)
    return {
        "size": frames.shape[1],
        "found": found,
        "psnr": round(float(10 * np.log10(255**2 / error)), 3),
        "snr": round(float(10 * np.log10(np.mean(example.samples**2) / noise)), 2),
        "false_alarms": _false_alarms(recoded(dataclasses.replace(example, frames=frames)), keys),
        "searches": 2 * keys,
    }


def _outcome(detection: Detection | None, payload: int) -> str:
    if detection is None:
        return "missed"
    return "found" if detection.payload == payload else "wrong"


def _false_alarms(clip: Clip, keys: int) -> int:
    """Returns the number of marks that are found in the frames and in the sound of an unmarked clip
    with `keys` keys.
    """
    assert clip.samples is not None
    folded = list(picture_mark.folds(clip.frames))
    level = sound_mark.levels(clip.samples)
    alarms = 0
    for number in range(keys):
        key = f"unused {number}".encode()
        picture = code.chips(key, "picture", picture_mark.CHIPS)
        sound = code.chips(key, "sound", sound_mark.CHIPS)
        alarms += picture_mark.found(folded, picture) is not None
        alarms += sound_mark.found(level, sound) is not None
    return alarms


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Returns the summary of the rows of clips (`measure`) as JSON values.

    Keys: "clips", "treatments" ({treatment: {"found": share, "low", "high": its 95 % interval,
    "wrong": number}}), "psnr" and "snr" ({"least", "mean"}), "false_alarms" and "searches".
    """
    treatments = {}
    for name in (*PICTURE, *SOUND):
        outcomes = [row["found"][name] for row in rows]
        hits = outcomes.count("found")
        low, high = stats.binomtest(hits, len(outcomes)).proportion_ci(method="wilson")
        treatments[name] = {
            "found": round(hits / len(outcomes), 4),
            "low": round(float(low), 4),
            "high": round(float(high), 4),
            "wrong": outcomes.count("wrong"),
        }
    return {
        "clips": len(rows),
        "treatments": treatments,
        "psnr": {"least": min(row["psnr"] for row in rows), "mean": _mean(rows, "psnr")},
        "snr": {"least": min(row["snr"] for row in rows), "mean": _mean(rows, "snr")},
        "false_alarms": sum(row["false_alarms"] for row in rows),
        "searches": sum(row["searches"] for row in rows),
    }


def _mean(rows: Sequence[Row], name: str) -> float:
    return round(float(np.mean([row[name] for row in rows])), 3)


def oracle_means(clips: list[Example], names: Iterable[str]) -> dict[str, Row]:
    """Returns the share of correct readings of each oracle on clips without and with marks,
    {oracle: {"unmarked", "marked", "clips": number of clips}}.

    Args:
        clips: renders of family `room`. As many clips of the oracles' other stages (kinds of
            scenes) are rendered here.
        names: names of the oracles.
    """
    result: dict[str, Row] = {}
    by_stage: dict[str, list[str]] = {}
    for name in names:
        by_stage.setdefault(ORACLES[name].stage, []).append(name)
    for stage, oracles in by_stage.items():
        plain = STAGES[stage](clips)
        marked = [_marked(clip, number) for number, clip in enumerate(plain)]
        for name in oracles:
            shares = [_share(name, some) for some in (plain, marked)]
            result[name] = {"unmarked": shares[0], "marked": shares[1], "clips": len(plain)}
    return result


def _marked(clip: Example, payload: int) -> Example:
    changed, _ = mark(clip, payload, KEY)
    return dataclasses.replace(
        clip, frames=changed.frames / np.float32(255), samples=changed.samples
    )


def _share(name: str, clips: list[Example]) -> float | None:
    verdicts = [ORACLES[name].judge(clip, Reading(clip)) for clip in clips]
    judged = [verdict for verdict in verdicts if verdict is not None]
    return round(float(np.mean(judged)), 4) if judged else None
