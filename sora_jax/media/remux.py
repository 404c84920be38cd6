"""Writes a video file with new audio: the packets of its picture are copied, not encoded again.

The new file has the container of the old one if that is mp4, mov, mkv or webm, else mkv. Timestamps
stay as they are there, and with them a variable frame rate, an edit list, and a picture that begins
later than 0. The audio, aac or (in webm) opus, begins with the picture. Rotation, pixel shape,
colour and the file's own metadata are kept. Its own audio, subtitles, chapters, pictures and data
are left out.
"""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from sora_jax.errors import UserError
from sora_jax.files import disk_error, replacing
from sora_jax.media import streams
from sora_jax.media.decoding import frames_from
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import AAC_BITS_PER_SECOND, AAC_BLOCK, add_stream, unreadable

MUXERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
SUFFIXES = tuple(MUXERS)
# Keys of metadata that say how a file was written.
OF_THE_WRITER = ("major_brand", "minor_version", "compatible_brands", "encoder")
TRIAL_PACKETS = 8  # copied to find out whether a container takes a picture


class NotCopied(Exception):
    """The reason why the picture of a file cannot be copied."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a file is written with new audio.

    Attributes:
        suffix: of the new file, such as ".mkv".
        notes: what of the file the new one does not keep.
    """

    suffix: str
    notes: tuple[str, ...]


def plan(path: str | os.PathLike) -> Plan:
    """Returns how a file would be written with new audio, after trying it on its first packets.

    Raises:
        NotCopied: no container takes its picture as it is.
        UserError: the file cannot be read.
    """
    try:
        with av.open(str(path)) as source:
            suffix = _suffix(source, Path(path).suffix.lower())
            notes = _left_out(source)
            stream, _ = streams.choose_video(source)
            _check_cuts(source, stream)
    except (OSError, FFmpegError, ValueError) as error:
        raise unreadable(path, error) from None
    for candidate in dict.fromkeys((suffix or ".mkv", ".mkv")):
        with tempfile.TemporaryDirectory() as folder:
            trial = Path(folder) / f"trial{candidate}"
            try:
                lost = _mux(path, trial, candidate, np.zeros(SAMPLE_RATE // 10), {}, TRIAL_PACKETS)
            except (FFmpegError, ValueError) as error:
                reason = error
                continue
        if lost:
            notes.append(f"{candidate} keeps no metadata named {', '.join(lost)}")
        if candidate != Path(path).suffix.lower():
            notes.append(f"written as {candidate}, which holds its picture and the new audio")
        return Plan(candidate, tuple(notes))
    raise NotCopied(getattr(reason, "strerror", None) or str(reason))


def write(
    path: str | os.PathLike,
    source: str | os.PathLike,
    samples: np.ndarray,
    metadata: Mapping[str, Any],
) -> None:
    """Writes a file with the picture of another one and new audio, atomically.

    Args:
        path: the new file; its suffix is that of the file's `plan`.
        source: the file whose picture is copied.
        samples: the audio, float [S] at 16 kHz. It begins with the picture.
        metadata: saved as one JSON object in the comment, as by `mp4.write_mp4`; a comment of the
            file's own becomes its "comment". The file's other metadata are kept.
    Raises:
        UserError: a file cannot be read or written, or both are one.
    """
    if os.path.exists(path) and os.path.samefile(path, source):
        raise UserError(f"{path} is the given video itself; choose another path")
    with replacing(path) as partial:
        try:
            _mux(source, partial, Path(path).suffix, samples, metadata)
        except FFmpegError as error:
            if disk_error(error):
                raise
            reason = error.strerror or str(error)
            raise UserError(
                f"cannot write {path} with the picture of {source}: {reason}; convert the given "
                "video to mp4"
            ) from None


def _suffix(source: InputContainer, own: str) -> str | None:
    """Returns the suffix of the container of an open file, None if it is no container to write."""
    if "matroska" in source.format.name:
        return own if own in (".mkv", ".webm") else ".mkv"
    if "mp4" in source.format.name:
        quicktime = source.metadata.get("major_brand", "qt").startswith("qt")
        return own if own in (".mp4", ".m4v", ".mov") else ".mov" if quicktime else ".mp4"
    return None


def _left_out(source: InputContainer) -> list[str]:
    """Returns a note on the streams and chapters of an open file that are not copied."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    kept, _ = streams.choose_video(source)
    names = []
    for stream in source.streams:
        kind = {"audio": "audio track", "subtitle": "subtitle track", "data": "data stream"}
        if stream.type == "video":
            cover = stream.disposition & covers
            names += ["cover picture" if cover else "video stream"] * (stream != kept)
        else:
            names.append(kind.get(stream.type, stream.type))
    names += ["chapter"] * len(source.chapters() if hasattr(source, "chapters") else [])
    if not names:
        return []
    counts = {name: names.count(name) for name in names}
    parts = [name if n == 1 else f"{n} {name}s" for name, n in counts.items()]
    return [f"left out beside the new audio: its {', its '.join(parts)}"]


def _check_cuts(source: InputContainer, stream: Any) -> None:
    """Raises NotCopied if an edit list of a file hides a part of the picture after its start."""
    shown = False
    for packet in source.demux(stream):
        if packet.size and packet.is_discard and shown:
            raise NotCopied("its edit list cuts out a part of the picture")
        shown = shown or not packet.is_discard


def _mux(
    source_path: str | os.PathLike,
    path: Path,
    suffix: str,
    samples: np.ndarray,
    metadata: Mapping[str, Any],
    most_packets: int | None = None,
) -> list[str]:
    """Writes the picture of a file and audio to `path`.

    Args:
        source_path: the file.
        path: the new file.
        suffix: which names its container.
        samples: the audio, float [S] at 16 kHz.
        metadata: for the comment.
        most_packets: of the picture. Default None: all.
    Returns:
        The keys of the file's metadata that the container does not keep.
    """
    origin = _origin(source_path)
    with av.open(str(source_path), options=_reading(source_path)) as source:
        picture, _ = streams.choose_video(source)
        own = {k: v for k, v in source.metadata.items() if k.lower() not in OF_THE_WRITER}
        said = {key: own.pop(key) for key in list(own) if key.lower() == "comment"}
        comment = {**metadata, **{key.lower(): text for key, text in said.items()}}
        # other containers, such as mpegts, begin at any time
        shift = Fraction(0) if _suffix(source, suffix) else origin
        options = {"movflags": "+faststart"} if MUXERS[suffix] in ("mp4", "mov") else {}
        with av.open(str(path), "w", format=MUXERS[suffix], options=options) as target:
            target.metadata.update(own | {"comment": json.dumps(comment, ensure_ascii=False)})
            video = target.add_stream_from_template(picture, opaque=True)
            video.metadata.update(picture.metadata)
            if picture.sample_aspect_ratio:
                video.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio
            sound = _Sound(target, "libopus" if suffix == ".webm" else "aac", samples)
            sound.start = origin - shift
            ticks = round(shift / picture.time_base)
            for number, packet in enumerate(source.demux(picture)):
                if number == most_packets:
                    break
                if packet.dts is None and packet.pts is None:  # the empty packet at the end
                    continue
                packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.dts = None if packet.dts is None else packet.dts - ticks
                stamp = packet.pts if packet.dts is None else packet.dts
                sound.until(stamp * packet.time_base)
                packet.stream = video
                target.mux(packet)
            sound.until(math.inf)
    with av.open(str(path)) as written:
        names = {key.lower() for key in written.metadata}
    return sorted(key for key in own if key.lower() not in names)


def _reading(path: str | os.PathLike) -> dict[str, str]:
    """Returns options to open a file with. Packets of avi have no time of display, so ffmpeg makes
    them.
    """
    with av.open(str(path)) as source:
        return {"fflags": "+genpts"} if source.format.name == "avi" else {}


def _origin(path: str | os.PathLike) -> Fraction:
    """Returns when the first frame of a file appears, in seconds on its own clock."""
    with av.open(str(path)) as source:
        stream, _ = streams.choose_video(source)
        origin, _ = frames_from(source, stream, 0.0, [])
        return round(Fraction(origin) / stream.time_base) * stream.time_base


class _Sound:
    """Encodes audio bit by bit, in step with the picture.

    Attributes:
        start: when it begins, in seconds.
    """

    def __init__(self, target: Any, codec: str, samples: np.ndarray):
        options = {"bit_rate": AAC_BITS_PER_SECOND} if codec == "aac" else {"bit_rate": 48_000}
        self._stream = add_stream(target, codec, rate=SAMPLE_RATE, layout="mono", **options)
        self._target, self.start = target, Fraction(0)
        samples = np.clip(np.nan_to_num(np.asarray(samples, np.float32)), -1.0, 1.0)
        self._block = AAC_BLOCK if codec == "aac" else 320  # opus has frames of 20 ms
        self._samples, self._done, self._ended = samples.reshape(1, -1), 0, False

    def until(self, second: Fraction | float) -> None:
        """Encodes the audio up to a time on the file's clock; infinity ends it."""
        while not self._ended and self.start + Fraction(self._done, SAMPLE_RATE) <= second:
            for packet in self._next():
                self._target.mux(packet)

    def _next(self) -> Iterator[Any]:
        block = self._samples[:, self._done : self._done + self._block]
        if not block.size:
            self._ended = True
            yield from self._stream.encode()
            return
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(block),
            format="fltp" if self._block == AAC_BLOCK else "flt",
            layout="mono",
        )
        frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
        frame.pts = round(self.start * SAMPLE_RATE) + self._done
        self._done += block.shape[1]
        yield from self._stream.encode(frame)
