"""Small films of every kind, for the tests of media."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)


def flat(colour, height=96, width=160):
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


def quarters(height=96, width=160):
    """Red and green above blue and yellow."""
    above = np.concatenate([flat(c, height // 2, width // 2) for c in (RED, GREEN)], 1)
    below = np.concatenate([flat(c, height // 2, width // 2) for c in (BLUE, YELLOW)], 1)
    return np.concatenate([above, below])


def click(seconds=2.0, at=0.5, rate=48000):
    after = np.maximum(np.arange(round(seconds * rate)) / rate - at, 0)
    return (0.6 * (after > 0) * np.exp(-60 * after) * np.sin(5655 * after)).astype(np.float32)


def planes(codes, pixel_format, height=96, width=96):
    """A flat frame of the given codes of Y', Cb and Cr."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane, code in zip(frame.planes, codes, strict=True):
        kind = "<u2" if "10" in pixel_format else np.uint8
        size = plane.buffer_size // np.dtype(kind).itemsize
        plane.update(np.full(size, code, kind).tobytes())
    return frame


def write(path: Path, pictures, fps=24, codec="libx264", pixel_format="yuv420p", **settings):
    """Writes a film.

    Args:
        pictures: uint8 [H, W, 3 or 4] or VideoFrames; in a dict, by their times in 1 / fps.
        settings: `options` and `context` (attributes) of the codec, `sound` [S] or [S, channels] at
            48 kHz with `sound_codec`, `layout` and `sound_start`, and `container`.
    """
    pictures = pictures if isinstance(pictures, dict) else dict(enumerate(pictures))
    first = next(iter(pictures.values()))
    height, width = (
        first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
    )
    with av.open(str(path), "w", format=settings.get("container")) as file:
        video = file.add_stream(codec, rate=fps, options=settings.get("options", {"crf": "6"}))
        video.height, video.width, video.pix_fmt = height, width, pixel_format
        for name, value in settings.get("context", {}).items():
            setattr(video.codec_context, name, value)
        sound, layout = settings.get("sound"), settings.get("layout", "mono")
        audio = None
        if sound is not None:
            audio = file.add_stream(settings.get("sound_codec", "aac"), rate=48000, layout=layout)
        for time, picture in pictures.items():
            frame = picture
            if isinstance(picture, np.ndarray):
                name = "rgba" if picture.shape[-1] == 4 else "rgb24"
                frame = av.VideoFrame.from_ndarray(picture, format=name)
                frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = time, 1 / Fraction(fps)
            file.mux(video.encode(frame))
        file.mux(video.encode())
        if audio is not None:
            _write_sound(file, audio, sound, layout, settings.get("sound_start", 0.0))
    return path


def _write_sound(file, stream, sound, layout, start):
    count = len(av.AudioLayout(layout).channels)
    sound = np.asarray(sound, np.float32)
    sound = np.repeat(sound[:, None], count, 1) if sound.ndim == 1 else sound
    frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="flt", layout=layout)
    frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
    frame.pts = round(start * 48000)
    context = stream.codec_context
    convert = av.AudioResampler(context.format.name, layout, 48000, context.frame_size or None)
    for piece in [*convert.resample(frame), *convert.resample(None)]:
        file.mux(stream.encode(piece))
    file.mux(stream.encode())


def set_matrix(path: Path, a, b, c, d):
    """Writes the display matrix of the first track of an mp4 file into its header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    values = np.array([a, b, 0, c, d, 0, 0, 0], np.float64) * 65536
    data[at : at + 32] = values.astype(">i4").tobytes()
    path.write_bytes(data)
    return path


def corners(frame):
    """The names of the colours of the four quarters, row by row."""
    height, width = frame.shape[:2]
    colours = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
    names = []
    for row in (height // 4, 3 * height // 4):
        for column in (width // 4, 3 * width // 4):
            pixel = frame[row, column].astype(int)
            near = min(colours, key=lambda n: np.abs(pixel - colours[n]).sum())
            names.append(near if np.abs(pixel - colours[near]).max() < 40 else tuple(pixel))
    return names
