"""What a thing that struck is made of, by ear: the material whose damped modes explain the sound
after an onset best.

A ball of material m and fundamental f rings (worlds/playhouse/sound.py) as

    s(t) = sum_i exp(-t / tau_i) (A_i cos 2 pi f rho_i t + B_i sin 2 pi f rho_i t)               (1)

with the material's ratios rho and decays tau, public constants of the world. For each material and
each fundamental near a peak of the spectrum and within the material's range, A and B are found by
least squares over WINDOW seconds from SKIP after the onset (the click is left out); the material is
the one with the least

    N log(rss / N) + 2 k log N,       k the number of modes                                      (2)

so that more modes must earn their place. The dominant mode's frequency is the parabolic peak of the
windowed spectrum.
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

SKIP = 0.005  # seconds: the click of the contact
WINDOW = 0.05  # seconds
STEP = 0.01  # relative step of the fundamentals tried
NEAR = 0.03  # seconds between an impact and the onset that is heard of it
RADII = (min(low for low, _ in SIZES.values()), max(high for _, high in SIZES.values()))


def piece_after(samples: np.ndarray, onset: float, seconds: float, rate: int) -> np.ndarray:
    """The `seconds` of mono samples [S] from SKIP after an onset (s), float64; shorter at the end
    of the clip.
    """
    first = round((onset + SKIP) * rate)
    return np.asarray(samples[first : first + int(seconds * rate)], np.float64)


def dominant_mode(
    samples: np.ndarray, onset: float, rate: int = SAMPLE_RATE, seconds: float = 0.2
) -> float:
    """Frequency in Hz of the strongest partial in the `seconds` after an onset (s); NaN where there
    is no sound to read.
    """
    piece = piece_after(samples, onset, seconds, rate)
    if len(piece) < 256 or not np.any(piece):
        return float("nan")
    size = 8 * len(piece)
    # The window starts full: a ringing sound is strongest at its beginning.
    spectrum = np.abs(
        np.fft.rfft(piece * np.cos(0.5 * np.pi * np.arange(len(piece)) / len(piece)) ** 2, size)
    )
    peak = int(np.argmax(spectrum[1:-1])) + 1
    a, b, c = np.log(spectrum[peak - 1 : peak + 2] + 1e-12)
    return float((peak + 0.5 * (a - c) / (a - 2 * b + c - 1e-12)) * rate / size)


@functools.lru_cache(maxsize=4)
def bases_of(length: int, rate: int) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per material: the fundamentals tried [G], the sounds (1) can make [G, N, 2k], and the inverse
    of their products [G, 2k, 2k].
    """
    t = np.arange(length) / rate
    bases = {}
    for name, material in MATERIALS.items():
        low, high = (material.base_hz * REFERENCE_RADIUS / r for r in RADII[::-1])
        # Fine enough that a ringing partial stays in phase with its neighbour on the grid for the
        # whole window.
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
    """(material, fundamental in Hz) of what strikes at `onset` (s) in mono samples [S]; (None, NaN)
    where it is silent.
    """
    piece = piece_after(samples, onset, WINDOW, rate)
    if len(piece) < int(0.5 * WINDOW * rate) or np.sqrt(np.mean(piece**2)) < 1e-4:
        return None, float("nan")
    piece = np.pad(piece, (0, int(WINDOW * rate) - len(piece))).astype(np.float32)
    energy, n = float(piece @ piece), len(piece)
    best = (np.inf, None, float("nan"))
    for name, (hertz, waves, inverse) in bases_of(n, rate).items():
        shared = np.einsum("gnk,n->gk", waves, piece).astype(np.float64)
        caught = np.einsum("gk,gkl,gl->g", shared, inverse, shared)
        g = int(np.argmax(caught))
        cost = n * np.log(max(energy - caught[g], 1e-9 * energy) / n) + waves.shape[-1] * np.log(n)
        best = min(best, (cost, name, float(hertz[g])))
    return best[1], best[2]


def lone_impacts(take: Take) -> list[tuple[float, str]]:
    """(time, material) of the floor and wall contacts with no other contact from 0.25 s before to
    0.12 s after, at 1 m/s or faster.
    """
    contacts = take.trajectory.contacts
    lone = []
    for c in contacts:
        near = any(o is not c and -0.25 < o.time - c.time < 0.12 for o in contacts)
        if c.b < 0 and c.speed >= 1.0 and not near and c.time < CLIP_SECONDS - 0.15:
            lone.append((c.time, take.scene.balls[c.a].material))
    return lone


def heard_at(heard: list[float], time: float) -> float | None:
    """The onset nearest to an impact at `time` (s), if one is within NEAR."""
    distance, onset = min(((abs(onset - time), onset) for onset in heard), default=(np.inf, None))
    return onset if distance < NEAR else None


def materials_correct(take: Take, reading: "Reading") -> list[bool]:
    """For each lone impact: is it heard, and its material read correctly at the onset where it is
    heard?
    """
    heard = dict(zip(reading.heard, reading.of("material")))
    impacts = [(heard_at(reading.heard, time), name) for time, name in lone_impacts(take)]
    return [onset is not None and heard[onset] == name for onset, name in impacts]


@corrupt_samples
def octave(c: Example) -> np.ndarray:
    """Played at half the speed: every mode an octave down, every decay twice as long."""
    n = len(c.samples)
    return np.interp(np.arange(n) / 2.0, np.arange(n), c.samples)


class MaterialOracle(Oracle):
    """What things that strike are made of."""

    name = "material"
    media = (AUDIO,)
    tolerance = "every lone impact's material"
    corruptions = (octave,)

    def read(self, reading: "Reading") -> list[str | None]:
        """The material of each impact heard; None for silence."""
        return [read_material(reading.samples, t, reading.rate)[0] for t in reading.heard]

    def judge(self, example: Example, reading: "Reading") -> bool | None:
        """None without a lone impact on floor or wall."""
        correct = materials_correct(example.take, reading)
        return all(correct) if correct else None
