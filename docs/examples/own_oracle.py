"""An oracle of your own, which measures when a clip is loudest, and a suite that scores models by
it.

    python -m experiments.calibrate --import=docs/examples/own_oracle.py --oracles=loudest \
        --output=outputs/own

The command loads this file, which registers the oracle, and calibrates it; without --oracles, it
calibrates all others too. Readings must be correct on ground truth, and under noise and aac. They
must be incorrect under the oracle's corruptions, and on empty and shuffled clips. (An oracle that
reads the video makes corruptions with `corrupt_frames`, and is calibrated under blur, noise and
h264.) From Python, `Reading(clip).of("loudest")` reads one clip.
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
    """Returns the time in seconds of the loudest of the samples [S], at `rate` samples per second;
    nan for a clip without audio.
    """
    return math.nan if samples is None else float(np.argmax(np.abs(samples)) / rate)


@corrupt_samples
def muted(example: Example) -> np.ndarray:
    """Corruption: the samples of a clip, with a tenth of a second around the loudest one silent."""
    samples = example.samples
    assert samples is not None  # every take has audio
    off = np.arange(len(samples)) - np.argmax(np.abs(samples))
    return np.where(np.abs(off) < 0.05 * example.rate, 0.0, samples)


@ORACLES.register
class LoudestOracle(Oracle):
    """When a clip is loudest, compared with the audio rendered from its take, the ground truth."""

    name = "loudest"
    media = (AUDIO,)
    tolerance = "within 10 ms of the take's own sound"
    corruptions = (late, backwards, muted)

    def read(self, reading: Reading) -> float:
        """Returns the time in seconds."""
        return loudest(reading.samples, reading.rate)

    def judge(self, example: Example, reading: Reading) -> bool:
        """Returns whether the reading is within 10 ms of the loudest moment of the take's own
        audio.
        """
        (clip,) = render_takes([example.take], example.format, batch=1)
        return abs(reading.of(self.name) - loudest(clip.samples, clip.rate)) <= 0.010


# The model generates rooms from their captions. The metric's floor is its score on the same clips
# with their audio cut into pieces of 50 ms and permuted.
SUITES.register(Suite("own_loudest", ROOM, {"as_made": judged("loudest")}, mixed="pieces"))
