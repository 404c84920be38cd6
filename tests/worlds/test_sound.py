"""What lasts and what is said: levels, determinism, and that scenes without either sound as they
always did.
"""

import dataclasses
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sora_jax.modality import SAMPLE_RATE, ClipFormat
from sora_jax.worlds.playhouse import ambience, sound, voice
from sora_jax.worlds.playhouse.draw import draw
from sora_jax.worlds.playhouse.spec import SILENCE, Narration, Scene

FORMAT = ClipFormat()
ROOT = Path(__file__).parents[2]


def heard(take):
    return np.asarray(sound.synthesise(sound.sound_inputs([take], FORMAT), FORMAT))[0]


def other(take, **fields):
    return dataclasses.replace(take, scene=dataclasses.replace(take.scene, **fields))


@pytest.fixture(scope="module")
def rolled():
    """A take whose first ball rolls."""
    return next(
        t
        for t in (draw("train", i) for i in range(60))
        if t.scene.balls[0].launch == "rolled" and len(t.scene.balls) == 1
    )


def test_a_rolling_ball_is_as_loud_as_it_is_fast(rolled):
    still = dataclasses.replace(other(rolled, rolling=True).scene, balls=rolled.scene.balls)
    track = ambience.roll(dataclasses.replace(rolled, scene=still), FORMAT.samples)
    t = np.arange(FORMAT.samples) / SAMPLE_RATE
    speed = np.linalg.norm(rolled.trajectory.velocities(t), axis=-1)[:, 0]
    middle = slice(SAMPLE_RATE // 10, -SAMPLE_RATE // 10)
    loudness = np.sqrt(np.mean(track[middle] ** 2)) / np.sqrt(np.mean(speed[middle] ** 2))
    assert loudness == pytest.approx(ambience.ROLL_RMS, rel=0.25)
    assert not np.array_equal(heard(other(rolled, rolling=True)), heard(rolled))


def test_a_flying_ball_does_not_roll():
    take = next(
        t
        for t in (draw("train", i) for i in range(60))
        if t.scene.balls[0].launch == "dropped" and len(t.scene.balls) == 1
    )
    first = round(take.trajectory.contacts[0].time * SAMPLE_RATE) - SAMPLE_RATE // 50
    assert not ambience.roll(take, FORMAT.samples)[:first].any()


@pytest.mark.parametrize("name", ["rain", "crickets"])
def test_soundscapes_have_their_level_and_depend_on_the_seed(rolled, name):
    quiet = dataclasses.replace(
        rolled, trajectory=dataclasses.replace(rolled.trajectory, contacts=())
    )
    one, two = (heard(other(quiet, ambience=name, seed=seed)) for seed in (1, 2))
    assert np.sqrt(np.mean(one**2)) == pytest.approx(
        sound.AMBIENCE_RMS, rel=0.02
    ) and not np.array_equal(one, two)
    assert np.array_equal(one, heard(other(quiet, ambience=name, seed=1)))


def test_words_are_where_the_scene_says(rolled):
    # the last one is cut by the clip's end
    said = Narration(9, ((0.4, "red"), (1.0, "ball"), (2.0, "orange")))
    assert Scene.from_json(other(rolled, narration=said).scene.to_json()).narration == said
    spoken = heard(other(rolled, narration=said)) - heard(rolled)
    for start, word in said.words[:2]:
        first = round(start * SAMPLE_RATE)
        whole = voice.speak(word, 9) * sound.SPEECH_RMS / voice.NOMINAL
        assert np.abs(spoken[first : first + len(whole)] - whole).max() < 1e-5
        assert abs(len(whole) / SAMPLE_RATE - voice.duration(word, 9)) < 0.006
    assert (
        not np.abs(spoken[: round(0.4 * SAMPLE_RATE)]).max() > 1e-6
        and np.abs(spoken[round(2.0 * SAMPLE_RATE) :]).max() > 0.01
    )
    assert not heard(other(rolled, narration=said, ambience=SILENCE)).any()


def test_every_word_in_every_voice_has_its_loudness_and_its_own_sound():
    for word in voice.WORDS:
        made = [voice.speak(word, v) for v in (0, 7, 11)]
        for x in made:
            assert (
                np.isfinite(x).all()
                and np.abs(x).max() < 1.0
                and abs(x[0]) < 1e-2
                and abs(x[-1]) < 1e-2
            )
            assert np.sqrt(np.mean(np.sort(x**2)[len(x) // 2 :])) == pytest.approx(
                voice.NOMINAL, rel=0.1
            )
        assert len({x.tobytes() for x in made}) == 3
    with pytest.raises(ValueError, match="no word 'hello'; there are one, two"):
        voice.speak("hello", 0)


def formant(samples, low, high):
    """The strongest frequency of a stretch in a range of Hz, after a smoothing over the
    harmonics.
    """
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8192)) ** 2
    smooth = np.convolve(spectrum, np.hanning(180), mode="same")
    hertz = np.fft.rfftfreq(8192, 1 / SAMPLE_RATE)
    inside = (hertz > low) & (hertz < high)
    return hertz[inside][np.argmax(smooth[inside])]


def test_vowels_have_the_formants_of_the_table_times_the_voice():
    for v in (0, 4):
        (start, end, _) = next(p for p in voice.phonemes("three", v) if p[2] == "IY")
        vowel = voice.speak("three", v)[
            round((start + 0.04) * SAMPLE_RATE) : round((end - 0.02) * SAMPLE_RATE)
        ]
        assert formant(vowel, 1500, 2600) == pytest.approx(2280 * voice.VOICES[v].tract, rel=0.08)


def test_the_same_samples_in_another_process(rolled):
    code = "from tests.worlds.test_sound import digest; print(digest())"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=600,
    )
    assert run.stdout.strip() == digest()


def digest():
    parts = [voice.speak("orange", 3), ambience.rain(5, 20_000), ambience.crickets(5, 20_000)]
    return hashlib.sha256(b"".join(x.tobytes() for x in parts)).hexdigest()[:16]


def test_impacts_stand_above_what_lasts():
    """Known levels: every impact of 1 m/s and more is at least 3 dB above ambience and roll; a word
    costs it what it is loud.
    """
    takes = [t for t in (draw("val", i) for i in range(8)) if t.trajectory.contacts]
    for take in takes:
        speeds = {c.time: c.speed for c in take.trajectory.contacts}
        time = take.trajectory.contacts[0].time
        bare = dict(sound.impact_levels(other(take, rolling=True), FORMAT))
        spoken = dict(
            sound.impact_levels(
                other(take, narration=Narration(0, ((max(time - 0.15, 0.0), "yellow"),))), FORMAT
            )
        )
        assert set(bare) == {time for time, speed in speeds.items() if speed >= sound.FAINTEST}
        assert all(level >= 3.0 for at, level in bare.items() if speeds[at] >= 1.0)
        assert spoken[time] < bare[time]
