"""Decodes audio, block by block."""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from sora_jax.errors import UserError
from sora_jax.media import mixing, streams
from sora_jax.modality import SAMPLE_RATE
from sora_jax.mp4 import AAC_BLOCK, unreadable

# Timestamps in webm are whole milliseconds, so only a larger step is a gap in the audio.
GAP_SECONDS = 0.02
RATES = (1_000, 768_000)  # samples per second; another rate is damage in a header
# More audio than this is mixed and resampled while it is read: 11 minutes of stereo at 48 kHz.
MOST_BYTES = 1 << 28


@dataclasses.dataclass(frozen=True)
class Sound:
    """Decoded audio of a file.

    Attributes:
        samples: float32 [S, channels]; None without audio.
        rate: samples per second.
        channels: names of the channels, such as "FL". Default (): the file does not say.
        notes: lines of text on irregularities of the file. Default: none.
    """

    samples: np.ndarray | None
    rate: int
    channels: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _blocks(container: InputContainer, stream: Any) -> Iterator[tuple[float | None, np.ndarray]]:
    """Yields (start in seconds on the file's clock or None, samples float32 [S, channels]) for each
    block, converted to the rate and the channels that the stream has at its beginning.
    """
    context = stream.codec_context
    layout, rate = context.layout, context.sample_rate
    # Interleaved ("flt"): PyAV reads planes beyond the eighth out of bounds.
    convert, template = av.AudioResampler(format="flt", layout=layout, rate=rate), None
    for frame in container.decode(stream):
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if kind != template:
            convert, template = av.AudioResampler(format="flt", layout=layout, rate=rate), kind
        stamp = None
        if frame.pts is not None and frame.time_base is not None:
            stamp = float(frame.pts * frame.time_base)
        for piece in convert.resample(frame):
            yield stamp, piece.to_ndarray().reshape(-1, layout.nb_channels)
            stamp = None


def _readable(stream: Any) -> str | None:
    """Returns why a stream cannot be decoded, None if it can."""
    context = stream.codec_context
    if context is None:
        return "unknown codec"
    if not RATES[0] <= context.sample_rate <= RATES[1]:
        return f"{context.sample_rate} samples per second"
    return None if context.layout.nb_channels else "no channels"


def _names(layout: Any) -> tuple[str, ...]:
    names = tuple(channel.name for channel in layout.channels)
    return () if "NONE" in names else names


def decode_window(
    container: InputContainer, stream: Any, origin: float, start: float, end: float
) -> Sound:
    """Returns the decoded audio of a window of a file. Audio that cannot be decoded counts as
    silent, with a note.

    Args:
        container: the file, just opened.
        stream: the audio stream.
        origin: time on the file's clock, in seconds, of the first frame: time 0 here.
        start, end: the window in seconds from time 0.
    """
    reason = _readable(stream)
    if reason is None:
        try:
            return _decode_window(container, stream, origin, start, end)
        except (FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
    note = f"its audio cannot be decoded ({reason}); it counts as silent"
    return Sound(None, SAMPLE_RATE, (), (note,))


def _decode_window(
    container: InputContainer, stream: Any, origin: float, start: float, end: float
) -> Sound:
    zero, layout = origin + start, stream.codec_context.layout
    rate, notes = stream.codec_context.sample_rate, []
    # Decode from 0.5 s before: aac's first block after a seek is wrong. Never seek to the
    # beginning: it would skip the priming packet, whose time is negative, and the first block of
    # audio would decode as silence.
    if zero > 1.0:
        container.seek(
            round((zero - 0.5) / stream.time_base), stream=stream, backward=True, any_frame=False
        )
    total = round((end - start) * rate)
    out, where = np.zeros((total, layout.nb_channels), np.float32), None
    for stamp, block in _blocks(container, stream):
        at = round((stamp - zero) * rate) if stamp is not None else (where or 0)
        if where is None or abs(at - where) > GAP_SECONDS * rate:
            if where is None and start == 0 and -at > 0.1 * rate:
                notes.append(f"the {-at / rate:.2f} s of its audio before the picture left out")
            where = at
        low, high = max(0, -where), min(len(block), total - where)
        if high > low:
            out[where + low : where + high] = block[low:high]
        where += len(block)
        if where >= total:
            break
    return Sound(out, rate, _names(layout), tuple(notes))


def read_audio(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Reads the audio of a file (wav, mp3, m4a, mp4 ...) from its beginning.

    A codec works in blocks and pads its last one; the padding is cut at the duration that the file
    states. Channels are mixed to one if their names differ from those that `fit_sound` assumes for
    their number. Audio of more than MOST_BYTES, 256 MiB, is mixed to one channel and resampled to
    16 kHz.

    Returns:
        Samples float32 [S, channels], and the sample rate.

    Raises:
        UserError: the file is missing, damaged or has no audio.
    """
    try:
        with av.open(str(path)) as container:
            stream, _ = streams.choose_audio(container)
            if stream is None:
                raise UserError(
                    f"cannot read {path}: it has no audio; give a file with an audio track"
                )
            reason = _readable(stream)
            if reason is not None:
                raise UserError(
                    f"cannot read {path}: its audio cannot be decoded ({reason}); give another file"
                )
            samples, rate = _read_whole(container, stream)
            names, count = _names(stream.codec_context.layout), samples.shape[1]
            num_samples = None
            if stream.duration and stream.time_base:
                num_samples = round(float(stream.duration * stream.time_base) * rate)
    except (OSError, FFmpegError, ValueError, MemoryError) as error:
        raise unreadable(path, error) from None
    if not len(samples):
        raise UserError(f"cannot read {path}: no audio can be decoded; give a playable file")
    padded = num_samples is not None and 0 < len(samples) - num_samples < AAC_BLOCK
    samples = samples[:num_samples] if padded else samples
    if count > 1 and not np.array_equal(mixing.weights(names, count), mixing.weights((), count)):
        samples = mixing.mix(samples, names)[0][:, None]
    return samples, rate


def _read_whole(container: InputContainer, stream: Any) -> tuple[np.ndarray, int]:
    """Returns all samples of a stream, float32 [S, channels], and their rate; more than MOST_BYTES
    as one channel at 16 kHz.
    """
    context = stream.codec_context
    layout, rate = context.layout, context.sample_rate
    weights = mixing.weights(_names(layout), layout.nb_channels)
    convert, blocks, size = None, [], 0

    def reduced(block: np.ndarray | None) -> list[np.ndarray]:
        """Mixes and resamples a block; None returns what the resampler still holds."""
        assert convert is not None
        frame = None
        if block is not None:
            mono = np.ascontiguousarray((block @ weights)[None], np.float32)
            frame = av.AudioFrame.from_ndarray(mono, format="flt", layout="mono")
            frame.sample_rate = rate
        return [piece.to_ndarray().reshape(-1, 1) for piece in convert.resample(frame)]

    for _, block in _blocks(container, stream):
        if convert is None:
            blocks.append(block)
            size += block.nbytes
            if size > MOST_BYTES:
                convert = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
                blocks = [piece for old in blocks for piece in reduced(old)]
        else:
            blocks += reduced(block)
    if convert is not None:
        return np.concatenate(blocks + reduced(None)), SAMPLE_RATE
    empty = np.zeros((0, layout.nb_channels), np.float32)
    return np.concatenate([empty, *blocks]), rate
