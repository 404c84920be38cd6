"""All readings of one clip, computed lazily and cached.

`Reading(clip).of("physics")` is what the registered oracle of that name measures in the clip.
Readings that several oracles share, or that the judges of families of scenes use, are properties:
`tracks`, `facts`, `camera`, ...
"""

import dataclasses
import functools
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import signal

from sora_jax.clip import Clip, as_floats
from sora_jax.errors import UserError, expect
from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles import faces as faces_lib
from sora_jax.oracles import facts as facts_lib
from sora_jax.oracles import onsets, story_shots, sync, tracker
from sora_jax.oracles.camera import Camera
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.lips import Lips
from sora_jax.oracles.outcome import Outcome
from sora_jax.oracles.permanence import Permanence
from sora_jax.oracles.speakers import Speakers
from sora_jax.worlds.playhouse.captions import Facts

MIN_FRAMES = 5  # enough for a free flight on both sides of one impact
MIN_AUDIO_SECONDS = 0.2  # seconds: the onset oracle ignores the first 50 and the last 20 ms


class Reading:
    """The oracles' readings of one clip.

    uint8 frames are converted to floats in [0, 1], frames are cropped to their central square, and
    audio is resampled to 16 kHz, at which the oracles are calibrated.

    Args:
        clip: the clip to read.

    Attributes:
        frames: floats [F, H, H, 3] in [0, 1].
        fps: frames per second.
        samples: [S] in [-1, 1]; None for a clip without audio.
        rate: samples per second, 16000.

    Raises:
        UserError: `clip` is no Clip, or its frames, samples or rate have the wrong shape, type or
            range.
    """

    def __init__(self, clip: Clip) -> None:
        expect(
            clip,
            Clip,
            "clip",
            "give a Clip: of a file sora_jax.fit_clip(sora_jax.read_video(path), format), of "
            "arrays sora_jax.Clip(frames, samples, fps)",
        )
        self.frames, self.samples = _frames(clip.frames), clip.samples
        samples = np.asarray(self.samples)
        integers = np.issubdtype(samples.dtype, np.integer)
        if self.samples is not None and (samples.ndim != 1 or integers):
            raise UserError(
                f"samples are {samples.dtype} {samples.shape}; give floats of one channel, "
                "[samples], or None for no audio",
                field="samples",
            )
        if not isinstance(clip.rate, int | np.integer) or clip.rate < 1:
            raise UserError(
                f"rate is {clip.rate!r}; give samples per second, such as 16000", field="rate"
            )
        self.fps, self.rate = float(clip.fps), SAMPLE_RATE
        if samples.size and self.samples is not None and clip.rate != SAMPLE_RATE:
            ratio = Fraction(SAMPLE_RATE, clip.rate)
            self.samples = signal.resample_poly(samples, ratio.numerator, ratio.denominator)
        self._cache: dict[str, Any] = {}

    def of(self, name: str) -> Any:
        """Returns the reading of the oracle `name` of ORACLES (`Oracle.read`), computed once.

        Raises:
            UserError: `name` is not registered.
        """
        if name not in self._cache:
            self._cache[name] = ORACLES[name].read(self)
        return self._cache[name]

    def with_audio_of(self, other: "Reading") -> "Reading":
        """Returns the reading of a clip with the video of this reading and the audio of `other`.

        What was read of each is reused: the tracks, the audio onsets and, if they were read, the
        faces.
        """
        clip = Clip(self.frames, other.samples, self.fps, other.rate)
        both = Reading(clip)
        both.__dict__ |= {"tracks": self.tracks, "heard_onsets": other.heard_onsets}
        both.__dict__ |= {k: v for k, v in self.__dict__.items() if k in ("faces", "mouths")}
        return both

    @functools.cached_property
    def tracks(self) -> list[tracker.Track]:
        """A track (the position of a ball in every frame) of every visible colour, including balls
        that are only briefly visible.

        `tracker.lasting` selects those that are visible in at least a third of the frames.
        """
        return tracker.track(self.frames)

    @functools.cached_property
    def facts(self) -> Facts:
        """The facts of the balls in the terms of a caption: colour, size, launch, direction,
        bounces, of every ball that is visible in at least half of the frames.
        """
        return facts_lib.read_facts(self.tracks, self.fps)

    @functools.cached_property
    def coherent(self) -> bool:
        """True if every ball is one persistent object throughout the clip (`facts.coherent`)."""
        return facts_lib.coherent(self.tracks, self.fps)

    @functools.cached_property
    def seen_impacts(self) -> list[float]:
        """The times of the visible impacts, in s, in order."""
        return [o.time for o in onsets.video_onsets(self.tracks, self.fps)]

    @functools.cached_property
    def heard_onsets(self) -> list[onsets.Onset]:
        """The audible impacts (time in s and level in dB), in order; empty without audio."""
        return [] if self.samples is None else onsets.audio_onsets(self.samples)

    @functools.cached_property
    def heard_impacts(self) -> list[float]:
        """The times of the audible impacts, in s, in order."""
        return [o.time for o in self.heard_onsets]

    @functools.cached_property
    def sync(self) -> sync.Sync:
        """How well the visible and the audible impacts agree in time: F1 and offset."""
        return sync.agreement(self.heard_impacts, self.seen_impacts)

    @functools.cached_property
    def video_fault(self) -> str | None:
        """The reason why the video cannot be read (too few frames); None if it can."""
        few = len(self.frames) < MIN_FRAMES
        return (
            f"{len(self.frames)} frames are too few to read an impact; at least "
            f"{MIN_FRAMES} are needed"
            if few
            else None
        )

    @functools.cached_property
    def audio_fault(self) -> str | None:
        """The reason why impacts or words cannot be read (no audio, or too short); None if they
        can.
        """
        if self.samples is None:
            return "the clip has no audio"
        if len(self.samples) < MIN_AUDIO_SECONDS * self.rate:
            return (
                f"{len(self.samples) / self.rate:.2f} s of audio are too short to read an "
                f"impact; at least {MIN_AUDIO_SECONDS} s are needed"
            )
        return None

    @functools.cached_property
    def sync_fault(self) -> str | None:
        """The reason why the agreement of video and audio cannot be scored; None if it can."""
        silent = not (
            self.audio_fault or self.video_fault or self.seen_impacts or self.heard_impacts
        )
        return (
            self.audio_fault
            or self.video_fault
            or ("no impact is in the video or in the audio" if silent else None)
        )

    @property
    def words(self) -> list[str]:
        """The words recognized in the audio, in order."""
        return self.of("words")

    @property
    def camera(self) -> Camera | None:
        """The camera motion of a film; None if the two posts at the sides of the scene, from which
        it is read, are not visible.
        """
        return self.of("camera")

    @property
    def style(self) -> str | None:
        """The rendering style of the clip, such as "anime"; None if it is none of the world's
        styles.
        """
        return self.of("style")

    @property
    def permanence(self) -> Permanence | None:
        """Whether the ball that a panel hides is there again afterwards, the same and on its
        course; None if no ball goes behind a panel.
        """
        return self.of("permanence")

    @property
    def outcome(self) -> Outcome | None:
        """The action at a hoop, a goal or a gap between platforms, and its outcome; None without
        such furniture.
        """
        return self.of("outcome")

    @functools.cached_property
    def faces(self) -> list[faces_lib.Face]:
        """The faces of characters, from left to right."""
        return faces_lib.find_faces(self.frames)

    @functools.cached_property
    def mouths(self) -> np.ndarray:
        """How far the mouths of the N `faces` are open in every frame, in square metres, float64
        [N, F].
        """
        return faces_lib.openings(self.frames, self.faces)

    @property
    def lips(self) -> Lips | None:
        """How well mouths and speech agree in time; None if no mouth moves or nobody speaks."""
        return self.of("lips")

    @functools.cached_property
    def lips_fault(self) -> str | None:
        """The reason why mouths and speech cannot be compared; None if they can."""
        return self.audio_fault or self.video_fault or too_slow("lips", self.fps)

    @property
    def speakers(self) -> Speakers:
        """The faces, and the turns in which they speak, each with its face, time, pitch and
        tract.
        """
        return self.of("speakers")

    @property
    def cuts(self) -> list[float]:
        """The times at which a new shot begins, without the start of the first, in s."""
        return self.of("cuts")

    @property
    def ambience(self) -> str | None:
        """The background sound, such as "rain", or "silence"; None if it is none of the world's."""
        return self.of("ambience")

    def shots_from(self, starts: tuple[int, ...]) -> list[story_shots.Shot]:
        """Returns what each shot of a story shows, given where the shots begin; computed once for
        each `starts`.

        Args:
            starts: index of the first frame of each shot except the first.
        """
        key = f"shots from {starts}"
        if key not in self._cache:
            self._cache[key] = story_shots.read_shots(self.frames, starts)
        return self._cache[key]

    def to_dict(self, balls: bool = True) -> dict[str, Any]:
        """Returns the main readings of the clip as JSON values.

        Keys: count, balls, seen_impacts, cuts and sync; with audio heard_impacts, heard_materials
        and ambience; with a face also faces, lips and turns; with a cut also shots. Unknown numbers
        are None, times are in seconds, lengths in metres. Where something cannot be read, the
        reason is in "unscored".

        Args:
            balls: False leaves out balls and their impacts, for a clip without balls. The trackers
                would take other things of their colours for balls. Default True.
        """
        reading = self._balls() if balls else {}
        reading["cuts"] = None if self.video_fault else [round(t, 3) for t in self.cuts]
        if self.video_fault:
            reading["unscored"] = self.video_fault
        elif self.cuts:
            reading["shots"] = [shot.to_dict() for shot in self.of("shots")]
        if self.samples is not None:
            if balls:
                reading["heard_impacts"] = [round(t, 3) for t in self.heard_impacts]
                reading["heard_materials"] = self.of("material")
            reading["ambience"] = self.ambience
        if self.faces:
            reading |= self._talk()
        return reading | ({"sync": self._sync()} if balls else {})

    def _balls(self) -> dict[str, Any]:
        """Returns the balls and their visible impacts, as JSON values."""
        by_colour = {t.colour: t for t in self.tracks}
        balls = []
        for ball in self.facts.balls:
            track = by_colour[ball.colour]
            balls.append(
                dataclasses.asdict(ball)
                | {
                    "radius_m": round(float(np.nanmedian(track.radius)), 3),
                    "tracked_frames": round(float(np.mean(track.found)), 3),
                    "jumps": track.jumps(self.fps),
                }
            )
        return {
            "count": len(balls),
            "balls": balls,
            "seen_impacts": [round(t, 3) for t in self.seen_impacts],
        }

    def _sync(self) -> dict[str, Any]:
        """Returns the agreement of visible and audible impacts, as JSON values."""
        if self.sync_fault:
            unknown = dict.fromkeys(("f1_50ms", "f1_100ms", "offset_ms"))
            return {**unknown, "unscored": self.sync_fault}
        offset = self.sync.offset
        return {
            "f1_50ms": round(self.sync.f1_50ms, 3),
            "f1_100ms": round(self.sync.f1_100ms, 3),
            "offset_ms": None if np.isnan(offset) else round(1e3 * offset, 1),
        }

    def _talk(self) -> dict[str, Any]:
        """Returns {faces, lips, turns}, the readings of a clip with a face, as JSON values."""
        lips: dict[str, Any] = {"offset_ms": None, "correlation": None}
        if self.lips and not self.lips_fault:
            lips["offset_ms"] = round(1e3 * self.lips.offset, 1)
            lips["correlation"] = round(self.lips.correlation, 3)
        else:
            lips["unscored"] = self.lips_fault or "no mouth moves, or nobody speaks"
        turns = [
            {
                "face": turn.face,
                "start": round(turn.start, 3),
                "end": round(turn.end, 3),
                "pitch_hz": round(turn.pitch, 1),
                "tract": round(turn.tract, 3),
            }
            for turn in self.speakers.turns
        ]
        faces = [{"x": round(face.x, 3), "y": round(face.y, 3)} for face in self.faces]
        return {"faces": faces, "lips": lips, "turns": turns}


def too_slow(oracle: str, fps: float) -> str | None:
    """Returns the reason why `fps` frames/s are too few for an oracle, given by its name; None if
    they are enough.
    """
    least = ORACLES[oracle].min_fps
    if fps >= least:
        return None
    return f"{oracle} are not judged at {fps:g} frames/s; at least {least:g} are needed"


def _frames(frames: np.ndarray) -> np.ndarray:
    """Returns the central square of the frames of a clip, floats [F, H, H, 3] in [0, 1].

    Playhouse, the project's simulated world, shows its scenes in this square, whatever the
    proportions of the frames. Square float frames are returned unchanged.

    Raises:
        UserError: the frames have another shape or type, or values outside [0, 1].
    """
    frames = np.asarray(frames)
    numeric = frames.dtype == np.uint8 or np.issubdtype(frames.dtype, np.floating)
    if frames.ndim != 4 or frames.shape[-1] != 3 or not frames.size or not numeric:
        raise UserError(
            f"frames are {frames.dtype} {frames.shape}; give floats from 0 to 1, or uint8, "
            "[frames, height, width, 3]",
            field="frames",
        )
    height, width = frames.shape[1:3]
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    if height != width:
        frames = frames[:, top : top + size, left : left + size]
    if frames.dtype == np.uint8:
        return as_floats(frames, "frames")
    if not (frames.min() >= -1e-3 and frames.max() <= 1.0 + 1e-3):
        raise UserError(
            f"frames go from {frames.min():.3g} to {frames.max():.3g}; give floats from 0 to 1, "
            "or uint8",
            field="frames",
        )
    return frames
