"""Chooses the video and the audio stream of a file, and finds the end of a file that was cut."""

import os
from collections.abc import Sequence
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

# Frames of more pixels are refused: 8K has 33 million.
MOST_PIXELS = 1 << 27


def choose_video(container: InputContainer) -> tuple[Any, list[str]]:
    """Returns the video stream of a file to read, and notes on the choice.

    It is the first of the streams that the file marks as default, or else its first. Cover images
    are not read as video. The stream is None if the file has no video.
    """
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [s for s in container.streams.video if not s.disposition & covers]
    notes = []
    if len(streams) < len(container.streams.video):
        notes.append("its cover picture is left out")
    stream, choice = _choose(streams, "video streams")
    return stream, notes + choice


def choose_audio(container: InputContainer) -> tuple[Any, list[str]]:
    """Returns the audio stream of a file to read, the first that is marked as default or else its
    first (None if there is none), and notes on the choice.
    """
    return _choose(container.streams.audio, "audio tracks")


def _choose(streams: Sequence[Any], noun: str) -> tuple[Any, list[str]]:
    if not streams:
        return None, []
    # A stream of an unknown codec has no codec context, and another one can be read instead.
    known = [s for s in streams if s.codec_context is not None] or list(streams)
    default = [s for s in known if s.disposition & Disposition.default]
    stream = (default or known)[0]
    if len(streams) == 1:
        return stream, []
    which = f"number {list(streams).index(stream) + 1}"
    reason = ", the default," if default else ""
    return stream, [f"{len(streams)} {noun}: {which}{reason} is read"]


def set_threads(stream: Any) -> None:
    """Limits the threads of the decoder of a video stream, because each thread keeps frames in
    memory: 12 MB and more for 4K.
    """
    context = stream.codec_context
    large = context.width * context.height > 2048 * 1152
    context.thread_type = "SLICE" if large else "AUTO"
    context.thread_count = min(4, os.cpu_count() or 1)


def stated_seconds(container: InputContainer, stream: Any) -> tuple[float | None, bool]:
    """Returns the length in seconds that a file's header states (None if it states none), and True
    if it is that of `stream` itself, False if it is that of the whole file.

    Matroska and webm state only the length of the whole file.
    """
    if stream.duration:
        return float(stream.duration * stream.time_base), True
    if container.duration and container.duration > 0:
        return container.duration / av.time_base, False
    return None, False


def last_second(path: str | os.PathLike) -> float:
    """Returns the end in seconds of the last packet of any stream of a file, on the file's
    clock.
    """
    end = 0.0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux():
                stamp = packet.pts if packet.pts is not None else packet.dts
                if stamp is not None and packet.time_base:
                    end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
    except (OSError, FFmpegError):
        pass  # a file that was cut ends where it can no longer be read
    return end


def missing_bytes(path: str | os.PathLike) -> int:
    """Returns by how many bytes a RIFF file (avi, wav) is shorter than its header states.

    ffmpeg derives the seconds of a cut avi from its bytes, so they do not show that it was cut.
    """
    with open(path, "rb") as file:
        head = file.read(8)
        length = os.fstat(file.fileno()).st_size
    stated = int.from_bytes(head[4:], "little")
    # 0 and -1 stand for a length that the writer did not know.
    known = head[:4] == b"RIFF" and 0 < stated < 0xFFFFFFFF
    return max(0, stated + 8 - length) if known else 0
