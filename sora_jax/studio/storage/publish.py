"""The one place where a finished clip becomes files.

video.mp4             h264 and aac
video.png .json       contact sheet; what the oracles read in the clip
video.latents.npz     latents, from which the clip is extended or changed
thumbnail.webp        the middle frame
spritesheet.jpg       up to 25 frames in a full grid
sound.wav             the audio

What leaves the server (VARIANTS, and the contact sheet) is signed, and bound to the mark that video
and sound carry. The latents keep the clip as it was before the mark.
"""

import dataclasses
import math
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sora_jax.clip import Clip
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import to_uint8
from sora_jax.pipelines import record
from sora_jax.provenance import manifest, write
from sora_jax.provenance.authority import Authority
from sora_jax.provenance.manifest import Statement
from sora_jax.studio.consent import screening
from sora_jax.studio.storage.media_store import MediaStore

if TYPE_CHECKING:
    from sora_jax.pipelines.generated import Generated

VARIANTS = {  # of a clip's content: file and type
    "video": ("video.mp4", "video/mp4"),
    "thumbnail": ("thumbnail.webp", "image/webp"),
    "spritesheet": ("spritesheet.jpg", "image/jpeg"),
    "sound": ("sound.wav", "audio/wav"),
}
SHEET_FRAMES = 25


def publish(
    media: MediaStore, folder: str, clip: "Generated", authority: Authority, statement: Statement
) -> dict[str, Any]:
    """Writes the files of a clip and returns its columns of the table `clips`.

    Args:
        media: the media store.
        folder: key of a folder that no other attempt uses.
        clip: the clip.
        authority: whose key signs and marks.
        statement: what the manifests say; its payload is drawn here.

    Raises:
        UserError: a file cannot be written or signed.
    """
    path, payload = media.path(folder), secrets.randbits(32)
    statement = dataclasses.replace(statement, payload=payload)

    def write_video(target: Path, made: "Generated", metadata: dict[str, Any]) -> None:
        write.publish(made, target, authority, statement, metadata)

    report = record.write(path / "video.mp4", clip, write_video)
    manifest.sign(path / "video.png", path / "video.png", statement, authority)
    frames = to_uint8(clip.frames)
    stills = {"thumbnail.webp": frames[len(frames) // 2], "spritesheet.jpg": sprites(frames)}
    for name, still in stills.items():
        write.publish_image(still, path / name, authority, statement)
    samples = np.zeros(1, np.float32) if clip.samples is None else clip.samples
    sound = Clip(frames, samples, clip.fps, SAMPLE_RATE)
    write.publish(sound, path / "sound.wav", authority, statement)
    media.send(folder)
    return {
        "folder": folder,
        "format": clip.format.to_dict(),
        "seconds": clip.seconds,
        "provenance": clip.provenance,
        "verdict": report["verdict"],
        "notes": list(clip.notes),
        "payload": payload,
        "signatures": screening.signatures(frames) if statement.consent else None,
    }


def sprites(frames: np.ndarray) -> np.ndarray:
    """Returns up to SHEET_FRAMES frames, evenly spaced with the first and the last, in reading
    order.

    Every cell has a frame: n frames fill floor(sqrt(n)) rows, and up to a quarter is left out.

    Args:
        frames: uint8 [F, H, W, 3].

    Returns:
        uint8 [rows H, columns W, 3].
    """
    count = min(len(frames), SHEET_FRAMES)
    rows = math.isqrt(count)
    columns = count // rows
    chosen = np.linspace(0, len(frames) - 1, rows * columns).round().astype(int)
    height, width = frames.shape[1:3]
    grid = frames[chosen].reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)
