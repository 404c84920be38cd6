"""Audio of any channels becomes one."""

import numpy as np
import pytest
from films import click, quarters, write

from sora_jax import media
from sora_jax.media import audio, mixing


def level(mixed, sound):
    return 20 * np.log10(max(np.abs(mixed).max(), 1e-6) / np.abs(sound).max())


def one_of(count, channel):
    samples = np.zeros((96000, count), np.float32)
    samples[:, channel] = click(2)
    return samples


@pytest.mark.parametrize(
    "layout, channel, expected",
    [
        ("5.1", 2, -3.0),
        ("5.1", 0, -6.0),
        ("5.1(side)", 4, -9.0),
        ("7.1", 7, -9.0),
        ("2.1", 2, None),
        ("5.1", 3, None),
        ("7.1", 3, None),
        ("quad", 3, -9.0),
        ("hexadecagonal", 2, -3.0),
    ],
)
def test_channels_of_films(tmp_path, layout, channel, expected):
    """The weights of BS.775, relative to stereo; the low-frequency channel is left out."""
    count = {"5": 6, "7": 8, "2": 3, "q": 4, "h": 16}[layout[0]]
    sound = one_of(count, channel)
    path = tmp_path / "film.mov"
    write(path, [quarters()] * 48, sound=sound, sound_codec="pcm_s16le", layout=layout)
    read = media.read_video(path)
    assert read.samples.shape[1] == count
    mixed, notes = media.fit_sound(read.samples, 48000, 32000, read.channels)
    if expected is None:
        assert level(mixed, sound) < -60
    else:
        alone = media.fit_sound(sound[:, channel], 48000, 32000)[0]
        assert level(mixed, alone) == pytest.approx(expected, abs=0.1)
    assert any(f"mixed from {count} channels" in note for note in notes)
    samples, rate = media.read_audio(path)
    again = media.fit_sound(samples, rate, 32000)[0]
    np.testing.assert_allclose(again, mixed, atol=1e-5)


def test_channels_without_positions_have_equal_weights(tmp_path):
    """A recorder's sixteen tracks: once a crash of the process."""
    sound = one_of(16, 11)
    path = tmp_path / "recorder.mkv"
    settings = {"sound": sound, "sound_codec": "pcm_s16le", "layout": "hexadecagonal"}
    read = media.read_video(write(path, [quarters()] * 48, **settings))
    assert read.samples.shape[1] == 16 and read.channels == ()
    np.testing.assert_allclose(read.samples, sound[: len(read.samples)], atol=1e-4)
    np.testing.assert_array_equal(mixing.weights((), 16), np.full(16, 1 / 16, np.float32))


def test_assumed_channels():
    for channel, most in ((2, -2.9), (3, -20)):
        mixed, _ = media.fit_sound(one_of(6, channel), 48000, 34000)
        assert level(mixed, click(2)) < most
    assert level(media.fit_sound(one_of(6, 2), 48000, 34000)[0], click(2)) > -6


def test_stereo_is_the_mean():
    left = np.random.default_rng(0).normal(size=(16000, 2)).astype(np.float32) * 0.1
    np.testing.assert_allclose(media.fit_sound(left, 16000, 16000)[0], left.mean(1), atol=1e-7)


@pytest.mark.parametrize("ratio", [-1.0, -0.9])
@pytest.mark.parametrize("count", [2, 6])
def test_antiphase_keeps_one_channel(ratio, count):
    sound = click(2)
    samples = np.zeros((96000, count), np.float32)
    samples[:, 0], samples[:, 1] = ratio * sound, sound
    mixed, notes = media.fit_sound(samples, 48000, 32000)
    alone, _ = media.fit_sound(samples[:, 0 if ratio == -1 else 1], 48000, 32000)
    np.testing.assert_array_equal(mixed, alone)
    assert any("antiphase" in note for note in notes)


def test_sides_of_a_stereo_picture_are_no_antiphase():
    rng = np.random.default_rng(1)
    for samples in (rng.normal(size=(48000, 2)), np.stack([click(1), np.zeros(48000)], 1)):
        _, notes = media.fit_sound(0.1 * samples.astype(np.float32), 48000, 16000)
        assert not any("antiphase" in note for note in notes)


def test_a_loud_mix_is_lowered():
    samples = np.full((16000, 6), 0.8, np.float32) * np.sin(np.arange(16000) / 9)[:, None]
    mixed, notes = media.fit_sound(samples, 16000, 16000)
    assert np.abs(mixed).max() == pytest.approx(1)
    assert any("lowered by 5.7 dB" in note for note in notes), notes
    assert np.corrcoef(mixed, samples[:, 0])[0, 1] > 0.9999, "not clipped"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_become_silence(tmp_path, bad):
    sound = click(2)
    sound[1000:1010] = bad
    fitted, notes = media.fit_sound(sound, 48000, 32000)
    assert np.isfinite(fitted).all() and "10 audio samples" in notes[0]
    settings = {"sound": sound, "sound_codec": "pcm_f32le"}
    path = write(tmp_path / "float.mov", [quarters()] * 48, **settings)
    read = media.read_video(path)
    fitted, notes = media.fit_sound(read.samples, read.sample_rate, 32000)
    assert np.isfinite(fitted).all() and "not finite" in notes[0]
    assert np.abs(fitted).max() == pytest.approx(0.53, abs=0.1)


def test_only_what_is_needed_is_resampled():
    long = np.random.default_rng(0).normal(size=44100 * 4).astype(np.float32) * 0.1
    short, notes = media.fit_sound(long, 44100, 16000)
    assert "audio cut from 4.00 to 1.00 s" in notes
    np.testing.assert_allclose(short, media.fit_sound(long, 44100, 64000)[0][:16000], atol=1e-6)


def test_long_audio_is_reduced_while_it_is_read(tmp_path, monkeypatch):
    """Where the whole would need too much memory, its onset and level stay the same."""
    path = tmp_path / "film.mov"
    settings = {"sound": click(3, 1.5), "sound_codec": "pcm_s16le", "layout": "5.1"}
    write(path, [quarters()] * 24, **settings)
    whole = media.fit_sound(*media.read_audio(path), 48000)[0]
    monkeypatch.setattr(audio, "MOST_BYTES", 1_000_000)
    samples, rate = media.read_audio(path)
    assert samples.shape == (48000, 1) and rate == 16000
    reduced = media.fit_sound(samples, rate, 48000)[0]
    assert np.abs(reduced - whole).max() < 0.05
