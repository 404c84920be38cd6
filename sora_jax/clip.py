"""The `Clip` type: video frames with audio samples.

Synthetic worlds render clips, pipelines generate them, and oracles (programs that measure clips)
read them.
"""

import base64
import dataclasses
import html
import os
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from sora_jax.errors import UserError
from sora_jax.modality import SAMPLE_RATE


@dataclasses.dataclass(frozen=True, repr=False)
class Clip:
    """Video frames and audio samples on one clock, which starts at 0 s.

    Attributes:
        frames: [F, H, W, 3], float in [0, 1] or uint8. Frame i is shown from i / fps to (i + 1) /
            fps seconds.
        samples: [S] float in [-1, 1], mono. None (default) for a clip without audio.
        fps: frames per second. Default 8.
        rate: samples per second. Default 16,000.
        notes: remarks for the user on how the clip was made.
        family: kind of scenes that it shows, a name in FAMILIES, for the choice of oracles
            (`read_clip`). Default None: unknown.
    """

    frames: np.ndarray
    samples: np.ndarray | None = None
    fps: int | float | Fraction = 8
    rate: int = SAMPLE_RATE
    notes: tuple[str, ...] = ()
    family: str | None = None

    def __repr__(self) -> str:
        frames, height, width = self.frames.shape[:3]
        rate = f"audio at {self.rate} Hz" if self.samples is not None else "no audio"
        size = f"{frames} frames of {height} x {width} at {float(self.fps):g}/s"
        return f"{type(self).__name__}({size}, {self.seconds:g} s, {rate})"

    @property
    def seconds(self) -> float:
        """The duration of the video in seconds."""
        return float(len(self.frames) / self.fps)

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the clip to `path` as mp4 (h264 and aac), replacing an existing file, and returns
        the path.

        Raises:
            UserError: the path does not end in .mp4, the file cannot be written, or PyAV is
                missing.
        """
        if Path(path).suffix.lower() != ".mp4":
            raise UserError(f"{path} is not the path of a clip; give a path that ends in .mp4")
        try:
            from sora_jax.mp4 import write_mp4  # needs PyAV, which a training-only machine may lack
        except ImportError as error:
            raise UserError(f"no mp4 can be written ({error}); pip install av") from error

        write_mp4(path, self)
        return Path(path)

    def _repr_html_(self) -> str:
        """HTML for notebooks: a player and the notes."""
        return f"<div>{self._player()}{self._notes()}</div>"

    def _player(self) -> str:
        """HTML of a player, or a line that says why there is none."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            try:
                Clip.save(self, path)
            except UserError as error:
                return f"<p>no player: {html.escape(str(error))}</p>"
            source = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
        return f'<video controls loop width="320" src="{source}"></video>'

    def _notes(self) -> str:
        return "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)


def as_floats(frames: np.ndarray, what: str) -> np.ndarray:
    """Returns frames [..., H, W, 3], float in [0, 1] or uint8, as float32 in [0, 1].

    Args:
        frames: the array.
        what: name of the array, for the error message.

    Raises:
        UserError: a value is outside [0, 1] by more than 0.001.
    """
    frames = np.asarray(frames)
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255
    frames = frames.astype(np.float32)
    if frames.size and not (frames.min() >= -1e-3 and frames.max() <= 1 + 1e-3):
        raise UserError(
            f"{what} goes from {frames.min():.3g} to {frames.max():.3g}; give uint8, or floats "
            "from 0 to 1"
        )
    return frames
