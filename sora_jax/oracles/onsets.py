"""When things strike: from the picture (kinks of the fitted arcs) and from the sound (sudden rises
of the spectrum).

Sound. With S[n, k] the magnitude of a 256-sample Hann STFT, hop 32 (2 ms), and m[k] its median over
time (the ambience and hum of the clip, bin by bin),

    L[n, k] = log(1 + S[n, k] / (FLOOR + c m[k])),
    flux[n] = mean over k of max(0, L[n + 2, k] - L[n - 2, k])                                   (1)

A peak of the flux above a robust threshold is an onset; from its peak the time goes back to where
the flux has risen to 30 %, and a constant bias (measured on synthesised impacts) is subtracted. The
start and the end of the clip itself are masked.
"""

import dataclasses

import numpy as np
from scipy import signal

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles import arcs
from sora_jax.oracles.tracker import Track, lasting

WINDOW, HOP, LAG = 256, 32, 2
MASK = (0.05, 0.02)  # seconds at the start and at the end in which no onset is read
APART = 0.04  # seconds: two sounds closer than this are one
# seconds between kinks of two balls: both away from floor and walls, or any
SAME_CONTACT, SAME_MOMENT = 0.06, 0.02
FLOOR = 0.02  # magnitude under which nothing is heard (full scale is about 64 for this window)
OVER = 2.0  # c in (1)
# least flux of an onset: the codec's own noise stays under 0.14, impacts over 0.16 at 20 dB and 0.5
# without noise
RISE = 0.15
BIAS = -0.0086  # seconds: the window sees an impact before its centre reaches it


@dataclasses.dataclass(frozen=True)
class Onset:
    """An impact: time in s and its strength (sound: peak level in dB after it; picture: change of
    velocity in m/s).
    """

    time: float
    strength: float


def merge(onsets: list[Onset], apart: float = APART) -> list[Onset]:
    """One onset for each group closer than `apart`: the two balls of one contact, or two impacts no
    ear or camera can part.
    """
    merged: list[list[Onset]] = []
    for onset in sorted(onsets, key=lambda o: o.time):
        if merged and onset.time - merged[-1][-1].time < apart:
            merged[-1].append(onset)
        else:
            merged.append([onset])
    return [max(group, key=lambda o: o.strength) for group in merged]


def video_onsets(tracks: list[Track], fps: float) -> list[Onset]:
    """Impacts seen: the kinks of all balls, in order of time, with the two kinks of one ball-ball
    contact made one.
    """
    kinks = [
        (k, ball)
        for ball, seen in enumerate(lasting(tracks))
        for k in arcs.kinks(arcs.fit(seen, fps), seen, fps)
    ]
    found: list[tuple[Onset, arcs.Kink, int]] = []
    for kink, ball in sorted(kinks, key=lambda pair: pair[0].time):
        onset = Onset(kink.time, kink.speed)
        if found:
            last, other, other_ball = found[-1]
            both = kink.kind == other.kind == "ball"
            if ball != other_ball and kink.time - last.time < (
                SAME_CONTACT if both else SAME_MOMENT
            ):
                found[-1] = (max(last, onset, key=lambda o: o.strength), other, ball)
                continue
        found.append((onset, kink, ball))
    return [onset for onset, _, _ in found]


def flux(samples: np.ndarray) -> np.ndarray:
    """Equation (1): samples [S] -> [frames]; frame n is centred on sample n * HOP."""
    padded = np.pad(np.asarray(samples, np.float64), WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    magnitude = np.abs(np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1]))[:, 1:]
    level = np.log1p(magnitude / (FLOOR + OVER * np.median(magnitude, axis=0)))
    rise = np.zeros(len(level))
    rise[LAG:-LAG] = np.maximum(level[2 * LAG :] - level[: -2 * LAG], 0.0).mean(-1)
    return rise


def audio_onsets(samples: np.ndarray, rate: int = SAMPLE_RATE) -> list[Onset]:
    """Impacts heard in mono samples [S] in [-1, 1], in order of time."""
    samples = np.asarray(samples, np.float64)
    rise = flux(samples)
    threshold = max(
        RISE, np.median(rise) + 6.0 * 1.4826 * np.median(np.abs(rise - np.median(rise)))
    )
    peaks, _ = signal.find_peaks(
        rise, height=threshold, distance=int(APART * rate / HOP), prominence=0.6 * threshold
    )
    found = []
    for peak in peaks:
        start = peak
        while (
            start > 0
            and rise[start - 1] > 0.3 * rise[peak]
            and rise[start - 1] < rise[start] + 1e-9
        ):
            start -= 1
        time = start * HOP / rate - BIAS
        if not MASK[0] <= time <= len(samples) / rate - MASK[1]:
            continue
        after = samples[int(time * rate) : int((time + 0.03) * rate)]
        found.append(Onset(float(time), float(20 * np.log10(np.max(np.abs(after), initial=1e-5)))))
    return found
