"""The one place where a finished clip becomes files.

video.mp4             h264 and aac
video.png .json       contact sheet; what the oracles read in the clip
video.latents.npz     latents, from which the clip is extended or changed
thumbnail.webp        the middle frame
spritesheet.jpg       up to 25 frames in a grid
sound.wav             the audio
"""

import math
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sora_jax import files
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import to_uint8
from sora_jax.pipelines import record
from sora_jax.studio.media_store import MediaStore

if TYPE_CHECKING:
    from sora_jax.pipelines.generated import Generated

VARIANTS = {  # of a clip's content: file and type
    "video": ("video.mp4", "video/mp4"),
    "thumbnail": ("thumbnail.webp", "image/webp"),
    "spritesheet": ("spritesheet.jpg", "image/jpeg"),
    "sound": ("sound.wav", "audio/wav"),
}
SHEET_FRAMES = 25


def publish(media: MediaStore, folder: str, clip: "Generated") -> dict[str, Any]:
    """Writes the files of a clip and returns its columns of the table `clips`.

    Args:
        media: the media store.
        folder: key of a folder that no other attempt uses.
        clip: the clip.

    Raises:
        UserError: a file cannot be written.
    """
    path = media.path(folder)
    report = record.write(path / "video.mp4", clip)
    frames = to_uint8(clip.frames)
    with files.replacing(path / "thumbnail.webp") as partial:
        Image.fromarray(frames[len(frames) // 2]).save(partial, "webp", quality=90)
    with files.replacing(path / "spritesheet.jpg") as partial:
        Image.fromarray(sprites(frames)).save(partial, "jpeg", quality=90)
    _write_sound(path / "sound.wav", clip.samples)
    return {
        "folder": folder,
        "format": clip.format.to_dict(),
        "seconds": clip.seconds,
        "provenance": clip.provenance,
        "verdict": report["verdict"],
        "notes": list(clip.notes),
    }


def sprites(frames: np.ndarray) -> np.ndarray:
    """Returns up to SHEET_FRAMES frames, evenly spaced, in a grid in reading order.

    Args:
        frames: uint8 [F, H, W, 3].

    Returns:
        uint8 [rows H, columns W, 3]; cells without a frame are black.
    """
    count = min(len(frames), SHEET_FRAMES)
    chosen = frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = np.zeros((rows * columns, *frames.shape[1:]), np.uint8)
    cells[:count] = chosen
    height, width = frames.shape[1:3]
    grid = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)


def _write_sound(path: Path, samples: np.ndarray | None) -> None:
    silence = np.zeros(1, np.float32)
    values = np.clip(silence if samples is None else samples, -1, 1)
    with files.replacing(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.round(32767 * values).astype("<i2").tobytes())
