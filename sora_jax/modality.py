"""Video and audio: their rates, latent shapes and common clock.

This file is the only source of the times of frames, samples and latents, all in seconds. A latent
is one time step of a tokenizer's output. With frames at f frames/s, samples at 16 kHz, k frames
per video latent (4 by default; 1 for PhyWorld) and 640 samples per audio latent:

    frame i      covers [i, i+1) / f,                 midpoint (i + 1/2) / f                     (1)
    latent 0     is frame 0 alone,                    midpoint 1 / (2f)                          (2)
    latent j > 0 covers frames kj-k+1 .. kj,          midpoint (kj + 1 - k/2) / f                (3)
    audio latent a covers [a, a+1) / 25 s,            midpoint (a + 1/2) / 25 s                  (4)

A clip may have several shots with a cut between two. Equations (2) and (3) hold within each shot,
with its first frame as frame 0 and its start added to the times, so no latent spans a cut. Audio
has no cuts.

A frame shows the scene at the frame's midpoint (1), so audio and video have no mean offset. Times
are float64 NumPy arrays, computed outside jit; models receive them as arrays.
"""

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from sora_jax.registry import Registry

SAMPLE_RATE = 16_000  # audio samples per second
RATE_SLACK = 0.02  # relative difference up to which two frame rates count as equal
AUDIO_LATENT_RATE = 25  # audio latents per second
SAMPLES_PER_LATENT = SAMPLE_RATE // AUDIO_LATENT_RATE  # 640
# k: default temporal compression of the video tokenizer
FRAMES_PER_LATENT = 4
PIXELS_PER_LATENT = 8  # spatial compression of the video tokenizer
VIDEO_CHANNELS = 16  # channels of a video latent
AUDIO_CHANNELS = 64  # channels of an audio latent
MAX_SIDE = 8192  # pixels
MAX_FPS = 1000  # frames per second
# Ways to fit frames of another aspect ratio into a format; the first is the default.
FITS = ("crop", "letterbox")


@dataclasses.dataclass(frozen=True, repr=False, kw_only=True)
class ClipFormat:
    """Size and rates of a clip: everything needed to allocate frames, samples and latents.

    Frames and samples keep their own clocks in seconds, so a frame need not hold a whole number of
    samples.

    Attributes:
        frames: number of frames, 1 + a multiple of frames_per_latent. Default 17.
        fps: frames per second, an int, or a Fraction such as 30000/1001. A text ("30000/1001") or a
            float (29.97) becomes the nearest of these. Default 8.
        height, width: sides of a frame in pixels, even. Default 64.
        frames_per_latent: k, the temporal compression of the video tokenizer. Default 4.
        shots: number of frames of each of several shots, each 1 + a multiple of frames_per_latent;
            `frames` is their sum. Default (): the clip is one shot.

    Raises:
        ValueError: a field has a value that is not allowed above.
    """

    frames: int = 17
    fps: int | Fraction = 8
    height: int = 64
    width: int = 64
    frames_per_latent: int = FRAMES_PER_LATENT
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
                    f"has 1 + {k}k frames; use {1 + k * max(0, round((frames - 1) / k))}"
                )
        for name in ("height", "width"):
            side = getattr(self, name)
            if not isinstance(side, int) or not 2 <= side <= MAX_SIDE or side % 2:
                raise ValueError(f"{name}={side}: give an even number of pixels, 2 to {MAX_SIDE}")
        # one shot is the default, whichever way it is written; JSON has lists
        object.__setattr__(self, "shots", shots if len(shots) > 1 else ())
        object.__setattr__(self, "fps", frame_rate(self.fps))

    def __repr__(self) -> str:
        """The format as text, "ClipFormat(frames=17, ...)", part of the names of data sets.

        `frames_per_latent` is left out, since it does not change the clips, and so is `shots` if
        the clip is one shot.
        """
        fields = ["frames", "fps", "height", "width"] + ["shots"] * bool(self.shots)
        values = self.to_dict() | {"shots": self.shots}
        return f"ClipFormat({', '.join(f'{name}={values[name]!r}' for name in fields)})"

    def __str__(self) -> str:
        """The format in a few words, such as "17 frames of 64 x 64 at 8/s" (width x height)."""
        shots = f" in {len(self.shots)} shots" if self.shots else ""
        return f"{self.frames} frames of {self.width} x {self.height} at {self.fps}/s{shots}"

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return float(self.frames / self.fps)

    @property
    def samples(self) -> int:
        """The number of audio samples: `seconds` times SAMPLE_RATE, rounded."""
        return math.floor(Fraction(self.frames * SAMPLE_RATE) / self.fps + Fraction(1, 2))

    @property
    def size(self) -> int:
        """The shorter side in pixels. Playhouse, the synthetic world, shows the same view in the
        central square of this size in every format, and more of the scene beside it.
        """
        return min(self.height, self.width)

    @property
    def shot_latents(self) -> tuple[int, ...]:
        """The number of video latents of each shot."""
        return tuple(1 + (n - 1) // self.frames_per_latent for n in self.shots or (self.frames,))

    @property
    def video_latents(self) -> int:
        """The number of video latents T of a clip, over all shots."""
        return sum(self.shot_latents)

    @property
    def audio_latents(self) -> int:
        """The number of audio latents N of a clip."""
        return -(-self.samples // SAMPLES_PER_LATENT)

    @property
    def latent_sides(self) -> tuple[int, int]:
        """The rows and columns of a video latent: the sides of a frame divided by PIXELS_PER_LATENT
        and rounded up, because frames are padded.
        """
        return -(-self.height // PIXELS_PER_LATENT), -(-self.width // PIXELS_PER_LATENT)

    def changed(
        self, height: int = 0, width: int = 0, fps: float = 0.0, seconds: float = 0.0
    ) -> "ClipFormat":
        """Returns the format with other sides, rate or duration.

        Args:
            height: in pixels. Default 0: unchanged.
            width: in pixels. Default 0: unchanged.
            fps: frames per second; 29.97 is 30000/1001. Default 0: unchanged. Every shot keeps its
                duration, to the nearest number of frames with whole latents.
            seconds: duration, changed to the nearest one with whole latents. Default 0: unchanged.

        Raises:
            ValueError: a value is out of range, or `seconds` is given for a clip of several shots.
        """
        for name, value in (("fps", fps), ("seconds", seconds)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}={value}; give a positive number")
        if seconds and self.shots:
            raise ValueError(
                f"seconds={seconds:g} for a clip of {len(self.shots)} shots; leave it out"
            )
        rate = frame_rate(fps) if fps else self.fps

        def frames(before: int) -> int:
            if not fps and not seconds:
                return before
            duration = seconds or float(before / self.fps)
            return nearest_frames(duration, rate, self.frames_per_latent)

        shots = tuple(map(frames, self.shots))
        return dataclasses.replace(
            self,
            frames=sum(shots) if shots else frames(self.frames),
            fps=rate,
            height=height or self.height,
            width=width or self.width,
            shots=shots,
        )

    def frame_times(self) -> np.ndarray:
        """Returns the midpoints of the frames in seconds, float64 [F]."""
        return (np.arange(self.frames) + 0.5) / float(self.fps)

    def shot_starts(self) -> np.ndarray:
        """Returns the starts of the shots in seconds, float64 [number of shots]; [0] for one
        shot.
        """
        return np.cumsum((0, *self.shots[:-1])) / float(self.fps)

    def frame_shots(self) -> np.ndarray:
        """Returns the index of the shot of each frame, from 0, int64 [F]."""
        shots = self.shots or (self.frames,)
        return np.repeat(np.arange(len(shots)), shots)

    def latent_times(self) -> dict[str, np.ndarray]:
        """Returns the midpoints of the latents in seconds of the clip, float64
        {"video": [T], "audio": [N]}.

        For a clip of several shots, the result also has the number of each latent's shot, from 1:
        {"video_shots": [T], "audio_shots": [N]}.
        """
        k = self.frames_per_latent
        j = np.concatenate([np.arange(n) for n in self.shot_latents])
        video = np.where(j == 0, 0.5, k * j + (1.0 - k / 2)) / float(self.fps)
        audio = (np.arange(self.audio_latents) + 0.5) / AUDIO_LATENT_RATE
        if self.shots:
            video = np.repeat(self.shot_starts(), self.shot_latents) + video
        times = {"video": video, "audio": audio}
        if self.shots:
            shots = self._latent_shots(audio)
            times |= {f"{m}_shots": 1.0 + number for m, number in shots.items()}
        return times

    def latent_shots(self) -> dict[str, np.ndarray]:
        """Returns the index of the shot of each latent, from 0, int64 {"video": [T],
        "audio": [N]}.

        An audio latent belongs to the shot of its midpoint.
        """
        return self._latent_shots(self.latent_times()["audio"])

    def _latent_shots(self, audio: np.ndarray) -> dict[str, np.ndarray]:
        """Returns the result of `latent_shots`, given the midpoints of the audio latents, [N] in
        seconds.
        """
        return {
            "video": np.repeat(np.arange(len(self.shot_latents)), self.shot_latents),
            "audio": np.searchsorted(self.shot_starts(), audio, side="right") - 1,
        }

    def latent_shot_times(self) -> dict[str, np.ndarray]:
        """Returns the midpoints of the latents in seconds since the start of their shot, float64
        {"video": [T], "audio": [N]}.
        """
        times, shots, starts = self.latent_times(), self.latent_shots(), self.shot_starts()
        return {name: times[name] - starts[shots[name]] for name in shots}

    def to_dict(self) -> dict:
        """Returns the fields as JSON values: `fps` is an int or text such as "30000/1001". `shots`
        is left out if the clip is one shot.
        """
        fields = dataclasses.asdict(self)
        fields["fps"] = self.fps if isinstance(self.fps, int) else str(self.fps)
        shots = fields.pop("shots")
        return fields | ({"shots": list(shots)} if shots else {})

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ClipFormat":
        """Returns the format of `fields`, the result of `to_dict`.

        Raises:
            ValueError: a field is unknown, or a value is not allowed.
        """
        if unknown := sorted(set(fields) - {field.name for field in dataclasses.fields(cls)}):
            raise ValueError(f"a clip format has no {', '.join(unknown)}")
        return cls(**fields)


def frame_rate(fps: int | float | str | Fraction) -> int | Fraction:
    """Returns a frame rate in frames per second as an exact number: an int where it is whole, else
    a Fraction.

    An int, a Fraction and a text with "/" are exact. Any other number that is not whole becomes a
    television rate, n 1000/1001, if it is within 0.005 of one: 29.97 is 30000/1001. Otherwise it
    becomes the nearest fraction with a denominator of at most 1001.

    Raises:
        ValueError: `fps` is not a number above 0 and at most MAX_FPS.
    """
    try:
        rate = Fraction(fps)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError):
        rate = Fraction(0)
    if not 0 < rate <= MAX_FPS:
        raise ValueError(
            f"fps={fps}: give frames per second, more than 0 and up to {MAX_FPS}, such as 24 or "
            "30000/1001"
        )
    exact = isinstance(fps, Fraction) or (isinstance(fps, str) and "/" in fps)
    if rate.denominator > 1 and not exact:
        television = Fraction(1000 * round(rate * 1001 / 1000), 1001)
        near = television and abs(television - rate) < Fraction(1, 200)
        rate = television if near else max(rate.limit_denominator(1001), Fraction(1, 1001))
    return int(rate) if rate.denominator == 1 else rate


def nearest_frames(
    seconds: float, fps: int | Fraction, frames_per_latent: int = FRAMES_PER_LATENT
) -> int:
    """Returns the number of frames whose duration is nearest to `seconds`, among those that fill
    whole latents: 1 + k n.

    Args:
        seconds: duration.
        fps: frames per second.
        frames_per_latent: k. Default FRAMES_PER_LATENT.
    """
    k = frames_per_latent
    return 1 + k * max(0, round((seconds * float(fps) - 1) / k))


FORMATS: Registry[ClipFormat] = Registry("format")
FORMATS["nano"] = ClipFormat(frames=17, fps=8)
FORMATS["S"] = ClipFormat(frames=33, fps=16)
# PhyWorld (Kang et al. 2024, arXiv:2411.02385) conditions on 3 frames and predicts 29, so each
# frame has its own latent.
FORMATS["phyworld"] = ClipFormat(frames=32, fps=10, frames_per_latent=1)
# Stories, clips with cuts: _n shots of 17 frames, about 2 s each.
for _n in (2, 3, 4):
    FORMATS[f"story{_n}"] = ClipFormat(frames=17 * _n, fps=8, shots=(17,) * _n)
FORMATS["XL"] = ClipFormat(frames=61, fps=16, height=512, width=512)
