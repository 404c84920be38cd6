"""A clip, pictures with sound: worlds render it, pipelines return it, oracles read it."""

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
    """Frames and samples on one clock, which starts at 0 s.

    Attributes:
        frames: [F, H, W, 3], float in [0, 1] or uint8. Frame i is shown from i / fps to
            (i + 1) / fps.
        samples: [S] float in [-1, 1], one channel; None without sound.
        fps: frames per second.
        rate: samples per second.
        notes: what a user should know of how the clip came about.
    """

    frames: np.ndarray
    samples: np.ndarray | None = None
    fps: int | float | Fraction = 8
    rate: int = SAMPLE_RATE
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        frames, height, width = self.frames.shape[:3]
        rate = f"sound at {self.rate} Hz" if self.samples is not None else "no sound"
        size = f"{frames} frames of {height} x {width} at {float(self.fps):g}/s"
        return f"{type(self).__name__}({size}, {self.seconds:g} s, {rate})"

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return float(len(self.frames) / self.fps)

    def save(self, path: str | os.PathLike) -> Path:
        """Writes out.mp4, h264 and aac, in place of an older one; returns the path.

        Raises UserError where it cannot be written.
        """
        from sora_jax.mp4 import write_mp4  # PyAV, which a machine that only trains may lack

        write_mp4(path, self)
        return Path(path)

    def _repr_html_(self) -> str:
        """For notebooks: a player, and the notes."""
        return f"<div>{self._player()}{self._notes()}</div>"

    def _player(self) -> str:
        """HTML of a player, or a line that says why there is none."""
        from sora_jax.mp4 import write_mp4

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            try:
                write_mp4(path, self)
            except UserError as error:
                return f"<p>no player: {html.escape(str(error))}</p>"
            source = f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"
        return f'<video controls loop width="320" src="{source}"></video>'

    def _notes(self) -> str:
        return "".join(f"<p>note: {html.escape(note)}</p>" for note in self.notes)


def as_floats(frames: np.ndarray, what: str) -> np.ndarray:
    """Pictures [..., H, W, 3], float in [0, 1] or uint8, as float32 in [0, 1].

    Raises UserError for other values; `what` says whose.
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
