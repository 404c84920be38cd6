"""A metric with a value: how much of a clip's frames is red. It reads the video, and scores only
scenes that have a red ball.

    python -m experiments.calibrate --import=docs/examples/own_metric.py --oracles=red \
        --output=outputs/red
    python -m experiments.evaluate --import=docs/examples/own_metric.py --suite=own_red \
        --num_prompts=16 --output=outputs/red_scores

The suite has two metrics of one oracle: `red`, the mean of its readings, and `as_made`, the share
of clips whose reading is correct.
"""

import numpy as np

from sora_jax.evaluation.metrics import Metric, Value
from sora_jax.evaluation.suites import ROOM, SUITES, Suite, judged
from sora_jax.oracles.base import Oracle
from sora_jax.oracles.catalogue import ORACLES
from sora_jax.oracles.conditions import corrupt_frames
from sora_jax.oracles.examples import VIDEO, Example, render_takes
from sora_jax.oracles.reading import Reading


def redness(frames: np.ndarray) -> float:
    """Returns the share of red pixels of frames [F, H, W, 3] in [0, 1]."""
    return float(np.mean(frames[..., 0] - frames[..., 1:].max(-1) > 0.3))


@corrupt_frames
def grey(example: Example) -> np.ndarray:
    """Corruption: the frames of a clip without colours."""
    return np.repeat(example.frames.mean(-1, keepdims=True), 3, axis=-1)


def has_red(example: Example) -> bool:
    """Returns whether the prompted scene has a red ball."""
    return any(ball.colour == "red" for ball in example.take.scene.balls)


@ORACLES.register
class RedOracle(Oracle):
    """How much of the frames is red, compared with those rendered from the take."""

    name = "red"
    media = (VIDEO,)
    tolerance = "within 15 % of the take's own render"
    corruptions = (grey,)

    def read(self, reading: Reading) -> float:
        """Returns the share of red pixels."""
        return redness(reading.frames)

    def judge(self, example: Example, reading: Reading) -> bool | None:
        """Returns whether the reading is within 15 % of that of the take's own render; None for
        a scene without a red ball, which does not test it.
        """
        if not has_red(example):
            return None
        (clip,) = render_takes([example.take], example.format, batch=1)
        own = redness(clip.frames)
        return abs(reading.of(self.name) - own) <= 0.15 * own


def red(example: Example, reading: Reading) -> Value:
    """Returns the value of the metric for one clip; None if its scene does not test it."""
    return reading.of("red") if has_red(example) else None


METRICS = {"red": Metric("red", red, unit="share of the frame"), "as_made": judged("red")}
SUITES.register(Suite("own_red", ROOM, METRICS))
