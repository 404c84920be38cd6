"""The classifier of spoken words: the vocabulary of `worlds/playhouse/voice.py`, in any of its
voices.

1. Features. Cepstra 0 to 12 of log(max(P - m, 0) / L + VALLEY), with the power P and the ambient
   level m in mel bands (`word_bands`), and L the 90th percentile over the word of the power of all
   bands. They are resampled to 24 frames a word and normalized per coefficient to zero mean and
   about unit deviation over the word. With the word's log length they are 313 numbers x.
2. Kernel ridge regression on 27 classes, the words and "no word": with K_ij = exp(-SHARP |x_i -
   x_j|^2 / 313) between training examples, k(x) likewise between x and them, and one-hot targets Y,

       A = (K + RIDGE I)^-1 Y,      scores of x = k(x) A,      the class has the largest score   (1)

   The classifier is fitted on first use to the eight training voices, which takes a few seconds;
   the data are the same on every machine. Each word is included clean and in noise. The class "no
   word" holds words played backwards, words cut into 50 ms pieces and permuted, and impact sounds.
   Accuracy at a signal-to-noise ratio of 10 dB is 99 %; a linear ridge reached 91 %.
"""

import functools
from collections.abc import Iterator

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.word_bands import BANDS, HOP, Bands, segments
from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.spec import MATERIALS
from sora_jax.worlds.playhouse.stream import Stream, noise

FRAMES, CEPSTRA = 24, 13
VALLEY = 3e-3  # floor of the spectrum, relative to the power L of loud frames: less is noise
SHARP, RIDGE = 1.0, 0.01
# signal-to-noise ratios in dB of the training examples, relative to the word's mean power
NOISES = (None, 20.0, 14.0, 11.0, 9.0, 7.0, 10.0, 8.0)
NO_WORD = len(voice.WORDS)  # index of the class "no word"


@functools.cache
def _cosines() -> np.ndarray:
    return np.cos(np.pi / BANDS * np.arange(CEPSTRA)[:, None] * (np.arange(BANDS) + 0.5))


def features(bands: Bands, first: int, end: int) -> np.ndarray:
    """Returns the features of one word, x of step 1, float [313]: normalized cepstra over time and
    the log length.

    Args:
        bands: the power of the audio in mel bands.
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
    """Returns mono samples [S] at 16 kHz cut into pieces of `seconds` (default 0.05), which are
    permuted. `seed` chooses the permutation.
    """
    # the first part of a key (18, 19 and 20 in this file) separates independent uses of Stream
    size = int(seconds * SAMPLE_RATE)
    pieces, stream = [samples[i : i + size] for i in range(0, len(samples), size)], Stream(18, seed)
    for i in range(len(pieces) - 1, 0, -1):
        j = stream.integer(i + 1)
        pieces[i], pieces[j] = pieces[j], pieces[i]
    return np.concatenate(pieces)


def _impact_sound(name: str, seed: int) -> np.ndarray:
    """Returns samples of an impact on a material, given by its name: a training example of "no
    word". `seed` chooses the fundamental.
    """
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
    """Returns (features x [n, 313] of the training examples, A [n, 27] of (1)), computed on first
    use and cached.
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


def scores(bands: Bands, first: int, end: int) -> np.ndarray:
    """Returns the score of every class, [27], for frames [first, end) of `bands`: equation (1).
    The classes are the words in the order of `voice.WORDS`, then NO_WORD.
    """
    x, weights = _trained()
    return _kernel(features(bands, first, end)[None], x)[0] @ weights


def ranked(bands: Bands, first: int, end: int) -> list[str]:
    """Returns all words of the vocabulary, in falling order of their scores in a piece of audio.

    Args:
        bands: the power of the audio in mel bands.
        first, end: the frames of `bands`, from first to end - 1.
    """
    return [list(voice.WORDS)[k] for k in np.argsort(-scores(bands, first, end)[:NO_WORD])]
