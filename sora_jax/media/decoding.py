"""Decoded frames in order of time: upright, with square pixels, and each of one moment.

Interlaced video holds two moments in one frame, in its odd and its even rows. Where the file says
so, ffmpeg's filter bwdif keeps the rows of the first moment and interpolates the others.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.sidedata.sidedata import Type

# Pixel aspect ratios (width / height) outside this range are taken for damage in a header.
FLATTEST, TALLEST = 0.1, 10.0
# Values of codec_context.field_order for interlaced video: top or bottom field first.
INTERLACED_ORDERS = (2, 3, 4, 5)
# Codecs whose decoders say of each frame whether it is interlaced.
MARKS_FRAMES = ("h264", "hevc", "mpeg2video", "mpeg4", "vc1", "wmv3", "prores", "dvvideo")


def frame_second(frame: Any) -> float | None:
    """Returns the time of a frame on the file's clock, or None if the file does not say."""
    if frame.pts is None or frame.time_base is None:
        return None
    return float(frame.pts * frame.time_base)


def deinterlaced(frames: Iterable[Any], stream: Any, notes: list[str]) -> Iterator[Any]:
    """Yields the frames; an interlaced one as its first field, with the missing rows interpolated.

    Adds a note to `notes` at the first interlaced frame.

    Args:
        frames: decoded frames in order.
        stream: their video stream.
        notes: list to which irregularities of the file are added.
    """
    unmarked = (
        stream.codec_context.field_order in INTERLACED_ORDERS
        and stream.codec_context.name not in MARKS_FRAMES
    )
    note = "interlaced: deinterlaced with bwdif, one frame of two fields"
    graph: Graph | None = None
    shape = None
    for frame in frames:
        if graph is None and not (frame.interlaced_frame or unmarked):
            yield frame
            continue
        if note not in notes:
            notes.append(note)
        if graph is None or shape != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _push(graph, None)
            shape = frame.width, frame.height, frame.format.name
            graph = _graph(frame, "all" if unmarked else "interlaced")
        yield from _push(graph, frame)
    if graph is not None:
        yield from _push(graph, None)


def _graph(frame: Any, deinterlace: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    bwdif = graph.add("bwdif", f"mode=send_frame:parity=auto:deint={deinterlace}")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _push(graph: Graph, frame: Any) -> Iterator[Any]:
    """Yields the frames that a graph has ready after `frame`; after None all that it still
    holds.
    """
    graph.push(frame)
    while True:
        try:
            yield graph.pull()
        except (BlockingIOError, EOFError):
            return


class Geometry:
    """The size and orientation in which the frames of a stream are shown.

    Attributes:
        notes: lines of text on what the file states about them but is not applied.
    """

    def __init__(self, stream: Any):
        self.notes: list[str] = []
        self._aspect = float(stream.sample_aspect_ratio or 1)
        if not FLATTEST <= self._aspect <= TALLEST:
            self.notes.append(f"its pixel aspect ratio of {self._aspect:.3g} is not applied")
            self._aspect = 1.0
        self._rotation: int | None = None  # of the frame whose matrix was read
        self._flips = (False, False, False)

    def shown(self, frame: Any, short_side: int | None) -> tuple[int, int]:
        """Returns the (width, height) in square pixels to which a frame is decoded, before it is
        turned. The shorter side is at most `short_side`; None: no limit.
        """
        width, height = frame.width * self._aspect, float(frame.height)
        if width > 1 << 15:
            width, height = float(frame.width), frame.height / self._aspect
        scale = min(1.0, short_side / min(width, height)) if short_side else 1.0
        return max(1, round(width * scale)), max(1, round(height * scale))

    def upright(self, image: np.ndarray, frame: Any) -> np.ndarray:
        """Returns an image [H, W, 3] turned and mirrored as the display matrix of its frame says.

        Phones store portrait video as landscape frames with such a matrix.
        """
        # Reading the side data of a frame keeps the frame in memory until the garbage collector
        # runs, so they are read only when the rotation changes.
        if frame.rotation != self._rotation:
            self._rotation, self._flips = frame.rotation, self._read_matrix(frame)
        transposed, left_right, upside_down = self._flips
        image = image.transpose(1, 0, 2) if transposed else image
        image = image[:, ::-1] if left_right else image
        image = image[::-1] if upside_down else image
        return np.ascontiguousarray(image)

    def _read_matrix(self, frame: Any) -> tuple[bool, bool, bool]:
        """Returns whether to transpose a frame, and then to mirror it left to right and upside
        down.
        """
        side = frame.side_data.get(Type.DISPLAYMATRIX)
        if side is None:
            return False, False, False
        # x' = a x + c y, y' = b x + d y, with y downwards
        a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5] / 65536.0
        transposed = abs(a) + abs(d) < abs(b) + abs(c)
        large, small = ((b, c), (a, d)) if transposed else ((a, d), (b, c))
        if min(map(abs, large)) == 0 or max(map(abs, small)) > 0.02 * max(map(abs, large)):
            note = "its display matrix is not one of quarter turns and is not applied"
            if note not in self.notes:
                self.notes.append(note)
            return False, False, False
        return (True, c < 0, b < 0) if transposed else (False, a < 0, d < 0)


def frames_from(
    container: Any, stream: Any, start: float, notes: list[str]
) -> tuple[float, Iterator[tuple[float, Any]]]:
    """Decodes a stream from a little before `start` seconds on.

    Args:
        container: the file, just opened.
        stream: the video stream.
        start: seconds from time 0 of the file.
        notes: list to which irregularities of the file are added.

    Returns:
        Time 0 of the file on the file's clock in seconds, and an iterator of
        (seconds from time 0, frame), in order. The first frame is at or before `start`, unless the
        file begins later.

    Raises:
        StopIteration: no frame can be decoded.
    """
    frames = deinterlaced(container.decode(stream), stream, notes)
    # Not `stream.start_time`: it can be wrong where frames are decoded out of order. Decoding the
    # first frame is cheap.
    first = next(frames)
    origin = frame_second(first)
    if origin is not None and start > 1.0:
        try:
            container.seek(
                math.floor((origin + start - 1.0) / stream.time_base), stream=stream, backward=True
            )
            frames = deinterlaced(container.decode(stream), stream, notes)
            sought = next(frames, None)
            second = None if sought is None else frame_second(sought)
            if second is not None and second - origin <= start:
                return origin, _timed(sought, frames, stream, origin, notes)
        except FFmpegError:
            pass  # a file without an index
        # Seeking led nowhere or too far: decode everything before the window.
        container.seek(0)
        frames = deinterlaced(container.decode(stream), stream, notes)
        first = next(frames)
    return origin or 0.0, _timed(first, frames, stream, origin or 0.0, notes)


def frame_step(stream: Any) -> float:
    """Returns the usual time in seconds between two frames of a video stream, 1 / 25 if the file
    does not say.
    """
    rate = float(stream.average_rate or 0)
    return 1 / rate if 0.01 <= rate <= 2000 else 1 / 25


def _timed(
    first: Any, frames: Iterable[Any], stream: Any, origin: float, notes: list[str]
) -> Iterator[tuple[float, Any]]:
    """Yields (seconds from `origin`, frame). A frame without a time gets the time of the one before
    plus the usual step; one whose time runs backwards gets the time of the frame before.
    """
    step, before = frame_step(stream), None
    frame, rest = first, iter(frames)
    while frame is not None:
        second = frame_second(frame)
        if second is not None:
            second -= origin
        else:
            second = 0.0 if before is None else before + step
        if before is not None and second < before - 1e-6:
            second = before
            note = "its timestamps run backwards in places"
            if note not in notes:
                notes.append(note)
        yield second, frame
        before = second
        frame = next(rest, None)
