"""A clip, pictures with sound: worlds render it, pipelines return it, oracles read it."""

import dataclasses
from fractions import Fraction

import numpy as np

from sora_jax.modality import SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
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

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return float(len(self.frames) / self.fps)
