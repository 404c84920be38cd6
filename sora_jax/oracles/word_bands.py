"""Finds the parts of audio that may hold one spoken word each, by their power above the ambient
noise.

Frame n of the audio is a window of 25 ms; frames are 10 ms apart. Let P[n, b] be its power in mel
band b, smoothed over 3 frames, and m[b] the level of the ambient noise (1.2 times the 20th
percentile over the clip of P smoothed over 9 frames). A part is a run of frames in which

    L[n] = mean over b of log(1 + max(P[n, b] - m[b], 0) / (FLOOR + OVER m[b]))                  (1)

exceeds GATE. Gaps shorter than BRIDGE seconds (the closures of stop consonants) belong to the part.
A part that is longer than a word is cut at its own quiet places (`quiet_cuts`). The ends of a part
are trimmed to where the energy, the sum over b of max(P - m, 0)^(1/3), passes TRIM of its 90th
percentile, so that noise moves the ends little.
"""

import dataclasses
import functools

import numpy as np
from scipy import ndimage

from sora_jax.mel import bands
from sora_jax.modality import SAMPLE_RATE

WINDOW, HOP = 400, 160  # samples
BANDS = 26
FLOOR, OVER, GATE = 1e-7, 4.0, 0.07  # of (1): power; factor; log units
# seconds: gaps that are bridged; least and largest length of a word
BRIDGE, MIN_SECONDS, MAX_SECONDS = 0.085, 0.1, 0.8
SPLIT = 0.095  # seconds: least length of a pause at which a long part is cut
HUSHES = (0.12, 0.2, 0.3, 0.4)  # shares of the 90th percentile of the energy that count as quiet
TRIM = 0.25  # share of the 90th percentile of the energy at which the ends of a part are trimmed


@functools.cache
def _mel() -> np.ndarray:
    """Returns the triangular mel filters from 150 to 7500 Hz, [BANDS, bins]."""
    return bands(np.fft.rfftfreq(512, 1.0 / SAMPLE_RATE), 150.0, 7500.0, BANDS)


@dataclasses.dataclass(frozen=True)
class Bands:
    """The power of audio over time in mel frequency bands.

    Attributes:
        power: P, smoothed over time, [frames, BANDS]; frame n is centred on sample n * HOP.
        bed: m, the level of the ambient noise in each band, [BANDS].
    """

    power: np.ndarray
    bed: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray) -> "Bands":
        """Returns the bands of mono samples [S] at 16 kHz."""
        padded = np.pad(np.asarray(samples, np.float64), WINDOW // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
        spectrum = np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1], 512)
        power = (np.square(spectrum.real) + np.square(spectrum.imag)) @ _mel().T / WINDOW**2
        smooth = ndimage.uniform_filter1d(power, 9, axis=0, mode="nearest")
        return cls(
            ndimage.uniform_filter1d(power, 3, axis=0, mode="nearest"),
            1.2 * np.percentile(smooth, 20, axis=0),
        )


def segments(bands: Bands) -> list[tuple[int, int]]:
    """Returns the parts of the audio that may hold one word each, in order of time, as ranges
    [first, end) of the frames of the spectrogram `bands`.

    They are louder than the ambience and have the length of a word. A part may be longer, because
    an ambience such as rain fills the pauses; it is cut at its own quiet places.
    """
    found = []
    for first, end in loud_parts(bands):
        long = (end - first) * HOP > MAX_SECONDS * SAMPLE_RATE
        parts = quiet_cuts(bands, first, end) if long else [(first, end)]
        found += [cut for part in parts if (cut := cut_back(bands, *part))]
    return found


def loud_parts(bands: Bands) -> list[tuple[int, int]]:
    """Returns the parts of the audio that are louder than the ambient noise, of any length, in
    order of time, as frames [first, end) of `bands`.
    """
    over = np.maximum(bands.power - bands.bed, 0.0)
    loud = np.log1p(over / (FLOOR + OVER * bands.bed)).mean(-1) > GATE
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    joined: list[list[int]] = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if joined and (first - joined[-1][1]) * HOP < BRIDGE * SAMPLE_RATE:
            joined[-1][1] = end
        else:
            joined.append([first, end])
    return [(first, end) for first, end in joined]


def quiet_cuts(bands: Bands, first: int, end: int) -> list[tuple[int, int]]:
    """Returns the parts of frames [first, end) of `bands` between pauses of at least SPLIT seconds.

    A frame belongs to a pause if its energy is below a share of the 90th percentile: the least
    share of HUSHES that leaves no part longer than a word, or else the largest.
    """
    parts: list[tuple[int, int]] = []
    for hush in HUSHES:
        energy = np.cbrt(np.maximum(bands.power[first:end] - bands.bed, 0.0)).sum(-1)
        loud = first + np.flatnonzero(energy > hush * np.percentile(energy, 90))
        gaps = np.flatnonzero(np.diff(loud) * HOP > SPLIT * SAMPLE_RATE)
        starts, ends = [loud[0], *loud[gaps + 1]], [*loud[gaps], loud[-1]]
        parts = [(int(a), int(b) + 1) for a, b in zip(starts, ends, strict=True)]
        if all((b - a) * HOP <= MAX_SECONDS * SAMPLE_RATE for a, b in parts):
            break
    return parts


def cut_back(bands: Bands, first: int, end: int) -> tuple[int, int] | None:
    """Returns frames [first, end) of `bands` without quiet ends, as (first, end); None if the rest
    is shorter than MIN_SECONDS or longer than MAX_SECONDS.
    """
    energy = np.cbrt(np.maximum(bands.power[first:end] - bands.bed, 0.0)).sum(-1)
    inside = first + np.flatnonzero(energy > TRIM * np.percentile(energy, 90))
    if (
        len(inside)
        and MIN_SECONDS * SAMPLE_RATE
        <= (inside[-1] + 1 - inside[0]) * HOP
        <= MAX_SECONDS * SAMPLE_RATE
    ):
        return int(inside[0]), int(inside[-1]) + 1
    return None
