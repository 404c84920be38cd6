"""Material of a struck ball, from the audio: the material whose damped modes best explain the audio
after an onset, the sudden beginning of an impact sound.

A ball of material m and fundamental f rings (worlds/playhouse/sound.py) as

    s(t) = sum_i exp(-t / tau_i) (A_i cos 2 pi f rho_i t + B_i sin 2 pi f rho_i t)               (1)

with the material's ratios rho_i of frequencies and decays tau_i in s, public constants of the
world. For each material and each fundamental on a grid over the material's range, A and B are
fitted by least squares to WINDOW seconds from SKIP after the onset, which leaves out the click.
The material is the one with the least

    N log(rss / N) + 2 k log N,    N samples, k modes, rss the sum of squared residuals          (2)

which penalizes materials with more modes. The frequency of the dominant mode is the peak of the
windowed spectrum, refined by a parabola.
"""

import functools
from typing import TYPE_CHECKING

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.examples import AUDIO, Example
from sora_jax.worlds.playhouse.draw import CLIP_SECONDS, Take
from sora_jax.worlds.playhouse.spec import MATERIALS, REFERENCE_RADIUS, SIZES

if TYPE_CHECKING:
    from sora_jax.oracles.reading import Reading

SKIP = 0.005  # seconds: length of the click of a contact
WINDOW = 0.05  # seconds
STEP = 0.01  # largest relative step of the grid of fundamentals
MAX_DISTANCE = 0.03  # seconds: largest distance between an impact and its audio onset
# metres: least and largest radius of a ball
RADII = (min(low for low, _ in SIZES.values()), max(high for _, high in SIZES.values()))


def piece_after(samples: np.ndarray, onset: float, seconds: float, rate: int) -> np.ndarray:
    """Returns the samples after an onset, float64 [seconds * rate]; fewer at the end of the clip.

    Args:
        samples: mono samples [S].
        onset: time in s. The piece starts SKIP seconds later.
        seconds: length of the piece.
        rate: samples/s.
    """
    first = round((onset + SKIP) * rate)
    return np.asarray(samples[first : first + int(seconds * rate)], np.float64)


def dominant_mode(
    samples: np.ndarray, onset: float, rate: int = SAMPLE_RATE, seconds: float = 0.2
) -> float:
    """Returns the frequency in Hz of the strongest mode after an onset; NaN if the audio there is
    too short or silent.

    Args:
        samples: mono samples [S].
        onset: time in s.
        rate: samples/s. Default: 16 kHz.
        seconds: length of the audio after the onset that is read. Default 0.2.
    """
    piece = piece_after(samples, onset, seconds, rate)
    if len(piece) < 256 or not np.any(piece):
        return float("nan")
    size = 8 * len(piece)  # zero-padded for a finer frequency grid
    # The window is 1 at the start, where a ringing sound is strongest, and falls to 0.
    spectrum = np.abs(
        np.fft.rfft(piece * np.cos(0.5 * np.pi * np.arange(len(piece)) / len(piece)) ** 2, size)
    )
    peak = int(np.argmax(spectrum[1:-1])) + 1
    a, b, c = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    return float((peak + 0.5 * (a - c) / (a - 2 * b + c - 1e-12)) * rate / size)


@functools.lru_cache(maxsize=4)
def bases_of(length: int, rate: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the sounds that a struck ball of each material can make, as bases for a least-squares
    fit of (1).

    Args:
        length: N, the number of samples of a sound.
        rate: samples/s.

    Returns:
        {material: (fundamentals in Hz [G]; the k damped modes of each as cosines and sines
        [G, N, 2k]; the inverses of the Gram matrices of these, [G, 2k, 2k])}.
    """
    t = np.arange(length) / rate
    bases = {}
    for name, material in MATERIALS.items():
        low, high = (material.base_hz * REFERENCE_RADIUS / r for r in RADII[::-1])
        # The step is fine enough that a partial stays in phase with its neighbour on the grid for
        # the whole window.
        step = np.clip(0.15 * rate / length / (high * max(material.ratios)), 0.002, STEP)
        hertz = np.exp(np.arange(np.log(low) - 0.02, np.log(high) + 0.02, step))
        decay = np.exp(-t[:, None] / np.array(material.decays))
        phase = 2 * np.pi * hertz[:, None, None] * t[:, None] * np.array(material.ratios)
        waves = np.concatenate([decay * np.cos(phase), decay * np.sin(phase)], axis=-1).astype(
            np.float32
        )
        products = np.einsum("gnk,gnl->gkl", waves, waves, dtype=np.float64, optimize=False)
        bases[name] = hertz, waves, np.linalg.inv(products)
    return bases


def read_material(
    samples: np.ndarray, onset: float, rate: int = SAMPLE_RATE
) -> tuple[str | None, float]:
    """Classifies the material of a ball from how it rings after an impact.

    Args:
        samples: mono samples [S].
        onset: time of the impact in s.
        rate: samples/s. Default: 16 kHz.

    Returns:
        (material, fundamental in Hz); (None, NaN) if the audio there is silent or too short.
    """
    piece = piece_after(samples, onset, WINDOW, rate)
    if len(piece) < int(0.5 * WINDOW * rate) or np.sqrt(np.mean(piece**2)) < 1e-4:
        return None, float("nan")
    piece = np.pad(piece, (0, int(WINDOW * rate) - len(piece))).astype(np.float32)
    energy, n = float(piece @ piece), len(piece)
    best = (np.inf, None, float("nan"))
    for name, (hertz, waves, inverse) in bases_of(n, rate).items():
        products = np.einsum("gnk,n->gk", waves, piece).astype(np.float64)
        explained = np.einsum("gk,gkl,gl->g", products, inverse, products)
        g = int(np.argmax(explained))
        rss = max(energy - explained[g], 1e-9 * energy)
        cost = n * np.log(rss / n) + waves.shape[-1] * np.log(n)
        best = min(best, (cost, name, float(hertz[g])))
    return best[1], best[2]


def isolated_impacts(take: Take) -> list[tuple[float, str]]:
    """Returns (time in s, material of the ball) of the isolated contacts of a take with floor and
    walls, whose sound can be read.

    They are 1 m/s or faster, have no other contact from 0.25 s before to 0.12 s after, and are not
    in the last 0.15 s of CLIP_SECONDS.
    """
    contacts = take.trajectory.contacts
    isolated = []
    for c in contacts:
        near = any(o is not c and -0.25 < o.time - c.time < 0.12 for o in contacts)
        # a contact in the last 0.15 s of a clip leaves too little audio to read
        if c.b < 0 and c.speed >= 1.0 and not near and c.time < CLIP_SECONDS - 0.15:
            isolated.append((c.time, take.scene.balls[c.a].material))
    return isolated


def nearest_onset(heard: list[float], time: float) -> float | None:
    """Returns the time of the onset that is nearest to an impact; None without one nearer than
    MAX_DISTANCE.

    Args:
        heard: times of the onsets, s.
        time: time of the impact, s.
    """
    distance, onset = min(((abs(onset - time), onset) for onset in heard), default=(np.inf, None))
    return onset if distance < MAX_DISTANCE else None


def materials_correct(take: Take, reading: "Reading") -> list[bool]:
    """Returns, for each isolated impact of a take, whether it is audible in the clip of `reading`
    and its material is read correctly.
    """
    heard = dict(zip(reading.heard_impacts, reading.of("material"), strict=True))
    impacts = [
        (nearest_onset(reading.heard_impacts, time), name) for time, name in isolated_impacts(take)
    ]
    return [onset is not None and heard[onset] == name for onset, name in impacts]


@corrupt_samples
def octave(c: Example) -> np.ndarray:
    """Corruption: the samples of clip `c` played at half the speed.

    Every mode is an octave lower, every decay twice as long.
    """
    assert c.samples is not None
    n = len(c.samples)
    return np.interp(np.arange(n) / 2.0, np.arange(n), c.samples)


class MaterialOracle(Oracle):
    """Oracle `material`: the material of the ball at each impact, read from how it rings."""

    name = "material"
    media = (AUDIO,)
    tolerance = "the material of every isolated impact"
    corruptions = (octave,)

    def read(self, reading: "Reading") -> list[str | None]:
        """Returns the material of the ball at each audible impact of a clip, in order of time; None
        where the audio after it is silent or too short.
        """
        samples = reading.samples
        if samples is None:
            return []
        return [read_material(samples, t, reading.rate)[0] for t in reading.heard_impacts]

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """Returns whether the materials of all isolated impacts of the take are read correctly;
        None without an isolated impact on floor or wall.
        """
        correct = materials_correct(example.take, reading)
        return all(correct) if correct else None
