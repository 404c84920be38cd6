"""The soundscape of a clip, its background sound: wind, hum, rain, crickets or silence.

A soundscape sounds all the time; words and impacts do not. In each frequency bin f its power is
therefore a low percentile over time,

    B(f) = percentile QUIET over windows of |X(f)|^2                                             (1)

with X the spectrum of a Hann window of WINDOW samples. B is free of words and impacts where a bin
is without them for QUIET percent of the clip. Levels in dB are taken of the median of B over the
bands `low`, `middle` and `high` (BANDS), and of the mean of its peaks near tones. A clip has

    crickets   if their tones stand TONAL dB above the bands beside them
    hum        if the tones of the mains (MAINS) stand TONAL dB above the bins between them
    wind       if `low` stands WINDY dB above `middle`, without hum
    rain       if `low` lies RAINY dB below `middle`, and `high` at most LEVEL dB below it

White noise has the same level in all bands, so it is none of them. A soundscape must also be
louder than FAINT, because those of the world have fixed levels. A clip in which every band is below
SILENT is silent. If two soundscapes are heard, none is read.

The constants were chosen on scenes 0 to 499 of the split `val`. Limits: words and impacts leave
QUIET percent of the clip; noise is at most as loud as a soundscape.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.base import STRICT, Oracle
from sora_jax.oracles.conditions import Condition, corrupt_samples, with_samples
from sora_jax.oracles.examples import AUDIO, Example, shuffled
from sora_jax.worlds.playhouse import sound
from sora_jax.worlds.playhouse.ambience import CRICKETS
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import SILENCE, SOUNDSCAPES

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

WINDOW, HOP, MOST = 2048, 256, 2000  # samples; samples; windows that are read of a long clip
QUIET = 15  # percentile over time
# Hz: bands for wind and rain; the bands beside the tones of crickets
BANDS = {"low": (25, 240), "middle": (500, 1100), "high": (2200, 3500)}
BESIDE = ((3500, 3700), (4450, 5000))
# Hz: tones of a hum; frequencies between them without a tone
MAINS, BETWEEN = (50.0, 100.0, 150.0), (75.0, 125.0, 200.0)
NEAR_MAINS, NEAR_CRICKETS = 9.0, 20.0  # Hz: half widths in which the peak of a tone is sought
TONAL, WINDY, RAINY, LEVEL = 20.0, 8.0, 2.5, 1.0  # dB
# dB: the faintest soundscape of the world, wind or rain, is at -49; words leave at most -61
FAINT, SILENT = -56.0, -80.0
FLOOR = 1e-10  # power that is added before the logarithm


def bed(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (frequencies in Hz, power B of the soundscape in (1)), both [bins], of mono samples
    [S] at 16 kHz with S >= WINDOW.
    """
    hertz = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(samples), WINDOW)[::HOP]
    windows = windows[:: -(-len(windows) // MOST)]
    hann = np.hanning(WINDOW + 1)[:-1]
    power = np.square(np.abs(np.fft.rfft(windows * hann))) / float(hann @ hann)
    return hertz, np.percentile(power, QUIET, axis=0)


def read_ambience(samples: np.ndarray) -> str | None:
    """Returns the soundscape of mono samples [S] at 16 kHz with S >= WINDOW: a name in SOUNDSCAPES,
    or SILENCE. None if it is another sound, or if several are heard.
    """
    hertz, power = bed(samples)

    def band(*edges: tuple[float, float]) -> float:
        inside = np.any([(hertz >= low) & (hertz < high) for low, high in edges], axis=0)
        return _decibels(np.median(power[inside]))

    def peaks(tones: Sequence[float], reach: float) -> float:
        found = [power[np.abs(hertz - tone) <= reach].max() for tone in tones]
        return _decibels(np.mean(found))

    low, middle, high = (band(BANDS[name]) for name in ("low", "middle", "high"))
    singing = peaks([tone for tone, _, _ in CRICKETS], NEAR_CRICKETS)
    humming, between = peaks(MAINS, NEAR_MAINS), peaks(BETWEEN, 0.5 * SAMPLE_RATE / WINDOW)
    if max(low, middle, high, singing, humming) < SILENT:
        return SILENCE
    hum = humming - between > TONAL and humming > FAINT
    heard = {
        "wind": low - middle > WINDY and low > FAINT and not hum,
        "hum": hum,
        "rain": middle - low > RAINY and high > middle - LEVEL and high > FAINT,
        "crickets": singing - band(*BESIDE) > TONAL and singing > FAINT,
    }
    names = [name for name in SOUNDSCAPES if heard[name]]
    return names[0] if len(names) == 1 else None


def _decibels(power: float | np.floating) -> float:
    return 10.0 * float(np.log10(power + FLOOR))


def _soundscape(c: Example, name: str) -> np.ndarray:
    """Returns samples [S] of the soundscape `name` alone, as it would sound in clip `c`."""
    scene = dataclasses.replace(c.take.scene, ambience=name, narration=None, rolling=False, cast=())
    inputs = sound.sound_inputs([dataclasses.replace(c.take, scene=scene)], c.format)
    inputs["coarse"][:] = 0.0
    inputs["click"][:] = 0.0
    return np.asarray(sound.synthesise(inputs, c.format))[0]


def _bare(c: Example) -> np.ndarray:
    """Returns the samples [S] of a clip without its soundscape: words, impacts and rolling balls
    stay.
    """
    assert c.samples is not None
    return c.samples - _soundscape(c, c.take.scene.ambience)


@corrupt_samples
def another_soundscape(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` with its soundscape replaced by another one, chosen at
    random.
    """
    others = [name for name in SOUNDSCAPES if name != c.take.scene.ambience]
    return _bare(c) + _soundscape(c, others[c.rng.integers(len(others))])


@corrupt_samples
def hiss(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` with its soundscape replaced by white noise as loud."""
    bare = _bare(c)
    return bare + c.rng.normal(scale=sound.AMBIENCE_RMS, size=bare.shape)


def ambience_of(take: Take) -> str:
    """Returns the soundscape of a take, a name in SOUNDSCAPES or SILENCE."""
    return take.scene.ambience


class AmbienceOracle(Oracle):
    """Oracle `ambience`: the soundscape that is heard throughout a clip."""

    name = "ambience"
    media = (AUDIO,)
    tolerance = "the soundscape"
    corruptions = (another_soundscape, hiss)
    ceiling = STRICT
    stage = "scenes"
    empty = Condition("empty", AUDIO, functools.partial(with_samples, _bare))

    def read(self, reading: "Reading") -> str | None:
        """Returns the soundscape of a clip, a name in SOUNDSCAPES or SILENCE.

        None if it is another sound, several are heard, or the audio is missing or too short.
        """
        if reading.audio_fault or reading.samples is None:
            return None
        return read_ambience(reading.samples)

    def judge(self, example: Example, reading: "Reading") -> bool:
        """Returns whether the soundscape read is that of the example's take."""
        return reading.of(self.name) == ambience_of(example.take)

    def shuffle(self, clips: list[Example]) -> list[Example]:
        """Returns every clip with the take of another clip that has another soundscape."""
        return shuffled(clips, ambience_of)

    def measured(
        self, examples: list[Example], readings: list["Reading"]
    ) -> list[tuple[str, str, int]]:
        """Returns a row for each soundscape: the number of its clips that are read correctly."""
        rows = []
        for name in SOUNDSCAPES:
            read = [
                r.of(self.name)
                for e, r in zip(examples, readings, strict=True)
                if ambience_of(e.take) == name
            ]
            rows.append((f"clips with {name} that are read so", str(read.count(name)), len(read)))
        return rows
