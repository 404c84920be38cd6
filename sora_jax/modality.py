"""What a modality is: its rates, its latent shape and its clock.

Every module that needs to know when something happens asks this file, and the answer is always in seconds. With F frames at f
frames/s, samples at 16 kHz, k = 4 frames to a video latent and 640 samples to an audio latent:

    frame i      covers [i, i+1) / f,                 midpoint (i + 1/2) / f                        (1)
    latent 0     is frame 0 alone,                    midpoint 1 / (2f)                             (2)
    latent j > 0 covers frames kj-3 .. kj,            midpoint (kj - 1) / f                         (3)
    audio latent a covers [a, a+1) / 25 s,            midpoint (a + 1/2) / 25 s                     (4)

A picture is taken at its frame's midpoint (1), so that sound and picture have no mean offset. Times are float64 NumPy, computed
outside jit; models receive them as arrays.
"""

import dataclasses

import numpy as np

SAMPLE_RATE = 16_000  # audio samples per second
AUDIO_LATENT_RATE = 25  # audio latents per second
SAMPLES_PER_LATENT = SAMPLE_RATE // AUDIO_LATENT_RATE  # 640
FRAMES_PER_LATENT = 4  # k: temporal compression of the video tokenizer
PIXELS_PER_LATENT = 8  # spatial compression of the video tokenizer
VIDEO_CHANNELS = 16  # channels of a video latent
AUDIO_CHANNELS = 64  # numbers in an audio latent


@dataclasses.dataclass(frozen=True)
class ClipFormat:
    """Size and rates of a clip: everything needed to allocate pixels, samples and latents.

    frames is 1 + 4k; fps divides 16,000, so that a frame holds a whole number of samples; size is the square's side in pixels.
    """

    frames: int = 17
    fps: int = 8
    size: int = 64

    def __post_init__(self):
        if self.frames < 1 or (self.frames - 1) % FRAMES_PER_LATENT:
            raise ValueError(f"frames={self.frames}: a clip has 1 + 4k frames; use {1 + 4 * round((self.frames - 1) / 4)}")
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
        return 1 + (self.frames - 1) // FRAMES_PER_LATENT

    @property
    def audio_latents(self) -> int:
        return -(-self.samples // SAMPLES_PER_LATENT)

    @property
    def latent_size(self) -> int:
        return -(-self.size // PIXELS_PER_LATENT)

    def frame_times(self) -> np.ndarray:
        """Midpoints of the frames, float64 [F] in seconds: equation (1)."""
        return (np.arange(self.frames) + 0.5) / self.fps

    def latent_times(self) -> dict[str, np.ndarray]:
        """Midpoints of the latents per modality, float64 {"video": [T], "audio": [N]} in seconds: equations (2) to (4)."""
        j = np.arange(self.video_latents)
        video = np.where(j == 0, 0.5, FRAMES_PER_LATENT * j - 1.0) / self.fps
        audio = (np.arange(self.audio_latents) + 0.5) / AUDIO_LATENT_RATE
        return {"video": video, "audio": audio}


# PhyWorld's clips have 32 frames, and 1 + 4k is 29 or 33: 33 are rendered and made, and scores take the first 32.
FORMATS = {"nano": ClipFormat(17, 8, 64), "S": ClipFormat(33, 16, 64), "phyworld": ClipFormat(33, 10, 64), "XL": ClipFormat(61, 16, 512)}
PHYWORLD_FRAMES = 32
