"""Measures what tokenizers lose: held-out clips are encoded, decoded and compared with themselves.

psnr       10 log10(1 / mean squared error) of a clip's frames in [0, 1], in dB
log_mel    mean absolute difference of the log-mel spectrograms, in dB; levels below -60 dB
           (FLOOR), relative to the loudest of the clip, count as -60 dB

A picture (SHEET) shows frames of some clips before and after.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw

from sora_jax import files, weights
from sora_jax.contact_sheet import log_mel
from sora_jax.data.video_records import VideoFolderSource
from sora_jax.evaluation.statistics import interval
from sora_jax.mp4 import to_uint8

# Clips that are measured, clips in the picture, and frames shown of each.
CLIPS, SHOWN, FRAMES = 16, 6, 5
FLOOR = -60.0  # dB
LABEL = 14  # height of a line of text, in pixels
CHECK, SHEET = "round_trip.json", "round_trip.png"


@dataclasses.dataclass(frozen=True)
class RoundTrip:
    """How closely tokenizers reproduce clips.

    Attributes:
        psnr: PSNR of each clip's frames, dB.
        log_mel: distance of the sounds of each clip with audio, dB; () without any.
        names: names of the clips.
        tokenizers: fingerprints of the tokenizers by kind, such as "video_tokenizer".
    """

    psnr: tuple[float, ...]
    log_mel: tuple[float, ...]
    names: tuple[str, ...]
    tokenizers: dict[str, str]

    @property
    def mean_psnr(self) -> float:
        """The mean PSNR of the clips, dB."""
        return float(np.mean(self.psnr))

    def sentence(self) -> str:
        """Returns the result as one line of text."""
        low, high = interval(self.psnr)
        heard = (
            f"; their sounds differ by {np.mean(self.log_mel):.1f} dB (log-mel)"
            if self.log_mel
            else "; no sound"
        )
        return (
            f"round trip of {len(self.psnr)} held-out clips: {self.mean_psnr:.1f} dB ({low:.1f} to "
            f"{high:.1f}), the worst {min(self.psnr):.1f} dB{heard}"
        )


def spread(count: int, most: int) -> list[int]:
    """Returns at most `most` indices below `count`, evenly spread and in order."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def check(
    directory: Path,
    folder: Path,
    video_file: str | Path | None = None,
    audio_file: str | Path | None = None,
    split: str = "val",
) -> RoundTrip:
    """Encodes and decodes CLIPS clips of a built `video_folder` set, and returns how closely they
    are reproduced.

    Args:
        directory: the set.
        folder: receives the result as JSON (CHECK) and the picture (SHEET).
        video_file, audio_file: weights of the tokenizers. Default: the shipped ones.
        split: the split of the clips. Default "val".
    """
    video, video_weights = weights.load_video_tokenizer(video_file)
    audio, audio_weights = weights.load_audio_tokenizer(audio_file)
    source = VideoFolderSource(directory, split)
    batch = source.batch(spread(len(source), CLIPS))
    frames = batch["frames"]
    decoded = np.concatenate([_video(video, frames[i : i + 4]) for i in range(0, len(frames), 4)])
    heard = np.asarray(_audio(audio, batch["samples"]))
    error = np.square(frames - decoded).mean((1, 2, 3, 4))
    sounding = np.flatnonzero(batch["has_audio"])
    distances = [mel_distance(batch["samples"][i], heard[i]) for i in sounding]
    found = RoundTrip(
        tuple(float(-10 * np.log10(max(x, 1e-9))) for x in error),
        tuple(distances),
        tuple(batch["keys"]),
        {
            "video_tokenizer": video_weights.fingerprint,
            "audio_tokenizer": audio_weights.fingerprint,
        },
    )
    with files.replacing(folder / SHEET) as temporary:
        _sheet(found, frames, decoded).save(temporary, format="png")
    values = {**dataclasses.asdict(found), "mean_psnr": found.mean_psnr, "split": split}
    files.write(folder / CHECK, json.dumps(values, indent=1) + "\n")
    return found


def read_check(folder: Path) -> RoundTrip:
    """Returns the result that `check` wrote to a folder."""
    values = json.loads((folder / CHECK).read_text(encoding="utf-8"))
    psnr, distances, names = (tuple(values[name]) for name in ("psnr", "log_mel", "names"))
    return RoundTrip(psnr, distances, names, values["tokenizers"])


def mel_distance(before: np.ndarray, after: np.ndarray) -> float:
    """Returns the mean absolute difference of two sounds' log-mel spectrograms in dB.

    Args:
        before, after: samples [S] at 16 kHz. Levels are relative to the loudest of each sound.
    """
    levels = [np.maximum(log_mel(x), FLOOR) for x in (before, after)]
    return float(np.abs(levels[0] - levels[1]).mean())


@jax.jit
def _trip(tokenizer: Any, frames: jax.Array) -> jax.Array:
    decoded = tokenizer.decode(tokenizer.encode(frames))
    return jnp.clip(decoded[:, : frames.shape[1], : frames.shape[2], : frames.shape[3]], 0, 1)


def _video(tokenizer: Any, frames: np.ndarray) -> np.ndarray:
    """Returns up to four clips, frames [B,F,H,W,3], encoded and decoded. They are padded to four,
    so that all calls share one compilation.
    """
    full = np.concatenate([frames, np.repeat(frames[-1:], 4 - len(frames), 0)])
    return np.asarray(_trip(tokenizer, jnp.asarray(full)))[: len(frames)]


@jax.jit
def _audio(tokenizer: Any, samples: jax.Array) -> jax.Array:
    return tokenizer.decode(tokenizer.encode(samples), samples.shape[-1])


def _sheet(found: RoundTrip, before: np.ndarray, after: np.ndarray) -> Image.Image:
    """Returns the picture: for each shown clip, a row of frames and below it the decoded ones.

    `before` and `after` are the frames of all clips, [B,F,H,W,3] in [0, 1].
    """
    shown, panels = spread(len(before), SHOWN), []
    times = spread(before.shape[1], FRAMES)
    zoom = max(1, 96 // before.shape[2])
    for i in shown:
        rows = [np.concatenate(list(to_uint8(x[i, times])), 1) for x in (before, after)]
        image = np.concatenate(rows).repeat(zoom, 0).repeat(zoom, 1)
        panel = Image.new("RGB", (image.shape[1], image.shape[0] + LABEL), "white")
        text = f"{found.names[i]}: {found.psnr[i]:.1f} dB; file above, decoded below"
        ImageDraw.Draw(panel).text((2, 1), text, fill="black")
        panel.paste(Image.fromarray(image), (0, LABEL))
        panels.append(panel)
    width, height = panels[0].size
    sheet = Image.new("RGB", (2 * width + 8, -(-len(panels) // 2) * (height + 8)), "white")
    for n, panel in enumerate(panels):
        sheet.paste(panel, (n % 2 * (width + 8), n // 2 * (height + 8)))
    return sheet
