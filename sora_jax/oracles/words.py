"""Recognizes the words spoken in a clip: the vocabulary of `worlds/playhouse/voice.py`, in any of
its voices, one word at a time.

0. Impact sounds are removed (`ringing.py`). A ring beside a word would merge with the word's
   segment and distort its features.
1. Segments. With P[n, b] the power of a 25 ms window, hop 10 ms, in mel band b, smoothed over 3
   frames, and m[b] the level of the ambient noise (1.2 times the 20th percentile over the clip of P
   smoothed over 9 frames),

       L[n] = mean over b of log(1 + max(P[n, b] - m[b], 0) / (FLOOR + OVER m[b]))               (1)

   exceeds GATE in a segment. Gaps shorter than BRIDGE seconds (the closures of stops) belong to the
   segment. Its ends are trimmed to where the sum over b of max(P - m, 0)^(1/3) passes a quarter of
   its 90th percentile, so noise moves the ends little.
2. Features. Cepstra 0 to 12 of log(max(P - m, 0) + VALLEY times the loud frames' power), resampled
   to 24 frames a segment and normalized per coefficient to zero mean and unit deviation over the
   segment (CMVN), and the segment's log length: 313 numbers x.
3. Kernel ridge regression on 27 classes, the words and "no word": with K_ij = exp(-SHARP |x_i -
   x_j|^2 / 313) and one-hot targets Y,

       A = (K + RIDGE I)^-1 Y,      scores of x = k(x) A,      the word is that of the largest   (2)

   The classifier is trained on first use from the eight training voices, which takes a few seconds;
   the data are the same on every machine. Each word is included clean and in noise. The class "no
   word" holds words played backwards, words cut into 50 ms pieces and permuted, and struck modes.
   Accuracy at 10 dB is 99 %; a linear ridge reached 91 %.
4. Recovery. A segment classified as "no word", or with a score below MIN_SCORE, may still hold a
   word: one that begins at an onset while an earlier impact rings, or one that ends at an onset. Of
   all parts that begin or end at an onset, the part with the highest score is read, if that score
   exceeds MIN_SCORE.

A reading is scored by its word error rate against the spoken words,

    WER = (substitutions + deletions + insertions of the best alignment) / words said            (3)

Limits: words lie at least `examples.BETWEEN_WORDS` seconds apart. The oracle is calibrated on
words without an impact during the word, though an earlier impact may still ring
(`examples.narrated`). Of 42 films with impacts at any time during the narration, 39 were read
correctly, 37 with noise at 20 dB.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sora_jax.mel import bands
from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.corruptions import backwards
from sora_jax.oracles.examples import AUDIO, Example
from sora_jax.oracles.onsets import audio_onsets
from sora_jax.oracles.ringing import without_impacts
from sora_jax.tables import number
from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import MATERIALS
from sora_jax.worlds.playhouse.stream import Stream, noise

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

WINDOW, HOP = 400, 160  # samples
BANDS = 26
FLOOR, OVER, GATE = 1e-7, 4.0, 0.07  # of (1): power; factor; log units
BRIDGE, MIN_SECONDS, MAX_SECONDS = 0.085, 0.1, 0.8  # seconds
TRIM = 0.25  # step 1: share of the 90th percentile at which the ends of a segment are trimmed
FRAMES, CEPSTRA = 24, 13
# A segment with at least this score is not searched further; a part found in it needs more.
MIN_SCORE = 0.6
VALLEY = 3e-3  # floor of the spectrum, relative to loud frames: deeper valleys are noise
SHARP, RIDGE = 1.0, 0.01
# signal-to-noise ratios in dB of the training examples, relative to the word's mean power
NOISES = (None, 20.0, 14.0, 11.0, 9.0, 7.0, 10.0, 8.0)
NO_WORD = len(voice.WORDS)  # index of the class "no word"


@functools.cache
def _mel() -> np.ndarray:
    """Returns the triangular mel filters from 150 to 7500 Hz, [BANDS, bins]."""
    return bands(np.fft.rfftfreq(512, 1.0 / SAMPLE_RATE), 150.0, 7500.0, BANDS)


@functools.cache
def _cosines() -> np.ndarray:
    return np.cos(np.pi / BANDS * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5))


@dataclasses.dataclass(frozen=True)
class Bands:
    """Power of audio over time in mel frequency bands.

    Attributes:
        power: smoothed power [frames, BANDS]; frame n is centred on sample n * HOP.
        bed: level of the ambient noise [BANDS].
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
    """Returns the parts of the audio that may hold a word, as frames [first, end) of `bands`.

    They are louder than the ambient noise and have the length of a word.
    """
    return [cut for part in loud_parts(bands) if (cut := cut_back(bands, *part))]


def loud_parts(bands: Bands) -> list[tuple[int, int]]:
    """Returns the parts that are louder than the ambient noise, of any length, as frames
    [first, end) of `bands`.
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


def cut_back(bands: Bands, first: int, end: int) -> tuple[int, int] | None:
    """Trims frames [first, end) of `bands` to their loud part. Returns None if its length is not
    that of a word.
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


def features(bands: Bands, first: int, end: int) -> np.ndarray:
    """Returns the features of one word, float [313]: normalised cepstra over time and the log
    length.

    Args:
        bands: the spectral bands of the clip.
        first, end: the word's frames of `bands`, from first to end - 1.
    """
    over = np.maximum(bands.power[first:end] - bands.bed, 0.0)
    cepstra = np.log(over / np.percentile(over.sum(-1), 90) + VALLEY) @ _cosines().T
    at = np.linspace(0, len(over) - 1, FRAMES)
    shape = np.stack([np.interp(at, np.arange(len(over)), c) for c in cepstra.T], axis=1)
    shape = (shape - shape.mean(0)) / (shape.std(0) + 0.1)
    # log length relative to 0.35 s; the factor weights it against the cepstra
    return np.append(shape.ravel(), 3.0 * np.log((end - first) * HOP / SAMPLE_RATE / 0.35))


def shuffled_pieces(samples: np.ndarray, seed: int, seconds: float = 0.05) -> np.ndarray:
    """Returns mono samples [S] at 16 kHz cut into pieces of `seconds` and permuted.

    `seed` chooses the permutation. seconds is 0.05 by default.
    """
    # the first part of a key (18, 19 and 20 in this file) separates independent uses of Stream
    size = int(seconds * SAMPLE_RATE)
    pieces, stream = [samples[i : i + size] for i in range(0, len(samples), size)], Stream(18, seed)
    for i in range(len(pieces) - 1, 0, -1):
        j = stream.integer(i + 1)
        pieces[i], pieces[j] = pieces[j], pieces[i]
    return np.concatenate(pieces)


def _impact_sound(name: str, seed: int) -> np.ndarray:
    """Synthesizes the modes of a struck material, a training example of "no word"."""
    material, stream, t = (
        MATERIALS[name],
        Stream(19, seed),
        np.arange(int(0.5 * SAMPLE_RATE)) / SAMPLE_RATE,
    )
    hertz = material.base_hz * stream.uniform(0.6, 1.4)
    sound = np.zeros(len(t))
    for a, d, r in zip(material.gains, material.decays, material.ratios, strict=True):
        sound += a * np.exp(-t / d) * np.sin(2.0 * np.pi * hertz * r * t)
    return 0.15 * sound


def _examples() -> Iterator[tuple[np.ndarray, int]]:
    """Yields (samples, class) for all training examples, before noise is added."""
    seed = 0
    for v in voice.TRAIN_VOICES:
        for label, word in enumerate(voice.WORDS):
            spoken = voice.speak(word, v)
            yield spoken, label
            seed += 1
            yield (spoken[::-1], shuffled_pieces(spoken, seed))[(label + v) % 2], NO_WORD
    for k, name in enumerate(name for name in MATERIALS for _ in range(8)):
        yield _impact_sound(name, k), NO_WORD


@functools.cache
def _trained() -> tuple[np.ndarray, np.ndarray]:
    """Returns the training features x [n, 313] and A [n, 27] of (2), computed on first use and
    cached.
    """
    rows, labels = [], []
    for i, (spoken, label) in enumerate(_examples()):
        clip, power = np.pad(spoken, 3200), np.mean(np.square(spoken))
        for j, decibels in enumerate(NOISES):
            if label == NO_WORD and j % 2:
                continue  # half as many examples of "no word", which has one for every spoken word
            # uniform noise in [-1, 1) has power 1/3, hence the factor 3
            loudness = (
                0.0 if decibels is None else np.sqrt(3.0 * power) * 10.0 ** (-decibels / 20.0)
            )
            bands = Bands.of(clip + loudness * noise(len(clip), 20, i, j))
            segment = max(segments(bands), key=_length, default=None)
            if segment:
                rows.append(features(bands, *segment))
                labels.append(label)
    x = np.stack(rows)
    return x, np.linalg.solve(_kernel(x, x) + RIDGE * np.eye(len(x)), np.eye(NO_WORD + 1)[labels])


def _length(segment: tuple[int, int]) -> int:
    return segment[1] - segment[0]


def _kernel(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    squares = np.square(x).sum(-1)[:, None] + np.square(others).sum(-1) - 2.0 * x @ others.T
    return np.exp(-SHARP / x.shape[-1] * squares)


def read_words(samples: np.ndarray) -> list[tuple[float, str]]:
    """Returns (start in s, word) for every word in mono samples [S] at 16 kHz, in order of time."""
    onsets = audio_onsets(samples)
    bands, recognized = Bands.of(without_impacts(samples, onsets)[0]), []
    onset_frames = [round(o.time * SAMPLE_RATE / HOP) for o in onsets]
    for first, end in segments(bands):
        k, score = _classified(bands, first, end)
        if k == NO_WORD or score < MIN_SCORE:
            inside = [at for at in onset_frames if first < at < end]
            parts = [
                cut
                for a in (first, *inside)
                for b in (*inside, end)
                if b - 1 > a + 1 and (cut := cut_back(bands, a, b - (b < end)))
            ]
            candidates = [(*_classified(bands, *part), part[0]) for part in set(parts)]
            score, k, first = max(
                ((s, k, a) for k, s, a in candidates if k != NO_WORD and s > MIN_SCORE),
                default=(score, k, first),
            )
        if k != NO_WORD:
            recognized.append((first * HOP / SAMPLE_RATE, list(voice.WORDS)[k]))
    return recognized


def _classified(bands: Bands, first: int, end: int) -> tuple[int, float]:
    """Returns the class of frames [first, end) and its score."""
    x, weights = _trained()
    scores = _kernel(features(bands, first, end)[None], x)[0] @ weights
    return int(np.argmax(scores)), float(np.max(scores))


def ranked(bands: Bands, first: int, end: int) -> list[str]:
    """Returns all words of the vocabulary, from the likeliest in frames [first, end) on.

    Args:
        bands: the spectral bands of the clip.
        first, end: the frames of `bands`, from first to end - 1.
    """
    x, weights = _trained()
    scores = _kernel(features(bands, first, end)[None], x)[0] @ weights[:, :NO_WORD]
    return [list(voice.WORDS)[k] for k in np.argsort(-scores)]


def errors(recognized: list[str], target: list[str]) -> int:
    """Returns the edit distance of two lists of words: the least number to substitute, insert or
    delete.
    """
    row = list(range(len(target) + 1))
    for i, h in enumerate(recognized, start=1):
        before, row[0] = row[0], i
        for j, s in enumerate(target, start=1):
            before, row[j] = row[j], min(before + (h != s), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def word_error_rate(recognized: list[str], target: list[str]) -> float | None:
    """Returns the word error rate: edit distance of the recognized from the spoken words, over the
    spoken ones.

    None if no word was spoken, since the ratio is undefined.

    Args:
        recognized: the words read.
        target: the words spoken.
    """
    return errors(recognized, target) / len(target) if target else None


def spoken_words(take: Take) -> list[str]:
    """Returns the words that a take's narrator and then its actors speak, each in order; [] for
    none.
    """
    narrated = take.scene.narration.words if take.scene.narration else ()
    acted = sorted(line for actor in take.scene.cast for line in actor.speech)
    return [word for _, word in (*narrated, *acted)]


@corrupt_samples
def pieces(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` cut into pieces of 50 ms and permuted."""
    assert c.samples is not None
    return shuffled_pieces(c.samples, c.take.index)


class WordsOracle(Oracle):
    """Oracle `words`: the words spoken in a clip, in order.

    It is calibrated on voices that are not among those its classifier is trained on.
    """

    name = "words"
    media = (AUDIO,)
    tolerance = "every word, in order"
    corruptions = (backwards, pieces)
    stage = "narrated"

    def read(self, reading: "Reading") -> list[str]:
        """Returns the words recognized in a clip, in order."""
        if reading.samples is None:
            return []
        return [word for _, word in read_words(reading.samples)]

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether every word of the take is recognized, in order; None if no word is
        spoken.
        """
        words = spoken_words(example.take)
        return reading.of(self.name) == words if words else None

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of the next clip, without the clips whose words are the
        same.
        """
        return [
            dataclasses.replace(c, take=o.take)
            for c, o in zip(clips, clips[1:] + clips[:1], strict=True)
            if spoken_words(c.take) != spoken_words(o.take)
        ]

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns the word error rate over all words of the clips."""
        spoken = [
            (read.of(self.name), spoken_words(c.take))
            for c, read in zip(examples, readings, strict=True)
        ]
        wrong = sum(errors(recognized, target) for recognized, target in spoken)
        words = sum(len(target) for _, target in spoken)
        return [("word error rate, held-out voices", number(wrong / max(words, 1)), words)]
