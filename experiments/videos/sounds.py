"""Audio of the procedural videos: a tone that talks, hums or pulses, according to the subject."""

import numpy as np

PITCHES = {"clouds": 220.0, "sand": 165.0, "dusk": 131.0, "moss": 294.0}  # Hz
RATE = 100  # values of `loudness` per second


def loudness(subject: str, seconds: float, seed: int) -> np.ndarray:
    """Returns the loudness of a shot's audio over time, in [0, 1], RATE values per second.

    A face speaks in syllables of about 0.2 seconds. A bar pulses twice a second. A word hums.

    Args:
        subject: "word", "face" or "bar".
        seconds: duration of the shot.
        seed: random seed of the syllables.
    """
    times = np.arange(round(seconds * RATE)) / RATE
    if subject == "word":
        return 0.55 + 0.25 * np.sin(2 * np.pi * 0.5 * times)
    if subject == "bar":
        return np.exp(-6.0 * (times % 0.5))
    rng, level, start = np.random.default_rng(seed), np.zeros_like(times), 0.1
    while start < seconds:
        length = rng.uniform(0.14, 0.3)
        inside = (times >= start) & (times < start + length)
        level[inside] = np.sin(np.pi * (times[inside] - start) / length) ** 2
        start += length + rng.choice([0.04, 0.04, 0.3])
    return level


def samples(background: str, subject: str, level: np.ndarray, rate: int) -> np.ndarray:
    """Returns the audio of a shot, float32 [S]: harmonics of a tone with the loudness `level`.

    Args:
        background: name of the background, which determines the pitch (PITCHES).
        subject: "word", "face" or "bar", which determines the harmonics. The pitch of a face rises
            with its loudness.
        level: loudness over time, the result of `loudness`.
        rate: samples per second of the result.
    """
    count = round(len(level) / RATE * rate)
    times = np.arange(count) / rate
    envelope = np.interp(times, np.arange(len(level)) / RATE, level)
    pitch = PITCHES[background] * (1 + 0.08 * envelope * (subject == "face"))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    strengths = {
        "word": (1.0, 0.5, 0.25),
        "face": (1.0, 0.7, 0.6, 0.4, 0.3),
        "bar": (1.0, 0.0, 1.0),
    }
    tone = sum(a * np.sin((n + 1) * phase) for n, a in enumerate(strengths[subject]))
    return (0.25 * envelope * tone).astype(np.float32)
