"""Removes impact sounds from audio, so that speech can be recognized. The ring of each impact is
detected at its onset, fitted and subtracted.

Onsets (sudden beginnings of sounds) are processed in order of time. From each onset t0 on, the
audio is fitted by the damped modes of one struck ball, equation (1) of `material.py`: material and
fundamental frequency from a grid, the fundamental then refined over a longer piece, and amplitudes
by least squares. With s the piece of WINDOW seconds after the click and r its residual,

    share = 1 - |r|^2 / |s|^2                                                                    (1)

is the share of its energy that the modes explain. In clips with a narrator, nine impacts in ten
have a share of 0.92 or more. The beginnings of words, whose harmonics match no material, mostly
have 0.3 to 0.75.

A ring is removed if the share reaches the first number of MIN_SHARE over WINDOW and, with the
fundamental refined, the second over ALONE. These limits are lower for onsets louder than words
(LOUD), and higher if another onset is nearer than ALONE. The ring is subtracted until it has died
away, with the fade-out of the world's own sounds, and the click before it is muted.

An onset may hold a second ring, of two balls that collided, so each onset is tried twice.

Limits: words at the world's level. Two impacts within 20 ms are fitted as one ring and leave a
residual. If a ring of glass starts in the middle of a word, the word may be lost.
"""

import numpy as np

from sora_jax.modality import SAMPLE_RATE
from sora_jax.oracles.material import SKIP, bases_of, piece_after
from sora_jax.oracles.onsets import Onset
from sora_jax.worlds.playhouse.sound import VOICE
from sora_jax.worlds.playhouse.spec import MATERIALS

# seconds of audio: to find the material; at most, to refine the fundamental; least up to the next
# onset
WINDOW, REFINE_SECONDS, MIN_SECONDS = 0.05, 0.15, 0.02
# Least shares over WINDOW and over ALONE. CROWDED: another onset is nearer than ALONE.
MIN_SHARE, MIN_SHARE_CROWDED = (0.85, 0.68), (0.95, 0.68)
MIN_SHARE_LOUD = (0.75, 0.45)  # for onsets louder than words
ALONE, LOUD = 0.1, -13.0  # seconds; dB: peak of an onset that is louder than words
# search of the fundamental from coarse to fine: relative half width of each grid, points per grid
FINE, GRID_POINTS = (0.012, 0.0012, 0.0002), 25
PASSES = 2  # rings per onset


def _first_fit(piece: np.ndarray) -> tuple[float, str, float]:
    """Returns the best fit of a piece of samples [n] by the modes of one ball: (share of the energy
    that they explain, material, fundamental in Hz); (0, "", 0) for silence.
    """
    energy = float(piece @ piece)
    best = (0.0, "", 0.0)
    if energy < 1e-6 * len(piece):
        return best
    for name, (hertz, waves, inverse) in bases_of(len(piece), SAMPLE_RATE).items():
        products = np.einsum("gnk,n->gk", waves, piece.astype(np.float32)).astype(np.float64)
        explained = np.einsum("gk,gkl,gl->g", products, inverse, products)
        g = int(np.argmax(explained))
        best = max(best, (explained[g] / energy, name, float(hertz[g])))
    return best


def _modes(name: str, hertz: float, n: int) -> np.ndarray:
    """Returns the k damped modes of a ball of material `name` and fundamental `hertz`, as cosines
    and sines, n samples each: [n, 2k].
    """
    t = np.arange(n)[:, None] / SAMPLE_RATE
    material = MATERIALS[name]
    decay, phase = (
        np.exp(-t / np.array(material.decays)),
        2.0 * np.pi * hertz * t * np.array(material.ratios),
    )
    return np.concatenate([decay * np.cos(phase), decay * np.sin(phase)], axis=1)


def _ring(piece: np.ndarray, name: str, hertz: float, n: int) -> np.ndarray:
    """Returns the ring, n samples, of a ball of material `name` whose beginning fits a piece of
    samples best, among fundamentals near `hertz`.
    """
    best = (-1.0, hertz, np.zeros(0))
    for reach in FINE:
        for h in best[1] * np.linspace(1.0 - reach, 1.0 + reach, GRID_POINTS):
            waves = _modes(name, h, len(piece))
            products = waves.T @ piece
            weights = np.linalg.solve(waves.T @ waves + 1e-9 * np.eye(waves.shape[1]), products)
            best = max(best, (float(weights @ products), h, weights), key=lambda b: b[0])
    return _modes(name, best[1], n) @ best[2]


def without_impacts(samples: np.ndarray, onsets: list[Onset]) -> tuple[np.ndarray, list[float]]:
    """Removes the rings of impacts from audio.

    Args:
        samples: mono samples [S] at 16 kHz.
        onsets: the onsets at which a ring may start (`onsets.audio_onsets`).

    Returns:
        (samples without the rings, float64 [S]; times in s of the onsets whose ring was removed).
    """
    remaining, impacts = np.array(samples, np.float64), []
    times = [onset.time for onset in onsets]
    for i, onset in enumerate(onsets):
        seconds = min([t - onset.time - SKIP for t in times[i + 1 :]] + [REFINE_SECONDS])
        for _ in range(PASSES):
            piece = piece_after(remaining, onset.time, WINDOW, SAMPLE_RATE)
            if len(piece) < WINDOW * SAMPLE_RATE or seconds < MIN_SECONDS:
                break
            share, name, hertz = _first_fit(piece)
            quiet = MIN_SHARE if seconds > ALONE else MIN_SHARE_CROWDED
            threshold, refined_threshold = MIN_SHARE_LOUD if onset.strength > LOUD else quiet
            if share < threshold:
                break
            first = round((onset.time + SKIP) * SAMPLE_RATE)
            n = min(VOICE, len(remaining) - first)
            ring = _ring(remaining[first : first + int(seconds * SAMPLE_RATE)], name, hertz, n)
            near = slice(first, first + int(min(seconds, ALONE) * SAMPLE_RATE))
            if np.sum(np.square(remaining[near] - ring[: near.stop - first])) > (
                1.0 - refined_threshold
            ) * np.sum(np.square(remaining[near])):
                break
            remaining[first : first + n] -= (
                np.minimum(1.0, (1.0 - np.arange(n) / VOICE) * 5.0) * ring
            )
            remaining[max(0, first - int(1.5 * SKIP * SAMPLE_RATE)) : first] = 0.0
            if onset.time not in impacts:
                impacts.append(onset.time)
    return remaining, impacts
