"""Writes the files of a finished clip. No other module does.

video.mp4             h264 and aac
video.png .json       contact sheet; report with the oracles' readings of the clip
video.latents.npz     latents, from which the clip is extended or changed
thumbnail.webp        the middle frame
spritesheet.jpg       up to 25 frames in a full grid
sound.wav             the audio

The files that users can load (VARIANTS), and the contact sheet, are signed; their manifests state
the payload of the invisible mark that video and sound carry. The latents, and the frames beside
them, are those of the clip before it was marked.
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

VARIANTS = {  # variant of a clip's content: file and media type
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
        folder: key of a new folder in the media store.
        clip: the clip.
        authority: the authority whose keys sign and mark.
        statement: what the manifests say. Its payload is replaced by a random one.

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
    """Returns a picture of up to SHEET_FRAMES frames in a grid, in reading order: the first, the
    last, and frames evenly spaced between them.

    Every place of the grid has a frame: n frames fill floor(sqrt(n)) rows, and at most a fifth of
    them is left out.

    Args:
        frames: uint8 [F, H, W, 3].

    Returns:
        The picture, uint8 [rows H, columns W, 3].
    """
    count = min(len(frames), SHEET_FRAMES)
    rows = math.isqrt(count)
    columns = count // rows
    chosen = np.linspace(0, len(frames) - 1, rows * columns).round().astype(int)
    height, width = frames.shape[1:3]
    grid = frames[chosen].reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)
