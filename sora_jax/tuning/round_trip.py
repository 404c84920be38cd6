"""Checks tokenizers on held-out clips: PSNR of the frames, distance of the sounds, a sheet.

psnr       10 log10(1 / mean squared error) of a clip's frames, in dB
log_mel    mean absolute difference of the log-mel spectrograms, in dB, levels below -60 dB cut
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

CLIPS, SHOWN, FRAMES = 16, 6, 5  # checked; in the picture, and frames of each
FLOOR = -60.0  # dB
LABEL = 14  # pixels of a line of text
CHECK, SHEET = "round_trip.json", "round_trip.png"


@dataclasses.dataclass(frozen=True)
class RoundTrip:
    """What tokenizers keep of clips.

    Attributes:
        psnr: of each clip, dB.
        log_mel: of each clip with sound, dB.
        names: of the clips.
        tokenizers: fingerprints by kind.
    """

    psnr: tuple[float, ...]
    log_mel: tuple[float, ...]
    names: tuple[str, ...]
    tokenizers: dict[str, str]

    @property
    def mean_psnr(self) -> float:
        """The mean over the clips, dB."""
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
    """Returns `most` indices evenly spread over `count`, or all."""
    return sorted(set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist()))


def check(
    directory: Path,
    folder: Path,
    video_file: str | Path | None = None,
    audio_file: str | Path | None = None,
    split: str = "val",
) -> RoundTrip:
    """Encodes and decodes held-out clips of a built `video_folder` set, and writes what came back.

    Args:
        directory: the set.
        folder: receives CHECK and SHEET.
        video_file, audio_file: weights of the tokenizers. Default: the shipped ones.
        split: of the clips. Default "val".
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
        before, after: samples [S] at 16 kHz; levels are those below the loudest of each.
    """
    levels = [np.maximum(log_mel(x), FLOOR) for x in (before, after)]
    return float(np.abs(levels[0] - levels[1]).mean())


@jax.jit
def _trip(tokenizer: Any, frames: jax.Array) -> jax.Array:
    decoded = tokenizer.decode(tokenizer.encode(frames))
    return jnp.clip(decoded[:, : frames.shape[1], : frames.shape[2], : frames.shape[3]], 0, 1)


def _video(tokenizer: Any, frames: np.ndarray) -> np.ndarray:
    """Returns up to four clips as they come back."""
    full = np.concatenate([frames, np.repeat(frames[-1:], 4 - len(frames), 0)])
    return np.asarray(_trip(tokenizer, jnp.asarray(full)))[: len(frames)]


@jax.jit
def _audio(tokenizer: Any, samples: jax.Array) -> jax.Array:
    return tokenizer.decode(tokenizer.encode(samples), samples.shape[-1])


def _sheet(found: RoundTrip, before: np.ndarray, after: np.ndarray) -> Image.Image:
    """Returns the picture: of each shown clip some frames before and, below them, after."""
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
