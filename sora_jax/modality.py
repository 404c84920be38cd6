"""Video and audio: their rates, latent shapes and common clock.

This file is the only source of the times of frames, samples and latents, all in seconds. With F
frames at f frames/s, samples at 16 kHz, k frames per video latent (4 by default; 1 for PhyWorld)
and 640 samples per audio latent:

    frame i      covers [i, i+1) / f,                 midpoint (i + 1/2) / f                     (1)
    latent 0     is frame 0 alone,                    midpoint 1 / (2f)                          (2)
    latent j > 0 covers frames kj-k+1 .. kj,          midpoint (kj + 1 - k/2) / f                (3)
    audio latent a covers [a, a+1) / 25 s,            midpoint (a + 1/2) / 25 s                  (4)

A frame shows the world at its midpoint (1), so audio and video have no mean offset. Times are
float64 NumPy arrays, computed outside jit; models receive them as arrays.
"""

import dataclasses

import numpy as np

from sora_jax.registry import Registry

SAMPLE_RATE = 16_000  # audio samples per second
AUDIO_LATENT_RATE = 25  # audio latents per second
SAMPLES_PER_LATENT = SAMPLE_RATE // AUDIO_LATENT_RATE  # 640
# k: default temporal compression of the video tokenizer
FRAMES_PER_LATENT = 4
PIXELS_PER_LATENT = 8  # spatial compression of the video tokenizer
VIDEO_CHANNELS = 16  # channels of a video latent
AUDIO_CHANNELS = 64  # channels of an audio latent


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """Size and rates of a clip: everything needed to allocate frames, samples and latents.

    Attributes:
        frames: number of frames, 1 + a multiple of frames_per_latent. Default 17.
        fps: frames per second. It divides 16,000, so that a frame spans a whole number of samples.
            Default 8.
        size: side of the square frames in pixels. Default 64.
        frames_per_latent: k, the temporal compression of the video tokenizer. Default 4.
    """

    frames: int = 17
    fps: int = 8
    size: int = 64
    # Not in the repr: it concerns latents only, and the repr names sets of clips, which do not
    # depend on it.
    frames_per_latent: int = dataclasses.field(default=FRAMES_PER_LATENT, repr=False)

    def __post_init__(self):
        k = self.frames_per_latent
        if self.frames < 1 or (self.frames - 1) % k:
            raise ValueError(
                f"frames={self.frames}: a clip has 1 + {k}k frames; use "
                f"{1 + k * round((self.frames - 1) / k)}"
            )
        if self.fps < 1 or SAMPLE_RATE % self.fps:
            raise ValueError(f"fps={self.fps} does not divide {SAMPLE_RATE}; use 8, 10 or 16")

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def samples(self) -> int:
        return self.frames * SAMPLE_RATE // self.fps

    @property
    def video_latents(self) -> int:
        return 1 + (self.frames - 1) // self.frames_per_latent

    @property
    def audio_latents(self) -> int:
        return -(-self.samples // SAMPLES_PER_LATENT)

    @property
    def latent_size(self) -> int:
        return -(-self.size // PIXELS_PER_LATENT)

    def frame_times(self) -> np.ndarray:
        """Returns the midpoints of the frames, float64 [F] in seconds: equation (1)."""
        return (np.arange(self.frames) + 0.5) / self.fps

    def latent_times(self) -> dict[str, np.ndarray]:
        """Returns the midpoints of the latents, float64 {"video": [T], "audio": [N]} in seconds:
        equations (2) to (4).
        """
        j, k = np.arange(self.video_latents), self.frames_per_latent
        video = np.where(j == 0, 0.5, k * j + (1.0 - k / 2)) / self.fps
        audio = (np.arange(self.audio_latents) + 0.5) / AUDIO_LATENT_RATE
        return {"video": video, "audio": audio}

    def to_dict(self) -> dict:
        """Returns the fields as JSON values."""
        return dataclasses.asdict(self)


FORMATS: Registry[ClipFormat] = Registry("format")
FORMATS["nano"] = ClipFormat(17, 8, 64)
FORMATS["S"] = ClipFormat(33, 16, 64)
# PhyWorld (Kang et al. 2024, arXiv:2411.02385) conditions on 3 frames and predicts 29, so each
# frame has its own latent.
FORMATS["phyworld"] = ClipFormat(32, 10, 64, 1)
FORMATS["XL"] = ClipFormat(61, 16, 512)
