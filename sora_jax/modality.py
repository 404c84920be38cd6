"""Video and audio: their rates, latent shapes and common clock.

This file is the only source of the times of frames, samples and latents, all in seconds. With F
frames at f frames/s, samples at 16 kHz, k frames per video latent (4 by default; 1 for PhyWorld)
and 640 samples per audio latent:

    frame i      covers [i, i+1) / f,                 midpoint (i + 1/2) / f                     (1)
    latent 0     is frame 0 alone,                    midpoint 1 / (2f)                          (2)
    latent j > 0 covers frames kj-k+1 .. kj,          midpoint (kj + 1 - k/2) / f                (3)
    audio latent a covers [a, a+1) / 25 s,            midpoint (a + 1/2) / 25 s                  (4)

A clip may have several shots with a cut between two. Equations (2) and (3) hold within each shot,
with its first frame as frame 0 and its start added to the times, so no latent spans a cut. Audio
has no cuts.

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
        shots: frames of each of several shots, each 1 + a multiple of frames_per_latent; `frames`
            is their sum. Default (): the clip is one shot.
    """

    frames: int = 17
    fps: int = 8
    size: int = 64
    # Not in the repr: it concerns latents only, and the repr names sets of clips, which do not
    # depend on it.
    frames_per_latent: int = dataclasses.field(default=FRAMES_PER_LATENT, repr=False)
    shots: tuple[int, ...] = ()

    def __post_init__(self):
        k = self.frames_per_latent
        shots = tuple(self.shots)
        if shots and sum(shots) != self.frames:
            raise ValueError(f"frames={self.frames}: the shots have {sum(shots)}; use that")
        for frames in shots or (self.frames,):
            if frames < 1 or (frames - 1) % k:
                raise ValueError(
                    f"{'shots' if shots else 'frames'}={frames}: a {'shot' if shots else 'clip'} "
                    f"has 1 + {k}k frames; use {1 + k * round((frames - 1) / k)}"
                )
        # one shot is the default, whichever way it is written; JSON has lists
        object.__setattr__(self, "shots", shots if len(shots) > 1 else ())
        if self.fps < 1 or SAMPLE_RATE % self.fps:
            raise ValueError(f"fps={self.fps} does not divide {SAMPLE_RATE}; use 8, 10 or 16")

    def __repr__(self) -> str:
        # as dataclasses write it, but a clip of one shot has no `shots`
        shots = f", shots={self.shots}" if self.shots else ""
        return f"ClipFormat(frames={self.frames}, fps={self.fps}, size={self.size}{shots})"

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def samples(self) -> int:
        return self.frames * SAMPLE_RATE // self.fps

    @property
    def shot_latents(self) -> tuple[int, ...]:
        """The number of video latents of each shot."""
        return tuple(1 + (n - 1) // self.frames_per_latent for n in self.shots or (self.frames,))

    @property
    def video_latents(self) -> int:
        return sum(self.shot_latents)

    @property
    def audio_latents(self) -> int:
        return -(-self.samples // SAMPLES_PER_LATENT)

    @property
    def latent_size(self) -> int:
        return -(-self.size // PIXELS_PER_LATENT)

    def frame_times(self) -> np.ndarray:
        """Returns the midpoints of the frames, float64 [F] in seconds: equation (1)."""
        return (np.arange(self.frames) + 0.5) / self.fps

    def shot_starts(self) -> np.ndarray:
        """Returns the starts of the shots, float64 [n] in seconds."""
        return np.cumsum((0, *self.shots[:-1])) / self.fps

    def frame_shots(self) -> np.ndarray:
        """Returns the number of the shot of each frame, from 0, int64 [F]."""
        shots = self.shots or (self.frames,)
        return np.repeat(np.arange(len(shots)), shots)

    def latent_times(self) -> dict[str, np.ndarray]:
        """Returns the midpoints of the latents, float64 {"video": [T], "audio": [N]} in seconds of
        the clip: equations (2) to (4).
        """
        k = self.frames_per_latent
        j = np.concatenate([np.arange(n) for n in self.shot_latents])
        video = np.where(j == 0, 0.5, k * j + (1.0 - k / 2)) / self.fps
        audio = (np.arange(self.audio_latents) + 0.5) / AUDIO_LATENT_RATE
        if self.shots:
            video = np.repeat(self.shot_starts(), self.shot_latents) + video
        return {"video": video, "audio": audio}

    def latent_shots(self) -> dict[str, np.ndarray]:
        """Returns the number of the shot of each latent, from 0, int64 {"video": [T],
        "audio": [N]}.

        An audio latent belongs to the shot of its midpoint.
        """
        times, starts = self.latent_times(), self.shot_starts()
        return {
            "video": np.repeat(np.arange(len(self.shot_latents)), self.shot_latents),
            "audio": np.searchsorted(starts, times["audio"], side="right") - 1,
        }

    def latent_shot_times(self) -> dict[str, np.ndarray]:
        """Returns the midpoints of the latents in seconds since the start of their shot, float64
        {"video": [T], "audio": [N]}.
        """
        times, shots, starts = self.latent_times(), self.latent_shots(), self.shot_starts()
        return {name: times[name] - starts[shots[name]] for name in times}

    def to_dict(self) -> dict:
        """Returns the fields as JSON values. Omits `shots` for one shot, so fingerprints of older
        data sets stay valid.
        """
        fields = dataclasses.asdict(self)
        shots = fields.pop("shots")
        return fields | ({"shots": list(shots)} if shots else {})


FORMATS: Registry[ClipFormat] = Registry("format")
FORMATS["nano"] = ClipFormat(17, 8, 64)
FORMATS["S"] = ClipFormat(33, 16, 64)
# PhyWorld (Kang et al. 2024, arXiv:2411.02385) conditions on 3 frames and predicts 29, so each
# frame has its own latent.
FORMATS["phyworld"] = ClipFormat(32, 10, 64, 1)
# n shots of 2 s
for _n in (2, 3, 4):
    FORMATS[f"story{_n}"] = ClipFormat(17 * _n, 8, 64, shots=(17,) * _n)
FORMATS["XL"] = ClipFormat(61, 16, 512)
