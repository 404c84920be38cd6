"""`Media`: a decoded file, or a window of one."""

import dataclasses

import numpy as np

from sora_jax.errors import UserError


class EndOfFile(UserError):
    """The requested window is past the end of the file."""


@dataclasses.dataclass(frozen=True)
class Media:
    """A decoded file, or a window of one.

    Attributes:
        frames: uint8 [F, H, W, 3] RGB in BT.709, upright and with square pixels.
        times: float64 [F], the time at which each frame appears, in seconds from the window's
            start.
        samples: float32 [S, channels] in [-1, 1] from the same start; None without an audio track.
        sample_rate: samples per second.
        seconds: duration of the window.
        notes: lines of text on irregularities of the file. Default (): none.
        file_size: (width, height) of the frames in the file, before turning and scaling. Default
            None: those of `frames`.
        channels: names of the channels of `samples`, such as "FL" and "LFE". Default (): unknown.
        frame_rate: frames per second of the file. Default None: the mean rate of `times`.
    """

    frames: np.ndarray
    times: np.ndarray
    samples: np.ndarray | None
    sample_rate: int
    seconds: float
    notes: tuple[str, ...] = ()
    file_size: tuple[int, int] | None = None
    channels: tuple[str, ...] = ()
    frame_rate: float | None = None
