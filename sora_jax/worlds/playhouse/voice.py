"""A small formant synthesiser: 26 words, spoken by the 12 voices of VOICES or any other `Voice`.

The model follows Klatt, "Software for a cascade/parallel formant synthesizer" (1980); the tables
are written here. A word is a sequence of phonemes, and a phoneme one or more states (`SOUNDS`). A
state has formants (resonances of the vocal tract) and levels of the sources voice, breath and hiss.
At the boundaries between states the formants change within GLIDE seconds, the levels within QUICK
seconds on each side. The resonator and the anti-resonator, at sample rate R, are

    y[n] = a x[n] + b y[n-1] + c y[n-2],                                                         (1)
    c = -exp(-2 pi w / R),  b = 2 exp(-pi w / R) cos(2 pi f / R),  a = 1 - b - c
    y[n] = (x[n] - b x[n-1] - c x[n-2]) / a                                                      (2)

with input x, output y, centre f and bandwidth w in Hz. The voiced source is a train of pulses at
the pitch, smoothed by a resonator at 0 Hz, plus noise (breath). It passes through an anti-resonator
(2) and a resonator (1) for the nose, then through resonators (1) at the formants F1 to F5, one
after another. In parallel, noise passes through one resonator at the centre of a consonant's hiss.

Voices differ in pitch, in the length of the vocal tract (all formants times `tract`), in rate,
and in timbre: the share of breath, and how much high frequencies are damped. Words last 0.2 to
0.6 s and are spoken one by one. There are no sentences, no stress and no emotion. All arithmetic
is float64 NumPy. The last bits of exp and cos differ between processors, so samples differ too, by
far less than 1e-3.
"""

import dataclasses
import functools
import zlib

import numpy as np
from scipy import signal

from sora_jax.modality import SAMPLE_RATE
from sora_jax.worlds.playhouse.stream import noise

FRAME = 80  # samples for which the filters are constant: 5 ms
# seconds before and after a boundary of states in which formants, and levels, change
GLIDE, QUICK = 0.022, 0.008
HISS = 3.0  # gain of a hiss of level 1 relative to a voice of level 1
NOMINAL = 0.1  # rms of the louder half of a word's samples
KEPT = 4096  # words kept in memory, 50 kB each


@dataclasses.dataclass(frozen=True)
class Voice:
    """The parameters of one speaker.

    Attributes:
        pitch: pitch in Hz; within a word it falls from 1.08 to 0.86 times this.
        tract: factor on the formants; above 1 for a shorter vocal tract.
        rate: speed of speech, a factor that divides all durations.
        breath: level of the noise in a voiced sound, relative to the pulses.
        dark: coefficient of a one-pole low-pass on the voiced sound, 0 to 1; 1 is darkest.
    """

    pitch: float
    tract: float
    rate: float
    breath: float
    dark: float


VOICES = (
    Voice(98.0, 0.90, 0.95, 0.04, 0.35),
    Voice(112.0, 0.96, 1.05, 0.08, 0.20),
    Voice(128.0, 0.94, 0.90, 0.03, 0.45),
    Voice(145.0, 1.02, 1.10, 0.10, 0.25),
    Voice(178.0, 1.08, 1.00, 0.05, 0.15),
    Voice(196.0, 1.14, 0.92, 0.12, 0.30),
    Voice(214.0, 1.11, 1.08, 0.06, 0.10),
    Voice(236.0, 1.18, 1.02, 0.09, 0.20),
    Voice(105.0, 0.92, 1.03, 0.06, 0.28),
    Voice(136.0, 0.99, 0.97, 0.05, 0.32),
    Voice(187.0, 1.10, 1.06, 0.08, 0.22),
    Voice(225.0, 1.15, 0.96, 0.07, 0.18),
)
TRAIN_VOICES, HELD_OUT_VOICES = range(8), range(8, 12)

# The states of each phoneme. A state is its duration in ms; F1, F2, F3 in Hz; the levels of voice,
# breath and hiss; the centre and the width of the hiss in Hz. A consonant without formants has
# those of its place of articulation, so that its neighbours glide towards them.
SOUNDS = {
    "AA": ((150, 730, 1090, 2440, 1.0, 0, 0, 0, 0),),
    "AE": ((150, 660, 1720, 2410, 1.0, 0, 0, 0, 0),),
    "AH": ((130, 640, 1190, 2390, 1.0, 0, 0, 0, 0),),
    "AO": ((150, 570, 840, 2410, 1.0, 0, 0, 0, 0),),
    "AW": ((90, 740, 1250, 2500, 1.0, 0, 0, 0, 0), (90, 430, 900, 2300, 0.9, 0, 0, 0, 0)),
    "AY": ((90, 720, 1180, 2500, 1.0, 0, 0, 0, 0), (100, 380, 2050, 2600, 0.9, 0, 0, 0, 0)),
    "EH": ((120, 530, 1840, 2480, 1.0, 0, 0, 0, 0),),
    "ER": ((150, 490, 1350, 1690, 1.0, 0, 0, 0, 0),),
    "IH": ((100, 400, 1990, 2550, 1.0, 0, 0, 0, 0),),
    "IY": ((150, 280, 2280, 3000, 0.9, 0, 0, 0, 0),),
    "OW": ((90, 530, 950, 2400, 1.0, 0, 0, 0, 0), (90, 370, 750, 2350, 0.9, 0, 0, 0, 0)),
    "UW": ((160, 310, 880, 2250, 0.9, 0, 0, 0, 0),),
    "L": ((70, 340, 1050, 2850, 0.6, 0, 0, 0, 0),),
    "R": ((70, 330, 1080, 1450, 0.6, 0, 0, 0, 0),),
    "W": ((70, 290, 650, 2200, 0.55, 0, 0, 0, 0),),
    "Y": ((60, 260, 2250, 3000, 0.55, 0, 0, 0, 0),),
    "M": ((80, 270, 1100, 2200, 0.40, 0, 0, 0, 0),),
    "N": ((80, 270, 1600, 2600, 0.40, 0, 0, 0, 0),),
    "B": ((50, 200, 800, 2200, 0.10, 0, 0, 0, 0), (10, 250, 850, 2200, 0.3, 0, 0.10, 900, 600)),
    "D": ((50, 200, 1700, 2600, 0.10, 0, 0, 0, 0), (12, 250, 1750, 2600, 0.3, 0, 0.20, 3600, 1200)),
    "G": ((50, 200, 1900, 2200, 0.10, 0, 0, 0, 0), (16, 250, 1950, 2200, 0.3, 0, 0.18, 2000, 600)),
    "P": (
        (60, 300, 800, 2200, 0, 0, 0, 0, 0),
        (15, 400, 850, 2200, 0, 0.2, 0.35, 900, 700),
        (30, 500, 1000, 2300, 0, 0.4, 0, 0, 0),
    ),
    "T": (
        (60, 300, 1700, 2600, 0, 0, 0, 0, 0),
        (15, 400, 1750, 2600, 0, 0.1, 0.35, 4200, 1500),
        (30, 450, 1700, 2600, 0, 0.2, 0.05, 4200, 1500),
    ),
    "K": (
        (60, 300, 1800, 2300, 0, 0, 0, 0, 0),
        (18, 400, 1850, 2300, 0, 0.1, 0.28, 1900, 500),
        (30, 450, 1800, 2400, 0, 0.25, 0, 0, 0),
    ),
    "JH": (
        (45, 220, 1800, 2600, 0.08, 0, 0, 0, 0),
        (60, 280, 1850, 2600, 0.25, 0, 0.22, 2800, 1000),
    ),
    "F": ((90, 340, 1100, 2100, 0, 0.05, 0.10, 6500, 4000),),
    "V": ((60, 250, 1100, 2100, 0.30, 0.03, 0.04, 6500, 4000),),
    "TH": ((90, 320, 1300, 2600, 0, 0.05, 0.09, 5500, 3500),),
    "S": ((110, 320, 1600, 2600, 0, 0, 0.30, 5400, 1200),),
    "HH": ((70, 500, 1500, 2500, 0, 0.45, 0, 0, 0),),
}
NASAL = ("M", "N")

# the phonemes of each word, names in SOUNDS
WORDS = {
    "one": "W AH N",
    "two": "T UW",
    "three": "TH R IY",
    "four": "F AO R",
    "five": "F AY V",
    "six": "S IH K S",
    "red": "R EH D",
    "orange": "AO R IH N JH",
    "yellow": "Y EH L OW",
    "green": "G R IY N",
    "blue": "B L UW",
    "purple": "P ER P AH L",
    "small": "S M AO L",
    "large": "L AA R JH",
    "left": "L EH F T",
    "right": "R AY T",
    "up": "AH P",
    "down": "D AW N",
    "ball": "B AO L",
    "bounce": "B AW N S",
    "wall": "W AO L",
    "floor": "F L AO R",
    "goal": "G OW L",
    "miss": "M IH S",
    "hit": "HH IH T",
    "stop": "S T AA P",
}


def parameters(voice: int | Voice) -> Voice:
    """Returns `voice` itself if it is a `Voice`, or the one with this index in VOICES."""
    return voice if isinstance(voice, Voice) else VOICES[voice]


def phonemes(word: str, voice: int | Voice) -> list[tuple[float, float, str]]:
    """Returns (start, end, phoneme) of each phoneme of a word, in seconds from the word's start.

    A phoneme is a name in SOUNDS. `voice` is a `Voice` or its index in VOICES.

    Raises:
        ValueError: the word is not in WORDS.
    """
    rate = parameters(voice).rate
    if word not in WORDS:
        raise ValueError(f"no word {word!r}; there are {', '.join(WORDS)}")
    spoken, start = [], 0.0
    for name in WORDS[word].split():
        end = start + sum(state[0] for state in SOUNDS[name]) / 1000.0 / rate
        spoken.append((start, end, name))
        start = end
    return spoken


def duration(word: str, voice: int | Voice) -> float:
    """Returns the duration in seconds of a spoken word.

    `voice` is a `Voice` or its index in VOICES.

    Raises:
        ValueError: the word is not in WORDS.
    """
    return phonemes(word, voice)[-1][1]


@functools.lru_cache(maxsize=KEPT)
def speak(word: str, voice: int | Voice) -> np.ndarray:
    """Returns a spoken word, mono samples float64 [S] at 16 kHz.

    All words are equally loud: the rms over the louder half of the samples is NOMINAL. The array is
    cached and shared, so it is read-only. `voice` is a `Voice` or its index in VOICES.

    Raises:
        ValueError: the word is not in WORDS.
    """
    speaker, tracks = parameters(voice), _tracks(word, voice)
    frames = len(tracks["voice"])
    n = frames * FRAME
    number = zlib.crc32(repr(voice).encode()) if isinstance(voice, Voice) else voice
    seed = len(VOICES) * list(WORDS).index(word) + number
    level = {
        name: np.interp(np.arange(n) / FRAME, np.arange(frames) + 0.5, tracks[name])
        for name in ("voice", "breath", "hiss")
    }
    pulses = _pulses(speaker.pitch, n)
    breath = 0.1 * noise(n, 11, seed)
    source = level["voice"] * (pulses + speaker.breath * breath) + 0.6 * level["breath"] * breath
    source = np.asarray(signal.lfilter([1.0 - speaker.dark], [1.0, -speaker.dark], source))
    source = _filter(source, tracks["nasal_zero"], np.full(frames, 100.0), anti=True)
    source = _filter(source, np.full(frames, 270.0), np.full(frames, 100.0))
    widths = {
        "f1": np.where(tracks["nasal"] > 0.5, 150.0, 70.0),
        "f2": np.full(frames, 90.0),
        "f3": np.full(frames, 130.0),
    }
    for name, width in widths.items():
        source = _filter(source, tracks[name] * speaker.tract, width)
    for hertz, width in ((3500.0, 250.0), (4500.0, 300.0)):
        source = _filter(
            source, np.full(frames, min(hertz * speaker.tract, 7000.0)), np.full(frames, width)
        )
    hiss = level["hiss"] * noise(n, 12, seed) * HISS
    hiss = _filter(
        hiss,
        np.minimum(tracks["hiss_hz"] * speaker.tract**0.5, 7200.0),
        tracks["hiss_width"],
        unit_peak=True,
    )
    # lips radiate high frequencies better
    spoken = np.asarray(signal.lfilter([1.0, -0.95], [1.0], source))
    spoken = spoken / _loudness(spoken) + hiss
    spoken *= NOMINAL / _loudness(spoken)
    fade = np.minimum(1.0, np.minimum(np.arange(n) + 1, n - np.arange(n)) / (0.006 * SAMPLE_RATE))
    spoken = spoken * fade
    spoken.flags.writeable = False
    return spoken


def _tracks(word: str, voice: int | Voice) -> dict[str, np.ndarray]:
    """Returns the parameters of sources and filters for every FRAME samples, float64 [frames] each.

    The keys are "f1", "f2", "f3", "hiss_hz", "hiss_width" and "nasal_zero" in Hz, the levels
    "voice", "breath" and "hiss", and "nasal", 1 in a nasal consonant. Values are constant within a
    state. Around its boundaries they are linear, except for those of the hiss in Hz.
    """
    names = ("f1", "f2", "f3", "voice", "breath", "hiss", "hiss_hz", "hiss_width", "nasal")
    states = [
        (*state, float(name in NASAL))
        for _, _, name in phonemes(word, voice)
        for state in SOUNDS[name]
    ]
    ends = np.cumsum([state[0] for state in states]) / 1000.0 / parameters(voice).rate
    starts = np.concatenate([[0.0], ends[:-1]])
    frames = int(np.ceil(ends[-1] * SAMPLE_RATE / FRAME))
    t = (np.arange(frames) + 0.5) * FRAME / SAMPLE_RATE
    tracks = {}
    for i, name in enumerate(names):
        reach = np.minimum(GLIDE if name in ("f1", "f2", "f3") else QUICK, 0.4 * (ends - starts))
        knots = np.stack([starts + reach, ends - reach], axis=1).ravel()
        tracks[name] = np.interp(t, knots, np.repeat([state[i + 1] for state in states], 2))
    # A state without a hiss has a centre of 0 Hz. It takes that of the nearest hiss instead, so
    # that the centre does not glide while a hiss fades.
    at = np.minimum(np.searchsorted(ends, t), len(states) - 1)
    hiss_hz = np.array([state[7] for state in states], float)
    nearest = [
        min((k for k in range(len(states)) if hiss_hz[k]), key=lambda k, j=j: abs(k - j), default=j)
        for j in range(len(states))
    ]
    tracks["hiss_hz"] = np.maximum(hiss_hz[nearest][at], 1000.0)
    tracks["hiss_width"] = np.maximum(
        np.array([state[8] for state in states], float)[nearest][at], 500.0
    )
    tracks["nasal_zero"] = 270.0 + 180.0 * tracks["nasal"]
    return tracks


def _loudness(x: np.ndarray) -> float:
    """Returns the root mean square of the louder half of the samples."""
    return float(np.sqrt(np.mean(np.sort(np.square(x))[len(x) // 2 :])))


def _pulses(pitch: float, n: int) -> np.ndarray:
    """Returns the pulses of the vocal folds, float64 [n], with an rms of 0.1.

    The pitch falls from 1.08 to 0.86 times `pitch` (Hz). A resonator at 0 Hz smooths the pulses.
    """
    hertz = pitch * np.linspace(1.08, 0.86, n)
    phase = np.cumsum(hertz) / SAMPLE_RATE
    starts = np.flatnonzero(np.diff(np.floor(phase), prepend=-1.0))
    train = np.zeros(n + 1)
    # An impulse between two samples is split between both, so that the pitch does not jump by whole
    # samples.
    share = np.clip(
        (phase[starts] - np.floor(phase[starts])) / (hertz[starts] / SAMPLE_RATE), 0.0, 1.0
    )
    train[starts] += 1.0 - share
    train[np.maximum(starts - 1, 0)] += share
    smooth = _filter(train[:n], np.zeros(-(-n // FRAME)), np.full(-(-n // FRAME), 400.0))
    smooth -= np.mean(smooth)
    return 0.1 / np.sqrt(np.mean(np.square(smooth))) * smooth


def _filter(
    x: np.ndarray, hertz: np.ndarray, width: np.ndarray, anti: bool = False, unit_peak: bool = False
) -> np.ndarray:
    """Applies the resonator (1), or the anti-resonator (2) if `anti`, float64 [S] -> [S].

    Args:
        x: input, [S].
        hertz, width: centre and bandwidth in Hz for every FRAME samples, [S / FRAME].
        anti: True for the anti-resonator (2). Default: False.
        unit_peak: True for a gain of 1 at the centre, as for noise. Default: False, a gain of 1 at
            0 Hz.
    """
    c = -np.exp(-2.0 * np.pi * width / SAMPLE_RATE)
    b = 2.0 * np.exp(-np.pi * width / SAMPLE_RATE) * np.cos(2.0 * np.pi * hertz / SAMPLE_RATE)
    a = 1.0 - b - c
    if unit_peak:
        z = np.exp(-2j * np.pi * hertz / SAMPLE_RATE)
        a = np.abs(1.0 - b * z - c * z * z)
    out, before = np.empty_like(x), np.zeros(2)  # the two last inputs (2) or outputs (1)
    # Frames of equal coefficients are filtered in one call, which gives the same bits.
    changes = np.flatnonzero((np.diff(hertz) != 0.0) | (np.diff(width) != 0.0)) + 1
    starts = [0, *changes.tolist()]
    for f, end in zip(starts, [*starts[1:], len(hertz)], strict=True):
        span = slice(f * FRAME, end * FRAME)
        if anti:
            row = np.concatenate([before, x[span]])
            out[span] = (row[2:] - b[f] * row[1:-1] - c[f] * row[:-2]) / a[f]
            before = row[-2:]
        else:
            state = [b[f] * before[1] + c[f] * before[0], c[f] * before[1]]
            out[span], _ = signal.lfilter([a[f]], [1.0, -b[f], -c[f]], x[span], zi=state)
            before = out[span][-2:]
    return out
