"""Writes a video file with new audio: the packets of its picture are copied, not encoded again.

The new file has the container of the old one if that is mp4, mov, mkv or webm, else mkv. These four
keep their timestamps, and so a variable frame rate, an edit list, and a picture that begins later
than 0. The audio, aac or (in webm) opus, begins with the picture. Rotation, pixel shape,
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
# Keys of metadata on how the old file was written, which are not kept.
OF_THE_WRITER = ("major_brand", "minor_version", "compatible_brands", "encoder")
TRIAL_PACKETS = 8  # copied to find out whether a container takes a picture


class NotCopied(Exception):
    """Raised if the picture of a file cannot be copied. Its text is the reason."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a file is written with new audio.

    Attributes:
        suffix: suffix of the new file, such as ".mkv".
        notes: lines of text on what the new file does not keep of the old one.
    """

    suffix: str
    notes: tuple[str, ...]


def plan(path: str | os.PathLike) -> Plan:
    """Returns how a file would be written with new audio, after trying it on its first packets.

    Raises:
        NotCopied: no container takes its picture as it is.
        UserError: the file cannot be read.
    """
    picture, own = _picture(path), Path(path).suffix.lower()
    with av.open(str(path)) as source:
        suffix, notes = _suffix(source, own), _left_out(source)
    if picture.hidden:
        notes.append(f"shown beyond its edit list: the last {picture.hidden} frames of its picture")
    start, silence = dataclasses.replace(picture, packets=TRIAL_PACKETS), np.zeros(1600)
    for candidate in dict.fromkeys((suffix or ".mkv", ".mkv")):
        with tempfile.TemporaryDirectory() as folder:
            try:
                lost = _mux(path, start, Path(folder) / f"trial{candidate}", silence, {})
            except (FFmpegError, ValueError) as error:
                reason = error
                continue
        if lost:
            notes.append(f"{candidate} keeps no metadata named {', '.join(lost)}")
        if candidate != own:
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
        path: the new file, with the suffix that `plan(source)` gives.
        source: the file whose picture is copied.
        samples: the audio, float [S] at 16 kHz. It begins with the picture.
        metadata: JSON values, saved as one object in the comment of the new file, as by
            `mp4.write_mp4`. A comment of `source` becomes the entry "comment" of that object; its
            other metadata are kept.

    Raises:
        UserError: a file cannot be read or written, or both paths are the same file.
    """
    if os.path.exists(path) and os.path.samefile(path, source):
        raise UserError(f"{path} is the given video itself; choose another path")
    with replacing(path) as partial:
        try:
            _mux(source, _picture(source), partial, samples, metadata, Path(path).suffix)
        except UserError:
            raise
        except (FFmpegError, ValueError, NotCopied) as error:
            if disk_error(error):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise UserError(
                f"cannot write {path} with the picture of {source}: {reason}; convert the given "
                "video to mp4"
            ) from None


def _suffix(source: InputContainer, own: str) -> str | None:
    """Returns the suffix of a new file in the container of an open one, whose suffix is `own`; None
    if such containers are not written.
    """
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
    return [f"the new file lacks its {', its '.join(parts)}"]


@dataclasses.dataclass(frozen=True)
class _Picture:
    """Where the picture of a file begins and ends.

    An edit list can hide frames. Hidden frames before the start stay hidden in a copy. Those after
    the end are left out, except the ones that are stored before a frame that is shown; these become
    visible in the copy.

    Attributes:
        origin: when its first frame appears, in seconds on the file's clock.
        packets: number of packets to copy: up to the last that is shown.
        hidden: number of copied packets that the edit list hides after the end.
    """

    origin: Fraction
    packets: int
    hidden: int


def _picture(path: str | os.PathLike) -> _Picture:
    """Returns where the picture of a file begins and ends.

    Raises:
        NotCopied: an edit list cuts out a part in the middle.
        UserError: the file cannot be read.
    """
    try:
        with av.open(str(path)) as source:
            stream, _ = streams.choose_video(source)
            second, _ = frames_from(source, stream, 0.0, [])
            origin = round(Fraction(second) / stream.time_base) * stream.time_base
        with av.open(str(path)) as source:
            return _Picture(origin, *_shown(source, streams.choose_video(source)[0]))
    except (OSError, FFmpegError, ValueError, StopIteration) as error:
        raise unreadable(path, error) from None


def _shown(source: InputContainer, stream: Any) -> tuple[int, int]:
    """Returns `packets` and `hidden` of the `_Picture` of an open file.

    Raises:
        NotCopied: an edit list cuts out a part in the middle.
    """
    hidden: list[tuple[int, int]] = []  # (number of the packet, time)
    last, start, end = 0, math.inf, -math.inf
    for number, packet in enumerate(source.demux(stream)):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:
            continue
        if packet.is_discard:
            hidden.append((number, stamp))
            continue
        last, start, end = number, min(start, stamp), max(end, stamp)
    if any(start < stamp < end for _, stamp in hidden):
        raise NotCopied("its edit list cuts out a part of it")
    return last + 1, sum(number < last and stamp > end for number, stamp in hidden)


def _mux(
    source_path: str | os.PathLike,
    start: _Picture,
    path: Path,
    samples: np.ndarray,
    metadata: Mapping[str, Any],
    suffix: str = "",
) -> list[str]:
    """Writes the picture of a file and audio to `path`.

    Args:
        source_path: the file whose picture is copied.
        start: where its picture begins, and how many packets are copied.
        path: the new file.
        samples: the audio, float [S] at 16 kHz.
        metadata: JSON values for the comment.
        suffix: the suffix that names the container. Default "": that of `path`.

    Returns:
        The keys of the file's metadata that the container does not keep.
    """
    suffix = suffix or path.suffix
    with av.open(str(source_path), options=_reading(source_path)) as source:
        picture, _ = streams.choose_video(source)
        own = {k: v for k, v in source.metadata.items() if k.lower() not in OF_THE_WRITER}
        said = {key: own.pop(key) for key in list(own) if key.lower() == "comment"}
        comment = {**metadata, **{key.lower(): text for key, text in said.items()}}
        # other containers, such as mpegts, begin at any time
        shift = Fraction(0) if _suffix(source, suffix) else start.origin
        options = {"movflags": "+faststart"} if MUXERS[suffix] in ("mp4", "mov") else {}
        if options and any("." in key for key in own):  # such as com.apple.quicktime.make
            options["movflags"] += "+use_metadata_tags"
        with av.open(str(path), "w", format=MUXERS[suffix], options=options) as target:
            target.metadata.update(own | {"comment": json.dumps(comment, ensure_ascii=False)})
            video = target.add_stream_from_template(picture, opaque=True)
            video.metadata.update(picture.metadata)
            if picture.sample_aspect_ratio:
                video.codec_context.sample_aspect_ratio = picture.sample_aspect_ratio
            sound = _Sound(target, "libopus" if suffix == ".webm" else "aac", samples)
            sound.start = start.origin - shift
            ticks = round(shift / picture.time_base)
            for number, packet in enumerate(source.demux(picture)):
                if number == start.packets:
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
    """Returns the options with which a file is opened. Packets of avi have no time of display, so
    ffmpeg is asked to compute it.
    """
    with av.open(str(path)) as source:
        return {"fflags": "+genpts"} if source.format.name == "avi" else {}


class _Sound:
    """Encodes audio block by block, in step with the picture, into an open file.

    Attributes:
        start: when the audio begins, in seconds on the new file's clock. Default 0.
    """

    def __init__(self, target: Any, codec: str, samples: np.ndarray):
        options = {"bit_rate": AAC_BITS_PER_SECOND} if codec == "aac" else {"bit_rate": 48_000}
        self._stream = add_stream(target, codec, rate=SAMPLE_RATE, layout="mono", **options)
        self._target, self.start = target, Fraction(0)
        samples = np.clip(np.nan_to_num(np.asarray(samples, np.float32)), -1.0, 1.0)
        self._block = AAC_BLOCK if codec == "aac" else 320  # opus has frames of 20 ms
        self._samples, self._done, self._ended = samples.reshape(1, -1), 0, False

    def until(self, second: Fraction | float) -> None:
        """Encodes the audio up to a time in seconds on the new file's clock; infinity encodes the
        rest and ends the stream.
        """
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
