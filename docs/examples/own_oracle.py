"""An oracle of your own: when a clip is loudest. And a suite that scores models by it.

    python -m experiments.calibrate --import=docs/examples/own_oracle.py --oracles=loudest \
        --output=outputs/own

loads this file, which registers the oracle, and calibrates it; without --oracles, all others too.
Ground truth, noise and aac must keep its reading correct; its corruptions, empty and shuffled clips
must not. (An oracle of the video makes corruptions with `corrupt_frames`, and is calibrated under
blur, noise and h264.) From Python, `Reading(clip).of("loudest")` reads one clip.
"""

import math

import numpy as np

from sora_jax.evaluation.suites import ROOM, SUITES, Suite, judged
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import corrupt_samples
from sora_jax.oracles.corruptions import backwards, late
from sora_jax.oracles.examples import AUDIO, Example, render_takes
from sora_jax.oracles.reading import Reading


def loudest(samples: np.ndarray | None, rate: int) -> float:
    """The time of the largest sample [S], in s; nan for a clip without audio."""
    return math.nan if samples is None else float(np.argmax(np.abs(samples)) / rate)


@corrupt_samples
def muted(example: Example) -> np.ndarray:
    """A tenth of a second around the loudest sample is silent."""
    samples = example.samples
    assert samples is not None  # every take has a sound
    off = np.arange(len(samples)) - np.argmax(np.abs(samples))
    return np.where(np.abs(off) < 0.05 * example.rate, 0.0, samples)


@ORACLES.register
class LoudestOracle(Oracle):
    """When a clip is loudest, judged against the sound that its take makes."""

    name = "loudest"
    media = (AUDIO,)
    tolerance = "within 10 ms of the take's own sound"
    corruptions = (late, backwards, muted)

    def read(self, reading: Reading) -> float:
        """The time in s."""
        return loudest(reading.samples, reading.rate)

    def judge(self, example: Example, reading: Reading) -> bool:
        """Is it when the take's own sound is loudest?"""
        (clip,) = render_takes([example.take], example.format, batch=1)
        return abs(reading.of(self.name) - loudest(clip.samples, clip.rate)) <= 0.010


# Rooms from their captions. Its floor is each clip's own sound, cut into pieces of 50 ms and mixed.
SUITES.register(Suite("own_loudest", ROOM, {"as_made": judged("loudest")}, mixed="pieces"))
