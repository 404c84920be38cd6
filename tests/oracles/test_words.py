"""Words of voices that the oracle never trained on: clean, in noise, in pieces, backwards, and
several in a row.
"""

import numpy as np
import pytest

from sora_jax.modality import FORMATS
from sora_jax.oracles import examples, word_bands, words
from sora_jax.worlds.playhouse import sound, voice
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import MATERIALS
from sora_jax.worlds.playhouse.stream import noise


def heard(samples):
    return [word for _, word in words.read_words(samples)]


def share_right(change, seed=0):
    """Share of all words of two held-out voices that are read as the one word they are."""
    right = []
    for v in voice.HELD_OUT_VOICES[::2]:
        for k, word in enumerate(voice.WORDS):
            right.append(heard(change(np.pad(voice.speak(word, v), 4000), 26 * v + k)) == [word])
    return np.mean(right)


def noisy(decibels):
    def change(samples, seed):
        power = np.mean(np.square(samples[4000:-4000]))
        return samples + np.sqrt(3.0 * power) * 10 ** (-decibels / 20) * noise(
            len(samples), 99, seed
        )

    return change


def test_held_out_voices_are_understood():
    assert share_right(lambda samples, seed: samples) == 1.0


def test_down_to_ten_decibels():
    assert share_right(noisy(20.0)) >= 0.98 and share_right(noisy(10.0)) >= 0.94


@pytest.mark.slow
def test_what_is_no_word_is_not_read_as_one():
    assert share_right(lambda samples, seed: samples[::-1]) < 0.06
    assert (
        share_right(
            lambda samples, seed: np.pad(words.shuffled_pieces(samples[4000:-4000], seed), 4000)
        )
        < 0.15
    )


def test_a_word_within_a_ring():
    """So long a ring is no material's, and is not taken out."""
    t, word = np.arange(32000) / words.SAMPLE_RATE, voice.speak("large", 9)
    since, metal = np.maximum(t - 0.5, 0.0), MATERIALS["metal"]
    modes = zip(metal.gains, metal.ratios, strict=True)
    samples = 0.15 * sum(
        g * np.exp(-since / 0.3) * np.sin(2 * np.pi * metal.base_hz * r * since) for g, r in modes
    )
    samples[12160 : 12160 + len(word)] += word
    assert heard(samples) == ["large"]


def test_a_word_just_before_a_blow():
    (clip,) = examples.narrated(examples.ground_truth("val", [23117], FORMATS["nano"], batch=1))
    assert (
        heard(clip.samples)
        == [word for _, word in clip.take.scene.narration.words]
        == ["blue", "down"]
    )


def test_several_words_with_their_times():
    said = [(0.2, "red"), (0.75, "ball"), (1.3, "bounce")]
    clip = 0.003 * noise(2 * 16_000, 98)
    for start, word in said:
        spoken = voice.speak(word, 10)
        clip[round(start * 16_000) :][: len(spoken)] += spoken
    found = words.read_words(clip)
    assert [w for _, w in found] == ["red", "ball", "bounce"]
    # the voiced closure before a stop is faint
    assert np.allclose([t for t, _ in found], [t for t, _ in said], atol=0.06)
    assert heard(0.01 * noise(32_000, 97)) == [] and heard(np.zeros(32_000)) == []


def test_word_error_rate():
    assert words.word_error_rate([], []) is None and words.word_error_rate(["one"], ["one"]) == 0.0
    assert words.word_error_rate(["one", "red", "two"], ["one", "two"]) == 0.5
    assert words.word_error_rate(["two"], ["one", "two", "miss"]) == pytest.approx(2 / 3)
    assert words.errors(["two", "one"], ["one", "two"]) == 2


def talk(index):
    """The sound of a talk, and its words."""
    take, format = draw("val", index, family="talk"), FORMATS["S"]
    samples = sound.synthesise(sound.sound_inputs([take], format), format)
    return np.asarray(samples)[0], words.spoken_words(take)


@pytest.mark.parametrize("index", [25106, 25143])
def test_a_doubtful_word_is_read_by_what_it_resembles(index, monkeypatch):
    """Rain hides the consonants of these."""
    samples, said = talk(index)
    assert heard(samples) == said
    monkeypatch.setattr(words, "CLEAR", 0.0)
    assert heard(samples) != said and len(heard(samples)) == len(said)


def test_words_that_rain_joins_are_cut(monkeypatch):
    samples, said = talk(25038)
    assert heard(samples) == said
    monkeypatch.setattr(word_bands, "quiet_cuts", lambda bands, first, end: [(first, end)])
    assert len(heard(samples)) < len(said)
