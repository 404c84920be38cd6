"""Continuous sounds: rolling balls, rain and crickets.

They are computed in float64 NumPy on the host, one track per scene. Wind and hum are in
`sound.py`.

A ball of radius r that rolls with speed |v(t)| sounds as noise through a low-pass. The cut-off is
ROLL_HZ times the pitch of the ball when it is struck. The noise has

    rms(t) = ROLL_RMS |v(t)| (1 + WOBBLE cos(s(t) / r)),      s the distance rolled              (1)

with v smoothed over SOFT seconds. So the sound of a ball that lands or is struck grows gradually,
because the impact has a sound of its own. Rain is high-pass noise and many drops, each a short
damped tone. Crickets are two high tones that swell about 14 and 12 times a second.
"""

import numpy as np
from scipy import signal

from sora_jax.modality import SAMPLE_RATE
from sora_jax.worlds.playhouse.draw import Take
from sora_jax.worlds.playhouse.spec import REFERENCE_RADIUS, material
from sora_jax.worlds.playhouse.stream import Stream, noise

ROLL_RMS = 0.012  # rms at 1 m/s
ROLL_HZ = 1.5  # cut-off of the low-pass, as a multiple of the pitch at which the ball rings
WOBBLE, SOFT = 0.3, 0.02  # depth of the modulation, seconds of smoothing: equation (1)
DROPS = 70  # of rain per second
# of each cricket: tone in Hz, swells per second, amplitude
CRICKETS = ((4300.0, 14.0, 1.0), (3850.0, 12.3, 0.6))


def roll(take: Take, samples: int) -> np.ndarray:
    """Returns the sound of a take's rolling balls, equation (1), float64 [samples] at 16 kHz."""
    scene, motion, track = take.scene, take.trajectory, np.zeros(samples)
    t = np.arange(samples) / SAMPLE_RATE
    speeds = np.linalg.norm(motion.velocities(t), axis=-1)
    width = int(SOFT * SAMPLE_RATE)
    soft = np.hanning(width + 2)[1:-1] / np.hanning(width + 2).sum()
    for k, ball in enumerate(scene.balls):
        arcs = motion.arcs[k]
        # a ball rests on something unless its acceleration is that of free fall
        supported = arcs[np.searchsorted(arcs[:, 0], t, side="right") - 1, 5] != -scene.gravity
        speed = np.where(supported, speeds[:, k], 0.0)
        if not speed.any():
            continue
        turned = np.cumsum(speed) / SAMPLE_RATE / ball.radius
        loudness = (
            ROLL_RMS * np.convolve(speed, soft, mode="same") * (1.0 + WOBBLE * np.cos(turned))
        )
        hertz = min(
            ROLL_HZ * material(ball.material).base_hz * REFERENCE_RADIUS / ball.radius, 3000.0
        )
        track += loudness * _unit(_low_pass(noise(samples, 14, scene.seed, k), hertz))
    return track


def rain(seed: int, samples: int) -> np.ndarray:
    """Returns the sound of rain, float64 [samples] at 16 kHz, with an rms of 1.

    `seed` selects the noise and the drops.
    """
    hiss = noise(samples, 15, seed)
    hiss = _unit(hiss - _low_pass(hiss, 1500.0))
    stream, drops = Stream(16, seed), np.zeros(samples)
    t = np.arange(int(0.012 * SAMPLE_RATE)) / SAMPLE_RATE
    for _ in range(int(DROPS * samples / SAMPLE_RATE)):
        start, hertz, size = (
            stream.integer(max(samples - len(t), 1)),
            stream.uniform(1200.0, 5000.0),
            stream.uniform(0.2, 1.0),
        )
        drop = size * np.exp(-t / 0.002) * np.sin(2.0 * np.pi * hertz * t)
        drops[start : start + len(t)] += drop[: samples - start]
    return _unit(hiss + 0.35 * _unit(drops))


def crickets(seed: int, samples: int) -> np.ndarray:
    """Returns the sound of crickets, float64 [samples] at 16 kHz, with an rms of 1.

    `seed` selects the phases of the tones and of their swells.
    """
    t, stream, track = np.arange(samples) / SAMPLE_RATE, Stream(17, seed), np.zeros(samples)
    for hertz, swells, amplitude in CRICKETS:
        phase, beat = stream.uniform(0.0, 2.0 * np.pi), stream.uniform(0.0, 2.0 * np.pi)
        track += (
            amplitude
            * (0.6 - 0.4 * np.cos(2.0 * np.pi * swells * t + beat))
            * np.sin(2.0 * np.pi * hertz * t + phase)
        )
    return _unit(track)


def _low_pass(x: np.ndarray, hertz: float) -> np.ndarray:
    """Applies two one-pole low-passes in series."""
    keep = np.exp(-2.0 * np.pi * hertz / SAMPLE_RATE)
    once = np.asarray(signal.lfilter([1.0 - keep], [1.0, -keep], x))
    return np.asarray(signal.lfilter([1.0 - keep], [1.0, -keep], once))


def _unit(x: np.ndarray) -> np.ndarray:
    return x / max(float(np.sqrt(np.mean(np.square(x)))), 1e-12)
