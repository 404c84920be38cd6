"""Times of impacts: in the video from sudden changes of a ball's velocity (`arcs.py`), in the audio
from sudden rises of the spectrum.

Audio. With S[n, k] the magnitude of a Hann STFT of 256 samples, hop 32 (2 ms), in frame n and bin
k, and m[k] its median over time (the ambience and hum of the clip, bin by bin),

    L[n, k] = log(1 + S[n, k] / (FLOOR + c m[k])),       c = OVER
    flux[n] = mean over k of max(0, L[n + 2, k] - L[n - 2, k])                                   (1)

A peak of the flux is an onset if it exceeds MIN_FLUX and the median flux by 6 robust deviations.
Its time is where the flux before the peak has risen to 30 %, minus BIAS, which was measured on
synthesized impacts. The start and the end of the clip give no onsets (MASK).

Two lists of times are matched one to one (`match`): the assignment maximizes the number of
pairs within a window and, among those, has the least total distance. Impacts slower than 0.3
m/s are silent in this world and are not counted.
"""

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
from scipy import signal
from scipy.optimize import linear_sum_assignment

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles import arcs
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.corruptions import backwards, freeze, late, reverse, slow
from sora_jax.oracles.examples import AUDIO, VIDEO, Example
from sora_jax.oracles.tracker import Track, lasting
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.sound import FAINTEST

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

WINDOW, HOP, LAG = 256, 32, 2  # samples; samples; frames: half the distance of two L in (1)
BLOCK = 4096  # frames transformed at once
MASK = (0.05, 0.02)  # seconds at the start and at the end without onsets
APART = 0.04  # seconds: two onsets closer than this are merged
# seconds: contacts of two balls closer than this are one impact, if both are with a ball, and
# otherwise
SAME_CONTACT, SAME_MOMENT = 0.06, 0.02
FLOOR = 0.02  # inaudible magnitude (full scale is about 64 for this window)
OVER = 2.0  # c in (1)
# Least flux of an onset. Codec noise stays below 0.14; impacts exceed 0.16 with noise at 20 dB and
# 0.5 without noise.
MIN_FLUX = 0.15
BIAS = -0.0086  # seconds: the window covers an impact before its centre reaches it
VIDEO_TOLERANCE, AUDIO_TOLERANCE = 0.025, 0.010  # seconds: tolerances of the two oracles


@dataclasses.dataclass(frozen=True)
class Onset:
    """An impact that is visible in the video or audible in the audio.

    Attributes:
        time: in s.
        strength: of an audible impact, its peak level in dB (0 dB is an amplitude of 1); of a
            visible one, the change of the ball's velocity in m/s.
    """

    time: float
    strength: float


def merge(onsets: list[Onset], apart: float = APART) -> list[Onset]:
    """Returns the strongest onset of each group, in order of time. Onsets are in one group if each
    follows the last within `apart` seconds (default APART): one contact that was found twice, or
    impacts too close to separate.
    """
    merged: list[list[Onset]] = []
    for onset in sorted(onsets, key=attrgetter("time")):
        if merged and onset.time - merged[-1][-1].time < apart:
            merged[-1].append(onset)
        else:
            merged.append([onset])
    return [max(group, key=attrgetter("strength")) for group in merged]


def video_onsets(tracks: list[Track], fps: float) -> list[Onset]:
    """Returns the visible impacts of the balls, in order of time.

    They are the contacts of all balls. A contact of two balls is found in both tracks, but returned
    once.

    Args:
        tracks: the tracks of all colours.
        fps: frames/s.
    """
    kinks = [
        (k, ball)
        for ball, track in enumerate(lasting(tracks))
        for k in arcs.kinks(arcs.fit(track, fps), track, fps)
    ]
    impacts: list[tuple[Onset, arcs.Kink, int]] = []
    for kink, ball in sorted(kinks, key=_time):
        onset = Onset(kink.time, kink.speed)
        if impacts:
            last, other, other_ball = impacts[-1]
            both = kink.kind == other.kind == "ball"
            if ball != other_ball and kink.time - last.time < (
                SAME_CONTACT if both else SAME_MOMENT
            ):
                impacts[-1] = (max(last, onset, key=attrgetter("strength")), other, ball)
                continue
        impacts.append((onset, kink, ball))
    return [onset for onset, _, _ in impacts]


def _time(kink: tuple[arcs.Kink, int]) -> float:
    """Returns the time of a contact (kink) that is paired with its ball; a sort key."""
    return kink[0].time


def flux(samples: np.ndarray) -> np.ndarray:
    """Returns how suddenly the spectrum of mono samples [S] at 16 kHz rises over time: the spectral
    flux (1), [frames]. Frame n is centred on sample n * HOP.
    """
    padded = np.pad(np.asarray(samples, np.float64), WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = np.hanning(WINDOW + 1)[:-1]
    magnitude = np.empty((len(windows), WINDOW // 2))
    for i in range(0, len(windows), BLOCK):
        magnitude[i : i + BLOCK] = np.abs(np.fft.rfft(windows[i : i + BLOCK] * hann))[:, 1:]
    level = np.log1p(magnitude / (FLOOR + OVER * np.median(magnitude, axis=0)))
    rise = np.zeros(len(level))
    rise[LAG:-LAG] = np.maximum(level[2 * LAG :] - level[: -2 * LAG], 0.0).mean(-1)
    return rise


def audio_onsets(samples: np.ndarray) -> list[Onset]:
    """Returns the audible impacts in mono samples [S] in [-1, 1] at 16 kHz, in order of time."""
    samples = np.asarray(samples, np.float64)
    if not samples.size:
        return []
    rise = flux(samples)
    # the flux's median plus 6 robust standard deviations (1.4826 times the median deviation)
    threshold = max(
        MIN_FLUX, np.median(rise) + 6.0 * 1.4826 * np.median(np.abs(rise - np.median(rise)))
    )
    peaks, _ = signal.find_peaks(
        rise, height=threshold, distance=int(APART * SAMPLE_RATE / HOP), prominence=0.6 * threshold
    )
    onsets = []
    for peak in peaks:
        start = peak
        while (
            start > 0
            and rise[start - 1] > 0.3 * rise[peak]
            and rise[start - 1] < rise[start] + 1e-9
        ):
            start -= 1
        time = start * HOP / SAMPLE_RATE - BIAS
        if not MASK[0] <= time <= len(samples) / SAMPLE_RATE - MASK[1]:
            continue
        after = samples[int(time * SAMPLE_RATE) : int((time + 0.03) * SAMPLE_RATE)]
        onsets.append(Onset(float(time), float(20 * np.log10(np.max(np.abs(after), initial=1e-5)))))
    return onsets


def match(predicted: list[float], target: list[float], window: float) -> list[tuple[int, int]]:
    """Matches two lists of times in seconds one to one.

    Returns:
        Pairs (index in predicted, index in target) of times at most `window` seconds apart: as many
        as possible, and among these matchings the one with the least total distance.
    """
    if not predicted or not target:
        return []
    distance = np.abs(np.subtract.outer(np.asarray(predicted), np.asarray(target)))
    # A pair outside the window costs more than all pairs inside it together.
    cost = np.where(distance <= window, distance, 1e3)
    rows, columns = linear_sum_assignment(cost)
    return [
        (int(i), int(j)) for i, j in zip(rows, columns, strict=True) if distance[i, j] <= window
    ]


def true_impacts(take: Take) -> list[float]:
    """Returns the times in s of a take's audible contacts, those of at least FAINTEST m/s, in
    order. Contacts closer than APART are merged.
    """
    audible = [c for c in take.trajectory.contacts if c.speed >= FAINTEST]
    return [onset.time for onset in merge([Onset(c.time, c.speed) for c in audible])]


def _all_found(predicted: list[float], take: Take, window: float) -> bool | None:
    """Returns whether the predicted times in s match the audible impacts of a take one to one,
    within `window` seconds; None if the take has no such impact.
    """
    target = true_impacts(take)
    if not target:
        return None
    return len(match(predicted, target, window)) == len(predicted) == len(target)


class VideoOnsetsOracle(Oracle):
    """Oracle `onsets_video`: times of the impacts that are visible in the balls' tracks."""

    name = "onsets_video"
    media = (VIDEO,)
    tolerance = f"all impacts within {1e3 * VIDEO_TOLERANCE:.0f} ms, no extra one"
    corruptions = (reverse, freeze, slow)

    def read(self, reading: "Reading") -> list[float]:
        """Returns the times of the visible impacts of a clip, in s."""
        return reading.seen_impacts

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether all impacts of the take are found and none is extra; None for a take
        without an impact.
        """
        return _all_found(reading.seen_impacts, example.take, VIDEO_TOLERANCE)


class AudioOnsetsOracle(Oracle):
    """Oracle `onsets_audio`: times of the impacts that are audible."""

    name = "onsets_audio"
    media = (AUDIO,)
    tolerance = f"all impacts within {1e3 * AUDIO_TOLERANCE:.0f} ms, no extra one"
    corruptions = (late, backwards)

    def read(self, reading: "Reading") -> list[float]:
        """Returns the times of the audible impacts of a clip, in s."""
        return reading.heard_impacts

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether all impacts of the take are found and none is extra; None for a take
        without an impact.
        """
        return _all_found(reading.heard_impacts, example.take, AUDIO_TOLERANCE)
