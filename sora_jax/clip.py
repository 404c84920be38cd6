"""A clip, pictures with sound: worlds render it, pipelines return it, oracles read it."""

import dataclasses
from fractions import Fraction

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
