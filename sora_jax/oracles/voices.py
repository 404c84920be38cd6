"""Reads the voice of spoken words: its pitch and its tract, the factor by which the length of the
vocal tract scales the formants.

1. Words. The loud parts of the audio (`word_bands.loud_parts`) are cut where they are quiet
   (`word_bands.quiet_cuts`), so that each part holds one word. `word_classifier` proposes
   CANDIDATES words; all words are tried if the best of those has a distance (step 3) above FAIR.
2. Pitch. With R[n](l) the autocorrelation at lag l of a 40 ms window around frame n, from PASS[0]
   to PASS[1] Hz, normalized to R[n](0) = 1, and g[n] the rms of the window in this range,

       s(p) = sum over n of g[n] R[n](1 / (p f(u[n]))) / sum over n of g[n],                     (1)
       f(u) = 1.08 - 0.22 u

   is the score of a voice of pitch p. Here u in [0, 1] is the time within the word, and f says how
   the pitch falls during a word (`voice.py`). The pitch is the highest p with a local maximum of at
   least OCTAVE times the greatest s, because multiples of the period give maxima too, at lower p.
3. Tract. A proposed word is synthesized in a voice of that pitch. Its log spectrum and that of the
   audio, in mel bands (`word_bands.Bands`), differ by delta[n, b]. The distance is the mean of
   min(delta^2, CUT) after the best constant and the best linear tilt over the bands are removed,
   because loudness and timbre of a voice are free. First, the rate of speech and the start of the
   word are those of the smallest distance at the tract that is usual for the pitch, and the word is
   the one with the smallest distance. Then this word is synthesized at each tract of TRACTS. The
   tract is the minimum of the distances, refined by a parabola.

Several words of one speaker are read together: s and the distances are averaged over the words,
weighted by their lengths (`voice_of`). Most errors of a single word disappear.

Limits: the words of `voice.WORDS`, one at a time, in voices like those of the characters
(`cast.py`).
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.word_bands import HOP, Bands, cut_back, loud_parts, quiet_cuts
from sora_jax.oracles.word_classifier import VALLEY, ranked
from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.cast import PITCHES as CAST_PITCHES
from sora_jax.worlds.playhouse.cast import RATES
from sora_jax.worlds.playhouse.cast import TRACTS as CAST_TRACTS

PITCHES = np.arange(85.0, 262.0)  # Hz
TRACTS = np.arange(0.80, 1.29, 0.04)
PASS = (180.0, 1500.0)  # Hz: above hum, below hisses
WINDOW, LAGS, BINS = 640, 260, 2048  # samples; lags in samples; length of the Fourier transform
FALL = (1.08, 0.86)  # pitch at the start and at the end of a word, relative to its voice
OCTAVE = 0.9
CANDIDATES, FAIR = 3, 0.3  # words; squared log units
EARLY, LATE = 8, 12  # frames: a word starts so much before or after the start of its loud part
CUT = 4.0  # squared log units
MAX_DISTANCE = 1.2  # squared log units: a sound that differs more from all words is no word
BREATH, DARK = 0.07, 0.24  # timbre of the synthesized voices (`voice.Voice`)


@dataclasses.dataclass(frozen=True)
class Utterance:
    """One spoken word, and what is read of its voice.

    Attributes:
        start, end: in s.
        word: the word of the smallest distance, a name in `voice.WORDS`.
        pitch_scores: s of equation (1) at each pitch of PITCHES, [P].
        tract_distances: distance of the spectra at each tract of TRACTS, squared log units.
    """

    start: float
    end: float
    word: str
    pitch_scores: np.ndarray
    tract_distances: np.ndarray


@dataclasses.dataclass(frozen=True)
class Periodicity:
    """The autocorrelation of audio in windows around each frame, for the pitch (equation (1)).

    Attributes:
        correlation: R, normalized to 1 at lag 0, [frames, LAGS].
        weight: g, the rms of each window, [frames].
    """

    correlation: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray) -> "Periodicity":
        """Returns the periodicity of mono samples [S] at 16 kHz; frame n is centred on sample n *
        HOP.
        """
        window = np.hanning(WINDOW)
        padded = np.pad(np.asarray(samples, np.float64), WINDOW // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * window
        power = np.square(np.abs(np.fft.rfft(windows, BINS)))
        hertz = np.fft.rfftfreq(BINS, 1.0 / SAMPLE_RATE)
        power = power * ((hertz > PASS[0]) & (hertz < PASS[1]))
        correlation = np.fft.irfft(power)[:, :LAGS]
        # a window that ends makes the autocorrelation fall, also of a periodic sound
        falling = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, BINS))))[:LAGS]
        correlation /= np.maximum(correlation[:, :1], 1e-9) * falling / falling[0]
        return cls(correlation, np.sqrt(power.sum(-1)))

    def scores(self, frames: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Returns the score s of each pitch of PITCHES, equation (1), [P], from the frames of a
        word, given by their indices [n] and their times u [n] within the word, from 0 to 1.
        """
        lags = SAMPLE_RATE / (PITCHES[:, None] * (FALL[0] + (FALL[1] - FALL[0]) * u))
        below = np.clip(np.floor(lags).astype(int), 0, LAGS - 2)
        share = lags - below
        values = (1.0 - share) * self.correlation[frames, below]
        values += share * self.correlation[frames, below + 1]
        weight = self.weight[frames]
        return values @ (weight / max(weight.sum(), 1e-12))


def utterances(samples: np.ndarray) -> list[Utterance]:
    """Returns the words spoken in mono samples [S] at 16 kHz, in order of time."""
    bands, periodicity = Bands.of(samples), Periodicity.of(samples)
    found = [_utterance(bands, periodicity, *part) for part in _parts(bands)]
    return [one for one in found if one is not None]


def voice_of(words: list[Utterance]) -> tuple[float, float]:
    """Returns (pitch in Hz, tract) of the voice that speaks all of these words."""
    lengths = [one.end - one.start for one in words]
    scores = np.average([one.pitch_scores for one in words], axis=0, weights=lengths)
    distances = np.average([one.tract_distances for one in words], axis=0, weights=lengths)
    return _pitch(scores), _tract(distances)


def _pitch(scores: np.ndarray) -> float:
    inner = (scores[1:-1] >= scores[:-2]) & (scores[1:-1] >= scores[2:])
    peaks = 1 + np.flatnonzero(inner & (scores[1:-1] > OCTAVE * scores.max()))
    return float(PITCHES[peaks[-1] if len(peaks) else np.argmax(scores)])


def _tract(distances: np.ndarray) -> float:
    k = int(np.argmin(distances))
    if not 0 < k < len(TRACTS) - 1:
        return float(TRACTS[k])
    before, least, after = distances[k - 1 : k + 2]
    shift = 0.5 * (before - after) / max(before - 2.0 * least + after, 1e-12)
    return float(TRACTS[k] + shift * (TRACTS[1] - TRACTS[0]))


def _parts(bands: Bands) -> list[tuple[int, int]]:
    """Returns the parts of the audio that may be one word each, as frames [first, end)."""
    parts = [one for part in loud_parts(bands) for one in quiet_cuts(bands, *part)]
    return [cut for part in parts if (cut := cut_back(bands, *part))]


def resemblance(
    bands: Bands, periodicity: Periodicity, first: int, end: int, words: Sequence[str]
) -> list[float]:
    """Returns the distance between a piece of audio and each of `words` as synthesized (step 3), in
    squared log units.

    Args:
        bands: the power of the audio in mel bands.
        periodicity: the autocorrelation of the audio.
        first, end: the loud frames of the piece, from first to end - 1.
        words: names in `voice.WORDS`.
    """
    pitch = _first_pitch(periodicity, first, end)
    return [_aligned(bands, first, word, pitch)[0] for word in words]


def _first_pitch(periodicity: Periodicity, first: int, end: int) -> float:
    """Returns the pitch in Hz of a word in frames [first, end), before its exact place is known."""
    frames = np.arange(first, end)
    return _pitch(periodicity.scores(frames, (frames - first + 0.5) / (end - first)))


def _utterance(bands: Bands, periodicity: Periodicity, first: int, end: int) -> Utterance | None:
    """Returns the word in the loud frames [first, end); None if they hold no word."""
    pitch = _first_pitch(periodicity, first, end)
    proposed = ranked(bands, first, end)
    best = _best(bands, first, proposed[:CANDIDATES], pitch)
    if best[0] > FAIR:
        best = min(best, _best(bands, first, proposed[CANDIDATES:], pitch))
    distance, start, rate, word = best
    if distance > MAX_DISTANCE:
        return None
    length = len(_spoken(word, _nearest(pitch), 1.0, rate))
    frames = np.arange(max(start, 0), min(start + length, len(bands.power)))
    scores = periodicity.scores(frames, (frames - start + 0.5) / length)
    pitch = _nearest(_pitch(scores))
    distances = [
        _distance(bands, start, _spoken(word, pitch, round(tract, 2), rate)) for tract in TRACTS
    ]
    seconds = HOP / SAMPLE_RATE
    return Utterance(start * seconds, (start + length) * seconds, word, scores, np.array(distances))


def _best(
    bands: Bands, first: int, words: list[str], pitch: float
) -> tuple[float, int, float, str]:
    """Returns (distance, first frame, rate of speech, word) of the one of `words` that is nearest
    to the audio around frame `first`, in a voice of `pitch` Hz.
    """
    return min((*_aligned(bands, first, word, pitch), word) for word in words)


def _aligned(bands: Bands, first: int, word: str, pitch: float) -> tuple[float, int, float]:
    """Returns (distance, first frame, rate of speech) of a word, in a voice of `pitch` Hz, where it
    agrees best with the audio near frame `first`.
    """
    share = (pitch - CAST_PITCHES[0]) / (CAST_PITCHES[-1] - CAST_PITCHES[0])
    usual = CAST_TRACTS[0] + np.clip(share, 0.0, 1.0) * (CAST_TRACTS[-1] - CAST_TRACTS[0])
    tract = round(0.04 * round(usual / 0.04), 2)
    return min(
        (_distance(bands, start, _spoken(word, _nearest(pitch), tract, rate)), start, rate)
        for rate in RATES
        for start in range(first - EARLY, first + LATE + 1)
    )


def _nearest(pitch: float) -> float:
    """Returns the nearest of the pitches that characters have, in Hz, so that few voices are
    synthesized.
    """
    return min(CAST_PITCHES, key=lambda one: abs(one - pitch))


@functools.lru_cache(maxsize=20_000)
def _spoken(word: str, pitch: float, tract: float, rate: float) -> np.ndarray:
    """Returns the log spectrum of a synthesized word, [frames, BANDS]. Results, of 4 kB each, are
    cached.
    """
    samples = voice.speak(word, voice.Voice(pitch, tract, rate, BREATH, DARK))
    return _log(Bands.of(np.pad(samples, (0, WINDOW))).power[: len(samples) // HOP + 1])


def _log(power: np.ndarray) -> np.ndarray:
    return np.log(power / max(np.percentile(power.sum(-1), 90), 1e-12) + VALLEY)


def _distance(bands: Bands, start: int, spoken: np.ndarray) -> float:
    """Returns the distance of step 3, in squared log units, between the audio from frame `start` on
    and the log spectrum of a synthesized word, `spoken` [frames, BANDS].
    """
    if start + len(spoken) <= 0 or start >= len(bands.power):
        return float("inf")
    if start < 0 or start + len(spoken) > len(bands.power):
        cut = max(-start, 0)
        spoken = spoken[cut : len(bands.power) - start]
        start += cut
    heard = _log(np.maximum(bands.power[start : start + len(spoken)] - bands.bed, 0.0))
    weight = np.exp(0.5 * np.maximum(heard, spoken))  # loud bands count more
    weight /= weight.sum()
    delta = heard - spoken
    delta = delta - (weight * delta).sum()
    tilt = np.linspace(-1.0, 1.0, delta.shape[1]) * np.ones_like(delta)
    tilt = tilt - (weight * tilt).sum()
    delta = delta - (weight * tilt * delta).sum() / (weight * tilt * tilt).sum() * tilt
    return float((weight * np.minimum(delta * delta, CUT)).sum())
