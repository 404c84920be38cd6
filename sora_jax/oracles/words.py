"""Recognizes the words spoken in a clip: the vocabulary of `worlds/playhouse/voice.py`, in any of
its voices, one word at a time.

1. Impact sounds are removed (`ringing.py`). The ring of an impact beside a word would merge with
   the word's segment and distort its features.
2. The audio is divided into segments that may hold one word each (`word_bands.segments`), and
   `word_classifier` gives each word of the vocabulary, and "no word", a score.
3. Recovery. A segment classified as "no word", or with a highest score below MIN_SCORE, may still
   hold a word: one that begins at an onset of a sound while an earlier impact rings, or one that
   ends at an onset. Of all parts of the segment that begin or end at an onset, the part with the
   highest score is read, if that score exceeds MIN_SCORE.
4. Doubt. If the second highest score is less than CLEAR below the highest, the CANDIDATES words of
   the highest scores are synthesized and aligned with the segment, because rain hides how a word
   starts. Each score is lowered by WEIGHT times the distance between the synthesis and the segment
   (`voices.resemblance`), and the highest gives the word. Of 3,416 words of talks, half of them in
   noise at 20 dB, 70 were wrong by the scores alone and 23 with this step; of 384 words of
   narrators 3 and 2.

A reading is scored by its word error rate against the spoken words,

    WER = (substitutions + deletions + insertions of the best alignment) / words spoken          (1)

Limits: words lie at least `examples.BETWEEN_WORDS` seconds apart. The oracle is calibrated on
words without an impact during the word, though an earlier impact may still ring
(`examples.narrated`). Of 42 films with impacts at any time during the narration, 39 were read
correctly, 37 with noise at 20 dB.
"""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.corruptions import backwards
from sora_jax.oracles.examples import AUDIO, Example
from sora_jax.oracles.onsets import audio_onsets
from sora_jax.oracles.ringing import without_impacts
from sora_jax.oracles.voices import Periodicity, resemblance
from sora_jax.oracles.word_bands import HOP, Bands, cut_back, segments
from sora_jax.oracles.word_classifier import NO_WORD, scores, shuffled_pieces
from sora_jax.tables import number
from sora_jax.worlds.playhouse import voice
from sora_jax.worlds.playhouse.draw import Take

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

# A segment with at least this score is read as it is; in others, a part needs more (step 3).
MIN_SCORE = 0.6
# of step 4: difference of scores; number of words; score per squared log unit of distance
CLEAR, CANDIDATES, WEIGHT = 0.5, 4, 3.0


def read_words(samples: np.ndarray) -> list[tuple[float, str]]:
    """Returns (start in s, word) for every word in mono samples [S] at 16 kHz, in order of time."""
    onsets = audio_onsets(samples)
    clean = without_impacts(samples, onsets)[0]
    bands, periodicity, recognized = Bands.of(clean), Periodicity.of(clean), []
    onset_frames = [round(o.time * SAMPLE_RATE / HOP) for o in onsets]
    for segment in segments(bands):
        (first, end), k, score = segment, *_classified(bands, *segment)
        if k == NO_WORD or score < MIN_SCORE:
            inside = [at for at in onset_frames if first < at < end]
            parts = [
                cut
                for a in (first, *inside)
                for b in (*inside, end)
                if b - 1 > a + 1 and (cut := cut_back(bands, a, b - (b < end)))
            ]
            candidates = [(*_classified(bands, *part), part) for part in set(parts)]
            _, k, (first, end) = max(
                ((s, k, part) for k, s, part in candidates if k != NO_WORD and s > MIN_SCORE),
                default=(score, k, (first, end)),
            )
        if k != NO_WORD:
            word = _likeliest(bands, periodicity, first, end)
            recognized.append((first * HOP / SAMPLE_RATE, word))
    return recognized


def _classified(bands: Bands, first: int, end: int) -> tuple[int, float]:
    """Returns (class, its score): the likeliest word, as an index in `voice.WORDS`, or NO_WORD, in
    frames [first, end) of `bands`.
    """
    found = scores(bands, first, end)
    return int(np.argmax(found)), float(np.max(found))


def _likeliest(bands: Bands, periodicity: Periodicity, first: int, end: int) -> str:
    """Returns the word in frames [first, end) of `bands`, after a comparison with synthesized words
    if the scores leave doubt: step 4.
    """
    found = scores(bands, first, end)[:NO_WORD]
    best = np.argsort(-found)[:CANDIDATES]
    words = [list(voice.WORDS)[k] for k in best]
    if found[best[0]] - found[best[1]] >= CLEAR:
        return words[0]
    distances = resemblance(bands, periodicity, first, end, words)
    return words[int(np.argmax(found[best] - WEIGHT * np.array(distances)))]


def errors(recognized: list[str], target: list[str]) -> int:
    """Returns the edit distance of two lists of words: the least number of words to substitute,
    insert or delete.
    """
    row = list(range(len(target) + 1))
    for i, h in enumerate(recognized, start=1):
        before, row[0] = row[0], i
        for j, s in enumerate(target, start=1):
            before, row[j] = row[j], min(before + (h != s), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def word_error_rate(recognized: list[str], target: list[str]) -> float | None:
    """Returns the word error rate: the edit distance between the recognized and the spoken words,
    divided by the number of spoken ones. None if no word was spoken.

    Args:
        recognized: the words read.
        target: the words spoken.
    """
    return errors(recognized, target) / len(target) if target else None


def spoken_words(take: Take) -> list[str]:
    """Returns the words that a take's narrator and actors speak: the narrator's first, then those
    of all actors in order of time; [] for none.
    """
    narrated = take.scene.narration.words if take.scene.narration else ()
    acted = sorted(line for actor in take.scene.cast for line in actor.speech)
    return [word for _, word in (*narrated, *acted)]


@corrupt_samples
def pieces(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` cut into pieces of 50 ms, which are permuted."""
    assert c.samples is not None
    return shuffled_pieces(c.samples, c.take.index)


class WordsOracle(Oracle):
    """Oracle `words`: the words spoken in a clip, in order.

    It is calibrated on voices that are not among those that its classifier is fitted on.
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
        """Returns every clip with the take of the next clip. A clip is left out if both takes have
        the same words.
        """
        return [
            dataclasses.replace(c, take=o.take)
            for c, o in zip(clips, clips[1:] + clips[:1], strict=True)
            if spoken_words(c.take) != spoken_words(o.take)
        ]

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns one row: the word error rate over all words of the clips."""
        spoken = [
            (read.of(self.name), spoken_words(c.take))
            for c, read in zip(examples, readings, strict=True)
        ]
        wrong = sum(errors(recognized, target) for recognized, target in spoken)
        words = sum(len(target) for _, target in spoken)
        return [("word error rate, held-out voices", number(wrong / max(words, 1)), words)]
